//! The process-wide clock, but for its quickest functions (`hot.rs`), and the query that needs no clock at all.

use pyo3::prelude::*;

use crate::errors::raise;
use crate::records::{self, QueryResult, Reading, Report, SourceInfo};
use crate::{arguments, waiting, words};

/// Adds the functions to the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(start, module)?)?;
    module.add_function(wrap_pyfunction!(stop, module)?)?;
    module.add_function(wrap_pyfunction!(wait, module)?)?;
    module.add_function(wrap_pyfunction!(now, module)?)?;
    module.add_function(wrap_pyfunction!(read, module)?)?;
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
#[pyo3(signature = (servers = None))]
fn start(py: Python<'_>, servers: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let servers = arguments::server_list(servers)?;
    py.detach(|| ntpclock::start(servers.as_deref())).map_err(raise)
}

/// Undoes one start(); harmless without one.
#[pyfunction]
fn stop(py: Python<'_>) {
    py.detach(ntpclock::stop);
}

/// Waits until the process-wide clock is synchronised.
#[pyfunction]
#[pyo3(signature = (timeout = None, max_bound_ns = None))]
fn wait(py: Python<'_>, timeout: Option<f64>, max_bound_ns: Option<i64>) -> PyResult<()> {
    let timeout = timeout.map(|timeout| arguments::seconds("timeout", timeout)).transpose()?;
    let max_bound = max_bound_ns.map(|bound| arguments::nanoseconds("max_bound_ns", bound)).transpose()?;
    waiting::wait(py, timeout, |slice| ntpclock::wait(max_bound, Some(slice)))
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

/// Asks one server once.
#[pyfunction]
#[pyo3(signature = (server, timeout = 3.0))]
fn query(py: Python<'_>, server: String, timeout: f64) -> PyResult<QueryResult> {
    let timeout = arguments::seconds("timeout", timeout)?;
    QueryResult::new(py, &waiting::query(py, server, timeout)?)
}
