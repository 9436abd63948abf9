//! A server that answers NTP clients.

use std::sync::{Mutex, PoisonError};

use ntpclock::ServerConfig;
use pyo3::prelude::*;

use crate::arguments;
use crate::clock::Clock;
use crate::errors::raise;

/// A running NTP server.
#[pyclass(frozen, module = "ntpclock")]
pub(crate) struct Server {
    /// None once stopped.
    server: Mutex<Option<ntpclock::Server>>,
    addresses: Vec<String>,
    /// The clock served, if it is the caller's own: it would stop if nobody held it.
    #[expect(dead_code, reason = "held for its life alone")]
    clock: Option<Py<Clock>>,
}

#[pymethods]
impl Server {
    #[new]
    #[pyo3(signature = (listen, clock = None, *, local = None))]
    fn new(
        py: Python<'_>,
        listen: &Bound<'_, PyAny>,
        clock: Option<Py<Clock>>,
        local: Option<(i32, i64)>,
    ) -> PyResult<Self> {
        let mut config = ServerConfig::new();
        for address in arguments::addresses(listen)? {
            config.add_listen(&address).map_err(raise)?;
        }
        if let Some((stratum, root_dispersion_ns)) = local {
            let root_dispersion = arguments::nanoseconds("root_dispersion_ns", root_dispersion_ns)?;
            config.set_local(stratum, root_dispersion).map_err(raise)?;
        }
        let served = clock.as_ref().map(|clock| &*clock.get().clock);
        let server = py.detach(|| ntpclock::Server::start(served, &config)).map_err(raise)?;
        let addresses = server.addresses().iter().map(ToString::to_string).collect();
        Ok(Self { server: Mutex::new(Some(server)), addresses, clock })
    }

    /// The addresses served, with the ports that were picked; each may stand in a server list.
    #[getter]
    fn addresses(&self) -> Vec<String> {
        self.addresses.clone()
    }

    /// Stops answering. Stopping twice is harmless.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| {
            let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
            // Taken out under the lock and stopped there: whoever returns from here knows that it has ended.
            if let Some(mut server) = server.take() {
                server.stop();
            }
        });
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

    fn __repr__(&self, py: Python<'_>) -> String {
        let running = py.detach(|| self.server.lock().unwrap_or_else(PoisonError::into_inner).is_some());
        let stopped = if running { "" } else { ", stopped" };
        format!("<ntpclock.Server on {}{stopped}>", self.addresses.join(", "))
    }
}
