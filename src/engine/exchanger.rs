//! Sockets of the exchanges under way: a fresh connected one for each, stamps brought to the counter.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use crate::packet::Packet;
use crate::synchronizer::{Request, SourceId};
use crate::sys::counter::{self, Arrived, Bracket};
use crate::sys::socket::{self, DATAGRAM_MAX};
use crate::units::{Counter, NtpTime};

/// One exchange under way.
#[derive(Debug)]
struct Open {
    source: SourceId,
    socket: UdpSocket,
    /// The system clock against the counter just before the request was sent.
    sent: Bracket,
    /// Not after the request left.
    t1: Counter,
    /// The kernel has told when it left.
    has_left: bool,
    /// What answers must have as their origin: the one or, in interleaved mode, the other.
    origins: [u64; 2],
    /// Datagrams that came and were no answer.
    junk: usize,
}

impl Open {
    /// Takes what the kernel tells of the request's departure: much may happen between our look at the clock and that,
    /// after a long sleep above all.
    fn note_departure(&mut self) -> bool {
        let Ok(told) = socket::departure(&self.socket, &mut [0; DATAGRAM_MAX]) else { return false };
        let left = told.stamp.and_then(|stamp| Bracket::read().departure(stamp, &self.sent));
        self.t1 = left.map_or(self.t1, |left| left.max(self.t1));
        self.has_left = true;
        true
    }

    /// The length of the next datagram, and when it came.
    fn receive(&self, buffer: &mut [u8; DATAGRAM_MAX]) -> io::Result<(usize, Arrived)> {
        let received = socket::receive(&self.socket, buffer)?;
        Ok((received.length, Bracket::read().arrival(received.stamp, &self.sent)))
    }
}

/// All exchanges under way, at most one a source.
#[derive(Debug)]
pub(crate) struct Exchanger {
    open: Vec<Open>,
    /// Keeps the kernel's timestamping switched on between exchanges.
    stamping: Option<UdpSocket>,
}

/// What a socket had to say.
pub(crate) enum Arrival {
    /// Not a datagram: word of the request, which left not before this.
    Departure(Counter),
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
        Self { open: Vec::new(), stamping: socket::stamping_holder() }
    }

    /// Sends `request` from a port nobody can guess; answers with a counter value not after it left, and with the
    /// address it left from. Where the network takes its time, [`Arrival::Departure`] tells a later one.
    pub(crate) fn send(&mut self, request: &Request) -> io::Result<(Counter, Option<IpAddr>)> {
        self.close(request.source);
        let socket = socket::connected(request.address)?;
        // Before the clock is read; and of what leads back to this host there is nothing to tell.
        let is_outbound = !request.address.ip().is_loopback();
        let local = if is_outbound { socket.local_addr().ok().map(|address| address.ip()) } else { None };
        let sent = Bracket::read();
        let t1 = counter::now();
        socket.send(&request.datagram)?;
        let origins = Packet::parse(&request.datagram).map_or([0; 2], |Packet { transmit, receive, .. }| {
            [transmit.0, if receive == NtpTime::ZERO { transmit.0 } else { receive.0 }]
        });
        let mut open = Open { source: request.source, socket, sent, t1, has_left: false, origins, junk: 0 };
        open.note_departure();
        let t1 = open.t1;
        self.open.push(open);
        Ok((t1, local))
    }

    /// Gives up the descriptor that is only good to have, for one that is needed; whether there was one.
    pub(crate) fn give_up_stamping(&mut self) -> bool {
        self.stamping.take().is_some()
    }

    /// Ends the exchange of `source`, if one is under way.
    pub(crate) fn close(&mut self, source: SourceId) {
        self.open.retain(|open| open.source != source);
    }

    /// Ends all exchanges that are under way.
    pub(crate) fn close_all(&mut self) {
        self.open.clear();
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.open.iter().map(|open| open.socket.as_raw_fd())
    }

    /// The sources whose sockets are marked in `ready`, which is in the order of [`Self::descriptors`].
    pub(crate) fn ready_sources(&self, ready: &[bool]) -> Vec<SourceId> {
        self.open.iter().zip(ready).filter(|(_, ready)| **ready).map(|(open, _)| open.source).collect()
    }

    /// Takes what has arrived for `source`; call until `Nothing`, at most [`Self::TURN`] times in a row.
    pub(crate) fn receive(&mut self, source: SourceId, buffer: &mut [u8; DATAGRAM_MAX]) -> Arrival {
        let Some(open) = self.open.iter_mut().find(|open| open.source == source) else { return Arrival::Nothing };
        if !open.has_left && open.note_departure() {
            return Arrival::Departure(open.t1);
        }
        match open.receive(buffer) {
            Ok((length, arrived)) => Arrival::Datagram { length, t4: arrived.at },
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                // If we were woken for more of the same word, it shall not wake us again.
                open.note_departure();
                Arrival::Nothing
            }
            Err(error) => Arrival::Error(error),
        }
    }

    /// Notes that what came for `source` was no answer. The first few are looked at and counted; from then on it is a
    /// flood, which the kernel is to keep from us.
    pub(crate) fn note_junk(&mut self, source: SourceId) {
        let Some(open) = self.open.iter_mut().find(|open| open.source == source) else { return };
        open.junk += 1;
        if open.junk == Self::JUNK_MAX {
            // Where the kernel will not, we go on looking at everything, so many at a time.
            let _ = socket::admit_only(&open.socket, open.origins);
        }
    }

    /// Datagrams of one exchange that may be no answer: more are a flood.
    const JUNK_MAX: usize = 64;

    /// Datagrams taken from one socket at a time, so that a flood at one cannot starve the rest.
    pub(crate) const TURN: usize = 32;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Server, ServerConfig};
    use crate::sys::wake;
    use crate::units::NtpTime;
    use std::net::SocketAddr;
    use std::time::Duration;

    fn request(transmit: u64, address: SocketAddr) -> Request {
        let datagram = Packet::request(NtpTime(transmit)).bytes().to_vec();
        Request { source: SourceId(0), address, datagram }
    }

    #[test]
    fn t1_and_t4_are_the_kernels_stamps() {
        const ROUNDS: usize = 30;
        let mut config = ServerConfig::new();
        config.add_listen("127.0.0.1:0").unwrap().set_local(1, Duration::ZERO).unwrap();
        let server = Server::start(None, &config).unwrap();
        let mut exchanger = Exchanger::new();
        let (mut left, mut stamped) = (0, 0);
        for round in 0..ROUNDS {
            let request = request(round as u64 + 1, server.addresses()[0]);
            let before = counter::now();
            let (t1, _) = exchanger.send(&request).unwrap();
            assert!(before < t1 && t1 < counter::now());
            left += usize::from(exchanger.open[0].has_left);
            let descriptors: Vec<_> = exchanger.descriptors().collect();
            assert_eq!(wake::wait(&descriptors, Some(Duration::from_secs(5))).unwrap(), [true]);
            let (length, arrived) = exchanger.open[0].receive(&mut [0; DATAGRAM_MAX]).unwrap();
            assert_eq!(length, request.datagram.len());
            assert!(t1 < arrived.at && arrived.at <= counter::now());
            stamped += usize::from(arrived.stamped_by_kernel);
        }
        // A machine that holds us back between looks at its clocks has us take our own time, here and there.
        assert!(2 * stamped > ROUNDS, "{stamped} of {ROUNDS}");
        // Over loopback a request has left when it was sent.
        assert_eq!(left, ROUNDS);
    }

    #[test]
    fn what_the_network_tells_late_of_a_request_is_passed_on() {
        let server = socket::stamped("127.0.0.1:0".parse().unwrap()).unwrap();
        let request = request(1, server.local_addr().unwrap());
        let mut exchanger = Exchanger::new();
        exchanger.send(&request).unwrap();
        // As if it had not been told yet: another datagram of the same socket leaves.
        let open = &mut exchanger.open[0];
        open.has_left = false;
        let before = counter::now();
        open.socket.send(&request.datagram).unwrap();
        let mut buffer = [0; DATAGRAM_MAX];
        let Arrival::Departure(t1) = exchanger.receive(request.source, &mut buffer) else { panic!("nothing is told") };
        assert!(before < t1 && t1 < counter::now());
        assert!(matches!(exchanger.receive(request.source, &mut buffer), Arrival::Nothing));
    }

    #[test]
    fn word_of_a_departure_wakes_once() {
        let server = socket::stamped("127.0.0.1:0".parse().unwrap()).unwrap();
        let request = request(1, server.local_addr().unwrap());
        let mut exchanger = Exchanger::new();
        exchanger.send(&request).unwrap();
        exchanger.open[0].socket.send(&request.datagram).unwrap();
        let descriptors: Vec<_> = exchanger.descriptors().collect();
        assert_eq!(wake::wait(&descriptors, Some(Duration::ZERO)).unwrap(), [true]);
        assert!(matches!(exchanger.receive(request.source, &mut [0; DATAGRAM_MAX]), Arrival::Nothing));
        assert_eq!(wake::wait(&descriptors, Some(Duration::ZERO)).unwrap(), [false]);
    }
}
