//! Certificates that do not hold, and clocks of the host that are wrong (case 27 of `tests/hostile`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use ntpclock::{Config, Error, query_with};

use crate::authority::{Authority, Identity};
use crate::peers::Release;
use crate::together::live_through;
use crate::{Secure, trusting};

const DAY: Duration = Duration::from_secs(86_400);

/// Why a query with keys of a server with this identity fails.
fn refusal(identity: Identity, authority: &Path) -> String {
    let server = Secure::start(Release::Present, identity, "");
    match query_with(&trusting(Config::new(), authority), &server.entry(), Duration::from_secs(20)) {
        Err(Error::KeyExchange { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

/// Another authority's certificate (case 27).
#[test]
fn an_attacker_who_terminates_tls_with_another_authority_gets_nowhere() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let why = refusal(theirs.identity("127.0.0.1"), &ours.file());
    assert!(why.contains("UnknownIssuer") || why.contains("BadSignature"), "{why}");
}

/// A certificate of somebody else's (case 27).
#[test]
fn a_certificate_is_for_the_host_that_was_named() {
    let authority = Authority::new();
    let why = refusal(authority.identity("127.0.0.9"), &authority.file());
    assert!(why.contains("not valid for") || why.contains("NotValidForName"), "{why}");
    let why = refusal(authority.identity("ntp.example.org"), &authority.file());
    assert!(why.contains("not valid for") || why.contains("NotValidForName"), "{why}");
}

/// A certificate that has expired, or is not valid yet (case 27).
#[test]
fn a_certificate_out_of_its_time_is_refused_and_the_time_is_named() {
    let (authority, now) = (Authority::new(), SystemTime::now());
    let expired = authority.identity_for("127.0.0.1", now - 9 * DAY, now - DAY);
    let why = refusal(expired, &authority.file());
    assert!(why.contains("has expired") && why.contains("the system clock's time, 20"), "{why}");
    let early = authority.identity_for("127.0.0.1", now + DAY, now + 9 * DAY);
    let why = refusal(early, &authority.file());
    assert!(why.contains("not valid before"), "{why}");
}

#[test]
fn a_file_without_certificates_is_named_at_the_start() {
    let authority = Authority::new();
    let folder = authority.file().with_file_name("none.pem");
    let start = |file: &Path| {
        let config = Config::with_servers("127.0.0.1 nts").expect("that is a list");
        ntpclock::Clock::start(trusting(config, file)).expect_err("nobody is to be trusted")
    };
    let missing = start(&folder);
    assert!(matches!(missing, Error::Io { .. }) && missing.to_string().contains("none.pem"), "{missing}");
    std::fs::write(&folder, "no certificate").expect("the directory is writable");
    let empty = start(&folder);
    assert!(matches!(empty, Error::InvalidArgument { .. }) && empty.to_string().contains("none.pem"), "{empty}");
}

#[test]
fn a_file_that_others_may_write_or_that_is_none_is_no_file_of_certificates() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let authority = Authority::new();
    let start = |file: &Path| {
        let config = Config::with_servers("127.0.0.1 nts").expect("that is a list");
        ntpclock::Clock::start(trusting(config, file)).map(drop)
    };
    // Of one that is asked only once, too.
    let query = |file: &Path| query_with(&trusting(Config::new(), file), "127.0.0.1:9 nts", Duration::from_secs(9));
    let [link, fifo, long] = ["link.pem", "fifo.pem", "long.pem"].map(|name| authority.file().with_file_name(name));
    symlink(authority.file(), &link).expect("the directory is writable");
    start(&link).expect("what the link leads to is trusted");
    assert!(Command::new("mkfifo").arg(&fifo).status().is_ok_and(|status| status.success()));
    let file = std::fs::File::create(&long).expect("the directory is writable");
    file.set_len(5 << 20).expect("the disk has room for nothing");
    let mode = |mode| std::fs::set_permissions(authority.file(), std::fs::Permissions::from_mode(mode));
    mode(0o666).expect("the file is ours");
    for (file, complaint) in [
        (authority.file(), "others may write it (mode 666)"),
        (link, "others may write it (mode 666)"),
        (fifo, "it is no regular file"),
        (long, "more than 4194304 bytes"),
    ] {
        let started = start(&file).expect_err("nobody is to be trusted").to_string();
        assert!(started.contains(complaint) && started.contains(".pem"), "{complaint}: {started}");
        let asked = query(&file).expect_err("nobody is to be trusted").to_string();
        assert!(asked.contains(complaint), "{complaint}: {asked}");
    }
}

/// A key that was stolen long ago, and a server that tells when its certificate held (case 27).
#[test]
fn a_time_from_before_the_library_was_built_confirms_no_certificate() {
    let (authority, then) = (Authority::new(), SystemTime::now() - 30 * DAY);
    let identity = authority.identity_for("127.0.0.1", then - 9 * DAY, SystemTime::now() + DAY);
    let server = Secure::shifted(identity, -30 * 86_400);
    let asked = query_with(&trusting(Config::new(), &authority.file()), &server.entry(), Duration::from_secs(20));
    match asked {
        Err(Error::BadReply { why, .. }) => assert!(why.contains("before this library was built"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// A certificate that had expired when the library was built, on a host without a clock (case 27).
#[test]
fn a_certificate_that_had_expired_when_the_library_was_built_brings_no_keys() {
    let (authority, now) = (Authority::new(), SystemTime::now());
    let identity = authority.identity_for("127.0.0.1", now - 300 * DAY, now - 100 * DAY);
    let server = Secure::start(Release::Present, identity, "");
    let arguments = ["status", "--timeout", "3", "-s", &server.entry()];
    let (done, _, said) = on_a_host_of(IN_1970, &arguments, &authority.file());
    assert!(!done && said.contains("the system clock being out of the question") && said.contains("expired"), "{said}");
}

/// The library behind the `faketime` command; its folder is named after the kind of machine.
fn faketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("/usr/lib is readable");
    let found = folders.flatten().map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    found.into_iter().find(|path| path.exists()).expect("libfaketime is installed (package faketime)")
}

/// The same program on a host whose clock shows `clock`.
fn faked<'a>(command: &'a mut Command, clock: &str) -> &'a mut Command {
    command.env("LD_PRELOAD", faketime()).env("FAKETIME", clock).env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

/// The same program on a host that has no clock.
pub(crate) fn without_a_clock(command: &mut Command) -> &mut Command {
    faked(command, IN_1970)
}

/// `ntpclock` with these arguments on a host whose clock shows `clock`.
pub(crate) fn on_a_host_of(clock: &str, arguments: &[&str], authority: &Path) -> (bool, serde_json::Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ntpclock"));
    command.args(arguments).args(["--json", "--no-platform-trust", "--trusted-certificates"]).arg(authority);
    let Output { status, stdout, stderr } = faked(&mut command, clock).output().expect("the command can be run");
    let text = String::from_utf8_lossy(&stderr).into_owned();
    (status.success(), serde_json::from_slice(&stdout).unwrap_or_default(), text)
}

pub(crate) const IN_1970: &str = "@1970-01-02 00:00:00";
const IN_2040: &str = "@2040-06-01 00:00:00";

/// A host without a clock (case 27).
#[test]
fn a_host_in_1970_gets_the_time_and_the_certificate_is_checked_again_at_that_time() {
    live_through("host_in_1970");
}

pub(crate) fn host_in_1970() {
    let (authority, now) = (Authority::new(), SystemTime::now());
    let server = Secure::start(Release::Present, authority.identity("127.0.0.1"), "");
    let (done, status, said) = on_a_host_of(IN_1970, &["status", "-s", &server.entry()], &authority.file());
    assert!(done, "{said}");
    let reading = &status["reading"];
    assert_eq!(
        (&reading["state"], &reading["flags"][0]),
        (&"synchronized".into(), &"authenticated".into()),
        "{status}"
    );
    let shown = reading["unix_ns"].as_i64().map(|ns| Duration::from_nanos(ns.unsigned_abs())).expect("there is a time");
    let here = now.duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    assert!(shown >= here && shown - here < Duration::from_secs(60), "{shown:?} {here:?}");
    drop(server);

    // Valid at the earliest time there can be, or from a later day on: but not now.
    for (from, until, complaint) in [(300, 1, "has expired"), (-1, -9, "not valid before")] {
        let day = |days: i64| if days < 0 { now + DAY * days.unsigned_abs() as u32 } else { now - DAY * days as u32 };
        let server = Secure::start(Release::Present, authority.identity_for("127.0.0.1", day(from), day(until)), "");
        let arguments = ["status", "--timeout", "6", "-s", &server.entry()];
        let (done, status, said) = on_a_host_of(IN_1970, &arguments, &authority.file());
        assert!(!done && said.contains("at the time obtained") && said.contains(complaint), "{said} {status}");
        assert_eq!(status["reading"]["state"], "unsynchronized", "{status}");
        assert_eq!(status["reading"]["epoch"], 0, "it was never shown: {status}");
    }
}

/// A host whose clock is ahead (case 27).
#[test]
fn a_host_in_2040_is_believed_and_told_so() {
    live_through("host_in_2040");
}

pub(crate) fn host_in_2040() {
    let authority = Authority::new();
    let server = Secure::start(Release::Present, authority.identity("127.0.0.1"), "");
    let arguments = ["status", "--timeout", "3", "-s", &server.entry()];
    let (done, status, said) = on_a_host_of(IN_2040, &arguments, &authority.file());
    assert!(!done && said.contains("the system clock's time, 2040-06-01") && said.contains("has expired"), "{said}");
    assert_eq!(status["reading"]["state"], "unsynchronized", "{status}");

    // A certificate that holds then does not hold now.
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(2_222_000_000);
    let server = Secure::start(Release::Present, authority.identity_for("127.0.0.1", then, then + 99 * DAY), "");
    let arguments = ["status", "--timeout", "6", "-s", &server.entry()];
    let (done, status, said) = on_a_host_of(IN_2040, &arguments, &authority.file());
    assert!(!done && said.contains("at the time obtained") && said.contains("not valid before"), "{said}");
    assert_eq!((&status["reading"]["state"], &status["reading"]["epoch"]), (&"unsynchronized".into(), &0.into()));
}
