//! A clock of one's own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};

use crate::arguments::Given;
use crate::errors::raise;
use crate::events::Listeners;
use crate::records::{self, Deadline, Reading, Report, SourceInfo};
use crate::settings::Settings;
use crate::{arguments, events, forks, waiting, words};

/// A running clock with servers and settings of its own.
#[pyclass(frozen, module = "ntpclock")]
pub(crate) struct Clock {
    pub(crate) clock: Arc<ntpclock::Clock>,
    servers: String,
    listeners: Arc<Listeners>,
    /// Only for `__repr__`: what stopping means is the Rust clock's business.
    stopped: AtomicBool,
}

#[pymethods]
impl Clock {
    #[new]
    #[pyo3(signature = (
        servers = None, *, poll = None, fault_limit = None, min_agreeing = None,
        step_threshold_ns = None, bound_cap_ns = None, frequency_limit_ppm = None, drift_limit = None,
        state_file = None, trusted_certificates = None, platform_trust = true, shared_page = None,
        restart_after_fork = false, keys = None, authentication = None, khronos = false, interleaved = false,
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python, one a setting")]
    fn new(
        py: Python<'_>,
        servers: Option<&Bound<'_, PyAny>>,
        poll: Option<Given<(i32, i32)>>,
        fault_limit: Option<Given<i64>>,
        min_agreeing: Option<Given<i64>>,
        step_threshold_ns: Option<Given<i64>>,
        bound_cap_ns: Option<Given<i64>>,
        frequency_limit_ppm: Option<Given<f64>>,
        drift_limit: Option<Given<(f64, f64, f64)>>,
        state_file: Option<Given<PathBuf>>,
        trusted_certificates: Option<&Bound<'_, PyAny>>,
        platform_trust: bool,
        shared_page: Option<Given<PathBuf>>,
        restart_after_fork: bool,
        keys: Option<Given<PathBuf>>,
        authentication: Option<Given<String>>,
        khronos: bool,
        interleaved: bool,
    ) -> PyResult<Self> {
        let settings = Settings {
            poll,
            fault_limit,
            min_agreeing,
            step_threshold_ns,
            bound_cap_ns,
            frequency_limit_ppm,
            drift_limit,
            state_file,
            trusted_certificates,
            platform_trust,
            shared_page,
            restart_after_fork,
            keys,
            authentication,
            khronos,
            interleaved,
        };
        let config = settings.config(servers)?;
        let servers = config.servers();
        let clock = Arc::new(py.detach(|| ntpclock::Clock::start(config)).map_err(raise)?);
        if restart_after_fork {
            forks::note(&clock);
        }
        Ok(Self { clock, servers, listeners: Arc::default(), stopped: AtomicBool::new(false) })
    }

    /// The servers it was started with, in canonical form.
    #[getter]
    fn servers(&self) -> &str {
        &self.servers
    }

    /// Why the state file was refused at the start, or could not be written last; None if all is well.
    #[getter]
    fn state_file_fault(&self, py: Python<'_>) -> Option<String> {
        py.detach(|| self.clock.state_file_fault())
    }

    /// Why the page that processes share cannot be used, or is not where it was; None if all is well.
    #[getter]
    fn shared_page_fault(&self, py: Python<'_>) -> Option<String> {
        py.detach(|| self.clock.shared_page_fault())
    }

    /// Why the clock's thread is not woken when the machine resumes; None if all is well.
    #[getter]
    fn resume_watch_fault(&self, py: Python<'_>) -> Option<String> {
        py.detach(|| self.clock.resume_watch_fault())
    }

    /// Waits until the clock is synchronised.
    #[pyo3(signature = (timeout = None, max_bound_ns = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<Given<f64>>, max_bound_ns: Option<Given<i64>>) -> PyResult<()> {
        let timeout = timeout.map(|timeout| arguments::seconds("timeout", timeout)).transpose()?;
        let max_bound = max_bound_ns.map(|bound| arguments::nanoseconds("max_bound_ns", bound)).transpose()?;
        waiting::wait(py, timeout, || self.clock.session(), |slice| self.clock.wait(max_bound, Some(slice)))
    }

    /// UTC in nanoseconds since 1970-01-01T00:00:00Z.
    fn ntp_now(&self) -> i64 {
        self.clock.unix_ns()
    }

    /// The same for less, but not to be compared between threads.
    fn ntp_now_relaxed(&self) -> i64 {
        self.clock.unix_ns_relaxed()
    }

    /// UTC in nanoseconds since 1970-01-01T00:00:00Z, under the name of the standard library's time.time_ns().
    fn time_ns(&self) -> i64 {
        self.clock.unix_ns()
    }

    /// UTC in seconds since 1970-01-01T00:00:00Z, under the name of the standard library's time.time().
    fn time(&self) -> f64 {
        records::float_seconds(self.clock.unix_ns())
    }

    /// UTC as an aware datetime; nanoseconds are cut off.
    fn now<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        records::datetime(py, self.clock.unix_ns())
    }

    /// The time together with the interval that holds UTC.
    fn read(&self) -> Reading {
        Reading(self.clock.now())
    }

    /// The same, but DISRUPTED if the machine was suspended and the clock's thread has not run since.
    fn read_checked(&self) -> Reading {
        Reading(self.clock.now_checked())
    }

    /// The time with its interval, for a caller that needs a bound of at most `max_bound_ns`.
    fn read_within(&self, max_bound_ns: Given<i64>) -> PyResult<Reading> {
        let max_bound = arguments::nanoseconds("max_bound_ns", max_bound_ns)?;
        self.clock.now_within(max_bound).map(Reading).map_err(raise)
    }

    /// Whether UTC is certainly after `unix_ns`.
    fn after(&self, unix_ns: Given<i64>) -> PyResult<bool> {
        Ok(self.clock.after(unix_ns.value("unix_ns")?))
    }

    /// Whether UTC is certainly before `unix_ns`.
    fn before(&self, unix_ns: Given<i64>) -> PyResult<bool> {
        Ok(self.clock.before(unix_ns.value("unix_ns")?))
    }

    /// Waits until UTC is certainly after `unix_ns`.
    #[pyo3(signature = (unix_ns, timeout = None))]
    fn wait_until_past(&self, py: Python<'_>, unix_ns: Given<i64>, timeout: Option<Given<f64>>) -> PyResult<()> {
        let unix_ns = unix_ns.value("unix_ns")?;
        let timeout = timeout.map(|timeout| arguments::seconds("timeout", timeout)).transpose()?;
        waiting::wait(py, timeout, || self.clock.session(), |slice| self.clock.wait_until_past(unix_ns, Some(slice)))
    }

    /// Sleeps until the clock shows `unix_ns`.
    fn sleep_until(&self, py: Python<'_>, unix_ns: Given<i64>) -> PyResult<()> {
        let unix_ns = unix_ns.value("unix_ns")?;
        waiting::wait(py, None, || self.clock.session(), |slice| self.clock.sleep_until(unix_ns, Some(slice)))
    }

    /// Where UTC was when a clock of this machine showed `stamp_ns`.
    fn convert(&self, py: Python<'_>, timescale: Given<i64>, stamp_ns: Given<i64>) -> PyResult<Reading> {
        let (scale, stamp_ns) = (words::timescale(timescale)?, stamp_ns.value("stamp_ns")?);
        py.detach(|| self.clock.convert(scale, stamp_ns)).map(Reading).map_err(raise)
    }

    /// When a clock of this machine will show that UTC is `unix_ns`.
    fn deadline(&self, py: Python<'_>, timescale: Given<i64>, unix_ns: Given<i64>) -> PyResult<Deadline> {
        let (scale, unix_ns) = (words::timescale(timescale)?, unix_ns.value("unix_ns")?);
        py.detach(|| self.clock.deadline(scale, unix_ns)).map(Deadline::from).map_err(raise)
    }

    /// A descriptor that is readable while there are events to take.
    fn event_fd(&self, py: Python<'_>) -> PyResult<i32> {
        py.detach(|| self.clock.event_fd()).map_err(raise)
    }

    /// What has happened since it was last asked.
    fn take_events(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        words::events(py, py.detach(|| self.clock.take_events()))
    }

    /// Has `callback` called with whatever happens; None takes it back.
    fn on_event(&self, py: Python<'_>, callback: Option<Py<PyAny>>) -> PyResult<()> {
        let callback = events::callback(py, &self.listeners, callback)?;
        // The former one may be waiting for the interpreter.
        py.detach(|| self.clock.on_event(callback)).map_err(raise)
    }

    /// The same as event_fd(), for selectors and event loops that take objects.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        self.event_fd(py)
    }

    /// UTC minus the system clock, in nanoseconds.
    fn offset(&self) -> i64 {
        self.clock.offset().offset_ns
    }

    /// The true offset lies within ± this many nanoseconds; None when unknown.
    fn offset_bound(&self) -> Option<i64> {
        records::known(self.clock.offset().bound_ns)
    }

    /// UTC lies within ± this many nanoseconds of the reading; None when unknown.
    fn error_bound(&self) -> Option<i64> {
        records::known(self.clock.now().error_bound_ns())
    }

    /// How far the clock can be trusted.
    fn status(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        words::state(py, self.clock.now().state)
    }

    /// The clock's state in numbers.
    fn report(&self, py: Python<'_>) -> PyResult<Report> {
        Report::new(py, &py.detach(|| self.clock.report()))
    }

    /// One entry a source.
    fn sources(&self, py: Python<'_>) -> PyResult<Vec<SourceInfo>> {
        py.detach(|| self.clock.sources()).into_iter().map(|source| SourceInfo::new(py, source)).collect()
    }

    /// In a forked child: makes the clock's thread anew.
    fn restart(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.clock.restart()).map_err(raise)
    }

    /// Stops the clock's thread; reading goes on, in holdover. Stopping twice is harmless.
    fn stop(&self, py: Python<'_>) {
        self.stopped.store(true, Relaxed);
        py.detach(|| self.clock.stop());
    }

    /// The same as stop(), for contextlib.closing().
    fn close(&self, py: Python<'_>) {
        self.stop(py);
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) {
        self.stop(py);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.listeners.show(&visit)
    }

    fn __clear__(&self) {
        self.listeners.forget();
    }

    fn __repr__(&self) -> String {
        let stopped = if self.stopped.load(Relaxed) { ", stopped" } else { "" };
        format!("<ntpclock.Clock '{}' {}{stopped}>", self.servers, self.clock.now().state)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        // A callback under way may need the interpreter, which whoever drops us holds.
        let end = || {
            self.clock.stop();
            // Nothing can fail without a new one.
            let _ = self.clock.on_event(None);
        };
        // While the interpreter ends there is none to be had, and none to leave.
        let _ = Python::try_attach(|py| py.detach(end));
    }
}
