//! C, C++ and Python programs of the repository, each in the way its users build and run it.

use std::path::{Path, PathBuf};
use std::sync::Once;

use crate::library::{C_FLAGS, CPP_FLAGS, Link, build, command, root, run};

/// Compiles a C program against the shared library; the path of what can be run.
pub(crate) fn c_program(source: impl AsRef<Path>) -> PathBuf {
    build("gcc", &C_FLAGS, &source.as_ref().to_string_lossy(), Link::Shared)
}

/// Compiles a C++ program against the shared library; the path of what can be run.
pub(crate) fn cpp_program(source: impl AsRef<Path>) -> PathBuf {
    build("g++", &[&["-std=c++17"], &CPP_FLAGS[..]].concat(), &source.as_ref().to_string_lossy(), Link::Shared)
}

/// The interpreter in which `import ntpclock` works.
pub(crate) fn python() -> PathBuf {
    static PYTHON: Once = Once::new();
    PYTHON.call_once(|| {
        run(command("make").arg("python"));
    });
    root().join(".venv/bin/python")
}
