//! Network Time Security (RFC 8915): keys, cookies, and requests and replies that prove who they are from.
//!
//! A *key exchange* over TLS gives both sides two keys and the client some cookies. Each request carries one cookie, in
//! which the server finds the keys again that it has not kept; each reply brings a new one. What is sent is
//!
//! ```text
//! header · unique identifier · cookie · placeholders (as many further cookies are wanted) · authenticator
//! ```
//!
//! and a reply must repeat the identifier and be authenticated with the session's key, header and all, with nothing
//! behind. Of anything else nothing is believed, save that a NAK makes us exchange keys anew at a time of our own
//! choosing. A cookie is sent once: who sees it twice could tell that it is us.

#[cfg(feature = "_nts")]
pub(crate) mod aead;
#[cfg(feature = "_nts")]
pub(crate) mod cookie;
pub(crate) mod field;
#[cfg(feature = "_nts")]
pub(crate) mod record;
#[cfg(feature = "_nts")]
pub(crate) mod request;
pub(crate) mod session;
#[cfg(feature = "_nts")]
mod siv;
pub(crate) mod trust;

/// Where there are no ciphers there are no keys, and so no sessions: the compiler leaves out all that would use them.
#[cfg(not(feature = "_nts"))]
pub(crate) mod aead {
    pub(crate) const NONCE_MAX: usize = 16;

    #[derive(Debug)]
    pub(crate) enum Keys {}

    impl Keys {
        pub(crate) fn algorithm(&self) -> super::Algorithm {
            match *self {}
        }

        pub(crate) fn seal<'a>(&self, _: &'a [u8; NONCE_MAX], _: &[u8], _: &[u8]) -> Option<(&'a [u8], Vec<u8>)> {
            match *self {}
        }

        pub(crate) fn open(&self, _: &[u8], _: &[u8], _: &[u8]) -> Option<Vec<u8>> {
            match *self {}
        }
    }
}

use std::net::IpAddr;

/// The TCP port of key exchanges (RFC 8915, section 7.2).
pub(crate) const KEY_EXCHANGE_PORT: u16 = 4460;

/// Cookies kept at most (RFC 8915, section 4.1.6, asks for eight).
pub(crate) const COOKIES_MAX: usize = 8;

/// The longest cookie that is kept: a server's state of two keys takes 100 to 170 bytes.
const COOKIE_LENGTH_MAX: usize = 256;

/// The shortest: a field of RFC 7822 has 16 bytes at least.
const COOKIE_LENGTH_MIN: usize = 12;

/// The longest key of a cipher.
#[cfg(feature = "_nts")]
const KEY_MAX: usize = 64;

/// Ciphers by their numbers in the registry of AEAD algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    AesSivCmac256 = 15,
    AesSivCmac512 = 17,
    Aes128GcmSiv = 30,
}

impl Algorithm {
    pub(crate) fn number(self) -> u16 {
        self as u16
    }
}

#[cfg(feature = "_nts")]
impl Algorithm {
    /// Best first: the shortest cookies and packets, then what every server has (RFC 8915, section 5.1).
    pub(crate) const OFFERED: [Self; 3] = [Self::Aes128GcmSiv, Self::AesSivCmac256, Self::AesSivCmac512];

    pub(crate) fn from_number(number: u16) -> Option<Self> {
        Self::OFFERED.into_iter().find(|algorithm| algorithm.number() == number)
    }

    pub(crate) fn key_length(self) -> usize {
        match self {
            Self::Aes128GcmSiv => 16,
            Self::AesSivCmac256 => 32,
            Self::AesSivCmac512 => 64,
        }
    }
}

/// A server's state, of which only the server knows anything.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Cookie(Vec<u8>);

impl Cookie {
    /// `None` if it is too short or too long, or would be padded on its way.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        let fits = (COOKIE_LENGTH_MIN..=COOKIE_LENGTH_MAX).contains(&bytes.len()) && bytes.len().is_multiple_of(4);
        fits.then(|| Self(bytes.to_vec()))
    }
}

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cookie({} bytes)", self.0.len())
    }
}

/// Whether an NTP server may be at `address`, if the key exchange that names it was with `exchanger`: it must be one
/// host's, and only a server on this very host may speak of this host.
pub(crate) fn may_serve(address: IpAddr, exchanger: IpAddr) -> bool {
    let one_hosts = match address.to_canonical() {
        // 240.0.0.0/4 is nobody's; its last address is everybody's.
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && v4.octets()[0] < 240 && v4.octets()[0] != 0,
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    };
    one_hosts && (!address.to_canonical().is_loopback() || exchanger.to_canonical().is_loopback())
}

/// What one request needs of chance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance {
    pub(crate) unique: [u8; field::UNIQUE_LEN],
    pub(crate) nonce: [u8; aead::NONCE_MAX],
}

impl Chance {
    /// From random words.
    pub(crate) fn new(words: [u64; 6]) -> Self {
        let mut bytes = words.into_iter().flat_map(u64::to_ne_bytes);
        let mut next = |_| bytes.next().unwrap_or(0);
        Self { unique: std::array::from_fn(&mut next), nonce: std::array::from_fn(&mut next) }
    }
}

const _: () = assert!(field::UNIQUE_LEN + aead::NONCE_MAX == 6 * size_of::<u64>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negotiated_server_is_one_host_and_not_this_one() {
        let may = |address: &str, exchanger: &str| may_serve(address.parse().unwrap(), exchanger.parse().unwrap());
        for address in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "fe80::1", "::ffff:192.0.2.1"] {
            assert!(may(address, "198.51.100.1"), "{address}");
        }
        let everybody =
            ["0.0.0.0", "0.1.2.3", "224.0.1.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "ff02::101"];
        for address in everybody.into_iter().chain(["::ffff:224.0.0.1", "::ffff:0.0.0.0", "::ffff:255.255.255.255"]) {
            assert!(!may(address, "198.51.100.1") && !may(address, "127.0.0.1"), "{address}");
        }
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(!may(address, "198.51.100.1") && !may(address, "2001:db8::1"), "{address}");
            assert!(may(address, "127.0.0.2") && may(address, "::1"), "{address}");
        }
    }
}
