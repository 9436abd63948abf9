//! A server that answers NTP clients.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use ntpclock::ServerConfig;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};

use crate::arguments::{self, Given};
use crate::clock::Clock;
use crate::errors::raise;
use crate::records::ServerStatistics;

/// A running NTP server.
#[pyclass(frozen, module = "ntpclock")]
pub(crate) struct Server {
    server: Mutex<Running>,
    addresses: Vec<String>,
    key_exchange_addresses: Vec<String>,
    /// The clock served, if it is the caller's own: it would stop if nobody held it.
    clock: Option<Py<Clock>>,
}

struct Running {
    server: ntpclock::Server,
    is_stopped: bool,
}

impl Server {
    fn with<T: Send>(&self, py: Python<'_>, look: impl FnOnce(&mut Running) -> T + Send) -> T {
        py.detach(|| look(&mut self.server.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

// A default that the signature shows has to be the value itself.
fn nts_port(port: &Bound<'_, PyAny>) -> PyResult<u16> {
    arguments::extract("nts_port", port)
}

#[pymethods]
impl Server {
    #[new]
    #[pyo3(signature = (listen, clock = None, *, local = None, allow = None, deny = None, rate_limit = None,
        threads = None, silent_unless_synchronized = false, nts = None, nts_port = 4460, nts_cookie_keys = None))]
    #[expect(clippy::too_many_arguments, reason = "keywords, as Python has them")]
    fn new(
        py: Python<'_>,
        listen: &Bound<'_, PyAny>,
        clock: Option<Py<Clock>>,
        local: Option<Given<(i32, i64)>>,
        allow: Option<&Bound<'_, PyAny>>,
        deny: Option<&Bound<'_, PyAny>>,
        rate_limit: Option<Given<(i64, i64)>>,
        threads: Option<Given<i64>>,
        silent_unless_synchronized: bool,
        nts: Option<Given<(PathBuf, PathBuf)>>,
        #[pyo3(from_py_with = nts_port)] nts_port: u16,
        nts_cookie_keys: Option<Given<PathBuf>>,
    ) -> PyResult<Self> {
        let mut config = ServerConfig::new();
        for address in arguments::texts("listen", listen)? {
            config.add_listen(&address).map_err(raise)?;
        }
        if let Some(local) = local {
            let (stratum, root_dispersion_ns) = local.value("local")?;
            let root_dispersion = arguments::nanoseconds("root_dispersion_ns", root_dispersion_ns.into())?;
            config.set_local(stratum, root_dispersion).map_err(raise)?;
        }
        for prefix in allow.map(|allow| arguments::texts("allow", allow)).transpose()?.unwrap_or_default() {
            config.allow(&prefix).map_err(raise)?;
        }
        for prefix in deny.map(|deny| arguments::texts("deny", deny)).transpose()?.unwrap_or_default() {
            config.deny(&prefix).map_err(raise)?;
        }
        if let Some(limit) = rate_limit {
            let (per_second, burst) = limit.value("rate_limit")?;
            config.set_rate_limit(per_second, burst).map_err(raise)?;
        }
        if let Some(threads) = threads {
            config.set_threads(arguments::count("threads", threads)?).map_err(raise)?;
        }
        config.set_silent_unless_synchronized(silent_unless_synchronized);
        if let Some(nts) = nts {
            let (certificate, private_key) = nts.value("nts")?;
            let certificate = arguments::path("certificate", certificate.into())?;
            let private_key = arguments::path("private_key", private_key.into())?;
            config.set_nts(certificate, private_key).map_err(raise)?;
            config.set_nts_port(nts_port).map_err(raise)?;
        }
        if let Some(path) = nts_cookie_keys {
            config.set_nts_cookie_keys(arguments::path("nts_cookie_keys", path)?).map_err(raise)?;
        }
        let served = clock.as_ref().map(|clock| &*clock.get().clock);
        let server = py.detach(|| ntpclock::Server::start(served, &config)).map_err(raise)?;
        let texts = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect();
        let (addresses, key_exchange_addresses) = (texts(server.addresses()), texts(server.key_exchange_addresses()));
        let server = Mutex::new(Running { server, is_stopped: false });
        Ok(Self { server, addresses, key_exchange_addresses, clock })
    }

    /// The addresses served, with the ports that were picked; each may stand in a server list.
    #[getter]
    fn addresses(&self) -> Vec<String> {
        self.addresses.clone()
    }

    /// Where keys are exchanged for NTS.
    #[getter]
    fn key_exchange_addresses(&self) -> Vec<String> {
        self.key_exchange_addresses.clone()
    }

    /// What it has done since its start; also once it is stopped.
    fn statistics(&self, py: Python<'_>) -> ServerStatistics {
        self.with(py, |running| running.server.statistics()).into()
    }

    /// Stops answering. Stopping twice is harmless.
    fn stop(&self, py: Python<'_>) {
        self.with(py, |running| {
            // Under the lock: whoever returns from here knows that it has ended.
            running.server.stop();
            running.is_stopped = true;
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

    // Nothing to clear: the clock is held for life, and gives up what leads back here.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.clock)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let stopped = if self.with(py, |running| running.is_stopped) { ", stopped" } else { "" };
        format!("<ntpclock.Server on {}{stopped}>", self.addresses.join(", "))
    }
}
