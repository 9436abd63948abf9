//! Beginnings: no network yet, no server yet, and the other family of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread::sleep;
use std::time::Duration;

use ntpclock::{Clock, Error, State};

use crate::bracket::Track;
use crate::namespace::{inside, loopback_up};
use crate::peers::{Chronyd, free_address};
use crate::{LIMIT_NS, beside_others, fast_clock, synchronize, table};

/// Loopback beside tests that take the processors: see `CROWDED_LIMIT_NS` in `faults`.
const BESIDE_OTHERS_LIMIT_NS: i64 = 5 * LIMIT_NS;

#[test]
fn a_server_that_appears_late_is_found() {
    let _beside = beside_others();
    let address = free_address(Ipv4Addr::LOCALHOST.into());
    let clock = fast_clock(&address.to_string());
    assert_no_time_yet(&clock, &address.to_string());
    let _server = Chronyd::start_at(address, 0);
    assert_recovers(&clock);
}

#[test]
fn a_clock_that_starts_without_a_network_recovers_by_itself() {
    let _beside = beside_others();
    inside(module_path!(), "a_clock_that_starts_without_a_network_recovers_by_itself", || {
        // In a fresh namespace even the loopback interface is down: every send fails.
        let address = "127.0.0.1:123".parse().expect("an address");
        let clock = fast_clock("127.0.0.1");
        assert_no_time_yet(&clock, "127.0.0.1");
        loopback_up();
        let _server = Chronyd::start_at(address, 0);
        assert_recovers(&clock);
    });
}

#[test]
fn a_server_is_heard_over_ipv6() {
    let _beside = beside_others();
    // In a namespace, because many a container has its IPv6 switched off.
    inside(module_path!(), "a_server_is_heard_over_ipv6", || {
        loopback_up();
        let server = Chronyd::start_at(free_address(IpAddr::from(Ipv6Addr::LOCALHOST)), 0);
        let clock = fast_clock(&server.entry());
        synchronize(&clock);
        assert_eq!(clock.sources()[0].address, Some(server.address()));
        assert_right(&clock);
    });
}

/// The wait ends in time and names the source; the reading is the system clock's and claims nothing.
fn assert_no_time_yet(clock: &Clock, source: &str) {
    match clock.wait(None, Some(Duration::from_millis(1500))) {
        Err(Error::Timeout { detail }) => assert!(detail.contains(source), "`{source}` is not named in: {detail}"),
        other => panic!("nobody answers, yet: {other:?}"),
    }
    let mut track = Track::default();
    let reading = track.sample(0, || clock.now());
    assert_eq!(reading.state, State::Unsynchronized);
    assert_eq!((reading.earliest_ns, reading.latest_ns), (i64::MIN, i64::MAX));
    assert!(track.p99_ns() < 1000, "before the first synchronisation a reading is the system clock's: {reading:?}");
}

fn assert_recovers(clock: &Clock) {
    let wait = clock.wait(None, Some(Duration::from_secs(30)));
    assert!(wait.is_ok(), "{wait:?}: {}", table(clock));
    assert_right(clock);
}

fn assert_right(clock: &Clock) {
    let mut track = Track::default();
    for _ in 0..500 {
        track.sample(0, || clock.now());
        sleep(Duration::from_millis(2));
    }
    track.assert_right("once synchronised", BESIDE_OTHERS_LIMIT_NS);
}
