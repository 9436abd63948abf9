//! `ntpclock._ntpclock`: the Rust face in Python's words. The manual is the stub, `ntpclock/_ntpclock.pyi`.
//!
//! Whatever may block gives up the interpreter lock; whatever only reads keeps it, because a reading is
//! cheaper than giving it up.

mod arguments;
mod clock;
mod errors;
mod events;
mod forks;
mod hot;
mod interpreter;
mod pickled;
mod process;
mod records;
mod server;
mod settings;
mod waiting;
mod words;

use std::io;
use std::path::PathBuf;

use pyo3::prelude::*;

use crate::arguments::Given;

/// Runs the command line `argv`, the program's name first, and returns its exit code.
#[pyfunction]
fn cli(py: Python<'_>, argv: Vec<Given<PathBuf>>) -> PyResult<i32> {
    // Any of them may be a path.
    let argv = argv.into_iter().map(|argument| Ok(arguments::path("argv", argument)?.into_os_string()));
    let argv = argv.collect::<PyResult<Vec<_>>>()?;
    Ok(py.detach(|| ntpclock::cli::run(argv, &mut io::stdout().lock(), &mut io::stderr().lock())))
}

/// The native part of ntpclock; use the package `ntpclock` instead.
#[pymodule(gil_used = false)]
fn _ntpclock(module: &Bound<'_, PyModule>) -> PyResult<()> {
    interpreter::refuse_subinterpreters(module.py())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(cli, module)?)?;
    errors::add_to(module)?;
    words::add_to(module)?;
    events::add_to(module)?;
    forks::add_to(module)?;
    records::add_to(module)?;
    process::add_to(module)?;
    hot::add_to(module)?;
    module.add_class::<clock::Clock>()?;
    module.add_class::<server::Server>()
}
