//! Requests to our server, and who is answered at all: the very code that answers, with real sockets and in one thread.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::access::Rules;
use super::limit::{Limit, Limiter};
use super::moment::Source;
use super::pairs::Pairs;
use super::security::Guard;
use super::serving::{Attendant, Common};
use super::statistics::{Board, ServerStatistics};
use super::{Listeners, ServerConfig};
use crate::fuzzing::Input;
use crate::packet::{HEADER_LEN, Mode, Packet};
use crate::sys::batch::BATCH;
use crate::units::{Nanos, NtpTime};

/// NTS is served, too; what is not of NTS is answered as ever.
fn guard() -> Option<Guard> {
    #[cfg(feature = "_nts")]
    return Some(Guard::known());
    #[cfg(not(feature = "_nts"))]
    None
}

/// What takes longer on the loopback will not come.
const LATE: Duration = Duration::from_secs(5);

/// A server on the loopback, and a client of it.
struct Pair {
    attendant: Attendant,
    common: Arc<Common>,
    socket: UdpSocket,
    client: UdpSocket,
}

impl Pair {
    fn new(limit: (i64, i64)) -> Self {
        let mut config = ServerConfig::new();
        config.add_listen("127.0.0.1:0").expect("an address");
        config.set_local(3, Duration::from_millis(1)).expect("a stratum");
        config.set_threads(1).expect("a number");
        let Listeners { addresses, mut seats, .. } = Listeners::bind(&config).expect("a port is free");
        let socket = seats.pop().and_then(|mut seat| seat.pop()).expect("one socket");
        let common = Common {
            access: config.rules.compile(),
            limiter: Limiter::new(Limit::new(limit.0, limit.1).expect("a limit")),
            pairs: Pairs::new(),
            is_silent: false,
            boards: Box::new([Board::default()]),
        };
        let source = Source::Local(config.local.expect("it was set"));
        let client = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        client.connect(addresses[0]).expect("the loopback leads there");
        client.set_read_timeout(Some(LATE)).expect("a socket can");
        let common = Arc::new(common);
        Self { attendant: Attendant::new(Arc::clone(&common), 0, source, guard()), common, socket, client }
    }

    /// What was done so far: datagrams in, and out.
    fn done(&mut self) -> (u64, u64) {
        self.attendant.tell();
        let ServerStatistics { requests, replies, .. } = ServerStatistics::of(&self.common.boards);
        (requests, replies)
    }

    /// What the server answers to `datagrams`, sent at once.
    fn answers(&mut self, datagrams: &[&[u8]]) -> Vec<Vec<u8>> {
        let (requests, replies) = self.done();
        for datagram in datagrams {
            self.client.send(datagram).expect("the loopback takes it");
        }
        let begun = Instant::now();
        // A kernel that is busy delivers late.
        while self.done().0 < requests + datagrams.len() as u64 {
            assert!(begun.elapsed() < LATE, "the loopback lost a request");
            self.attendant.empty(&self.socket);
            self.attendant.note_departures(&self.socket);
        }
        let (count, mut buffer) = (self.done().1 - replies, [0; 4096]);
        let receive = |_| {
            let length = self.client.recv(&mut buffer).expect("the loopback loses no answer");
            buffer[..length].to_vec()
        };
        (0..count).map(receive).collect()
    }
}

thread_local! {
    static PAIRS: std::cell::RefCell<[Pair; 2]> = std::cell::RefCell::new([Pair::new((0, 1)), Pair::new((1, 4))]);
}

/// Datagrams of one turn; more would be two.
const DATAGRAMS: usize = BATCH / 2;

/// Never more packets or bytes out than in, never an answer to anything but a request, and always in its version; and
/// answers are answered by nobody.
pub(crate) fn requests(data: &[u8]) {
    let mut input = Input(data);
    let which = usize::from(input.byte() & 1);
    let mut datagrams: Vec<&[u8]> = Vec::new();
    while !input.is_over() && datagrams.len() < DATAGRAMS {
        let length = usize::from(input.short() % 1_500);
        datagrams.push(input.bytes(length));
    }
    PAIRS.with_borrow_mut(|pairs| {
        let pair = &mut pairs[which];
        let answers = pair.answers(&datagrams);
        amplifies_nothing(&datagrams, &answers);
        // Interleaved mode: the client goes on from what it was told.
        let again: Vec<[u8; HEADER_LEN]> = answers.iter().filter_map(|answer| follow_up(answer)).collect();
        let again: Vec<&[u8]> = again.iter().map(|request| &request[..]).collect();
        amplifies_nothing(&again, &pair.answers(&again));
        let back: Vec<&[u8]> = answers.iter().map(Vec::as_slice).collect();
        assert!(pair.answers(&back).is_empty(), "an answer was answered");
    });
}

pub(crate) fn amplifies_nothing(datagrams: &[&[u8]], answers: &[Vec<u8>]) {
    let requests: Vec<(Packet, usize)> =
        datagrams.iter().filter_map(|bytes| Some((Packet::parse(bytes)?, bytes.len()))).collect();
    assert!(answers.len() <= requests.len(), "{} answers to {}", answers.len(), requests.len());
    let mut left = requests.into_iter();
    for answer in answers {
        let reply = Packet::parse(answer).expect("an answer has a header");
        assert_eq!(reply.mode, Mode::Server);
        // Each is the answer to another request, in their order: its origin is that one's, by either mode.
        let found = left.any(|(request, length)| {
            let asked = request.mode == Mode::Client || (request.mode, request.version) == (Mode::Other(0), 1);
            let named = [request.transmit, request.receive].contains(&reply.origin);
            asked && named && (reply.version, reply.poll) == (request.version, request.poll) && answer.len() <= length
        });
        assert!(found, "nobody asked for {reply:?}");
        assert!(reply.stratum != 0 || (reply.receive, reply.transmit) == (NtpTime::ZERO, NtpTime::ZERO));
        let held = Nanos((reply.transmit.0.wrapping_sub(reply.receive.0).cast_signed() >> 32).saturating_abs());
        assert!(held.0 < 1_000, "{reply:?}");
    }
}

/// A request in interleaved mode that follows on `answer`.
fn follow_up(answer: &[u8]) -> Option<[u8; HEADER_LEN]> {
    let reply = Packet::parse(answer)?;
    let request = Packet {
        version: reply.version,
        origin: reply.receive,
        receive: NtpTime(0x1234_5678_9abc_def0),
        ..Packet::request(NtpTime(reply.origin.0.wrapping_add(1)))
    };
    Some(request.bytes())
}

/// Whoever is in several prefixes is judged by the longest, however the rules are ordered.
pub(crate) fn prefixes(data: &[u8]) {
    let mut input = Input(data);
    let (mut rules, mut plain): (Rules, Vec<(u128, u32, bool)>) = (Rules::default(), Vec::new());
    let mut asked: Vec<IpAddr> = vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    while !input.is_over() && plain.len() < 40 {
        let (what, length) = (input.byte(), u32::from(input.byte()));
        let (address, bits): (IpAddr, u32) = match what & 3 {
            0 => {
                // Any text at all.
                let text = String::from_utf8_lossy(input.bytes(length as usize)).into_owned();
                let before = plain.len();
                if rules.add(&text, what & 4 == 0).is_ok() {
                    let (address, bits) = text.trim().split_once('/').unwrap_or((text.trim(), ""));
                    let address: IpAddr = address.parse().expect("a prefix begins with an address");
                    let whole = if address.is_ipv4() { 32 } else { 128 };
                    let bits = bits.parse().unwrap_or(whole) + 128 - whole;
                    plain.push((mapped(address), bits, what & 4 == 0));
                }
                assert!(plain.len() <= before + 1);
                continue;
            }
            1 => (Ipv4Addr::from(input.array::<4>()).into(), length % 33),
            _ => (Ipv6Addr::from(input.array::<16>()).into(), length % 129),
        };
        asked.push(address);
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let masked = mapped(address) & u128::MAX.checked_shl(whole - bits).unwrap_or(0)
            | if address.is_ipv4() { mapped(Ipv4Addr::UNSPECIFIED.into()) } else { 0 };
        let shown: IpAddr = match address {
            IpAddr::V4(_) => Ipv4Addr::from(masked as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from(masked).into(),
        };
        let allowed = what & 4 == 0;
        if rules.add(&format!("{shown}/{bits}"), allowed).is_ok() {
            plain.push((masked, bits + 128 - whole, allowed));
        }
        asked.push(shown);
    }
    let access = rules.compile();
    let otherwise = !plain.iter().any(|(.., allowed)| *allowed);
    for address in asked {
        let number = mapped(address);
        let holds = |(first, bits, _): &&(u128, u32, bool)| {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            // Prefixes of IPv6 say nothing of IPv4, wherever that is mapped.
            let of_ipv4 = *bits >= 96 && is_ipv4(*first);
            number & mask == first & mask && of_ipv4 == is_ipv4(number)
        };
        let expected = plain.iter().filter(holds).max_by_key(|(_, bits, _)| *bits).map_or(otherwise, |rule| rule.2);
        assert_eq!(access.allows(address), expected, "{address} by {plain:?}");
    }
}

fn is_ipv4(number: u128) -> bool {
    number >> 32 == 0xFFFF
}

fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}
