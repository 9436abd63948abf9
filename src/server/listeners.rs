//! The sockets of a server, bound before anything else: where only root may, and before root is given up.

use std::net::{SocketAddr, UdpSocket};

use super::config::ServerConfig;
use super::security::Doors;
use crate::error::Error;
use crate::sys::listen::{self, Kinds};

/// Bound sockets, each thread's its own.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(super) addresses: Vec<SocketAddr>,
    /// By thread, then by address.
    pub(super) seats: Vec<Vec<UdpSocket>>,
    /// Where keys are exchanged.
    pub(super) doors: Option<Doors>,
}

impl Listeners {
    /// Binds what `config` names, for as many threads as it says.
    pub(crate) fn bind(config: &ServerConfig) -> Result<Self, Error> {
        if config.listen.is_empty() {
            return Err(Error::argument("config", "names no address to listen on"));
        }
        Self { addresses: Vec::new(), seats: Vec::new(), doors: None }.with_ntp(config)?.with_doors(config)
    }

    /// Takes over sockets that somebody else has bound, descriptors 3 and following, `count` of them; beside them what
    /// `config` names and they do not serve. Each is one thread's: it cannot be shared out.
    #[cfg(feature = "cli")]
    pub(crate) fn inherit(count: usize, config: &ServerConfig) -> Result<Self, Error> {
        let mut listeners = Self { addresses: Vec::new(), seats: Vec::new(), doors: None };
        for index in 0..count {
            let failed = |error| Error::io(format!("taking over descriptor {}", 3 + index), error);
            let (socket, address) = listen::inherited(3 + index as i32).map_err(failed)?;
            listeners.addresses.push(address);
            let threads = config.thread_count();
            match listeners.seats.len() {
                seats if seats < threads => listeners.seats.push(vec![socket]),
                seats => {
                    if let Some(seat) = listeners.seats.get_mut(index % seats) {
                        seat.push(socket);
                    }
                }
            }
        }
        listeners.with_ntp(config)?.with_doors(config)
    }

    /// Binds what NTS takes beside, and reads the files that it needs.
    fn with_doors(mut self, config: &ServerConfig) -> Result<Self, Error> {
        self.doors = config.security.as_ref().map(|wish| Doors::bind(wish, &self.addresses)).transpose()?;
        Ok(self)
    }

    /// Binds what `config` names, but what a socket that is here already serves.
    fn with_ntp(mut self, config: &ServerConfig) -> Result<Self, Error> {
        let threads = config.thread_count();
        let here = self.addresses.clone();
        let is_here = |address: &SocketAddr| here.iter().any(|one| serves(*one, *address));
        for address in config.listen.iter().copied().filter(|address| !is_here(address)) {
            let failed = |error| Error::io(format!("listening on {address}"), error);
            let mut others = config.listen.iter().chain(&here);
            let has_ipv4 = others.any(|other| other.is_ipv4() && other.port() == address.port());
            let kinds = if has_ipv4 && address.port() != 0 { Kinds::OnlyIpv6 } else { Kinds::AsUsual };
            let sockets = listen::listening(address, threads, kinds).map_err(failed)?;
            self.addresses.extend(sockets.first().map(UdpSocket::local_addr).transpose().map_err(failed)?);
            self.seats.resize_with(threads.max(self.seats.len()), Vec::new);
            self.seats.iter_mut().zip(sockets).for_each(|(seat, socket)| seat.push(socket));
        }
        Ok(self)
    }
}

/// Whether a socket that is bound to `bound` gets what is sent to `address`.
fn serves(bound: SocketAddr, address: SocketAddr) -> bool {
    let is_everywhere = bound.ip().is_unspecified() && bound.is_ipv4() == address.is_ipv4();
    bound == address || is_everywhere && bound.port() == address.port()
}
