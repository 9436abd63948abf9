//! Answers NTP clients from the published clock.
//!
//! ```text
//! socket ─► access, limit ─► respond ─► socket      a thread and a socket for each processor
//!  stamps    who, how often    bytes      stamps
//!                  moment: what the page says now, and what may honestly be said of it
//! ```
//!
//! `access`, `limit`, `pairs` and `respond` are values and tables without a clock or a socket; `serving` is the
//! threads. `security` is what NTS takes: between `limit` and `respond` it looks who asks, and behind `respond` it
//! seals; a thread of its own exchanges keys.

mod access;
mod config;
mod limit;
mod listeners;
mod moment;
mod pairs;
mod respond;
#[cfg_attr(not(feature = "_nts"), path = "server/unsecured.rs")]
mod security;
mod serving;
#[expect(clippy::indexing_slicing, reason = "there is an entry for every count")]
mod statistics;

#[cfg(any(test, fuzzing))]
#[allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a fuzzer is there to fail")]
#[path = "../tests/fuzz/targets/requests.rs"]
pub(crate) mod fuzzed;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::clock::{Clock, process};
use crate::engine::ServedAt;
use crate::error::Error;
use crate::sys::listen;
use crate::sys::thread::{Order, Worker};
pub use config::ServerConfig;
use limit::Limiter;
pub(crate) use listeners::Listeners;
use moment::Source;
use pairs::Pairs;
#[cfg(all(feature = "_nts", feature = "cli"))]
pub(crate) use security::renew as renew_cookie_keys;
use security::{Desk, Doors, OpenDoors, Told};
use serving::{Attendant, Common};
use statistics::Board;
pub use statistics::ServerStatistics;

/// Enough for a TLS handshake in a build without optimisations.
const EXCHANGE_STACK: usize = 1024 * 1024;

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    workers: Vec<Worker>,
    common: Arc<Common>,
    /// Where keys are exchanged, by whom, and what has come of it.
    exchange_addresses: Vec<SocketAddr>,
    exchanger: Option<Worker>,
    told: Arc<Told>,
    /// So that the clock finds who follows it.
    served_at: Option<ServedAt>,
    /// The same sockets as the threads', for questions to the kernel; empty once stopped.
    sockets: Vec<Arc<Vec<UdpSocket>>>,
    /// What the kernel said of them before they were closed.
    last: Kernels,
}

/// What the kernel knows of our sockets.
#[derive(Clone, Copy, Debug, Default)]
struct Kernels {
    overflowed: u64,
    receive_buffer_bytes: u64,
}

impl Server {
    /// Starts to serve `clock`'s time (`None`: the process-wide clock's), or the system clock's if the configuration
    /// says `local`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `config` names no address, or its certificates or their key are of no use;
    /// [`Error::Malformed`] if the file of cookie keys makes no sense; [`Error::Io`] if an address cannot be bound, a
    /// file cannot be read, or a thread cannot be made.
    pub fn start(clock: Option<&Clock>, config: &ServerConfig) -> Result<Self, Error> {
        Self::run(clock, config, Listeners::bind(config)?)
    }

    /// The same on sockets that are bound already.
    pub(crate) fn run(clock: Option<&Clock>, config: &ServerConfig, listeners: Listeners) -> Result<Self, Error> {
        let Listeners { addresses, seats, doors } = listeners;
        let doors = doors.map(Doors::open).transpose()?;
        let common = Arc::new(Common {
            access: config.rules.compile(),
            limiter: Limiter::new(config.limit),
            pairs: Pairs::new(),
            is_silent: config.is_silent,
            boards: seats.iter().map(|_| Board::default()).collect(),
        });
        let sockets: Vec<_> = seats.into_iter().map(Arc::new).collect();
        let exchange_addresses = doors.as_ref().map(|doors| doors.addresses.clone()).unwrap_or_default();
        let told = Arc::<Told>::default();
        let mut server = Self {
            addresses,
            workers: Vec::new(),
            common,
            exchange_addresses,
            exchanger: None,
            told: Arc::clone(&told),
            served_at: None,
            sockets: sockets.clone(),
            last: Kernels::default(),
        };
        if config.local.is_none() {
            let shared = clock.map_or_else(process::shared, Clock::shared);
            server.served_at = Some(ServedAt::new(shared, named_by(&server.addresses)));
        }
        for (seat, sockets) in sockets.into_iter().enumerate() {
            let source = match config.local {
                Some(local) => Source::Local(local),
                None => Source::of(clock.map_or_else(process::shared, Clock::shared)),
            };
            let (common, guard) = (Arc::clone(&server.common), doors.as_ref().map(OpenDoors::guard));
            // Those that run already end when `server` is dropped.
            let worker = Worker::start("ntpclock-server", move |order| {
                Attendant::new(common, seat, source, guard).serve(&sockets, &order);
            });
            server.workers.push(worker.map_err(|error| Error::io("starting a server's thread", error))?);
        }
        if let Some(doors) = doors {
            let common = Arc::clone(&server.common);
            let work = move |order: Order| Desk::new(doors, told).serve(&common.access, &order);
            let worker = Worker::start_with_stack("ntpclock-ntske", EXCHANGE_STACK, work);
            server.exchanger = Some(worker.map_err(|error| Error::io("starting the thread of key exchanges", error))?);
        }
        Ok(server)
    }

    /// The addresses served, with the ports that were picked.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where keys are exchanged for NTS, with the ports that were picked; none unless that is served.
    pub fn key_exchange_addresses(&self) -> &[SocketAddr] {
        &self.exchange_addresses
    }

    /// What it has done so far; what threads have not yet told, for a second at most, is missing.
    pub fn statistics(&self) -> ServerStatistics {
        let Kernels { overflowed, receive_buffer_bytes } = self.kernels();
        ServerStatistics {
            overflowed,
            receive_buffer_bytes,
            key_exchanges: self.told.granted.load(Relaxed),
            key_exchange_failures: self.told.failed.load(Relaxed),
            cookie_key_faults: self.told.key_faults.load(Relaxed),
            ..ServerStatistics::of(&self.common.boards)
        }
    }

    fn kernels(&self) -> Kernels {
        if self.sockets.is_empty() {
            return self.last;
        }
        let all = || self.sockets.iter().flat_map(|sockets| sockets.iter());
        let smallest = all().filter_map(|socket| listen::receive_buffer(socket).ok()).min();
        Kernels {
            overflowed: all().filter_map(|socket| listen::dropped(socket).ok()).map(u64::from).sum(),
            receive_buffer_bytes: smallest.unwrap_or(0) as u64,
        }
    }

    /// Stops answering; all threads have ended when this returns.
    pub fn stop(&mut self) {
        self.workers.iter_mut().chain(&mut self.exchanger).for_each(Worker::stop);
        self.last = self.kernels();
        self.sockets.clear();
        self.served_at = None;
    }
}

/// The addresses by which clients name a server at `addresses`; for a wildcard those that the host has now.
fn named_by(addresses: &[SocketAddr]) -> Vec<IpAddr> {
    let (everywhere, mut named): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.iter().map(|address| address.ip().to_canonical()).partition(IpAddr::is_unspecified);
    if !everywhere.is_empty() {
        named.extend(listen::own_addresses());
    }
    named
}

/// What a server of `page` would answer at `tick`: for the simulation, which knows how true that is.
#[cfg(test)]
pub(crate) fn served(
    page: &crate::publication::page::Page,
    tick: crate::sys::ticks::Tick,
    report: &crate::status::Report,
) -> crate::packet::Packet {
    use crate::packet::Packet;
    use crate::units::NtpTime;
    let came = page.counter_at(tick);
    let moment = moment::moment(page, came, tick, page.generation, || report);
    let [receive, transmit] = [moment.received(came), moment.leaving].map(NtpTime::from_unix);
    let request = Packet::request(NtpTime(1));
    let reply = respond::Template::new(&moment.identity).reply(&request, receive, transmit);
    Packet::parse(&reply).expect("a reply has a header")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query;
    use crate::status::Leap;
    use std::time::Duration;

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
    fn a_local_server_states_what_it_was_told_to() {
        let server = local();
        let answer = query(&server.addresses()[0].to_string(), Duration::from_secs(5)).unwrap();
        assert_eq!((answer.stratum, answer.leap, answer.root_delay_ns), (5, Leap::None, 0));
        assert!((2_000_000..2_100_000).contains(&answer.root_dispersion_ns), "{answer:?}");
        assert!(answer.offset_ns.abs() <= answer.bound_ns, "{answer:?}");
    }

    #[test]
    fn what_was_counted_is_still_known_once_it_has_stopped() {
        let mut server = local();
        query(&server.addresses()[0].to_string(), Duration::from_secs(5)).unwrap();
        server.stop();
        let last = server.statistics();
        assert_eq!((last.requests, last.replies), (1, 1));
        assert!(last.receive_buffer_bytes > 0, "{last:?}");
        server.stop();
        assert_eq!(server.statistics(), last);
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
        assert!((2_000_000..20_000_000).contains(&claimed), "{answer:?}");
        assert!(answer.offset_ns.abs() <= answer.bound_ns, "{answer:?}");
        assert!(answer.reference_time_ns > 0);
    }

    #[test]
    fn a_client_is_answered_from_the_address_it_asked() {
        for (listen, asked) in [("0.0.0.0:0", "127.0.0.2"), ("[::]:0", "[::1]"), ("[::]:0", "127.0.0.2")] {
            let mut config = listening(listen);
            config.set_local(5, Duration::ZERO).unwrap();
            let server = Server::start(None, &config).unwrap();
            let server = format!("{asked}:{}", server.addresses()[0].port());
            query(&server, Duration::from_secs(5)).unwrap_or_else(|error| panic!("{listen}: {error}"));
        }
    }
}
