//! One exchange with one server: no clock, nothing kept, and no thread but the resolver's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::parse_server;
use crate::engine::build_date;
use crate::engine::resolve::{self, Question};
use crate::error::Error;
use crate::exchange::{self, Exchange};
use crate::packet::Packet;
use crate::status::QueryResult;
use crate::sys::counter::{self, Arrived, Bracket};
use crate::sys::socket::{self, DATAGRAM_MAX};
use crate::sys::{self, wake};
use crate::units::{Counter, NtpTime, Ppb, UnixTime};

/// What the raw counter's frequency is off by at most; over one exchange it hardly matters.
const FREQUENCY_LIMIT: Ppb = Ppb::from_ppm(500.0);

/// Asks one server once: no clock, nothing kept. A name, unlike a literal address, is looked up by the one helper
/// thread of the process, which ends when there is nothing more to look up.
///
/// `server` follows the grammar of a server list's entry; of a pool one address is asked. An answer is compared with
/// the system clock, which is read and never changed. Blocks for `timeout` at most.
///
/// # Errors
///
/// [`Error::InvalidServer`], [`Error::Resolve`], [`Error::Timeout`], [`Error::BadReply`], [`Error::Io`].
pub fn query(server: &str, timeout: Duration) -> Result<QueryResult, Error> {
    let deadline = Instant::now().checked_add(timeout).ok_or_else(|| Error::argument("timeout", "is too long"))?;
    let left = || deadline.saturating_duration_since(Instant::now());
    let late = |what: &str| Error::Timeout { detail: format!("{server}: {what}") };
    let address = address_of(server, left)?;

    let named = format!("exchanging with {server} ({address})");
    let failed = |error| Error::io(named.clone(), error);
    let _stamping = socket::stamping_holder();
    let socket = socket::connected(address).map_err(failed)?;
    let [transmit] = sys::random().map_err(failed)?;
    let transmit = NtpTime(transmit.max(1));
    let sent = Bracket::read();
    let t1 = counter::now();
    socket.send(&Packet::request(transmit).bytes()).map_err(failed)?;
    let mut buffer = [0; DATAGRAM_MAX];
    loop {
        let left = left();
        if left.is_zero() {
            return Err(late("no answer"));
        }
        wake::wait(&[std::os::fd::AsRawFd::as_raw_fd(&socket)], Some(left)).map_err(failed)?;
        let received = match socket::receive(&socket, &mut buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(failed(error)),
        };
        let arrived = Bracket::read();
        let Arrived { at: t4, stamped_by_kernel } = arrived.arrival(received.stamp, &sent);
        match exchange::judge(&buffer[..received.length], transmit, t1, t4, build_date(), FREQUENCY_LIMIT) {
            Ok(exchange) => {
                let result = result(&exchange, &arrived);
                return Ok(QueryResult { address, kernel_timestamp: stamped_by_kernel, ..result });
            }
            // Anybody may have sent it: the true answer may still come.
            Err(refusal) if refusal.is_anonymous() => {}
            Err(refusal) => {
                return Err(Error::BadReply { server: format!("{server} ({address})"), why: refusal.to_string() });
            }
        }
    }
}

/// The address to ask, by the helper thread, so that the resolver cannot outstay the caller's time.
fn address_of(server: &str, left: impl Fn() -> Duration) -> Result<std::net::SocketAddr, Error> {
    let spec = parse_server(server)?;
    if let Ok(literal) = spec.host.parse() {
        return Ok(std::net::SocketAddr::new(literal, spec.port));
    }
    let waker = Arc::new(wake::Waker::new().map_err(|error| Error::io("making an event descriptor", error))?);
    let (answers, answered) = crossbeam_channel::bounded(1);
    // Ours is held until the answer is here: without it nobody would be thought to wait.
    let question = Question { host: spec.host.clone(), port: spec.port, tag: 0, answers, waker: Arc::clone(&waker) };
    resolve::lookup(question);
    let answer = answered.recv_timeout(left());
    drop(waker);
    match answer {
        Ok((_, Ok(addresses))) => Ok(addresses[0]),
        Ok((_, Err(why))) => Err(Error::Resolve { host: spec.host, why }),
        Err(_) => Err(Error::Timeout { detail: format!("{server}: the name was not resolved") }),
    }
}

/// The exchange in terms of the system clock, which `arrived` ties to the counter.
fn result(exchange: &Exchange, arrived: &Bracket) -> QueryResult {
    let Exchange { stamps, server } = exchange;
    let interval = stamps.interval(server.distance(), FREQUENCY_LIMIT);
    let offset = stamps.offset();
    let (counter, uncertainty) = arrived.midpoint();
    let utc = |counter: Counter| UnixTime(counter.0) + offset;
    let spread = (interval.high - offset).max(offset - interval.low);
    QueryResult {
        address: std::net::SocketAddr::from(([0, 0, 0, 0], 0)),
        offset_ns: (utc(counter) - arrived.system).0,
        bound_ns: (spread + uncertainty).0,
        delay_ns: stamps.delay().0,
        unix_ns: utc(stamps.t4).0,
        stratum: server.stratum,
        version: server.version,
        leap: server.leap,
        precision: server.precision,
        root_delay_ns: server.root_delay.0,
        root_dispersion_ns: server.root_dispersion.0,
        reference_id: server.reference_id,
        reference_time_ns: server.reference_time.map_or(0, |time| time.0),
        kernel_timestamp: false,
    }
}
