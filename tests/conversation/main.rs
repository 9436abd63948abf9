//! Conversations with the real world: Debian's `chronyd` serves us, is served by us, lies, dies and comes back.
//!
//! "Right" always means: compared with the clock of the server, which is this machine's system clock plus a
//! known shift. Nothing here reads the network beyond loopback, and no clock of the machine is ever set.

mod clients;
mod faults;
mod keys;
mod live;
mod names;
mod network;
mod serving;
mod tracking;
mod tracking_log;

#[path = "../common/bracket.rs"]
mod bracket;
#[path = "../common/library.rs"]
#[expect(dead_code, reason = "one compiler for each language will do here")]
mod library;
#[path = "../common/namespace.rs"]
mod namespace;
#[path = "../common/peers.rs"]
#[expect(dead_code, reason = "a later Debian's is for NTS")]
mod peers;
#[path = "../common/programs.rs"]
mod programs;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ntpclock::{Clock, Config};

/// How wrong 99 of 100 readings may be while the clock is synchronised over loopback.
pub(crate) const LIMIT_NS: i64 = 200_000;

/// A clock that asks `servers` every second, so that what takes minutes in the field takes seconds here.
pub(crate) fn fast_clock(servers: &str) -> Clock {
    let mut config = Config::with_servers(servers).expect("the test's server list follows the grammar");
    config.set_poll_exponents(0, 0).expect("one second can be asked for");
    Clock::start(config).expect("a clock can be started")
}

/// Waits until the clock is synchronised.
pub(crate) fn synchronize(clock: &Clock) {
    clock.wait(None, Some(Duration::from_secs(20))).expect("the servers answer, so the clock synchronises");
}

/// Looks until `holds`; `what` says what has not come about in `seconds`, `state` what is there instead.
pub(crate) fn await_that(what: &str, seconds: u64, holds: impl Fn() -> bool, state: impl Fn() -> String) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}; instead: {}", state());
        sleep(Duration::from_millis(20));
    }
}

/// The source table for a message.
pub(crate) fn table(clock: &Clock) -> String {
    let sources = clock.sources().into_iter().map(|source| {
        format!(
            "{} {:?} {} {} ns, fault {:?}",
            source.name, source.address, source.selection, source.offset_ns, source.fault
        )
    });
    format!("{}\n  {}", clock.now().state, sources.collect::<Vec<_>>().join("\n  "))
}

static MACHINE: RwLock<()> = RwLock::new(());

/// Held by a test that measures accuracy: nothing else of this program burns the processors meanwhile.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    // Poison means that another test failed, which is no reason for this one to.
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Held by every other test.
pub(crate) fn beside_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}
