//! One exchange with one server: no clock, nothing kept, and no thread but the helper.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{Config, ServerSpec, parse_server};
use crate::engine::resolve::{self, Question};
use crate::engine::{build_floor, era_begin};
use crate::error::Error;
use crate::exchange::{self, Exchange, Kiss, Refusal};
use crate::nts;
use crate::nts::session::{Association, Reply};
use crate::packet::Packet;
use crate::status::QueryResult;
use crate::sys::counter::{self, Arrived, Bracket};
use crate::sys::socket::{self, DATAGRAM_MAX};
use crate::sys::{self, wake};
use crate::units::{Counter, Nanos, NtpTime, Ppb, UnixTime};

/// What the raw counter's frequency is off by at most; over one exchange it hardly matters.
const FREQUENCY_LIMIT: Ppb = Ppb::from_ppm(500.0);

/// Asks one server once: no clock, nothing kept. A name, unlike a literal address, is looked up by the one helper
/// thread of the process, which ends when there is nothing more to do.
///
/// `server` follows the grammar of a server list's entry; of a pool one address is asked. With ` nts` keys are
/// exchanged first, by the helper thread too, and certificates that the platform trusts vouch for the server. An answer
/// is compared with the system clock, which is read and never changed. Blocks for `timeout` at most.
///
/// # Errors
///
/// [`Error::InvalidServer`], [`Error::Resolve`], [`Error::KeyExchange`], [`Error::Timeout`], [`Error::BadReply`],
/// [`Error::Io`].
pub fn query(server: &str, timeout: Duration) -> Result<QueryResult, Error> {
    query_with(&Config::new(), server, timeout)
}

/// As [`query`], with the certificates that `config` trusts. Nothing else of it matters.
///
/// # Errors
///
/// As [`query`], and what a start says of certificates that cannot be read.
pub fn query_with(config: &Config, server: &str, timeout: Duration) -> Result<QueryResult, Error> {
    let deadline = Instant::now().checked_add(timeout).ok_or_else(|| Error::argument("timeout", "is too long"))?;
    let left = || deadline.saturating_duration_since(Instant::now());
    let late = |what: &str| Error::Timeout { detail: format!("{server}: {what}") };
    let (address, mut association) = find(config, server, left)?;

    let named = format!("exchanging with {server} ({address})");
    let failed = |error| Error::io(named.clone(), error);
    let bad_reply = |why: String| Error::BadReply { server: format!("{server} ({address})"), why };
    let _stamping = socket::stamping_holder();
    let socket = socket::connected(address).map_err(failed)?;
    let [transmit] = sys::random().map_err(failed)?;
    let transmit = NtpTime(transmit.max(1));
    let request = request(&Packet::request(transmit), association.as_mut()).map_err(failed)?;
    let sent = Bracket::read();
    let t1 = counter::now();
    socket.send(&request).map_err(failed)?;
    let mut buffer = [0; DATAGRAM_MAX];
    let mut refused = false;
    // Replies that may be anybody's, and what was wrong with the last.
    let mut ignored: Option<(u64, Refusal)> = None;
    loop {
        let left = left();
        if left.is_zero() {
            return Err(match ignored {
                _ if refused => bad_reply("the server does not know the keys (NTS NAK)".to_owned()),
                Some((1, refusal)) => bad_reply(refusal.to_string()),
                Some((replies, last)) => bad_reply(format!("{last} (so the last of {replies})")),
                None => late("no answer"),
            });
        }
        wake::wait(&[std::os::fd::AsRawFd::as_raw_fd(&socket)], Some(left)).map_err(failed)?;
        let received = match socket::receive(&socket, &mut buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(failed(error)),
        };
        let arrived = Bracket::read();
        let Arrived { at: t4, stamped_by_kernel } = arrived.arrival(received.stamp, &sent);
        let datagram = buffer.get(..received.length).unwrap_or_default();
        let mut ignore = |why| ignored = Some((ignored.map_or(0, |(replies, _)| replies) + 1, why));
        let judged = exchange::judge(datagram, transmit, t1, t4, era_begin(), FREQUENCY_LIMIT);
        match association.as_ref().map(|association| association.open(datagram)) {
            None | Some(Reply::Proven(_)) => {}
            // Who sees the request can send this, too: the true answer may still come.
            Some(Reply::Nak) => {
                refused |= matches!(judged, Err(Refusal::Kiss(Kiss::Other(_))));
                continue;
            }
            Some(Reply::Unproven(why)) => {
                ignore(judged.err().filter(|refusal| refusal.is_anonymous()).unwrap_or(Refusal::Unproven(why)));
                continue;
            }
        }
        match judged {
            Ok(exchange) => {
                let result = result(&exchange, &arrived);
                let authenticated = association.is_some();
                if let Some(association) = &association {
                    // Until now the certificate was checked at some clock's time. Of a time that has passed it proves
                    // nothing.
                    if UnixTime(result.unix_ns) + Nanos(result.bound_ns) < build_floor() {
                        return Err(bad_reply("it tells a time before this library was built".to_owned()));
                    }
                    let check = association.check_certificate(UnixTime(result.unix_ns));
                    check.map_err(|invalid| bad_reply(format!("at the time it tells, {invalid}")))?;
                }
                return Ok(QueryResult { address, kernel_timestamp: stamped_by_kernel, authenticated, ..result });
            }
            // Anybody may have sent it: the true answer may still come.
            Err(refusal) if refusal.is_anonymous() => ignore(refusal),
            Err(refusal) => return Err(bad_reply(refusal.to_string())),
        }
    }
}

/// The request that `header` begins.
fn request(header: &Packet, association: Option<&mut Association>) -> std::io::Result<Vec<u8>> {
    let header = header.bytes();
    let Some(association) = association else { return Ok(header.to_vec()) };
    let chance = nts::Chance::new(sys::random()?);
    // Fresh keys come with a cookie.
    association.request(&header, &chance).ok_or_else(|| std::io::Error::other("there is no cookie"))
}

/// The address to ask and the keys to do it with, if any are wanted.
fn find(
    config: &Config,
    server: &str,
    left: impl Fn() -> Duration,
) -> Result<(SocketAddr, Option<Association>), Error> {
    let spec = parse_server(server)?;
    if spec.options.nts {
        return keys(config, server, spec, left).map(|(address, association)| (address, Some(association)));
    }
    address_of(server, spec, left).map(|address| (address, None))
}

/// Exchanges keys, by the helper thread.
#[cfg(feature = "_nts")]
fn keys(
    config: &Config,
    server: &str,
    spec: ServerSpec,
    left: impl Fn() -> Duration,
) -> Result<(SocketAddr, Association), Error> {
    use crate::engine::handshake::{self, Limits, Order, Trust};
    use crate::nts::session::KeyFault;
    use crate::nts::trust::CertificateTime;

    let order = Order {
        host: spec.host,
        port: spec.port,
        taken: Vec::new(),
        given_up: Vec::new(),
        time: CertificateTime::choose(build_floor(), counter::system_time(), None),
        trust: Arc::new(Trust::load(&config.trust)?),
        limits: Limits::default(),
    };
    let waker = Arc::new(wake::Waker::new().map_err(|error| Error::io("making an event descriptor", error))?);
    let (answers, answered) = crossbeam_channel::bounded(1);
    // Ours is held until the answer is here: without it nobody would be thought to wait.
    handshake::queue(order, &waker, move |concluded| drop(answers.send(concluded.outcome)));
    let answer = answered.recv_timeout(left());
    drop(waker);
    match answer {
        Ok(Ok(granted)) => {
            let mut association = Association::new(counter::now());
            association.grant(granted.grant);
            Ok((granted.server, association))
        }
        Ok(Err(KeyFault::Unreached(why) | KeyFault::Failed(why))) => {
            Err(Error::KeyExchange { server: server.to_owned(), why })
        }
        Err(_) => Err(Error::Timeout { detail: format!("{server}: no keys were exchanged") }),
    }
}

/// Without ciphers the grammar has refused to ask for it.
#[cfg(not(feature = "_nts"))]
fn keys(_: &Config, _: &str, _: ServerSpec, _: impl Fn() -> Duration) -> Result<(SocketAddr, Association), Error> {
    Err(Error::Unsupported("Network Time Security (` nts`)"))
}

/// The address to ask, by the helper thread, so that the resolver cannot outstay the caller's time.
fn address_of(server: &str, spec: ServerSpec, left: impl Fn() -> Duration) -> Result<SocketAddr, Error> {
    if let Ok(literal) = spec.host.parse() {
        return Ok(SocketAddr::new(literal, spec.port));
    }
    let waker = Arc::new(wake::Waker::new().map_err(|error| Error::io("making an event descriptor", error))?);
    let (answers, answered) = crossbeam_channel::bounded(1);
    // Ours is held until the answer is here: without it nobody would be thought to wait.
    let question = Question { host: spec.host.clone(), port: spec.port, tag: 0, answers, waker: Arc::clone(&waker) };
    resolve::lookup(question);
    let answer = answered.recv_timeout(left());
    drop(waker);
    match answer {
        Ok((_, Ok(addresses))) => addresses
            .first()
            .copied()
            .ok_or_else(|| Error::Resolve { host: spec.host, why: "the name has no address".to_owned() }),
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
        address: SocketAddr::from(([0, 0, 0, 0], 0)),
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
        authenticated: false,
    }
}
