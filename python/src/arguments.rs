//! Python's arguments as the Rust face wants them. Nonsense is a `ConfigError`, never an `OverflowError`.

use std::path::PathBuf;
use std::time::Duration;

use ntpclock::Config;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::{bad_argument, raise};

/// `str | Iterable[str]`: the text itself, or the texts in their order.
fn texts(argument: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if argument.is_instance_of::<PyString>() {
        return Ok(vec![argument.extract()?]);
    }
    argument.try_iter()?.map(|text| text?.extract()).collect()
}

/// A server list in the library's grammar; `None` stays `None`.
pub(crate) fn server_list(servers: Option<&Bound<'_, PyAny>>) -> PyResult<Option<String>> {
    servers.map(|servers| Ok(texts(servers)?.join(","))).transpose()
}

/// Addresses to listen on.
pub(crate) fn addresses(listen: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    texts(listen)
}

/// Who vouches for servers with NTS: `path | Iterable[path]`, and whether those that the platform trusts do.
pub(crate) fn trust(config: &mut Config, files: Option<&Bound<'_, PyAny>>, platform: bool) -> PyResult<()> {
    let files: Vec<PathBuf> = match files {
        None => Vec::new(),
        Some(files) => match files.extract() {
            Ok(path) => vec![path],
            Err(_) => files.try_iter()?.map(|path| path?.extract()).collect::<PyResult<_>>()?,
        },
    };
    for file in files {
        config.add_trusted_certificates(file).map_err(raise)?;
    }
    config.set_platform_trust(platform);
    Ok(())
}

/// Seconds from now, fractions allowed.
pub(crate) fn seconds(name: &'static str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| bad_argument(name, format!("is {seconds}; it must be a finite number of seconds, 0 or more")))
}

/// A span in nanoseconds.
pub(crate) fn nanoseconds(name: &'static str, ns: i64) -> PyResult<Duration> {
    u64::try_from(ns).map(Duration::from_nanos).map_err(|_| bad_argument(name, format!("is {ns}, below zero")))
}

/// A number of things.
pub(crate) fn count(name: &'static str, number: i64) -> PyResult<usize> {
    usize::try_from(number).map_err(|_| bad_argument(name, format!("is {number}, below zero")))
}
