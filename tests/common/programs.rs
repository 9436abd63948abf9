//! C and C++ programs against the library that `make` builds, and the Python that has the package.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

/// Warnings are errors: a program of ours must compile for a user who is strict.
const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compiles a C program of the repository; the path of what can be run.
pub(crate) fn c_program(source: impl AsRef<Path>) -> PathBuf {
    compile("cc", &["-std=c11"], source.as_ref())
}

/// Compiles a C++ program of the repository; the path of what can be run.
pub(crate) fn cpp_program(source: impl AsRef<Path>) -> PathBuf {
    compile("c++", &["-std=c++17", "-Ibindings/cpp"], source.as_ref())
}

/// The interpreter in which `import ntpclock` works.
pub(crate) fn python() -> PathBuf {
    static PYTHON: Once = Once::new();
    PYTHON.call_once(|| make("python"));
    root().join(".venv/bin/python")
}

fn compile(compiler: &str, options: &[&str], source: &Path) -> PathBuf {
    static LIBRARY: Once = Once::new();
    LIBRARY.call_once(|| make("lib"));
    let name = source.to_string_lossy().replace(['/', '.'], "-");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let folder = root().join("target/release");
    let mut command = Command::new(compiler);
    command
        .current_dir(root())
        .args(options)
        .args(WARNINGS)
        .args(["-O2", "-Iinclude"])
        .arg(source)
        .arg("-o")
        .arg(&program);
    command.arg("-L").arg(&folder).arg("-lntpclock").arg(format!("-Wl,-rpath,{}", folder.display()));
    run(&mut command);
    program
}

/// Runs one of the Makefile's verbs, quick when there is nothing to do.
fn make(verb: &str) {
    let mut command = Command::new("make");
    // An outer make's job server is out of reach behind cargo, and this make would say so.
    command.current_dir(root()).arg(verb).env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    run(&mut command);
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&said));
}
