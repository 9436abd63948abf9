//! Records of a key exchange (RFC 8915, section 4): what is asked for inside TLS, and what comes back; `asked` is its
//! server's side.

pub(crate) mod asked;

use std::fmt;

use super::{Algorithm, COOKIE_LENGTH_MAX, COOKIES_MAX, Cookie};

/// What must be understood, or the exchange ends.
const CRITICAL: u16 = 1 << 15;

const END_OF_MESSAGE: u16 = 0;
const NEXT_PROTOCOL: u16 = 1;
const ERROR: u16 = 2;
const WARNING: u16 = 3;
const AEAD: u16 = 4;
const COOKIE: u16 = 5;
const SERVER: u16 = 6;
const PORT: u16 = 7;
/// Of the range for experiments, as chrony has it since 4.6.1: both sides derive the keys of AES-128-GCM-SIV as RFC
/// 8915 says. Its older versions name AES-SIV-CMAC-256 in the exporter's context whatever was negotiated.
const COMPLIANT_GCM_SIV_EXPORT: u16 = 1024;

/// The protocol that keys are wanted for.
const NTPV4: u16 = 0;

/// The longest message that is read: eight long cookies fill an eighth of it.
pub(crate) const MESSAGE_MAX: usize = 16 * 1024;

/// A record's kind and the length of its body.
const HEAD: usize = 4;

/// What is kept of a record's body: a byte more than may make sense.
const BODY_MAX: usize = COOKIE_LENGTH_MAX + 1;
const _: () = assert!(SERVER_MAX < BODY_MAX, "what was cut is no name");

/// The longest name of a server that is negotiated (RFC 1035).
const SERVER_MAX: usize = 253;

/// What the server has agreed to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) algorithm: Algorithm,
    /// The context that the keys are exported with names this algorithm.
    exported_as: u16,
    pub(crate) cookies: Vec<Cookie>,
    /// The NTP server, if it is not the one that was asked.
    pub(crate) server: Option<String>,
    pub(crate) port: Option<u16>,
}

/// Why a message is no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    TooLong,
    /// The server's word: an error record's number.
    Error(u16),
    Warning(u16),
    /// It agreed to nothing that was offered.
    NoProtocol,
    NoAlgorithm,
    NoCookies,
    CookieLength(usize),
    UnknownCritical(u16),
    /// A record whose body makes no sense, or that came twice.
    Body(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the message is longer than {MESSAGE_MAX} bytes"),
            Self::Error(0) => f.write_str("the server does not understand a critical record"),
            Self::Error(1) => f.write_str("the server calls the request bad"),
            Self::Error(2) => f.write_str("the server has an internal error"),
            Self::Error(code) => write!(f, "the server answers with error {code}"),
            Self::Warning(code) => write!(f, "the server answers with warning {code}"),
            Self::NoProtocol => f.write_str("the server does not agree to NTPv4"),
            Self::NoAlgorithm => f.write_str("the server agrees to none of the ciphers offered"),
            Self::NoCookies => f.write_str("the server gives no cookies"),
            Self::CookieLength(length) => write!(f, "a cookie has {length} bytes"),
            Self::UnknownCritical(kind) => write!(f, "there is a critical record of the unknown type {kind}"),
            Self::Body(name) => write!(f, "the {name} record makes no sense"),
        }
    }
}

/// What a client says: NTPv4, and the ciphers it has, best first.
pub(crate) fn request() -> Vec<u8> {
    let mut message = Vec::new();
    let algorithms: Vec<u8> =
        Algorithm::OFFERED.iter().flat_map(|algorithm| algorithm.number().to_be_bytes()).collect();
    push(&mut message, CRITICAL | NEXT_PROTOCOL, &NTPV4.to_be_bytes());
    push(&mut message, CRITICAL | AEAD, &algorithms);
    push(&mut message, COMPLIANT_GCM_SIV_EXPORT, &[]);
    push(&mut message, CRITICAL | END_OF_MESSAGE, &[]);
    message
}

fn push(message: &mut Vec<u8>, kind: u16, body: &[u8]) {
    message.extend(kind.to_be_bytes());
    // Bodies of ours are some bytes long.
    message.extend((body.len() as u16).to_be_bytes());
    message.extend(body);
}

/// The server's message as it comes, in pieces of any length: what is understood is not kept.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    found: Found,
    /// The record that is not here as a whole yet: its head, and of its body what may make sense.
    record: Vec<u8>,
    /// Bytes that have come of that record, and of the whole message.
    here: usize,
    length: usize,
}

impl Incoming {
    /// Takes in the next `bytes`: the response, if the message's end is among them.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> Result<Option<Response>, Fault> {
        loop {
            let head = self.record.first_chunk();
            let body_length = head.map(|[_, _, high, low]| usize::from(u16::from_be_bytes([*high, *low])));
            let whole = HEAD + body_length.unwrap_or(0);
            if self.length + whole - self.here > MESSAGE_MAX {
                return Err(Fault::TooLong);
            }
            if let (Some(body_length), true) = (body_length, self.here == whole) {
                if let Some(response) = self.close(body_length)? {
                    return Ok(Some(response));
                }
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(whole - self.here));
            if now.is_empty() {
                return Ok(None);
            }
            self.here += now.len();
            self.length += now.len();
            self.record.extend(now.iter().take(HEAD + BODY_MAX - self.record.len()));
            bytes = later;
        }
    }

    /// The record is here as a whole.
    fn close(&mut self, body_length: usize) -> Result<Option<Response>, Fault> {
        self.here = 0;
        let record = std::mem::take(&mut self.record);
        let Some((&[kind, kind_low, ..], body)) = record.split_first_chunk::<HEAD>() else { return Ok(None) };
        let kind = u16::from_be_bytes([kind, kind_low]);
        if kind & !CRITICAL == END_OF_MESSAGE {
            return std::mem::take(&mut self.found).response().map(Some);
        }
        self.found.take(kind, body, body_length)?;
        Ok(None)
    }
}

/// What the records of a message have said so far.
#[derive(Debug, Default)]
struct Found {
    protocol: Option<u16>,
    algorithm: Option<Algorithm>,
    compliant: bool,
    cookies: Vec<Cookie>,
    server: Option<String>,
    port: Option<u16>,
}

impl Found {
    /// One more record, of whose body there may be more, if it makes no sense then.
    fn take(&mut self, kind: u16, body: &[u8], length: usize) -> Result<(), Fault> {
        let number = |name| body.try_into().map(u16::from_be_bytes).map_err(|_| Fault::Body(name));
        match kind & !CRITICAL {
            NEXT_PROTOCOL => {
                // An empty one says that there is none in common.
                let protocol = if body.is_empty() { return Err(Fault::NoProtocol) } else { number("protocol")? };
                once(&mut self.protocol, protocol, "protocol")
            }
            ERROR => Err(Fault::Error(number("error")?)),
            WARNING => Err(Fault::Warning(number("warning")?)),
            AEAD => {
                let number = if body.is_empty() { return Err(Fault::NoAlgorithm) } else { number("cipher")? };
                once(&mut self.algorithm, Algorithm::from_number(number).ok_or(Fault::NoAlgorithm)?, "cipher")
            }
            COOKIE => {
                let cookie = Cookie::new(body).ok_or(Fault::CookieLength(length))?;
                // More than are kept is no mistake, only a waste.
                if self.cookies.len() < COOKIES_MAX {
                    self.cookies.push(cookie);
                }
                Ok(())
            }
            SERVER => {
                let printable = body.iter().all(u8::is_ascii_graphic);
                let name =
                    std::str::from_utf8(body).ok().filter(|name| printable && (1..=SERVER_MAX).contains(&name.len()));
                once(&mut self.server, name.ok_or(Fault::Body("server"))?.to_owned(), "server")
            }
            PORT => match number("port")? {
                0 => Err(Fault::Body("port")),
                port => once(&mut self.port, port, "port"),
            },
            COMPLIANT_GCM_SIV_EXPORT if body.is_empty() => {
                self.compliant = true;
                Ok(())
            }
            unknown if kind & CRITICAL != 0 => Err(Fault::UnknownCritical(unknown)),
            _ => Ok(()),
        }
    }

    fn response(self) -> Result<Response, Fault> {
        if self.protocol != Some(NTPV4) {
            return Err(Fault::NoProtocol);
        }
        let algorithm = self.algorithm.ok_or(Fault::NoAlgorithm)?;
        if self.cookies.is_empty() {
            return Err(Fault::NoCookies);
        }
        let exported_as = match algorithm {
            Algorithm::Aes128GcmSiv if !self.compliant => Algorithm::AesSivCmac256,
            as_it_is => as_it_is,
        };
        let Self { cookies, server, port, .. } = self;
        Ok(Response { algorithm, exported_as: exported_as.number(), cookies, server, port })
    }
}

fn once<T>(place: &mut Option<T>, value: T, name: &'static str) -> Result<(), Fault> {
    if place.replace(value).is_some() { Err(Fault::Body(name)) } else { Ok(()) }
}

/// Whose key is exported from the TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ClientToServer = 0,
    ServerToClient = 1,
}

impl Response {
    /// The context of the TLS exporter for the key of one direction (RFC 8915, section 5.1).
    pub(crate) fn exporter_context(&self, direction: Direction) -> [u8; 5] {
        exporter_context(self.exported_as, direction)
    }
}

fn exporter_context(algorithm: u16, direction: Direction) -> [u8; 5] {
    let ([protocol, protocol_low], [algorithm, algorithm_low]) = (NTPV4.to_be_bytes(), algorithm.to_be_bytes());
    [protocol, protocol_low, algorithm, algorithm_low, direction as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        push(&mut message, kind, body);
        message
    }

    fn protocol() -> Vec<u8> {
        record(CRITICAL | NEXT_PROTOCOL, &[0, 0])
    }

    fn cipher(number: u8) -> Vec<u8> {
        record(AEAD, &[0, number])
    }

    fn cookie(length: usize) -> Vec<u8> {
        record(COOKIE, &vec![7; length])
    }

    fn end() -> Vec<u8> {
        record(CRITICAL | END_OF_MESSAGE, &[])
    }

    fn good() -> Vec<Vec<u8>> {
        vec![protocol(), cipher(15), cookie(100), cookie(100)]
    }

    fn parse(bytes: &[u8]) -> Result<Option<Response>, Fault> {
        Incoming::default().take(bytes)
    }

    /// What comes of a message of these records and an end.
    fn parsed(records: &[Vec<u8>]) -> Result<Response, Fault> {
        parse(&[records.concat(), end()].concat()).map(|response| response.expect("the end is there"))
    }

    #[test]
    fn a_request_offers_ntpv4_and_every_cipher_the_shortest_packets_first() {
        let expected =
            [&[0x80, 1, 0, 2, 0, 0][..], &[0x80, 4, 0, 6, 0, 30, 0, 15, 0, 17], &[4, 0, 0, 0], &[0x80, 0, 0, 0]];
        assert_eq!(request(), expected.concat());
    }

    #[test]
    fn a_response_is_read_at_whatever_pace_it_comes() {
        let more = [record(SERVER, b"ntp.example.org"), record(PORT, &[0x12, 0x34]), record(77, b"whatever")];
        let message = [good().concat(), more.concat(), end()].concat();
        let response = parse(&message).unwrap().unwrap();
        for length in 0..message.len() {
            let (mut incoming, (now, later)) = (Incoming::default(), message.split_at(length));
            assert_eq!(incoming.take(now), Ok(None), "{length}");
            assert_eq!(incoming.take(later).unwrap().as_ref(), Some(&response), "{length}");
        }
        let mut incoming = Incoming::default();
        assert_eq!(message.iter().find_map(|byte| incoming.take(&[*byte]).unwrap()).as_ref(), Some(&response));
        assert_eq!((response.algorithm, response.cookies.len()), (Algorithm::AesSivCmac256, 2));
        assert_eq!((response.server.as_deref(), response.port), (Some("ntp.example.org"), Some(0x1234)));
    }

    #[test]
    fn whatever_a_response_lacks_or_has_too_much_of_is_named() {
        let with = |record: Vec<u8>| [good(), vec![record]].concat();
        for (records, fault) in [
            (vec![cipher(15), cookie(100)], Fault::NoProtocol),
            (vec![record(CRITICAL | NEXT_PROTOCOL, &[]), cipher(15), cookie(100)], Fault::NoProtocol),
            (vec![record(CRITICAL | NEXT_PROTOCOL, &[0, 1]), cipher(15), cookie(100)], Fault::NoProtocol),
            (vec![protocol(), cookie(100)], Fault::NoAlgorithm),
            (vec![protocol(), record(AEAD, &[]), cookie(100)], Fault::NoAlgorithm),
            (vec![protocol(), cipher(1), cookie(100)], Fault::NoAlgorithm),
            (vec![protocol(), cipher(15)], Fault::NoCookies),
            (with(cookie(0)), Fault::CookieLength(0)),
            (with(cookie(8)), Fault::CookieLength(8)),
            (with(cookie(101)), Fault::CookieLength(101)),
            (with(cookie(260)), Fault::CookieLength(260)),
            (with(record(CRITICAL | 99, &[])), Fault::UnknownCritical(99)),
            (with(record(ERROR | CRITICAL, &[0, 1])), Fault::Error(1)),
            (with(record(WARNING | CRITICAL, &[0, 9])), Fault::Warning(9)),
            (with(record(ERROR | CRITICAL, &[0])), Fault::Body("error")),
            (with(protocol()), Fault::Body("protocol")),
            (with(cipher(17)), Fault::Body("cipher")),
            (with(record(AEAD, &[0, 15, 0, 17])), Fault::Body("cipher")),
            (with(record(SERVER, b"")), Fault::Body("server")),
            (with(record(SERVER, b"a b")), Fault::Body("server")),
            (with(record(SERVER, &[b'a'; 254])), Fault::Body("server")),
            (with(record(SERVER, &[0xc3, 0xa4])), Fault::Body("server")),
            (with(record(PORT, &[0, 0])), Fault::Body("port")),
            (with(record(PORT, &[1])), Fault::Body("port")),
        ] {
            assert_eq!(parsed(&records), Err(fault));
        }
    }

    #[test]
    fn more_cookies_than_are_of_use_are_let_go_and_more_than_a_message_holds_are_refused() {
        assert_eq!(parsed(&[good(), vec![cookie(100); 20]].concat()).unwrap().cookies.len(), COOKIES_MAX);
        let flood = [good().concat(), vec![cookie(100); 10_000].concat()].concat();
        assert_eq!(parse(&flood), Err(Fault::TooLong));
        // It is refused as soon as it is too long, not when it is over.
        assert_eq!(parse(&flood[..MESSAGE_MAX]), Err(Fault::TooLong));
        // And before it has come, where it says how long it is.
        assert_eq!(parse(&cookie(65_535)[..3]), Ok(None));
        assert_eq!(parse(&cookie(65_535)[..4]), Err(Fault::TooLong));
    }

    #[test]
    fn what_no_record_may_hold_is_not_kept() {
        let (mut incoming, long) = (Incoming::default(), record(77, &[7; 9_000]));
        assert_eq!(incoming.take(&[good().concat(), long].concat()), Ok(None));
        assert_eq!(incoming.take(&cookie(7_000)[..6_000]), Ok(None));
        assert!(incoming.record.capacity() <= 512, "{}", incoming.record.capacity());
        assert_eq!(incoming.take(&[7; 2_000]), Err(Fault::CookieLength(7_000)));
    }

    #[test]
    fn any_bytes_are_read_without_harm() {
        let mut state = 1_u32;
        for length in 0..2_000 {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8 & 0x0f
                })
                .collect();
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn the_exporters_context_names_protocol_cipher_and_direction() {
        let response = |number, compliant: bool| {
            let compliance = compliant.then(|| record(COMPLIANT_GCM_SIV_EXPORT, &[]));
            let records = [Some(protocol()), Some(cipher(number)), Some(cookie(64)), compliance];
            parsed(&records.into_iter().flatten().collect::<Vec<_>>()).unwrap()
        };
        use Direction::{ClientToServer, ServerToClient};
        assert_eq!(response(15, false).exporter_context(ClientToServer), [0, 0, 0, 15, 0]);
        assert_eq!(response(17, true).exporter_context(ServerToClient), [0, 0, 0, 17, 1]);
        assert_eq!(response(30, true).exporter_context(ServerToClient), [0, 0, 0, 30, 1]);
        // An older chrony.
        assert_eq!(response(30, false).exporter_context(ClientToServer), [0, 0, 0, 15, 0]);
    }
}
