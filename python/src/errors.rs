//! `ntpclock::Error` as exceptions, grouped by what the caller can do about them.

use ntpclock::Error;
use pyo3::exceptions::{
    PyException, PyNotImplementedError, PyOSError, PyRuntimeError, PyTimeoutError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

/// The exception classes. They are made by hand because most have two bases: one to catch everything of
/// ntpclock, and the one a Python programmer expects for such a cause.
struct Classes {
    any: Py<PyType>,
    config: Py<PyType>,
    unsupported: Py<PyType>,
    already_running: Py<PyType>,
    not_running: Py<PyType>,
    timeout: Py<PyType>,
    not_synchronized: Py<PyType>,
    resolve: Py<PyType>,
    os: Py<PyType>,
    bad_reply: Py<PyType>,
    bound_exceeded: Py<PyType>,
    unconvertible: Py<PyType>,
    key_exchange: Py<PyType>,
}

static CLASSES: PyOnceLock<Classes> = PyOnceLock::new();

/// Makes the classes and adds them to the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let add = |name: &str, bases: &[Bound<'_, PyType>], doc: &str| -> PyResult<Py<PyType>> {
        let body = PyDict::new(py);
        body.set_item("__module__", "ntpclock")?;
        body.set_item("__doc__", doc)?;
        let class = py.get_type::<PyType>().call1((name, PyTuple::new(py, bases)?, body))?;
        let class = class.cast_into::<PyType>()?;
        module.add(name, &class)?;
        Ok(class.unbind())
    };
    let any = add(
        "NtpError",
        &[py.get_type::<PyException>()],
        "Whatever ntpclock raises is one of these. Only an argument of the wrong type is a TypeError, as everywhere.",
    )?;
    let ours = any.bind(py).clone();
    let with = |base| [ours.clone(), base];
    let classes = Classes {
        any,
        config: add(
            "ConfigError",
            &with(py.get_type::<PyValueError>()),
            "An argument, a file or a server list makes no sense, or no server is named.",
        )?,
        unsupported: add(
            "UnsupportedError",
            &with(py.get_type::<PyNotImplementedError>()),
            "The thing asked for is not part of this build.",
        )?,
        already_running: add(
            "AlreadyRunningError",
            &with(py.get_type::<PyRuntimeError>()),
            "The process-wide clock already runs with another server list, or with other settings.",
        )?,
        not_running: add(
            "NotRunningError",
            &with(py.get_type::<PyRuntimeError>()),
            "The clock was never started, or was stopped, perhaps while the call waited.",
        )?,
        timeout: add(
            "NtpTimeoutError",
            &with(py.get_type::<PyTimeoutError>()),
            "The time ran out; the message says for each source what it last suffered.",
        )?,
        not_synchronized: add(
            "NotSynchronizedError",
            std::slice::from_ref(&ours),
            "No synchronised time is to be had now; the same call may succeed later.",
        )?,
        resolve: add(
            "ResolveError",
            &with(py.get_type::<PyOSError>()),
            "A host name has no address, for now at least.",
        )?,
        os: add(
            "NtpOSError",
            &with(py.get_type::<PyOSError>()),
            "The operating system refused something; `errno` says why. Or a shared page cannot be used.",
        )?,
        bound_exceeded: add(
            "BoundExceededError",
            std::slice::from_ref(&ours),
            "The error bound is larger than the caller allows.",
        )?,
        unconvertible: add(
            "UnconvertibleError",
            &with(py.get_type::<PyValueError>()),
            "Nothing honest can be said of a stamp; the message says why.",
        )?,
        key_exchange: add(
            "KeyExchangeError",
            std::slice::from_ref(&ours),
            "A server was to be asked with Network Time Security, and there are no keys to do so.",
        )?,
        bad_reply: add("BadReplyError", std::slice::from_ref(&ours), "A server's reply could not be used.")?,
    };
    // A second import in one process, as after `del sys.modules[...]`, would make the classes of the first
    // one uncatchable: keep raising those.
    let _ = CLASSES.set(py, classes);
    Ok(())
}

/// The exception for `error`.
pub(crate) fn raise(error: Error) -> PyErr {
    Python::attach(|py| {
        let Some(classes) = CLASSES.get(py) else {
            return PyTypeError::new_err("ntpclock was not imported as a module");
        };
        let class = match &error {
            Error::InvalidArgument { .. }
            | Error::InvalidServer { .. }
            | Error::NoServers
            | Error::Malformed { .. } => &classes.config,
            Error::Unsupported(_) => &classes.unsupported,
            Error::AlreadyRunning { .. } => &classes.already_running,
            Error::NotRunning | Error::Stopped => &classes.not_running,
            Error::Timeout { .. } => &classes.timeout,
            Error::NotSynchronized(_) => &classes.not_synchronized,
            Error::BoundExceeded { .. } => &classes.bound_exceeded,
            Error::Unconvertible { .. } => &classes.unconvertible,
            Error::Resolve { .. } => &classes.resolve,
            Error::KeyExchange { .. } => &classes.key_exchange,
            Error::BadReply { .. } => &classes.bad_reply,
            // No call of the system failed: there is no `errno`.
            Error::SharedPage { .. } => &classes.os,
            Error::Io { source, .. } => {
                let class = classes.os.bind(py).clone();
                return match source.raw_os_error() {
                    Some(errno) => PyErr::from_type(class, (errno, error.to_string())),
                    None => PyErr::from_type(class, (error.to_string(),)),
                };
            }
            // A newer library may have found a new way to fail.
            _ => &classes.any,
        };
        PyErr::from_type(class.bind(py).clone(), (error.to_string(),))
    })
}

/// The exception for an argument that makes no sense; `why` completes "`name` …".
pub(crate) fn bad_argument(name: &'static str, why: impl Into<String>) -> PyErr {
    raise(Error::InvalidArgument { name, why: why.into() })
}
