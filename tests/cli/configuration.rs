//! What `serve` is told, in a file or by options, and what is said of it before anything is served.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{Upstream, ntpclock, scratch, text};

/// The exit code of `serve --config` with this text, and all it says; `more` are further arguments.
fn configured(name: &str, config: &str, more: &[&str]) -> (Option<i32>, String) {
    let path = scratch(name);
    std::fs::write(&path, config).unwrap();
    let output = ntpclock().args(["serve", "--config"]).arg(&path).args(more).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    (output.status.code(), said.replace(path.to_str().unwrap(), "FILE"))
}

#[test]
fn a_configuration_is_checked_before_it_is_served_and_faults_are_named_with_file_and_line() {
    let good = "[server]\nlisten = [\"127.0.0.1:0\"]\n[server.local]\nstratum = 3\nroot-dispersion-ms = 1.0\n";
    assert_eq!(configured("good.toml", good, &["--check"]), (Some(0), "FILE makes sense\n".to_owned()));
    let (code, said) = configured("served.toml", good, &["--duration", "0.1"]);
    assert!(code == Some(0) && said.starts_with("serving this machine's clock as stratum 3 on 127.0.0.1:"), "{said}");
    let nowhere = good.replace("listen = [\"127.0.0.1:0\"]", "");
    let said = "FILE makes sense, if sockets are passed: it names no address\n".to_owned();
    assert_eq!(configured("nowhere.toml", &nowhere, &["--check"]), (Some(0), said));
    for (wrong, fault) in [
        (format!("{good}port = 5\n"), "FILE:6: unknown field `port`"),
        (good.replace("127.0.0.1:0", "localhost"), "FILE: `address` is `localhost`, which is no literal address"),
        (good.replace("= 3", "= 99"), "FILE: `stratum` is 99; 1 to 15 is possible"),
        ("servers = [\"[::1\"]\n[server]\nlisten = [\"127.0.0.1:0\"]\n".to_owned(), "FILE: server `[::1`"),
        (
            format!("user = \"nobody-of-that-name\"\n{good}"),
            "FILE: looking for the user `nobody-of-that-name`: there is no",
        ),
        ("[server".to_owned(), "FILE:1: "),
    ] {
        let (code, said) = configured("wrong.toml", &wrong, &["--check"]);
        assert!(code == Some(2) && said.starts_with(&format!("ntpclock: {fault}")), "{wrong}\n{said}");
    }
    let missing = ntpclock().args(["serve", "--config", "/nonexistent/file"]).output().unwrap();
    assert!(missing.status.code() == Some(1) && text(&missing.stderr).contains("/nonexistent/file"), "{missing:?}");
}

/// A file of one symmetric key, 5.
fn key_file(name: &str) -> PathBuf {
    let path = scratch(name);
    std::fs::write(&path, "5 AES128 HEX:000102030405060708090a0b0c0d0e0f\n").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

#[test]
fn a_check_refuses_in_the_same_words_what_a_start_refuses() {
    let (keys, empty) = (key_file("check-keys"), scratch("check-empty.pem"));
    std::fs::write(&empty, "no certificate\n").unwrap();
    let (k, e) = (keys.to_str().unwrap(), empty.to_str().unwrap());
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let [one, all] = ["127.0.0.1", "0.0.0.0"].map(|address| format!("{address}:{port}"));
    let both = |first: &str, second: &str| {
        format!("`address` is {second}, which cannot be listened on beside {first}: one is part of the other")
    };
    let free = "127.0.0.1:0";
    for (arguments, code, fault) in [
        (
            &["--listen", free, "--source", "127.0.0.1:1 key 2", "--keys", k][..],
            2,
            "`key id` 2 of 127.0.0.1:1".to_owned(),
        ),
        (&["--listen", free, "--source", "127.0.0.1:1 key 1"], 2, "`key id` 1 of 127.0.0.1:1 is none".to_owned()),
        (
            &["--listen", free, "-s", "127.0.0.1:1", "--authentication", "require"],
            2,
            "`authentication` is required, and no server".to_owned(),
        ),
        (
            &["--listen", free, "-s", "127.0.0.1:1", "--trusted-certificates", "/nope"],
            1,
            "reading certificates from /nope: ".to_owned(),
        ),
        (
            &["--listen", free, "-s", "127.0.0.1:1", "--trusted-certificates", e],
            2,
            format!("`trusted certificates` `{e}` holds no certificate"),
        ),
        (
            &["--listen", &one, "--listen", &one, "-s", "127.0.0.1:1"],
            2,
            format!("`address` is {one}, which is listened on already"),
        ),
        (&["--listen", &one, "--listen", &all, "-s", "127.0.0.1:1"], 2, both(&one, &all)),
        (&["--listen", &all, "--listen", &one, "-s", "127.0.0.1:1"], 2, both(&all, &one)),
        (&["--listen", free], 1, "no server is named".to_owned()),
    ] {
        let said = |more: &[&str]| {
            let output = ntpclock().arg("serve").args(arguments).args(more).output().unwrap();
            assert_eq!((output.status.code(), text(&output.stdout)), (Some(code), ""), "{arguments:?} {more:?}");
            text(&output.stderr).to_owned()
        };
        let (checked, started) = (said(&["--check"]), said(&["--duration", "0"]));
        assert!(checked.starts_with(&format!("ntpclock: {fault}")), "{checked}");
        assert_eq!(checked, started);
    }
    let good = ["serve", "--check", "--listen", free, "--source", "127.0.0.1:1 key 5", "--keys", k];
    let output = ntpclock().args(good).args(["--authentication", "require"]).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "it makes sense\n"), "{output:?}");
    std::fs::remove_file(keys).and_then(|()| std::fs::remove_file(empty)).unwrap();
}

#[test]
fn a_check_names_the_directories_that_are_not_there() {
    let follow = ["serve", "--check", "--listen", "127.0.0.1:0", "-s", "127.0.0.1:1"];
    for option in ["--state-file", "--shared-page", "--statistics-file"] {
        let output = ntpclock().args(follow).args([option, "/nonexistent/file"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{option}");
        let said = "ntpclock: the directory of /nonexistent/file: No such file or directory";
        assert!(text(&output.stderr).starts_with(said), "{output:?}");
        // A bare name is one where we are.
        let mut there = ntpclock();
        let output =
            there.current_dir(env!("CARGO_TARGET_TMPDIR")).args(follow).args([option, "file"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let text = "servers = [\"127.0.0.1:1\"]\nstate-file = \"/dev/null/state\"\n[server]\nlisten = [\"127.0.0.1:0\"]\n";
    let (code, said) = configured("directories.toml", text, &["--check"]);
    assert!(code == Some(2) && said.starts_with("ntpclock: FILE: the directory of /dev/null/state: "), "{said}");
}

#[test]
fn a_check_refuses_what_is_no_page_to_share_and_makes_none() {
    let (junk, directory, none) = (scratch("check-junk.page"), scratch("check-directory.page"), scratch("none.page"));
    std::fs::write(&junk, "junk").unwrap();
    std::fs::create_dir_all(&directory).unwrap();
    for (path, why) in [(&junk, "it is no shared page of ntpclock"), (&directory, "it is no regular file")] {
        let said = |more: &[&str]| {
            let serve = ["serve", "--listen", "127.0.0.1:0", "-s", "127.0.0.1:1", "--shared-page"];
            let output = ntpclock().args(serve).arg(path).args(more).output().unwrap();
            assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""), "{path:?} {more:?}");
            text(&output.stderr).to_owned()
        };
        let (checked, started) = (said(&["--check"]), said(&["--duration", "0"]));
        assert!(checked.contains(why) && checked.contains(path.to_str().unwrap()), "{checked}");
        assert_eq!(checked, started);
    }
    let check = ["serve", "--check", "--listen", "127.0.0.1:0", "-s", "127.0.0.1:1", "--shared-page"];
    assert!(ntpclock().args(check).arg(&none).output().unwrap().status.success() && !none.exists());
    std::fs::remove_file(junk).and_then(|()| std::fs::remove_dir(directory)).unwrap();
}

#[test]
fn one_file_for_two_things_is_refused_with_both_named() {
    let here = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (straight, around) = (here.join("one"), here.join(".").join("..").join(here.file_name().unwrap()).join("one"));
    for options in
        [["state-file", "statistics-file"], ["shared-page", "statistics-file"], ["state-file", "shared-page"]]
    {
        for more in [&["--check"][..], &["--duration", "0"]] {
            let mut serve = ntpclock();
            serve.args(["serve", "--listen", "127.0.0.1:0", "-s", "127.0.0.1:1"]).args(more);
            serve.arg(format!("--{}={}", options[0], straight.display()));
            let output = serve.arg(format!("--{}={}", options[1], around.display())).output().unwrap();
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(options.iter().all(|name| said.contains(&format!("`{name}`"))), "{said}");
        }
    }
    assert!(!straight.exists());
}

#[test]
fn a_file_that_is_to_be_written_over_the_configuration_is_refused() {
    let local = "[server]\nlisten = [\"127.0.0.1:0\"]\n[server.local]\nstratum = 3\nroot-dispersion-ms = 1.0\n";
    let text = format!("statistics-file = {:?}\n{local}", scratch("itself.toml"));
    for more in [&["--check"][..], &["--duration", "0"]] {
        let (code, said) = configured("itself.toml", &text, more);
        let why = "ntpclock: FILE: `statistics-file` is FILE, which is the `config`, too";
        assert!(code == Some(2) && said.starts_with(why), "{said}");
    }
}

#[test]
fn a_file_says_of_sources_what_options_say() {
    let (upstream, keys) = (Upstream::start(), key_file("file-keys"));
    let server = "[server]\nlisten = [\"127.0.0.1:0\"]\n";
    let address = &upstream.address;
    let keyed = format!("source = [\"{address} key 5\"]\nkeys = {keys:?}\nauthentication = \"require\"\n{server}");
    let (code, said) = configured("keyed.toml", &keyed, &["--duration", "0"]);
    assert!(code == Some(0) && said.starts_with(&format!("serving the time of {address} on ")), "{said}");
    for (wrong, fault) in [
        (keyed.replace("key 5", "key 6"), format!("FILE: `key id` 6 of {address} is none")),
        (keyed.replace(" key 5", ""), "FILE: `authentication` is required".to_owned()),
        (keyed.replace("\"require\"", "\"demand\""), "FILE:3: `demand` is none of ignore, mix, require".to_owned()),
        (
            format!("khronos = true\n{server}[server.local]\nstratum = 3\nroot-dispersion-ms = 1.0\n"),
            "FILE: `local`".to_owned(),
        ),
        (
            format!(
                "trusted-certificates = [\"/nope\"]\nno-platform-trust = true\nservers = [\"{address}\"]\n{server}"
            ),
            "FILE: reading certificates from /nope".to_owned(),
        ),
    ] {
        for more in [&["--check"][..], &["--duration", "0"]] {
            let (code, said) = configured("unkeyed.toml", &wrong, more);
            assert!(code == Some(2) && said.starts_with(&format!("ntpclock: {fault}")), "{said}");
        }
    }
    std::fs::remove_file(keys).unwrap();
}

#[test]
fn a_configuration_that_is_no_file_of_ours_is_refused_at_once() {
    let fifo = scratch("fifo.toml");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let begun = Instant::now();
    for path in [Path::new("/dev/zero"), &fifo] {
        let output = ntpclock().args(["serve", "--check", "--config"]).arg(path).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = format!("ntpclock: reading {}: it is no regular file\n", path.display());
        assert_eq!(text(&output.stderr), said);
    }
    let (code, said) = configured("long.toml", &"#".repeat(1 << 20), &["--check"]);
    assert!(code == Some(1) && said.contains("reading FILE: it has more than 262144 bytes"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    std::fs::remove_file(fifo).unwrap();
}
