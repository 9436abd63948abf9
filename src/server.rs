//! Answers NTP clients from the published clock.

mod respond;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::clock::{self, Clock, process};
use crate::engine::SharedRef;
use crate::error::Error;
use crate::reading::Reading;
use crate::status::{Leap, Report, State};
use crate::sys::counter::{self, Bracket};
use crate::sys::socket::{self, DATAGRAM_MAX, Received};
use crate::sys::thread::{Order, Worker};
use crate::sys::{fork, wake};
use crate::units::{Counter, Nanos, UnixTime};
use respond::Identity;

/// The port of NTP (RFC 5905).
const NTP_PORT: u16 = 123;

/// The most addresses one server listens on.
const LISTEN_MAX: usize = 64;

/// A root dispersion from here on is no synchronisation (RFC 5905, MAXDISP).
const DISPERSION_MAX: Duration = Duration::from_secs(16);

/// Requests taken from one socket in a row, so that a flood at one cannot starve the others.
const TURN: usize = 64;

/// Longest sleep: kernel stamps are compared with a system clock seen no longer ago.
const NAP: Duration = Duration::from_secs(16);

/// What a local server above stratum 1 gives as its reference: the address reserved for a host's own clock.
const LOCAL_CLOCK: u32 = u32::from_be_bytes([127, 127, 1, 1]);

/// Where a server listens and whose time it serves.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    listen: Vec<SocketAddr>,
    local: Option<Local>,
}

/// The system clock, served on its own authority.
#[derive(Clone, Copy, Debug)]
struct Local {
    stratum: u8,
    root_dispersion: Nanos,
}

impl ServerConfig {
    /// Listens nowhere yet; serves the clock it is started with.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an address to listen on: `address`, `address:port`, `[v6]:port`. Without a port it is 123; port 0 picks a
    /// free one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it is no literal address, or one too many (64).
    pub fn add_listen(&mut self, address: &str) -> Result<&mut Self, Error> {
        if self.listen.len() == LISTEN_MAX {
            return Err(Error::argument("address", format!("is one more than the {LISTEN_MAX} that are possible")));
        }
        let bare = address.trim().trim_start_matches('[').trim_end_matches(']');
        let parsed = address.trim().parse::<SocketAddr>().ok();
        let parsed = parsed.or_else(|| bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, NTP_PORT)));
        let shown: String = address.chars().take(100).collect();
        let parsed =
            parsed.ok_or_else(|| Error::argument("address", format!("is `{shown}`, which is no literal address")))?;
        self.listen.push(parsed);
        Ok(self)
    }

    /// Serves the *system clock* as `stratum` with this root dispersion, without any upstream: for islands and
    /// demonstrations. The dispersion is the caller's claim.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] unless 1 ≤ `stratum` ≤ 15 and the dispersion is below 16 s.
    pub fn set_local(&mut self, stratum: i32, root_dispersion: Duration) -> Result<&mut Self, Error> {
        let allowed = u8::try_from(stratum).ok().filter(|stratum| (1..=15).contains(stratum));
        let stratum =
            allowed.ok_or_else(|| Error::argument("stratum", format!("is {stratum}; 1 to 15 is possible")))?;
        if root_dispersion >= DISPERSION_MAX {
            return Err(Error::argument("root_dispersion", format!("is {root_dispersion:?}; it must be below 16 s")));
        }
        self.local = Some(Local { stratum, root_dispersion: Nanos::from_duration(root_dispersion) });
        Ok(self)
    }
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    worker: Worker,
}

impl Server {
    /// Starts to serve `clock`'s time (`None`: the process-wide clock's), or the system clock's if the configuration
    /// says `local`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `config` names no address, [`Error::Io`] if one cannot be bound.
    pub fn start(clock: Option<&Clock>, config: &ServerConfig) -> Result<Self, Error> {
        if config.listen.is_empty() {
            return Err(Error::argument("config", "names no address to listen on"));
        }
        let mut sockets = Vec::new();
        let mut addresses = Vec::new();
        for &address in &config.listen {
            let failed = |error| Error::io(format!("listening on {address}"), error);
            let socket = socket::stamped(address).map_err(failed)?;
            addresses.push(socket.local_addr().map_err(failed)?);
            sockets.push(socket);
        }
        let source = match config.local {
            Some(local) => Source::Local(local),
            None => Source::Clock(clock.map_or_else(process::shared, Clock::shared)),
        };
        let worker = Worker::start("ntpclock-server", move |order| serve(&sockets, &source, &order))
            .map_err(|error| Error::io("starting the server's thread", error))?;
        Ok(Self { addresses, worker })
    }

    /// The addresses served, with the ports that were picked.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops answering; the thread has ended when this returns.
    pub fn stop(&mut self) {
        self.worker.stop();
    }
}

/// Whose time is served.
enum Source {
    Clock(SharedRef),
    Local(Local),
}

/// Time at one instant, and what is to be said about it.
struct Moment {
    received: UnixTime,
    leaving: UnixTime,
    identity: Identity,
}

fn serve(sockets: &[UdpSocket], source: &Source, order: &Order) {
    let mut descriptors = vec![order.waker.as_raw_fd()];
    descriptors.extend(sockets.iter().map(AsRawFd::as_raw_fd));
    let mut buffer = [0; DATAGRAM_MAX];
    while !order.is_over() {
        let asleep = Bracket::read();
        let Ok(ready) = wake::wait(&descriptors, Some(NAP)) else {
            // Out of memory in the kernel: do not turn in circles at full speed meanwhile.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        for (socket, _) in sockets.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            for _ in 0..TURN {
                let Ok(received) = socket::receive(socket, &mut buffer) else { break };
                answer(socket, &received, &buffer[..received.length], source, &asleep);
            }
        }
    }
}

fn answer(socket: &UdpSocket, received: &Received, datagram: &[u8], source: &Source, asleep: &Bracket) {
    let (Some(request), Some(client)) = (respond::accept(datagram), received.from) else { return };
    let moment = source.moment(received.stamp, asleep);
    let reply = respond::reply(&request, &moment.identity, moment.received, moment.leaving);
    // A full send buffer loses the reply as the network might; the client asks again.
    let _ = socket.send_to(&reply, client);
}

impl Source {
    /// When the datagram came by this source's time, and the time now, taken last.
    fn moment(&self, stamp: Option<UnixTime>, asleep: &Bracket) -> Moment {
        let now = Bracket::read();
        match self {
            Self::Local(local) => {
                // The stamp is the system clock's own; one that a step has made senseless is not used.
                let sane = stamp.filter(|&stamp| now.counter_of(stamp, asleep).is_some());
                let leaving = counter::system_time();
                let stratum = local.stratum;
                let reference_id = if stratum == 1 { u32::from_be_bytes(*b"LOCL") } else { LOCAL_CLOCK };
                let identity = Identity {
                    leap: Leap::None,
                    stratum,
                    root_delay: Nanos::ZERO,
                    root_dispersion: local.root_dispersion,
                    reference_id,
                    reference_time: leaving,
                };
                Moment { received: sane.unwrap_or(now.system).min(leaving), leaving, identity }
            }
            Self::Clock(shared) => {
                let came = stamp.and_then(|stamp| now.counter_of(stamp, asleep)).unwrap_or(now.before);
                let (page, _) = shared.publication.read(counter::now);
                let at = |counter: Counter| Reading::new(&page, counter, fork::generation(), counter::system_time);
                let received = UnixTime(at(came).unix_ns);
                let report = clock::report(shared);
                let reading = clock::read(shared);
                let leaving = UnixTime(reading.unix_ns);
                Moment { received: received.min(leaving), leaving, identity: identity(&reading, &report) }
            }
        }
    }
}

/// What may honestly be said about `reading`: our whole bound, as root delay and root dispersion.
fn identity(reading: &Reading, report: &Report) -> Identity {
    let usable = matches!(reading.state, State::Synchronized | State::Holdover);
    if !usable || report.stratum >= 16 {
        return Identity::UNSYNCHRONIZED;
    }
    Identity {
        leap: reading.leap,
        stratum: report.stratum,
        root_delay: Nanos(report.root_delay_ns),
        root_dispersion: (Nanos(reading.error_bound_ns()) - Nanos(report.root_delay_ns).half_up()).max(Nanos::ZERO),
        reference_id: report.reference_id,
        reference_time: UnixTime(report.reference_time_ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query;

    fn listening(address: &str) -> ServerConfig {
        let mut config = ServerConfig::new();
        config.add_listen(address).unwrap();
        config
    }

    fn local() -> Server {
        let mut config = listening("127.0.0.1:0");
        config.set_local(5, Duration::from_millis(2)).unwrap();
        Server::start(None, &config).unwrap()
    }

    #[test]
    fn addresses_are_literal_and_have_a_default_port() {
        let mut config = ServerConfig::new();
        for address in ["127.0.0.1", "127.0.0.1:0", "::1", "[::1]", "[::1]:5"] {
            config.add_listen(address).unwrap();
        }
        assert_eq!(config.listen.iter().map(SocketAddr::port).collect::<Vec<_>>(), [123, 0, 123, 123, 5]);
        for address in ["", "localhost", "127.0.0.1:x", "300.1.1.1"] {
            assert!(config.add_listen(address).is_err(), "{address}");
        }
    }

    #[test]
    fn a_local_server_states_what_it_was_told_to() {
        let mut config = ServerConfig::new();
        assert!(config.set_local(0, Duration::ZERO).is_err());
        assert!(config.set_local(16, Duration::ZERO).is_err());
        assert!(config.set_local(1, Duration::from_secs(16)).is_err());
        let server = local();
        let answer = query(&server.addresses()[0].to_string(), Duration::from_secs(5)).unwrap();
        assert_eq!((answer.stratum, answer.leap, answer.root_delay_ns), (5, Leap::None, 0));
        assert!((2_000_000..2_100_000).contains(&answer.root_dispersion_ns), "{answer:?}");
        assert!(answer.offset_ns.abs() <= answer.bound_ns, "{answer:?}");
    }

    #[test]
    fn a_clock_that_was_never_synchronised_is_served_as_such() {
        let nobody = Clock::start(crate::Config::with_servers("127.0.0.1:9").unwrap()).unwrap();
        let server = Server::start(Some(&nobody), &listening("127.0.0.1:0")).unwrap();
        let error = query(&server.addresses()[0].to_string(), Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().contains("not synchronised"), "{error}");
    }

    #[test]
    fn a_synchronised_clock_is_served_with_its_bound() {
        let upstream = local();
        let servers = upstream.addresses()[0].to_string();
        let clock = Clock::start(crate::Config::with_servers(&servers).unwrap()).unwrap();
        clock.wait(None, Some(Duration::from_secs(10))).unwrap();
        let server = Server::start(Some(&clock), &listening("127.0.0.1:0")).unwrap();
        let answer = query(&server.addresses()[0].to_string(), Duration::from_secs(5)).unwrap();
        assert_eq!((answer.stratum, answer.reference_id), (6, 0x7f00_0001));
        let claimed = answer.root_delay_ns / 2 + answer.root_dispersion_ns;
        assert!(claimed >= 2_000_000 && claimed < 20_000_000, "{answer:?}");
        assert!(answer.offset_ns.abs() <= answer.bound_ns, "{answer:?}");
        assert!(answer.reference_time_ns > 0);
    }
}
