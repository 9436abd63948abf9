//! Answers NTP clients from the published clock.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::Error;

/// Where a server listens and whose time it serves.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {}

impl ServerConfig {
    /// Listens nowhere yet; serves the clock it is started with.
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds an address to listen on: `address`, `address:port`, `[v6]:port`; port 0 picks a free one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it is no literal address.
    pub fn add_listen(&mut self, _address: &str) -> Result<&mut Self, Error> {
        todo!()
    }
    /// Serves the *system clock* as `stratum` with this root dispersion, without any upstream: for islands and
    /// demonstrations. The dispersion is the caller's claim.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] unless 1 ≤ `stratum` ≤ 15 and the dispersion is below 16 s.
    pub fn set_local(&mut self, _stratum: i32, _root_dispersion: Duration) -> Result<&mut Self, Error> {
        todo!()
    }
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {}

impl Server {
    /// Starts to serve `clock`'s time (`None`: the process-wide clock's).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `config` names no address, [`Error::Io`] if one cannot be bound.
    pub fn start(_clock: Option<&Clock>, _config: &ServerConfig) -> Result<Self, Error> {
        todo!()
    }
    /// The addresses served, with the ports that were picked.
    pub fn addresses(&self) -> &[SocketAddr] {
        todo!()
    }
    /// Stops answering; the threads have ended when this returns.
    pub fn stop(&mut self) {
        todo!()
    }
}
