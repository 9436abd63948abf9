//! The process-wide clock, but for its quickest functions (`hot.rs`), and the query that needs no clock at all.

use std::path::PathBuf;
use std::sync::Arc;

use ntpclock::Config;
use pyo3::prelude::*;

use crate::arguments::Given;
use crate::errors::raise;
use crate::records::{self, Deadline, QueryResult, Reading, Report, SourceInfo};
use crate::settings::Settings;
use crate::{arguments, events, forks, waiting, words};

/// Adds the functions to the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(start, module)?)?;
    module.add_function(wrap_pyfunction!(state_file_fault, module)?)?;
    module.add_function(wrap_pyfunction!(resume_watch_fault, module)?)?;
    module.add_function(wrap_pyfunction!(restart, module)?)?;
    module.add_function(wrap_pyfunction!(stop, module)?)?;
    module.add_function(wrap_pyfunction!(wait, module)?)?;
    module.add_function(wrap_pyfunction!(now, module)?)?;
    module.add_function(wrap_pyfunction!(read, module)?)?;
    module.add_function(wrap_pyfunction!(read_checked, module)?)?;
    module.add_function(wrap_pyfunction!(read_within, module)?)?;
    module.add_function(wrap_pyfunction!(after, module)?)?;
    module.add_function(wrap_pyfunction!(before, module)?)?;
    module.add_function(wrap_pyfunction!(wait_until_past, module)?)?;
    module.add_function(wrap_pyfunction!(sleep_until, module)?)?;
    module.add_function(wrap_pyfunction!(convert, module)?)?;
    module.add_function(wrap_pyfunction!(deadline, module)?)?;
    module.add_function(wrap_pyfunction!(event_fd, module)?)?;
    module.add_function(wrap_pyfunction!(take_events, module)?)?;
    module.add_function(wrap_pyfunction!(on_event, module)?)?;
    module.add_function(wrap_pyfunction!(offset, module)?)?;
    module.add_function(wrap_pyfunction!(offset_bound, module)?)?;
    module.add_function(wrap_pyfunction!(error_bound, module)?)?;
    module.add_function(wrap_pyfunction!(status, module)?)?;
    module.add_function(wrap_pyfunction!(report, module)?)?;
    module.add_function(wrap_pyfunction!(sources, module)?)?;
    module.add_function(wrap_pyfunction!(query, module)?)
}

/// Starts the process-wide clock; returns at once.
#[pyfunction]
#[pyo3(signature = (
    servers = None, *, poll = None, fault_limit = None, min_agreeing = None,
    step_threshold_ns = None, bound_cap_ns = None, frequency_limit_ppm = None, drift_limit = None,
    state_file = None, trusted_certificates = None, platform_trust = true,
    restart_after_fork = false, keys = None, authentication = None, khronos = false, interleaved = false,
))]
#[expect(clippy::too_many_arguments, reason = "they are keywords in Python, one a setting")]
fn start(
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
    restart_after_fork: bool,
    keys: Option<Given<PathBuf>>,
    authentication: Option<Given<String>>,
    khronos: bool,
    interleaved: bool,
) -> PyResult<()> {
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
        shared_page: None,
        restart_after_fork,
        keys,
        authentication,
        khronos,
        interleaved,
    };
    let config = settings.config(servers)?;
    let list = config.servers();
    // Where nothing but servers is asked for, only these have to be the same as those of a clock that runs.
    if Config::with_servers(&list).is_ok_and(|bare| bare == config) {
        return py.detach(|| ntpclock::start(Some(&list))).map_err(raise);
    }
    py.detach(|| ntpclock::start_with(&config)).map_err(raise)?;
    if restart_after_fork {
        forks::note_process();
    }
    Ok(())
}

/// Why the state file was refused at the start, or could not be written last; None if all is well.
#[pyfunction]
fn state_file_fault(py: Python<'_>) -> Option<String> {
    py.detach(ntpclock::state_file_fault)
}

/// Why the clock's thread is not woken when the machine resumes; None if all is well.
#[pyfunction]
fn resume_watch_fault(py: Python<'_>) -> Option<String> {
    py.detach(ntpclock::resume_watch_fault)
}

/// In a forked child: makes the thread of the process-wide clock anew.
#[pyfunction]
fn restart(py: Python<'_>) -> PyResult<()> {
    py.detach(ntpclock::restart).map_err(raise)
}

/// Undoes one start(); harmless without one.
#[pyfunction]
fn stop(py: Python<'_>) {
    py.detach(ntpclock::stop);
}

/// Waits until the process-wide clock is synchronised.
#[pyfunction]
#[pyo3(signature = (timeout = None, max_bound_ns = None))]
fn wait(py: Python<'_>, timeout: Option<Given<f64>>, max_bound_ns: Option<Given<i64>>) -> PyResult<()> {
    let timeout = timeout.map(|timeout| arguments::seconds("timeout", timeout)).transpose()?;
    let max_bound = max_bound_ns.map(|bound| arguments::nanoseconds("max_bound_ns", bound)).transpose()?;
    waiting::wait(py, timeout, ntpclock::session, |slice| ntpclock::wait(max_bound, Some(slice)))
}

/// UTC as an aware datetime; nanoseconds are cut off.
#[pyfunction]
fn now(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    records::datetime(py, ntpclock::unix_ns())
}

/// The time together with the interval that holds UTC.
#[pyfunction]
fn read() -> Reading {
    Reading(ntpclock::now())
}

/// The same, but DISRUPTED if the machine was suspended and the clock's thread has not run since.
#[pyfunction]
fn read_checked() -> Reading {
    Reading(ntpclock::now_checked())
}

/// The time with its interval, for a caller that needs a bound of at most `max_bound_ns`.
#[pyfunction]
fn read_within(max_bound_ns: Given<i64>) -> PyResult<Reading> {
    let max_bound = arguments::nanoseconds("max_bound_ns", max_bound_ns)?;
    ntpclock::now_within(max_bound).map(Reading).map_err(raise)
}

/// Whether UTC is certainly after `unix_ns`.
#[pyfunction]
fn after(unix_ns: Given<i64>) -> PyResult<bool> {
    Ok(ntpclock::after(unix_ns.value("unix_ns")?))
}

/// Whether UTC is certainly before `unix_ns`.
#[pyfunction]
fn before(unix_ns: Given<i64>) -> PyResult<bool> {
    Ok(ntpclock::before(unix_ns.value("unix_ns")?))
}

/// Waits until UTC is certainly after `unix_ns`.
#[pyfunction]
#[pyo3(signature = (unix_ns, timeout = None))]
fn wait_until_past(py: Python<'_>, unix_ns: Given<i64>, timeout: Option<Given<f64>>) -> PyResult<()> {
    let unix_ns = unix_ns.value("unix_ns")?;
    let timeout = timeout.map(|timeout| arguments::seconds("timeout", timeout)).transpose()?;
    waiting::wait(py, timeout, ntpclock::session, |slice| ntpclock::wait_until_past(unix_ns, Some(slice)))
}

/// Sleeps until the clock shows `unix_ns`.
#[pyfunction]
fn sleep_until(py: Python<'_>, unix_ns: Given<i64>) -> PyResult<()> {
    let unix_ns = unix_ns.value("unix_ns")?;
    waiting::wait(py, None, ntpclock::session, |slice| ntpclock::sleep_until(unix_ns, Some(slice)))
}

/// Where UTC was when a clock of this machine showed `stamp_ns`.
#[pyfunction]
fn convert(py: Python<'_>, timescale: Given<i64>, stamp_ns: Given<i64>) -> PyResult<Reading> {
    let (scale, stamp_ns) = (words::timescale(timescale)?, stamp_ns.value("stamp_ns")?);
    py.detach(|| ntpclock::convert(scale, stamp_ns)).map(Reading).map_err(raise)
}

/// When a clock of this machine will show that UTC is `unix_ns`.
#[pyfunction]
fn deadline(py: Python<'_>, timescale: Given<i64>, unix_ns: Given<i64>) -> PyResult<Deadline> {
    let (scale, unix_ns) = (words::timescale(timescale)?, unix_ns.value("unix_ns")?);
    py.detach(|| ntpclock::deadline(scale, unix_ns)).map(Deadline::from).map_err(raise)
}

/// A descriptor that is readable while there are events to take.
#[pyfunction]
fn event_fd(py: Python<'_>) -> PyResult<i32> {
    py.detach(ntpclock::event_fd).map_err(raise)
}

/// What has happened since it was last asked.
#[pyfunction]
fn take_events(py: Python<'_>) -> PyResult<Py<PyAny>> {
    words::events(py, py.detach(ntpclock::take_events))
}

/// Has `callback` called with whatever happens; None takes it back.
#[pyfunction]
fn on_event(py: Python<'_>, callback: Option<Py<PyAny>>) -> PyResult<()> {
    // Their only holder is the callback itself: the process-wide clock is never garbage.
    let callback = events::callback(py, &Arc::default(), callback)?;
    // The former one may be waiting for the interpreter.
    py.detach(|| ntpclock::on_event(callback)).map_err(raise)
}

/// UTC minus the system clock, in nanoseconds.
#[pyfunction]
fn offset() -> i64 {
    ntpclock::offset().offset_ns
}

/// The true offset lies within ± this many nanoseconds; None when unknown.
#[pyfunction]
fn offset_bound() -> Option<i64> {
    records::known(ntpclock::offset().bound_ns)
}

/// UTC lies within ± this many nanoseconds of the reading; None when unknown.
#[pyfunction]
fn error_bound() -> Option<i64> {
    records::known(ntpclock::now().error_bound_ns())
}

/// How far the process-wide clock can be trusted.
#[pyfunction]
fn status(py: Python<'_>) -> PyResult<Py<PyAny>> {
    words::state(py, ntpclock::now().state)
}

/// The process-wide clock's state in numbers.
#[pyfunction]
fn report(py: Python<'_>) -> PyResult<Report> {
    Report::new(py, &py.detach(ntpclock::report))
}

/// One entry a source of the process-wide clock.
#[pyfunction]
fn sources(py: Python<'_>) -> PyResult<Vec<SourceInfo>> {
    py.detach(ntpclock::sources).into_iter().map(|source| SourceInfo::new(py, source)).collect()
}

// A default that the signature shows has to be the value itself.
fn timeout(seconds: &Bound<'_, PyAny>) -> PyResult<f64> {
    arguments::extract("timeout", seconds)
}

/// Asks one server once.
#[pyfunction]
#[pyo3(signature = (server, timeout = 3.0, *, trusted_certificates = None, platform_trust = true))]
fn query(
    py: Python<'_>,
    server: Given<String>,
    #[pyo3(from_py_with = timeout)] timeout: f64,
    trusted_certificates: Option<&Bound<'_, PyAny>>,
    platform_trust: bool,
) -> PyResult<QueryResult> {
    let timeout = arguments::seconds("timeout", timeout.into())?;
    let server = server.value("server")?;
    let mut config = Config::new();
    arguments::trust(&mut config, trusted_certificates, platform_trust)?;
    QueryResult::new(py, &waiting::query(py, config, server, timeout)?)
}
