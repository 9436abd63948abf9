//! Python's arguments as the Rust face wants them. Nonsense is a `ConfigError`, never an `OverflowError`; only what is of the wrong
//! type is a `TypeError`.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use ntpclock::{Authentication, Config, ServerOptions};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyMapping, PyString};

use crate::errors::{bad_argument, raise};

/// An argument of the right type, whose value need not fit: it may be a number with too many bits, text that is no Unicode, a
/// tuple of another length. To refuse it takes its name.
pub(crate) struct Given<T>(Result<T, String>);

impl<'a, 'py, T: FromPyObject<'a, 'py>> FromPyObject<'a, 'py> for Given<T> {
    type Error = PyErr;

    fn extract(argument: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let py = argument.py();
        let error: PyErr = match T::extract(argument) {
            Ok(value) => return Ok(Self(Ok(value))),
            Err(error) => error.into(),
        };
        // No text is made of a number with thousands of digits.
        let shown = || argument.repr().map_or_else(|_| "too large".to_owned(), |shown| shown.to_string());
        if error.is_instance_of::<PyOverflowError>(py) {
            Ok(Self(Err(format!("is {}, which is out of range", shown()))))
        } else if error.is_instance_of::<PyValueError>(py) {
            Ok(Self(Err(format!("is {}: {}", shown(), error.value(py)))))
        } else {
            Err(error)
        }
    }
}

impl<T> From<T> for Given<T> {
    fn from(value: T) -> Self {
        Self(Ok(value))
    }
}

impl<T> Given<T> {
    /// Its value, if it has one; `name` is the argument's.
    pub(crate) fn value(self, name: &'static str) -> PyResult<T> {
        self.0.map_err(|why| bad_argument(name, why))
    }
}

/// The value of the argument `name`.
pub(crate) fn extract<'py, T: for<'a> FromPyObject<'a, 'py>>(
    name: &'static str,
    argument: &Bound<'py, PyAny>,
) -> PyResult<T> {
    argument.extract::<Given<T>>()?.value(name)
}

/// `str | Iterable[str]`: the text itself, or the texts in their order.
pub(crate) fn texts(name: &'static str, argument: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if argument.is_instance_of::<PyString>() {
        return Ok(vec![extract(name, argument)?]);
    }
    argument.try_iter()?.map(|text| extract(name, &text?)).collect()
}

/// The path of a file. The system would end it at a NUL.
pub(crate) fn path(name: &'static str, path: Given<PathBuf>) -> PyResult<PathBuf> {
    let path = path.value(name)?;
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(bad_argument(name, format!("is {path:?}, with a NUL character in it")));
    }
    Ok(path)
}

/// A server list in the library's grammar, some of whose entries may be pairs of a list and of options by name.
pub(crate) fn servers_with_options(servers: &Bound<'_, PyAny>) -> PyResult<Vec<(String, ServerOptions)>> {
    if servers.is_instance_of::<PyString>() {
        return Ok(vec![(extract("servers", servers)?, ServerOptions::default())]);
    }
    let entry = |entry: PyResult<Bound<'_, PyAny>>| {
        let entry = entry?;
        if entry.is_instance_of::<PyString>() {
            return Ok((extract("servers", &entry)?, ServerOptions::default()));
        }
        let (list, options): (String, Bound<'_, PyMapping>) = extract("servers", &entry)?;
        Ok((list, server_options(&options)?))
    };
    servers.try_iter()?.map(entry).collect()
}

fn server_options(given: &Bound<'_, PyMapping>) -> PyResult<ServerOptions> {
    let mut options = ServerOptions::default();
    for item in given.items()?.iter() {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let name: String = extract("servers", &name)?;
        match name.as_str() {
            "key" => options.key = extract("key", &value)?,
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
pub(crate) fn authentication(mode: Given<String>) -> PyResult<Authentication> {
    let mode = mode.value("authentication")?;
    match mode.as_str() {
        "ignore" => Ok(Authentication::Ignore),
        "mix" => Ok(Authentication::Mix),
        "require" => Ok(Authentication::Require),
        _ => Err(bad_argument("authentication", format!("is '{mode}', none of 'ignore', 'mix', 'require'"))),
    }
}

/// Who vouches for servers with NTS: `path | Iterable[path]`, and whether those that the platform trusts do.
pub(crate) fn trust(config: &mut Config, files: Option<&Bound<'_, PyAny>>, platform: bool) -> PyResult<()> {
    let files: Vec<Given<PathBuf>> = match files {
        None => Vec::new(),
        Some(files) => match files.extract() {
            Ok(path) => vec![path],
            Err(_) => files.try_iter()?.map(|path| path?.extract()).collect::<PyResult<_>>()?,
        },
    };
    for file in files {
        config.add_trusted_certificates(path("trusted_certificates", file)?).map_err(raise)?;
    }
    config.set_platform_trust(platform);
    Ok(())
}

/// Seconds from now, fractions allowed.
pub(crate) fn seconds(name: &'static str, seconds: Given<f64>) -> PyResult<Duration> {
    let seconds = seconds.value(name)?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| bad_argument(name, format!("is {seconds}; it must be a finite number of seconds, 0 or more")))
}

/// A span in nanoseconds.
pub(crate) fn nanoseconds(name: &'static str, ns: Given<i64>) -> PyResult<Duration> {
    let ns = ns.value(name)?;
    u64::try_from(ns).map(Duration::from_nanos).map_err(|_| bad_argument(name, format!("is {ns}, below zero")))
}

/// A number of things.
pub(crate) fn count(name: &'static str, number: Given<i64>) -> PyResult<usize> {
    let number = number.value(name)?;
    usize::try_from(number).map_err(|_| bad_argument(name, format!("is {number}, below zero")))
}
