//! Sockets of the exchanges under way: a fresh connected one for each, stamps brought to the counter.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use crate::synchronizer::{Request, SourceId};
use crate::sys::counter::{self, Bracket};
use crate::sys::socket::{self, DATAGRAM_MAX};
use crate::units::Counter;

/// One exchange under way.
#[derive(Debug)]
struct Open {
    source: SourceId,
    socket: UdpSocket,
    /// The system clock against the counter when the request left.
    sent: Bracket,
}

/// All exchanges under way, at most one a source.
#[derive(Debug)]
pub(crate) struct Exchanger {
    open: Vec<Open>,
    /// Keeps the kernel's timestamping switched on between exchanges.
    _stamping: Option<UdpSocket>,
}

/// What a socket had to say.
pub(crate) enum Arrival {
    Datagram {
        length: usize,
        t4: Counter,
    },
    /// The network refused the request.
    Error(io::Error),
    Nothing,
}

impl Exchanger {
    pub(crate) fn new() -> Self {
        Self { open: Vec::new(), _stamping: socket::stamping_holder() }
    }

    /// Sends `request` from a port nobody can guess; answers with a counter value not after it left, and with the address it
    /// left from.
    pub(crate) fn send(&mut self, request: &Request) -> io::Result<(Counter, Option<IpAddr>)> {
        self.close(request.source);
        let socket = socket::connected(request.address)?;
        let sent = Bracket::read();
        let t1 = counter::now();
        socket.send(&request.datagram)?;
        let local = socket.local_addr().ok().map(|address| address.ip());
        self.open.push(Open { source: request.source, socket, sent });
        Ok((t1, local))
    }

    /// Ends the exchange of `source`, if one is under way.
    pub(crate) fn close(&mut self, source: SourceId) {
        self.open.retain(|open| open.source != source);
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.open.iter().map(|open| open.socket.as_raw_fd())
    }

    /// The sources whose sockets are marked in `ready`, which is in the order of [`Self::descriptors`].
    pub(crate) fn ready_sources(&self, ready: &[bool]) -> Vec<SourceId> {
        self.open.iter().zip(ready).filter(|(_, ready)| **ready).map(|(open, _)| open.source).collect()
    }

    /// Takes what has arrived for `source`; call until `Nothing`, at most [`Self::TURN`] times in a row.
    pub(crate) fn receive(&self, source: SourceId, buffer: &mut [u8; DATAGRAM_MAX]) -> Arrival {
        let Some(open) = self.open.iter().find(|open| open.source == source) else { return Arrival::Nothing };
        match socket::receive(&open.socket, buffer) {
            Ok(received) => {
                let arrived = Bracket::read();
                let stamped = received.stamp.and_then(|stamp| arrived.counter_of(stamp, &open.sent));
                Arrival::Datagram { length: received.length, t4: stamped.unwrap_or(arrived.after) }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Arrival::Nothing
            }
            Err(error) => Arrival::Error(error),
        }
    }

    /// Datagrams taken from one socket at a time, so that a flood at one cannot starve the rest.
    pub(crate) const TURN: usize = 32;
}
