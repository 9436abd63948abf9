//! `include/ntpclock.h` is what the sources say, and every compiler takes it as it is.

#[path = "common/library.rs"]
#[expect(dead_code, reason = "the header needs the compilers, not the library")]
mod library;

use std::fs;
use std::path::Path;

use library::{command, root, run, scratch};

/// Lets the build script write the header of the sources as they are now.
fn generated() -> String {
    // A target directory of its own: cbindgen is built once there, and no other build is disturbed.
    let target = root().join("target/header");
    let messages = run(command(env!("CARGO"))
        .args(["check", "--quiet", "--lib", "--features", "capi,header", "--message-format=json"])
        .arg("--target-dir")
        .arg(&target));
    // `"out_dir":"…/build/ntpclock-<hash>/out"` of our own build script, as cargo reports it.
    let out = messages
        .lines()
        .filter(|line| line.contains(r#""reason":"build-script-executed""#))
        .filter_map(|line| line.split_once(r#""out_dir":""#)?.1.split_once('"'))
        .map(|(directory, _)| Path::new(directory).join("ntpclock.h"))
        .find(|header| header.exists())
        .expect("cargo reports our build script");
    fs::read_to_string(out).expect("the build script has written the header")
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let (committed, generated) = (root().join("include/ntpclock.h"), generated());
    if std::env::var_os("BLESS").is_some() {
        fs::write(&committed, &generated).expect("include/ is writable");
    }
    let committed = fs::read_to_string(committed).unwrap_or_default();
    assert!(committed == generated, "include/ntpclock.h is stale; `BLESS=1 cargo test --test header` renews it");
}

#[test]
fn the_header_compiles_alone_in_every_dialect() {
    let directory = scratch("header");
    let warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-fsyntax-only"];
    for (name, compilers, dialects) in [
        ("alone.c", library::C_COMPILERS, ["c99", "c11"]),
        ("alone.cpp", library::CPP_COMPILERS, ["c++11", "c++17"]),
        ("alone.cpp", library::CPP_COMPILERS, ["c++14", "c++20"]),
    ] {
        let source = directory.join(name);
        fs::write(&source, "#include \"ntpclock.h\"\n").expect("scratch is writable");
        for compiler in compilers {
            for dialect in dialects {
                run(command(compiler).args(warnings).arg(format!("-std={dialect}")).arg("-Iinclude").arg(&source));
            }
        }
    }
}

#[test]
fn cpp_has_a_name_for_every_failure_of_the_header() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("it is committed");
    let header = read("include/ntpclock.h");
    let named = header.lines().filter_map(|line| line.trim().strip_prefix("NTP_ERR_")?.split_once(" = -"));
    let failures: Vec<_> = named.map(|(name, _)| name).collect();
    assert!(failures.len() >= 19, "{failures:?}");
    let face = read("bindings/cpp/ntpclock.hpp");
    for name in failures {
        let line = format!("    {} = NTP_ERR_{name},\n", name.to_lowercase());
        assert!(face.contains(&line), "ntp::errc has not{line}");
    }
}

#[test]
fn every_macro_has_the_prefix() {
    let header = fs::read_to_string(root().join("include/ntpclock.h")).expect("the header is committed");
    let foreign: Vec<_> = header
        .lines()
        .filter_map(|line| line.strip_prefix("#define ")?.split_whitespace().next())
        .filter(|name| {
            !["NTPCLOCK_", "NTP_FLAG_", "NTP_EVENT_", "NTP_SERVER_"].iter().any(|prefix| name.starts_with(prefix))
        })
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}
