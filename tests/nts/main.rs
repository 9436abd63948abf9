//! Network Time Security with Debian's `chronyd` as the server, and with servers that do not mean well.

mod authority;
mod chrony;

#[path = "../common/peers.rs"]
#[expect(dead_code, reason = "only servers are needed here")]
mod peers;

use std::thread::sleep;
use std::time::{Duration, Instant};

use ntpclock::{Clock, Config, SourceInfo};

/// Asks `servers` every second, trusting what `authority` has signed.
pub(crate) fn secure_clock(servers: &str, authority: &authority::Authority) -> Clock {
    let mut config = Config::with_servers(servers).expect("the test's server list follows the grammar");
    config.set_poll_exponents(0, 0).expect("one second can be asked for");
    config.add_trusted_certificates(authority.file()).expect("the file has a name").set_platform_trust(false);
    Clock::start(config).expect("a clock can be started")
}

/// Looks until `holds`; `what` says what has not come about in `seconds`.
pub(crate) fn await_that(what: &str, seconds: u64, clock: &Clock, holds: impl Fn(&Clock) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !holds(clock) {
        assert!(
            Instant::now() < deadline,
            "not within {seconds} s: {what}; instead: {:?}, {:#?}",
            clock.now(),
            clock.sources()
        );
        sleep(Duration::from_millis(20));
    }
}

/// The only source.
pub(crate) fn source(clock: &Clock) -> SourceInfo {
    clock.sources().pop().expect("there is a source")
}
