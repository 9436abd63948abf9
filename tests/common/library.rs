//! The C library as a C programmer gets it, and the compilers to use it with.
//!
//! Included by the tests of the C face: `#[path = "common/library.rs"] mod library;`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The compilers every C file and the header must please.
pub(crate) const C_COMPILERS: [&str; 2] = ["gcc", "clang"];
pub(crate) const CPP_COMPILERS: [&str; 2] = ["g++", "clang++"];

/// What the house asks of a C and of a C++ program.
pub(crate) const C_FLAGS: [&str; 6] = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1"];
pub(crate) const CPP_FLAGS: [&str; 7] =
    ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wshadow", "-Wconversion", "-O1"];

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory under the target directory that is this test's own.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).expect("the target directory is writable");
    directory
}

/// A command that starts at the root and inherits nothing of an outer `make`.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for variable in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "NTPCLOCK_SERVERS"] {
        command.env_remove(variable);
    }
    command
}

/// Runs `command` and demands success; its standard output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, both(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Everything a program said.
pub(crate) fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The shared and the static library, made as users make them, once per test process.
pub(crate) struct Library {
    pub(crate) shared: PathBuf,
    pub(crate) archive: PathBuf,
}

pub(crate) fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        run(command("make").arg("lib"));
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |d| root().join(d));
        let directory = target.join("release");
        let (shared, archive) = (directory.join("libntpclock.so"), directory.join("libntpclock.a"));
        Library { shared, archive }
    })
}

/// Whom a program is linked with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Link {
    Shared,
    Static,
}

/// Compiles `source` with `compiler` and `flags` (the dialect first), and links it with the library.
///
/// Once per process: two tests may want the same program, and one of them may be running it already.
pub(crate) fn build(compiler: &str, flags: &[&str], source: &str, link: Link) -> PathBuf {
    static BUILT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

    let stem = Path::new(source).file_name().expect("a source has a name").to_string_lossy();
    let program = scratch("programs").join(format!("{stem}-{compiler}{}-{link:?}", flags[0]));
    // A test that failed to build something is no reason for others to fail.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if built.contains(&program) {
        return program;
    }
    let library = library();
    let mut command = command(compiler);
    command.args(flags).args(["-g", "-pthread", "-Iinclude", "-Ibindings/cpp", "-o"]).arg(&program).arg(source);
    match link {
        Link::Shared => {
            // `make lib` puts a link of the SONAME beside the library: a program looks for that when it runs.
            let directory = library.shared.parent().expect("a library is in a directory");
            command.arg(&library.shared).arg(format!("-Wl,-rpath,{}", directory.display()));
        }
        Link::Static => {
            command.arg(&library.archive).args(["-lgcc_s", "-lpthread", "-ldl", "-lm", "-lc"]);
        }
    }
    run(&mut command);
    built.insert(program.clone());
    program
}
