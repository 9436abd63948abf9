//! What can be set of a clock, be it one's own or the process-wide one: keywords in Python.

use std::path::PathBuf;

use ntpclock::Config;
use pyo3::prelude::*;

use crate::arguments::{self, Given};
use crate::errors::raise;

/// As they were given.
pub(crate) struct Settings<'a, 'py> {
    pub(crate) poll: Option<Given<(i32, i32)>>,
    pub(crate) fault_limit: Option<Given<i64>>,
    pub(crate) min_agreeing: Option<Given<i64>>,
    pub(crate) step_threshold_ns: Option<Given<i64>>,
    pub(crate) bound_cap_ns: Option<Given<i64>>,
    pub(crate) frequency_limit_ppm: Option<Given<f64>>,
    pub(crate) drift_limit: Option<Given<(f64, f64, f64)>>,
    pub(crate) state_file: Option<Given<PathBuf>>,
    pub(crate) trusted_certificates: Option<&'a Bound<'py, PyAny>>,
    pub(crate) platform_trust: bool,
    pub(crate) shared_page: Option<Given<PathBuf>>,
    pub(crate) restart_after_fork: bool,
    pub(crate) keys: Option<Given<PathBuf>>,
    pub(crate) authentication: Option<Given<String>>,
    pub(crate) khronos: bool,
    pub(crate) interleaved: bool,
}

impl Settings<'_, '_> {
    /// A clock's configuration: these servers (`None`: those of the environment), and the rest as it is set here.
    pub(crate) fn config(self, servers: Option<&Bound<'_, PyAny>>) -> PyResult<Config> {
        let mut config = match servers {
            None => Config::from_environment().map_err(raise)?,
            Some(servers) => {
                let mut config = Config::new();
                for (list, options) in arguments::servers_with_options(servers)? {
                    config.add_servers_with(&list, options).map_err(raise)?;
                }
                config
            }
        };
        config.set_khronos(self.khronos);
        if let Some(path) = self.keys {
            config.load_keys(arguments::path("keys", path)?).map_err(raise)?;
        }
        if let Some(mode) = self.authentication {
            config.set_authentication(arguments::authentication(mode)?);
        }
        if let Some(poll) = self.poll {
            let (min, max) = poll.value("poll")?;
            config.set_poll_exponents(min, max).map_err(raise)?;
        }
        if let Some(sources) = self.fault_limit {
            config.set_fault_limit(arguments::count("fault_limit", sources)?);
        }
        config.set_interleaved(self.interleaved);
        if let Some(sources) = self.min_agreeing {
            config.set_min_agreeing(arguments::count("min_agreeing", sources)?).map_err(raise)?;
        }
        if let Some(threshold) = self.step_threshold_ns {
            config.set_step_threshold(arguments::nanoseconds("step_threshold_ns", threshold)?).map_err(raise)?;
        }
        if let Some(cap) = self.bound_cap_ns {
            config.set_bound_cap(arguments::nanoseconds("bound_cap_ns", cap)?).map_err(raise)?;
        }
        if let Some(limit) = self.drift_limit {
            let (short_ppm, knee, long_ppm) = limit.value("drift_limit")?;
            let knee = arguments::seconds("knee", knee.into())?;
            config.set_drift_limit(short_ppm, knee, long_ppm).map_err(raise)?;
        }
        if let Some(ppm) = self.frequency_limit_ppm {
            config.set_frequency_limit_ppm(ppm.value("frequency_limit_ppm")?).map_err(raise)?;
        }
        if let Some(path) = self.state_file {
            config.set_state_file(arguments::path("state_file", path)?).map_err(raise)?;
        }
        arguments::trust(&mut config, self.trusted_certificates, self.platform_trust)?;
        if let Some(path) = self.shared_page {
            config.set_shared_page(arguments::path("shared_page", path)?).map_err(raise)?;
        }
        config.set_restart_after_fork(self.restart_after_fork);
        Ok(config)
    }
}
