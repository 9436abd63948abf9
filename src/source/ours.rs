//! What servers of our own say of themselves, and by what others name us, so that we follow neither ourselves nor who
//! follows us.

use std::net::IpAddr;

use crate::exchange::{Reference, ServerState};
use crate::packet::reference_id;

/// A server may be a few exchanges behind what it should say.
const KEPT: usize = 4;

/// What was said lately, the newest first; and the reference ids of who follows us.
#[derive(Debug, Default)]
pub(crate) struct Ours {
    said: [Option<Reference>; KEPT],
    names: Vec<u32>,
}

impl Ours {
    /// A server of ours says this from now on.
    pub(crate) fn add(&mut self, reference: Reference) {
        let [newest, ..] = &self.said;
        if *newest != Some(reference) {
            self.said.rotate_right(1);
            self.said[0] = Some(reference);
        }
    }

    /// Takes the names that we have for `server`, which is asked from the address `local`; there are servers of ours at
    /// `served`.
    ///
    /// Each host has a loopback of its own: an address there means us only to who is there, too. And where several
    /// servers stand at one address of it, each at a port of its own, that address may mean any of them. Likewise a
    /// private address means us only to who is in a private network; anybody else may follow another that has it.
    pub(super) fn take_names(&mut self, server: IpAddr, local: Option<IpAddr>, served: &[IpAddr]) {
        let local = local.filter(|local| !local.is_loopback());
        let means_us = |own: &IpAddr| match own.is_loopback() {
            true => server.is_loopback() && server != *own,
            false => is_private(server) || !is_private(*own),
        };
        self.names.clear();
        self.names.extend(local.into_iter().chain(served.iter().copied().filter(means_us)).map(reference_id));
    }

    /// Whether to follow `server` would be to follow ourselves: it is one of ours, or follows one.
    pub(super) fn are_led_by(&self, server: &ServerState) -> bool {
        // Above stratum 1 the reference id is the address of the server's own server (RFC 5905, section 7.3).
        server.stratum > 1 && self.names.contains(&server.reference_id) || self.said.contains(&Some(server.reference()))
    }
}

/// Whether others may have the same address, each in a network of its own.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether who is asked at `server` from `local`, and follows `upstream`, is found to follow us, who serve at `served`.
    fn follows_us(server: &str, local: &str, served: &[&str], upstream: &str, stratum: u8) -> bool {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let served: Vec<_> = served.iter().map(|text| address(text)).collect();
        let mut ours = Ours::default();
        ours.take_names(address(server), Some(address(local)), &served);
        ours.are_led_by(&ServerState {
            stratum,
            reference_id: reference_id(address(upstream)),
            ..ServerState::primary()
        })
    }

    #[test]
    fn who_follows_an_address_of_ours_follows_us_and_a_primary_server_nobody() {
        for (served, upstream, expected) in [
            (&[][..], "192.0.2.1", true),
            (&[], "192.0.2.2", false),
            (&["192.0.2.2", "2001:db8::7"], "192.0.2.1", true),
            (&["192.0.2.2", "2001:db8::7"], "192.0.2.2", true),
            (&["192.0.2.2", "2001:db8::7"], "2001:db8::7", true),
            (&["192.0.2.2", "2001:db8::7"], "2001:db8::8", false),
        ] {
            assert_eq!(follows_us("192.0.2.9", "192.0.2.1", served, upstream, 2), expected, "{served:?} {upstream}");
            assert!(!follows_us("192.0.2.9", "192.0.2.1", served, upstream, 1));
        }
    }

    #[test]
    fn a_private_address_means_us_to_who_is_in_a_private_network_and_to_nobody_else() {
        for (server, expected) in [("203.0.113.9", false), ("192.168.1.9", true), ("fd00::9", true)] {
            for own in ["192.168.1.1", "172.17.0.1", "fd00::1", "fe80::1"] {
                assert_eq!(follows_us(server, "198.51.100.1", &[own], own, 2), expected, "{server} {own}");
            }
        }
    }

    #[test]
    fn a_loopback_address_means_us_to_who_is_at_another_and_only_while_we_serve_there() {
        for (server, local, served, expected) in [
            ("127.0.0.2", "127.0.0.1", &["127.0.0.1"][..], true),
            ("127.0.0.2", "127.0.0.1", &[], false),
            // Perhaps another port of the very address that was asked.
            ("127.0.0.1", "127.0.0.1", &["127.0.0.1"], false),
            // Its own loopback.
            ("192.0.2.9", "192.0.2.1", &["127.0.0.1", "192.0.2.1"], false),
        ] {
            assert_eq!(follows_us(server, local, served, "127.0.0.1", 3), expected, "{server} {served:?}");
        }
    }
}
