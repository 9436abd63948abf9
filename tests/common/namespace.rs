//! A network and a file tree of a test's own, where it may have port 123, a name server and a hosts file
//! without touching the machine's.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::peers::Directory;

/// Says to a test program that it runs in the namespaces of the test it names.
const INSIDE: &str = "NTPCLOCK_TEST_INSIDE";

/// Runs `body` in new network and mount namespaces: only a loopback interface, and that is down.
///
/// A thread cannot take its process there safely, so the test program starts itself anew for this one test.
/// `module` is the caller's `module_path!()`, `test` the test function's name.
pub(crate) fn inside(module: &str, test: &str, body: impl FnOnce()) {
    // The harness knows a test without the name of its crate.
    let name = match module.split_once("::") {
        Some((_crate, module)) => format!("{module}::{test}"),
        None => test.to_owned(),
    };
    if env::var(INSIDE).as_deref() == Ok(&name) {
        return body();
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]);
    if !may_unshare() {
        // Not root, or root without the right to do so: as root of a user namespace it may still go.
        command.arg("--map-root-user");
    }
    command.arg("--").arg(env::current_exe().expect("a test program knows its own path"));
    command.args(["--exact", &name, "--nocapture"]).env(INSIDE, &name).stdin(Stdio::null());
    let output = command.output().expect("unshare (package util-linux) can be run");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // A name that no test has would run nothing, and succeed.
    assert!(output.status.success() && text.contains("1 passed"), "in namespaces of its own, {name}:\n{text}");
    // For whoever wants to see it.
    print!("{text}");
}

/// Brings the namespace's loopback interface up, with 127.0.0.0/8 and ::1.
pub(crate) fn loopback_up() {
    ip("link set lo up");
}

/// What `ip` (package iproute2) says to `arguments`, one blank between any two.
pub(crate) fn ip(arguments: &str) -> String {
    run(Command::new("ip").args(arguments.split(' ')))
}

/// Shows `text` to everybody in this namespace as the content of `file`.
pub(crate) fn replace_file(directory: &Directory, file: &str, text: &str) {
    let name = Path::new(file).file_name().expect("a file has a name");
    let own = directory.path().join(name);
    fs::write(&own, text).expect("the temporary directory is writable");
    run(Command::new("mount").arg("--bind").arg(&own).arg(file));
}

fn may_unshare() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(["--net", "--mount", "true"]).stdin(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_test_can_have_a_network_and_files_of_its_own() {
    inside(module_path!(), "a_test_can_have_a_network_and_files_of_its_own", || {
        loopback_up();
        let directory = Directory::new();
        replace_file(&directory, "/etc/resolv.conf", "nameserver 127.0.0.1\n");
        assert_eq!(fs::read_to_string("/etc/resolv.conf").ok().as_deref(), Some("nameserver 127.0.0.1\n"));
        std::net::UdpSocket::bind("127.0.0.1:123").expect("port 123 of the namespace is free");
    });
}
