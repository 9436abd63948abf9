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
pub(crate) mod record;
pub(crate) mod session;
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

/// The TCP port of key exchanges (RFC 8915, section 7.2).
pub(crate) const KEY_EXCHANGE_PORT: u16 = 4460;

/// Cookies kept at most (RFC 8915, section 4.1.6, asks for eight).
pub(crate) const COOKIES_MAX: usize = 8;

/// The longest cookie that is kept: a server's state of two keys takes 100 to 170 bytes.
const COOKIE_LENGTH_MAX: usize = 256;

/// The shortest: a field of RFC 7822 has 16 bytes at least.
const COOKIE_LENGTH_MIN: usize = 12;

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
        let fits = (COOKIE_LENGTH_MIN..=COOKIE_LENGTH_MAX).contains(&bytes.len()) && bytes.len() % 4 == 0;
        fits.then(|| Self(bytes.to_vec()))
    }
}

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cookie({} bytes)", self.0.len())
    }
}

/// What one request needs of chance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance {
    pub(crate) unique: [u8; session::UNIQUE_LEN],
    pub(crate) nonce: [u8; aead::NONCE_MAX],
}
