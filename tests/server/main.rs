//! A server as clients, liars and floods see it: by what goes over the wire.
//!
//! `cases` are those that were collected from other servers' faults (each named there by its number), `broadcast` is a
//! part of one; `interleaved` is RFC 9769; `tree` is three strata of servers and clients in a network of its own;
//! `privileges` is the command.

mod broadcast;
mod cases;
mod interleaved;
mod privileges;
mod system;
mod tree;
mod wire;

#[path = "../common/memory.rs"]
mod memory;
#[path = "../common/namespace.rs"]
mod namespace;
#[path = "../common/peers.rs"]
#[expect(dead_code, reason = "servers and clients of one kind will do here")]
mod peers;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Which tests make up a case, a line each: one that vanishes is missed, and so is one that nobody entered here.
const REGISTER: &str = include_str!("register.txt");

/// Cases 11 to 16 are mostly those of `tests/nts`, and 3 is a scenario of the simulator.
#[test]
fn every_case_has_all_the_tests_of_the_register_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let list = fs::read_to_string(root.join("simulation/mod.rs")).unwrap();
    let played: BTreeSet<&str> = list.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut found = BTreeSet::new();
    for place in ["server", "nts", "simulation"] {
        for file in fs::read_dir(root.join(place)).unwrap().flatten() {
            found.extend(cases(&fs::read_to_string(file.path()).unwrap(), &played));
        }
    }
    let entered: BTreeSet<String> = REGISTER.lines().map(str::to_owned).collect();
    let missing: Vec<_> = entered.difference(&found).collect();
    let unknown: Vec<_> = found.difference(&entered).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:#?}; not in the register: {unknown:#?}");
    assert_eq!(found.iter().filter_map(|name| number(name)).collect::<BTreeSet<_>>(), (1..=20).collect());
}

/// The case in the name of a test.
fn number(name: &str) -> Option<u32> {
    name.strip_prefix("case_")?.split('_').next()?.parse().ok()
}

/// Those names of tests, and of scenarios that are played, in a text of Rust that say a case.
fn cases(text: &str, played: &BTreeSet<&str>) -> Vec<String> {
    let (mut found, mut is_test) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        let Some((_, name)) = line.split_once("fn ").filter(|_| !line.starts_with('#')) else {
            is_test = line == "#[test]" || is_test && line.starts_with("#[");
            continue;
        };
        let (name, arguments) = name.split_once('(').unwrap_or_default();
        let is_scenario = arguments.starts_with("trial: &Trial)") && played.contains(name);
        if (std::mem::take(&mut is_test) || is_scenario) && number(name).is_some() {
            found.push(name.to_owned());
        }
    }
    found
}

#[test]
fn a_number_counts_only_in_the_name_of_a_test_or_of_a_scenario_that_is_played() {
    let played = BTreeSet::from(["case_3_told"]);
    for (text, expected) in [
        ("#[test]\nfn case_17_any() {", &["case_17_any"][..]),
        ("#[test]\n#[expect(lint)]\nfn case_17_any() {", &["case_17_any"]),
        ("pub(super) fn case_3_told(trial: &Trial) -> World {", &["case_3_told"]),
        ("pub(super) fn case_4_untold(trial: &Trial) -> World {", &[]),
        ("fn case_17_any() {", &[]),
        ("#[test]\nfn any() {\nfn case_17_any() {", &[]),
        ("// fn case_17_any() {", &[]),
    ] {
        assert_eq!(cases(text, &played), expected, "{text}");
    }
}
