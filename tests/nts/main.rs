//! Network Time Security: with real servers, Debian's `chronyd` of today and of tomorrow; with one in between that
//! loses, breaks and forges what passes; and with servers that mean no good.
//!
//! Numbers in comments are those of the hostile cases in the project's notes: 23 replies, 24 NAKs, 25 key exchanges,
//! 26 negotiated servers, 27 certificates.

mod authority;
mod certificates;
mod chrony;
mod client;
mod exchangers;
mod languages;
mod relay;
mod serving;
mod together;
mod visitors;

#[path = "../common/library.rs"]
#[expect(dead_code, reason = "one compiler for each language will do here")]
mod library;
#[path = "../common/memory.rs"]
mod memory;
#[path = "../common/namespace.rs"]
mod namespace;
#[path = "../common/peers.rs"]
#[expect(dead_code, reason = "only servers are needed here")]
mod peers;
#[path = "../common/programs.rs"]
mod programs;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ntpclock::{Clock, Config, SourceInfo};

use authority::Identity;
use peers::{Chronyd, Release, free_address};

/// A `chronyd` with NTS: NTP on one port, key exchange on another.
pub(crate) struct Secure {
    daemon: Chronyd,
    exchanger: SocketAddr,
    release: Release,
    lines: String,
    /// Its files are wanted as long as it may be begun anew.
    identity: Identity,
}

impl Secure {
    /// On loopback, with further lines of configuration.
    pub(crate) fn start(release: Release, identity: Identity, further: &str) -> Self {
        Self::start_at(release, identity, further, 0)
    }

    fn start_at(release: Release, identity: Identity, further: &str, seconds: i64) -> Self {
        let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
        let (server, exchanger) = (free_address(localhost), free_address(localhost));
        let lines = format!(
            "ntsserverkey {}\nntsservercert {}\nntsport {}\nntsprocesses 0\n{further}\n",
            identity.key().display(),
            identity.certificate().display(),
            exchanger.port()
        );
        Self { daemon: Chronyd::start_with(release, server, seconds, &lines), exchanger, release, lines, identity }
    }

    /// The same, so many seconds ahead of this machine's clock.
    pub(crate) fn shifted(identity: Identity, seconds: i64) -> Self {
        Self::start_at(Release::Present, identity, "", seconds)
    }

    /// Killed, and begun anew at the same ports: it has forgotten its keys.
    pub(crate) fn restart(self) -> Self {
        let Self { daemon, exchanger, release, lines, identity } = self;
        Self { daemon: Chronyd::start_with(release, daemon.kill(), 0, &lines), exchanger, release, lines, identity }
    }

    /// As it stands in a server list.
    pub(crate) fn entry(&self) -> String {
        format!("{} nts", self.exchanger)
    }

    pub(crate) fn server(&self) -> SocketAddr {
        self.daemon.address()
    }
}

/// Trusts only what is in `authority`.
pub(crate) fn trusting(mut config: Config, authority: &Path) -> Config {
    config.add_trusted_certificates(authority).expect("the file has a name").set_platform_trust(false);
    config
}

/// Asks `servers` every second, trusting only what is in `authority`.
pub(crate) fn secure_clock(servers: &str, authority: &Path) -> Clock {
    let mut config = Config::with_servers(servers).expect("the test's server list follows the grammar");
    config.set_poll_exponents(0, 0).expect("one second can be asked for");
    Clock::start(trusting(config, authority)).expect("a clock can be started")
}

/// Tests that mostly wait.
pub(crate) const SLOW: [together::Story; 14] = [
    ("either_cipher", chrony::either_cipher),
    ("restart", chrony::restart),
    ("rotation", chrony::rotation),
    ("loss", chrony::loss),
    ("tampering", chrony::tampering),
    ("forged_naks", chrony::forged_naks),
    ("host_in_1970", certificates::host_in_1970),
    ("host_in_2040", certificates::host_in_2040),
    ("no_end", exchangers::no_end),
    ("drip", exchangers::drip),
    ("silence", exchangers::silence),
    ("idle_visitors", visitors::idle_visitors),
    ("few_descriptors", visitors::few_descriptors),
    ("lost_keys", serving::lost_keys),
];

/// Waits until the clock is synchronised.
pub(crate) fn synchronize(clock: &Clock) {
    clock.wait(None, Some(Duration::from_secs(20))).expect("the servers answer, so the clock synchronises");
}

/// Looks until `holds`; `what` says what has not come about in `seconds`.
pub(crate) fn await_that(what: &str, seconds: u64, clock: &Clock, holds: impl Fn(&SourceInfo) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !holds(&source(clock)) {
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}; {:?}, {:#?}", clock.now(), source(clock));
        sleep(Duration::from_millis(20));
    }
}

/// The only source.
pub(crate) fn source(clock: &Clock) -> SourceInfo {
    clock.sources().pop().expect("there is a source")
}
