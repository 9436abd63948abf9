//! Sockets of the exchanges under way: a fresh connected one for each, stamps brought to the counter.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};

use crate::synchronizer::{Request, SourceId};
use crate::sys::counter::{self, Bracket};
use crate::sys::socket::{self, DATAGRAM_MAX};
use crate::units::Counter;

/// Datagrams taken from one socket at a time, so that a flood at one cannot starve the rest.
const TURN: usize = 32;

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
        by_kernel: bool,
    },
    /// The network refused the request.
    Error(io::Error),
    Nothing,
}

impl Exchanger {
    pub(crate) fn new() -> Self {
        Self { open: Vec::new(), _stamping: socket::stamping_holder() }
    }

    /// Sends `request` from a port nobody can guess; answers with a counter value not after it left.
    pub(crate) fn send(&mut self, request: &Request) -> io::Result<Counter> {
        self.close(request.source);
        let socket = socket::connected(request.address)?;
        let sent = Bracket::read();
        let t1 = counter::now();
        socket.send(&request.datagram)?;
        self.open.push(Open { source: request.source, socket, sent });
        Ok(t1)
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
                let t4 = stamped.unwrap_or(arrived.after);
                Arrival::Datagram { length: received.length, t4, by_kernel: stamped.is_some() }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Arrival::Nothing
            }
            Err(error) => Arrival::Error(error),
        }
    }

    pub(crate) const TURN: usize = TURN;
}
