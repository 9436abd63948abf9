//! Python's arguments as the Rust face wants them. Nonsense is a `ConfigError`, never an `OverflowError`.

use std::path::PathBuf;
use std::time::Duration;

use ntpclock::{Authentication, Config, ServerOptions};
use pyo3::prelude::*;
use pyo3::types::{PyMapping, PyString};

use crate::errors::{bad_argument, raise};

/// `str | Iterable[str]`: the text itself, or the texts in their order.
fn texts(argument: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if argument.is_instance_of::<PyString>() {
        return Ok(vec![argument.extract()?]);
    }
    argument.try_iter()?.map(|text| text?.extract()).collect()
}

/// A server list in the library's grammar, some of whose entries may be pairs of a list and of options by name.
pub(crate) fn servers_with_options(servers: &Bound<'_, PyAny>) -> PyResult<Vec<(String, ServerOptions)>> {
    if servers.is_instance_of::<PyString>() {
        return Ok(vec![(servers.extract()?, ServerOptions::default())]);
    }
    let entry = |entry: PyResult<Bound<'_, PyAny>>| {
        let entry = entry?;
        if entry.is_instance_of::<PyString>() {
            return Ok((entry.extract()?, ServerOptions::default()));
        }
        let (list, options): (String, Bound<'_, PyMapping>) = entry.extract()?;
        Ok((list, server_options(&options)?))
    };
    servers.try_iter()?.map(entry).collect()
}

fn server_options(given: &Bound<'_, PyMapping>) -> PyResult<ServerOptions> {
    let mut options = ServerOptions::default();
    for item in given.items()?.iter() {
        let (name, value): (String, Bound<'_, PyAny>) = item.extract()?;
        match name.as_str() {
            "key" => options.key = value.extract()?,
            "require" => options.require = value.extract()?,
            "prefer" => options.prefer = value.extract()?,
            "trust" => options.trust = value.extract()?,
            "nts" => options.nts = value.extract()?,
            _ => {
                return Err(bad_argument(
                    "servers",
                    format!("has an option `{name}`; key, require, prefer, trust and nts are known"),
                ));
            }
        }
    }
    Ok(options)
}

/// What authenticated servers are to the others.
pub(crate) fn authentication(mode: &str) -> PyResult<Authentication> {
    match mode {
        "ignore" => Ok(Authentication::Ignore),
        "mix" => Ok(Authentication::Mix),
        "require" => Ok(Authentication::Require),
        _ => Err(bad_argument("authentication", format!("is '{mode}', none of 'ignore', 'mix', 'require'"))),
    }
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

/// Prefixes of addresses.
pub(crate) fn prefixes(prefixes: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    texts(prefixes)
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
