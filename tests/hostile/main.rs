//! A client among hostile servers and networks: every attack of a list of thirty is a test with a name.
//!
//! Where a real socket makes the point, a scripted server attacks the library's public face here, on loopback; what
//! needs hours, or an oscillator of its own, is a scenario of the simulator (`tests/simulation`); 1 M datagrams at our
//! door are in `tests/flood.rs`. The text above each test says which number it has, as in (case 9):
//!
//! | case | attack |
//! |---|---|
//! | 1, 2 | a wrong origin timestamp; a zero one, or another timestamp of zero |
//! | 3, 4, 5 | the right answer from a stranger; twice and replayed; too late |
//! | 6, 7, 8 | a flood of junk; every length and extension field; every other mode and version |
//! | 9, 10, 11, 12 | kisses: RATE, with a wild poll field, DENY and RSTR, and those of strangers |
//! | 13, 14 | times that no clock shows; servers that are no good by their own word |
//! | 15 to 19 | lying by a root distance of zero; as a minority, a majority, each for itself; by a ramp |
//! | 20, 21, 22 | delaying one way, bending the frequency and falling silent, toggling |
//! | 23 to 27 | Network Time Security (`tests/nts`): replies tampered with, forged NAKs, key exchanges, negotiated servers, certificates |
//! | 28 | names: 89 addresses of one attacker, then none, then silence |
//! | 29 | leap seconds of a minority, in March, at the right date; smeared among others |
//! | 30 | suspend, pause, steps of the system clock, 2036 and 2038 |

mod answers;
mod kisses;
mod lies;
mod names;
mod scripted;

#[path = "../common/namespace.rs"]
mod namespace;
#[path = "../common/peers.rs"]
#[expect(dead_code, reason = "of the real servers' files only the directory serves here")]
mod peers;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ntpclock::{Clock, Config, Reason, Selection, SourceInfo, State};
use scripted::Scripted;

/// A clock that asks every second.
fn fast_clock(servers: &str) -> Clock {
    let mut config = Config::with_servers(servers).expect("the list follows the grammar");
    config.set_poll_exponents(0, 0).expect("one second can be asked for");
    Clock::start(config).expect("a clock can be started")
}

fn clock_of(server: &Scripted) -> Clock {
    fast_clock(&server.address().to_string())
}

/// The only source.
fn source(clock: &Clock) -> SourceInfo {
    clock.sources().into_iter().next().expect("a clock has a source from its start on")
}

fn refused(clock: &Clock, reason: Reason) -> u64 {
    source(clock).refusals.count(reason)
}

/// Looks until `holds`.
fn await_that(what: &str, seconds: u64, clock: &Clock, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}; instead: {:#?}", clock.sources());
        sleep(Duration::from_millis(10));
    }
}

/// So many exchanges have counted.
fn await_exchanges(clock: &Clock, count: u64) {
    await_that("exchanges count", 20, clock, || source(clock).exchanges >= count);
}

/// The clock is synchronised, and its interval holds the time of the machine, which the servers tell.
fn assert_right(clock: &Clock) {
    // What is told of the sources is told a millisecond before readers see it.
    await_that("readers see it", 1, clock, || clock.now().state == State::Synchronized);
    let before = system_clock_ns();
    let reading = clock.now();
    let after = system_clock_ns();
    assert_eq!(reading.state, State::Synchronized, "{:#?}", clock.sources());
    assert!(reading.earliest_ns <= after && before <= reading.latest_ns, "{before} is not in {reading:?}");
    assert_eq!(source(clock).selection, Selection::Truechimer);
}

fn system_clock_ns() -> i64 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    age.as_nanos() as i64
}

/// Which tests make up a case, a line each: one that vanishes is missed, and so is one that nobody entered here.
const REGISTER: &str = include_str!("register.txt");

#[test]
fn every_case_has_all_the_tests_of_the_register_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut found = BTreeSet::new();
    for place in ["hostile", "simulation", "nts", "flood.rs", "greed.rs"] {
        look(&root.join(place), &mut found);
    }
    let entered: BTreeSet<(u32, String)> = REGISTER.lines().map(entry).collect();
    let missing: Vec<_> = entered.difference(&found).collect();
    let unknown: Vec<_> = found.difference(&entered).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:#?}; not in the register: {unknown:#?}");
    assert_eq!(found.into_iter().map(|(case, _)| case).collect::<BTreeSet<_>>(), (1..=30).collect());
}

/// A line of the register: the case and the name of a test.
fn entry(line: &str) -> (u32, String) {
    let (case, name) = line.split_once(' ').expect("a number and a name");
    (case.parse().expect("a number"), name.to_owned())
}

/// The numbers in `(case 1)` and `(cases 2 and 3)` of the comments right above tests, and above scenarios that are
/// played, in all files of `place`, each with the name of what it is above of.
fn look(place: &Path, found: &mut BTreeSet<(u32, String)>) {
    if let Ok(entries) = fs::read_dir(place) {
        entries.flatten().for_each(|entry| look(&entry.path(), found));
        return;
    }
    if place.extension().is_none_or(|extension| extension != "rs") {
        return;
    }
    let text = fs::read_to_string(place).expect("a file of tests can be read");
    found.extend(cases_of_tests(&text, &played()));
}

/// The scenarios that the simulator plays.
fn played() -> BTreeSet<String> {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulation/mod.rs");
    let text = fs::read_to_string(list).expect("the simulator lists its scenarios");
    text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect()
}

/// The numbers in a text of Rust. A comment counts for what follows it: `#[test]`, or the function of a scenario.
fn cases_of_tests(text: &str, played: &BTreeSet<String>) -> Vec<(u32, String)> {
    let (mut found, mut noted, mut is_test) = (Vec::new(), Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("///") {
            for (at, _) in line.match_indices("(case") {
                let note = line[at..].split(')').next().unwrap_or_default();
                noted.extend(note.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<u32>().ok()));
            }
        } else if line.starts_with("#[") {
            is_test |= line == "#[test]";
        } else {
            let function = line.strip_prefix("pub(super) ").unwrap_or(line).strip_prefix("fn ");
            if let Some((name, arguments)) = function.and_then(|rest| rest.split_once('('))
                && (is_test || arguments.starts_with("trial: &Trial)") && played.contains(name))
            {
                found.extend(noted.drain(..).map(|case| (case, name.to_owned())));
            }
            (noted, is_test) = (Vec::new(), false);
        }
    }
    found
}

#[test]
fn a_number_counts_only_above_a_test_or_a_scenario() {
    let played = BTreeSet::from(["told".to_owned()]);
    let above = |what: &str| cases_of_tests(&format!("/// Once, (cases 4 and 5).\n/// (case 6)\n{what}"), &played);
    let all = |name: &str| [4, 5, 6].map(|case| (case, name.to_owned()));
    assert_eq!(above("#[test]\nfn any() {"), all("any"));
    assert_eq!(above("pub(super) fn told(trial: &Trial) -> World {"), all("told"));
    for nothing in ["fn any() {", "pub(super) fn untold(trial: &Trial) -> World {", "", "\n#[test]\nfn any() {"] {
        assert!(above(nothing).is_empty(), "{nothing}");
    }
}
