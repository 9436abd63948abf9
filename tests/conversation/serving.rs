//! Real clients take the time from us.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ntpclock::{Clock, Server, ServerConfig};

use crate::namespace::{inside, loopback_up};
use crate::peers::{Chronyd, chronyd_query, ntpdig};
use crate::{LIMIT_NS, alone, fast_clock};

/// A client on a loaded machine may be late by itself; a server that is wrong is wrong every time.
const ATTEMPTS: usize = 8;

/// Close enough to its own server for the clock to be judged by what it serves.
const SETTLED: Duration = Duration::from_micros(500);

/// A clock that follows `upstream` and has got over the roughness of its first exchange.
fn settled_clock(upstream: &Chronyd) -> Clock {
    let clock = fast_clock(&upstream.entry());
    clock.wait(Some(SETTLED), Some(Duration::from_secs(20))).expect("over loopback the bound shrinks soon");
    clock
}

fn serve(clock: &Clock, address: &str) -> Server {
    let mut config = ServerConfig::new();
    config.add_listen(address).expect("a literal address");
    Server::start(Some(clock), &config).expect("the address can be bound")
}

/// The attempt that came nearest to `expected`, as seconds off.
fn nearest(expected: f64, mut measure: impl FnMut() -> f64) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ATTEMPTS {
        best = (measure() - expected).abs().min(best);
        if best * 1e9 < LIMIT_NS as f64 {
            break;
        }
    }
    best
}

/// The number behind `key` in `text`.
fn number_after(text: &str, key: &str) -> f64 {
    let found = text.split_once(key).and_then(|(_, rest)| {
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+' | 'e')).unwrap_or(rest.len());
        rest[..end].parse().ok()
    });
    found.unwrap_or_else(|| panic!("no number after `{key}` in:\n{text}"))
}

#[test]
fn chronyd_accepts_the_time_we_serve_and_finds_it_right() {
    let _alone = alone();
    for shift in [0, 5] {
        let upstream = Chronyd::shifted_by(shift);
        let clock = settled_clock(&upstream);
        let server = serve(&clock, "127.0.0.1:0");
        let error = nearest(shift as f64, || {
            let said = chronyd_query(server.addresses()[0]).unwrap_or_else(|said| panic!("chronyd -Q failed:\n{said}"));
            // What to add to the system clock: chronyd calls it what the clock is wrong by.
            number_after(&said, "System clock wrong by ")
        });
        assert!(error * 1e9 < LIMIT_NS as f64, "shift {shift} s: chronyd is off by {error} s");
    }
}

#[test]
fn ntpdig_accepts_the_time_we_serve_and_finds_it_right() {
    let _alone = alone();
    inside(module_path!(), "ntpdig_accepts_the_time_we_serve_and_finds_it_right", || {
        loopback_up();
        let upstream = Chronyd::shifted_by(5);
        let clock = settled_clock(&upstream);
        let _server = serve(&clock, "127.0.0.1:123");
        let error = nearest(5.0, || {
            let said =
                ntpdig(IpAddr::from(Ipv4Addr::LOCALHOST)).unwrap_or_else(|said| panic!("ntpdig failed:\n{said}"));
            assert!(said.contains("\"leap\":\"no-leap\""), "ntpdig does not take us for synchronised: {said}");
            // One below the upstream server, which is of stratum 3.
            assert!(said.contains("\"stratum\":4,"), "{said}");
            number_after(&said, "\"offset\":")
        });
        assert!(error * 1e9 < LIMIT_NS as f64, "ntpdig is off by {error} s");
    });
}

#[test]
fn a_number_is_found_in_what_a_client_says() {
    assert_eq!(number_after("System clock wrong by -0.000027 seconds", "wrong by "), -0.000027);
    assert_eq!(number_after("{\"offset\":4.9e-05,", "\"offset\":"), 4.9e-05);
}
