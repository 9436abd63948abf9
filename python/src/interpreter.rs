//! What is asked of CPython itself, for which there are no safe words.

#![expect(unsafe_code, reason = "two functions of the stable C API")]

use pyo3::exceptions::PyImportError;
use pyo3::{ffi, prelude::*};

/// Fails in every interpreter but the main one, as CPython's own check does from 3.12 on.
///
/// Older ones import us there, and so does 3.12 where the interpreters share their lock. But the classes of exceptions and the end
/// of callbacks are the process's, and a thread of ours enters the main interpreter, whoever gave it its callback.
pub(crate) fn refuse_subinterpreters(py: Python<'_>) -> PyResult<()> {
    // SAFETY: whoever imports us is attached to an interpreter: that one.
    let current = unsafe { ffi::PyInterpreterState_Get() };
    // SAFETY: it lives, for we are in it.
    let id = unsafe { ffi::PyInterpreterState_GetID(current) };
    // The main one is made first; the count begins anew when Python is initialised anew.
    match id {
        0 => Ok(()),
        -1 => Err(PyErr::fetch(py)),
        _ => Err(PyImportError::new_err(REFUSAL)),
    }
}

/// CPython's words.
const REFUSAL: &str = "module ntpclock._ntpclock does not support loading in subinterpreters";

/// Has the thread keep its place in the interpreter until it ends, for a thread of ours that is its process's only one: if
/// the last thread leaves, CPython 3.11 and 3.12 abort when one enters again.
pub(crate) fn stay(_py: Python<'_>) {
    // SAFETY: we are attached, so this only counts. It is never undone: what counts down to zero deletes the state.
    unsafe { ffi::PyGILState_Ensure() };
}
