//! `chronyd` as the server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::authority::{Authority, Identity};
use crate::peers::{Chronyd, free_address};
use crate::{secure_clock, source};

/// A `chronyd` with NTS at one address: NTP on one port, key exchange on another.
struct Secure {
    _daemon: Chronyd,
    exchanger: SocketAddr,
}

impl Secure {
    fn start(address: SocketAddr, identity: &Identity, further: &str) -> Self {
        let exchanger = free_address(address.ip());
        let lines = format!(
            "ntsserverkey {}\nntsservercert {}\nntsport {}\nntsprocesses 0\n{further}\n",
            identity.key().display(),
            identity.certificate().display(),
            exchanger.port()
        );
        Self { _daemon: Chronyd::start_with(address, 0, &lines), exchanger }
    }

    fn entry(&self) -> String {
        format!("{} nts", self.exchanger)
    }
}

fn localhost() -> SocketAddr {
    free_address(IpAddr::from(Ipv4Addr::LOCALHOST))
}

#[test]
fn the_time_of_a_real_server_is_authenticated() {
    let authority = Authority::new();
    let server = Secure::start(localhost(), &authority.identity("127.0.0.1"), "");
    let clock = secure_clock(&server.entry(), &authority);
    clock.wait(None, Some(Duration::from_secs(20))).expect("the server answers");
    println!("{:#?} {:?}", source(&clock), clock.now());
    assert!(clock.now().flags.contains(ntpclock::Flags::AUTHENTICATED));
}
