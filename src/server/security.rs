//! Network Time Security for a server's clients (RFC 8915): keys and cookies.
//!
//! `exchange` is the thread that hands out keys over TLS; `secrets` are the keys that cookies are sealed with, and
//! where they come from. The threads that answer find all that they need of a session in its cookie: between the two
//! there is a [`Vault`] and nothing else.

mod exchange;
mod secrets;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use super::respond::Silence;
use super::statistics::Count;
use crate::error::Error;
use crate::nts::KEY_EXCHANGE_PORT;
use crate::nts::aead::NONCE_MAX;
use crate::nts::cookie::Sealer;
use crate::nts::request::{self, Answer, Draft};
use crate::packet::HEADER_LEN;
use crate::sys;
use crate::sys::batch::REQUEST_MAX;
use crate::sys::listen::{self, Kinds};
pub(super) use exchange::{Desk, Told};
#[cfg(feature = "cli")]
pub(crate) use secrets::renew;
use secrets::{Source, Vault};

/// What a server is told of it before it starts.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) certificate: PathBuf,
    pub(super) private_key: PathBuf,
    pub(super) port: u16,
    pub(super) cookie_keys: Option<PathBuf>,
}

impl Wish {
    pub(super) fn new(certificate: PathBuf, private_key: PathBuf) -> Option<Self> {
        Some(Self { certificate, private_key, port: KEY_EXCHANGE_PORT, cookie_keys: None })
    }

    /// Reads the certificates and their key, and says what is wrong with them; what clients will have against them, in
    /// words, where they serve.
    #[cfg(feature = "cli")]
    pub(super) fn check(&self) -> Result<Option<String>, Error> {
        exchange::configuration(self)?;
        exchange::caution(self, sys::counter::system_time())
    }

    /// The same of the keys for cookies.
    #[cfg(feature = "cli")]
    pub(super) fn check_cookie_keys(&self) -> Result<(), Error> {
        self.cookie_keys.as_deref().map_or(Ok(()), Source::check)
    }
}

/// All that only root may do, done: sockets bound, certificates and their key read.
#[derive(Debug)]
pub(super) struct Doors {
    /// With the port of the NTP server, if that is not the usual one.
    listeners: Vec<(TcpListener, Option<u16>)>,
    addresses: Vec<SocketAddr>,
    tls: Arc<rustls::ServerConfig>,
    cookie_keys: Option<PathBuf>,
}

/// The same with the keys for cookies: whoever reads them again when they change has to have read them before, so that
/// it is no longer root who does.
#[derive(Debug)]
pub(super) struct OpenDoors {
    listeners: Vec<(TcpListener, Option<u16>)>,
    pub(super) addresses: Vec<SocketAddr>,
    tls: Arc<rustls::ServerConfig>,
    source: Source,
    vault: Arc<Vault>,
}

impl Doors {
    /// Beside NTP servers at `served`.
    pub(super) fn bind(wish: &Wish, served: &[SocketAddr]) -> Result<Self, Error> {
        let tls = exchange::configuration(wish)?;
        let kinds = if served.iter().any(SocketAddr::is_ipv4) { Kinds::OnlyIpv6 } else { Kinds::AsUsual };
        let (mut listeners, mut addresses) = (Vec::new(), Vec::<SocketAddr>::new());
        for (index, one) in served.iter().enumerate() {
            // The interface of a link-local address is part of it.
            let exchange = |served: &SocketAddr| {
                let mut address = *served;
                address.set_port(wish.port);
                address
            };
            let address = exchange(one);
            // Two servers at one address share its key exchange.
            if served.iter().take(index).any(|other| exchange(other) == address) {
                continue;
            }
            let failed = |error| Error::io(format!("listening for key exchanges on {address}"), error);
            let listener = listen::awaiting(address, kinds).map_err(failed)?;
            addresses.push(listener.local_addr().map_err(failed)?);
            listeners.push((listener, (one.port() != crate::config::NTP_PORT).then_some(one.port())));
        }
        Ok(Self { listeners, addresses, tls, cookie_keys: wish.cookie_keys.clone() })
    }

    pub(super) fn open(self) -> Result<OpenDoors, Error> {
        let Self { listeners, addresses, tls, cookie_keys } = self;
        let (source, ring) = Source::open(cookie_keys.as_deref())?;
        Ok(OpenDoors { listeners, addresses, tls, source, vault: Arc::new(Vault::new(ring)) })
    }
}

impl OpenDoors {
    /// For a thread that answers.
    pub(super) fn guard(&self) -> Guard {
        Guard::new(&self.vault)
    }
}

/// Random nonces, of which the system is asked for many at once: what an outsider knows of one tells nothing of the
/// next.
#[derive(Debug)]
pub(super) struct Nonces {
    drawn: Vec<[u8; NONCE_MAX]>,
}

/// Nonces that are drawn at once.
const NONCES: usize = 64;

impl Nonces {
    fn next(&mut self) -> [u8; NONCE_MAX] {
        if self.drawn.is_empty() {
            // Without the system's there is no secure answer; but ciphers that withstand nonces that come twice.
            let words = sys::random::<{ 2 * NONCES }>().unwrap_or([0; 2 * NONCES]);
            let (pairs, _) = words.as_chunks::<2>();
            self.drawn.extend(pairs.iter().map(|[one, other]| {
                let mut nonce = [0; NONCE_MAX];
                let words = [one.to_ne_bytes(), other.to_ne_bytes()];
                nonce.iter_mut().zip(words.as_flattened()).for_each(|(byte, random)| *byte = *random);
                nonce
            }));
        }
        self.drawn.pop().unwrap_or_default()
    }
}

/// One thread's means to open and seal cookies.
#[derive(Debug)]
pub(super) struct Guard {
    vault: Arc<Vault>,
    generation: u32,
    sealer: Sealer,
    nonces: Nonces,
    /// Where replies are written: their requests are still to be read then.
    space: Box<[u8; REQUEST_MAX]>,
}

/// What is to be sent behind a header, which stands where the request stood.
#[derive(Debug)]
pub(super) enum Secured {
    Proven(Draft),
    /// To a request that is not proven to be anybody's, so many bytes.
    Unproven(usize),
}

impl Guard {
    /// One whose keys everybody knows.
    #[cfg(any(test, fuzzing))]
    pub(super) fn known() -> Self {
        let secret = crate::nts::cookie::Secret { id: 7, key: [7; 32].into() };
        Self::new(&Arc::new(Vault::new(crate::nts::cookie::KeyRing::own(secret))))
    }

    fn new(vault: &Arc<Vault>) -> Self {
        let (generation, ring) = vault.ring();
        let nonces = Nonces { drawn: Vec::with_capacity(NONCES) };
        Self {
            vault: Arc::clone(vault),
            generation,
            sealer: Sealer::new(&ring),
            nonces,
            space: Box::new([0; REQUEST_MAX]),
        }
    }

    /// Takes over keys that have changed; to be called now and then.
    pub(super) fn renew(&mut self) {
        if self.vault.generation() != self.generation {
            let (generation, ring) = self.vault.ring();
            (self.generation, self.sealer) = (generation, Sealer::new(&ring));
        }
    }

    /// What is to be said to `datagram`, and written over it but for the header; `None` if there is nothing of NTS in it.
    pub(super) fn judge(&mut self, datagram: &mut [u8]) -> Result<Option<Secured>, Silence> {
        let Some(request) = request::read(datagram).map_err(|request::Malformed| Silence::Insecure)? else {
            return Ok(None);
        };
        let Self { sealer, nonces, space, .. } = self;
        let secured = match request.answer(sealer, || nonces.next(), &mut **space) {
            Answer::Proven(draft) => Secured::Proven(draft),
            Answer::Nak => Secured::Unproven(request.nak(&mut **space).ok_or(Silence::Insecure)?),
            Answer::TooShort => return Err(Silence::Insecure),
        };
        // Neither is longer than the request.
        let length = secured.len();
        let (to, from) = datagram.get_mut(..length).zip(space.get(..length)).ok_or(Silence::Insecure)?;
        to.copy_from_slice(from);
        Ok(Some(secured))
    }
}

impl Secured {
    /// How long the reply is.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Proven(draft) => draft.len(),
            Self::Unproven(length) => *length,
        }
    }

    /// Makes what stands in `place` the reply with this header, or to somebody unproven with `nak`: what it counts as.
    pub(super) fn finish(&self, header: &[u8; HEADER_LEN], nak: &[u8; HEADER_LEN], place: &mut [u8]) -> Option<Count> {
        match self {
            Self::Proven(draft) => {
                draft.finish(header, place)?;
                Some(Count::SecureReplies)
            }
            Self::Unproven(_) => {
                *place.first_chunk_mut()? = *nak;
                Some(Count::Naks)
            }
        }
    }
}

/// Beside which address a client's place is: of IPv6 its network of 64 bits.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}
