//! The functions that are to cost what the standard library's cost: bare C functions without arguments.
//!
//! A `#[pyfunction]` takes 18 ns to enter and leave: it parses arguments, keeps count of the interpreter lock, catches
//! panics. These need none of that: the interpreter calls them with its lock held, they take no argument, and the
//! clock's quick way cannot panic. A panic anywhere else ends the process at this border instead of unwinding into C,
//! as Rust's `extern "C"` has it.
//!
//! Nothing but the standard library's own C interface for such functions is used, `METH_NOARGS`, which is in the stable
//! ABI.

#![expect(unsafe_code, reason = "bare functions of the C API, for speed")]

use std::ffi::CStr;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::records;

/// Adds the functions to the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add(module, c"ntp_now", ntp_now, c"ntp_now()\n--\n\nUTC in nanoseconds since 1970-01-01T00:00:00Z.")?;
    add(
        module,
        c"ntp_now_relaxed",
        ntp_now_relaxed,
        c"ntp_now_relaxed()\n--\n\nThe same for less, but not to be compared between threads.",
    )?;
    add(
        module,
        c"time_ns",
        ntp_now,
        c"time_ns()\n--\n\nUTC in nanoseconds since 1970, under the name of the standard library's time.time_ns().",
    )?;
    add(
        module,
        c"time",
        time,
        c"time()\n--\n\nUTC in seconds since 1970, under the name of the standard library's time.time().",
    )
}

extern "C" fn ntp_now(_module: *mut ffi::PyObject, _none: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, with its lock held; a new reference, or NULL with the exception set.
    unsafe { ffi::PyLong_FromLongLong(ntpclock::unix_ns()) }
}

extern "C" fn ntp_now_relaxed(_module: *mut ffi::PyObject, _none: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe { ffi::PyLong_FromLongLong(ntpclock::unix_ns_relaxed()) }
}

extern "C" fn time(_module: *mut ffi::PyObject, _none: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe { ffi::PyFloat_FromDouble(records::float_seconds(ntpclock::unix_ns())) }
}

/// Makes a function of `module`. `doc` begins with its signature, as the interpreter expects it.
fn add(
    module: &Bound<'_, PyModule>,
    name: &'static CStr,
    function: ffi::PyCFunction,
    doc: &'static CStr,
) -> PyResult<()> {
    let py = module.py();
    // The interpreter keeps the address: it lives as long as the process.
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: doc.as_ptr(),
    }));
    let of = module.name()?;
    // SAFETY: the definition lives for ever, and fits its flags; the module's name is a live object, of which the
    // function takes a reference of its own.
    let made = unsafe { ffi::PyCFunction_NewEx(definition, std::ptr::null_mut(), of.as_ptr()) };
    // SAFETY: NULL with the exception set, or a new reference that is ours.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, made) }?;
    module.add(name.to_string_lossy().as_ref(), made)
}
