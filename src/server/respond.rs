//! From a request and the time to a reply, as values.

use super::pairs::Pair;
use crate::packet::{HEADER_LEN, Mode, Packet};
use crate::status::Leap;
use crate::units::{Nanos, NtpShort, NtpTime, UnixTime};

/// 2^-24 s, 60 ns: what one reading of our clock takes, rounded up.
const PRECISION: i8 = -24;

/// A stratum that means "not synchronised" (RFC 5905, MAXSTRAT).
pub(super) const UNSYNCHRONIZED: u8 = 16;

/// What a server says of its own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) leap: Leap,
    pub(super) stratum: u8,
    pub(super) root_delay: Nanos,
    pub(super) root_dispersion: Nanos,
    pub(super) reference_id: u32,
    pub(super) reference_time: UnixTime,
}

impl Identity {
    /// A server that has no time to give.
    pub(super) const UNSYNCHRONIZED: Self = Self {
        leap: Leap::Unknown,
        stratum: UNSYNCHRONIZED,
        root_delay: Nanos::ZERO,
        root_dispersion: Nanos::MAX,
        reference_id: 0,
        reference_time: UnixTime(0),
    };

    pub(super) fn is_synchronized(&self) -> bool {
        self.stratum < UNSYNCHRONIZED
    }
}

/// Why a datagram is not answered. Everything but a request is met with silence: who answers an answer, or an error,
/// can be made to talk for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// No NTP header, or no sender that can be answered.
    Malformed,
    /// Of no version from 1 to 4.
    Version,
    /// No client's request.
    Mode,
    /// The client is not to be served, or has asked many hosts at once.
    Denied,
    /// The client asks too often.
    Limited,
    /// There is no time to give, and that is not to be said.
    Unsynchronized,
    /// It asks for NTS, and its fields make no sense, or leave no room for a reply.
    #[cfg_attr(not(feature = "_nts"), expect(dead_code, reason = "without ciphers nobody looks"))]
    Insecure,
}

/// NTP's port.
const NTP_PORT: u16 = 123;

/// The request itself, if `datagram`, which came from `port`, is one.
///
/// Version 1 knows no modes, only a server's port and others (RFC 1059, appendix B); where the later ones have the mode
/// there are zeros.
pub(super) fn accept(datagram: &[u8], port: u16) -> Result<Packet, Silence> {
    let packet = Packet::parse(datagram).filter(|_| port != 0).ok_or(Silence::Malformed)?;
    if !(1..=4).contains(&packet.version) {
        return Err(Silence::Version);
    }
    match (packet.mode, packet.version) {
        (Mode::Client, _) => Ok(packet),
        (Mode::Other(0), 1) if port != NTP_PORT => Ok(packet),
        _ => Err(Silence::Mode),
    }
}

/// What the replies of one moment have in common, as it goes on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Template {
    bytes: [u8; HEADER_LEN],
    root_delay: NtpShort,
    root_dispersion: NtpShort,
    is_synchronized: bool,
}

// Where in a header stands what is each reply's own (RFC 5905, figure 8).
const POLL: usize = 2;
const ROOT_DISPERSION: usize = 8;
const ORIGIN: usize = 24;
const RECEIVE: usize = 32;
const TRANSMIT: usize = 40;

impl Template {
    pub(super) fn new(identity: &Identity) -> Self {
        let is_synchronized = identity.is_synchronized();
        let reference = if is_synchronized { NtpTime::from_unix(identity.reference_time) } else { NtpTime::ZERO };
        let root_delay = NtpShort::from_nanos_up(identity.root_delay);
        let root_dispersion = NtpShort::from_nanos_up(identity.root_dispersion);
        let packet = Packet {
            leap: identity.leap,
            version: 0,
            mode: Mode::Server,
            stratum: identity.stratum,
            poll: 0,
            precision: PRECISION,
            root_delay,
            root_dispersion,
            reference_id: identity.reference_id,
            reference,
            origin: NtpTime::ZERO,
            receive: NtpTime::ZERO,
            transmit: NtpTime::ZERO,
        };
        Self { bytes: packet.bytes(), root_delay, root_dispersion, is_synchronized }
    }

    /// The reply to `request`, which came at `receive` (not earlier) and whose reply leaves at `transmit` (not later).
    /// Who has no time to give gives none, not even one that nobody should believe.
    pub(super) fn reply(&self, request: &Packet, receive: NtpTime, transmit: NtpTime) -> [u8; HEADER_LEN] {
        let (receive, transmit) =
            if self.is_synchronized { (receive, transmit) } else { (NtpTime::ZERO, NtpTime::ZERO) };
        self.filled(request, request.transmit, receive, transmit)
    }

    /// The same in interleaved mode (RFC 9769, section 2): what is told as the transmit timestamp is `earlier`'s, so
    /// that the root distance must hold for that one, too. The root delay beside it is today's: what it is less than
    /// that of then, the root dispersion has to be more.
    pub(super) fn interleaved(&self, request: &Packet, receive: NtpTime, earlier: &Pair) -> [u8; HEADER_LEN] {
        let mut bytes = self.filled(request, request.receive, receive, earlier.transmit);
        let of_then = earlier.root_distance.0.saturating_sub(self.root_delay.0 / 2);
        let root_dispersion = self.root_dispersion.0.max(of_then);
        put(&mut bytes, ROOT_DISPERSION, root_dispersion.to_be_bytes());
        bytes
    }

    fn filled(&self, request: &Packet, origin: NtpTime, receive: NtpTime, transmit: NtpTime) -> [u8; HEADER_LEN] {
        let mut bytes = self.bytes;
        bytes[0] |= (request.version & 7) << 3;
        bytes[POLL] = request.poll.cast_unsigned();
        for (at, time) in [(ORIGIN, origin), (RECEIVE, receive), (TRANSMIT, transmit)] {
            put(&mut bytes, at, time.0.to_be_bytes());
        }
        bytes
    }

    /// Half the root delay and the root dispersion, as they are told, rounded up.
    pub(super) fn root_distance(&self) -> NtpShort {
        NtpShort(self.root_dispersion.0.saturating_add(self.root_delay.0.div_ceil(2)))
    }
}

/// Puts a field in its place. All of them lie within a header.
#[inline(always)]
fn put<const N: usize>(bytes: &mut [u8; HEADER_LEN], at: usize, field: [u8; N]) {
    bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()).into_iter().for_each(|place| *place = field);
}

/// Whether `request` comes from a client that has heard of us before, and may speak interleaved mode.
pub(super) fn names_an_origin(request: &Packet) -> bool {
    request.origin != NtpTime::ZERO
}

/// Whether `request` asks for interleaved mode, if its origin is a receive timestamp of ours.
pub(super) fn is_interleaved(request: &Packet) -> bool {
    names_an_origin(request) && request.receive != request.transmit && request.receive != NtpTime::ZERO
}

/// Tells the sender of `request` to ask less often.
pub(super) fn rate_kiss(request: &Packet) -> [u8; HEADER_LEN] {
    kiss(request, *b"RATE")
}

/// Gives the sender of `request` a code instead of the time (RFC 5905, section 7.4).
pub(super) fn kiss(request: &Packet, code: [u8; 4]) -> [u8; HEADER_LEN] {
    let (stratum, reference_id) = (0, u32::from_be_bytes(code));
    let template = Template::new(&Identity { stratum, reference_id, ..Identity::UNSYNCHRONIZED });
    template.filled(request, request.transmit, NtpTime::ZERO, NtpTime::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::unix_seconds;

    const IDENTITY: Identity = Identity {
        leap: Leap::None,
        stratum: 3,
        root_delay: Nanos(1_000_000),
        root_dispersion: Nanos(2_000_001),
        reference_id: 0x7f00_0001,
        reference_time: unix_seconds(1_795_000_000),
    };

    #[test]
    fn only_requests_of_clients_are_answered() {
        let request = Packet::request(NtpTime(7)).bytes();
        assert!(accept(&request, 5_000).is_ok());
        assert_eq!(accept(&request[..47], 5_000), Err(Silence::Malformed));
        // Nobody can be reached there.
        assert_eq!(accept(&request, 0), Err(Silence::Malformed));
        for byte in 0..=u8::MAX {
            let mut other = request;
            other[0] = byte;
            let (version, mode) = (byte >> 3 & 7, byte & 7);
            for port in [123, 124] {
                let expected = match (version, mode) {
                    (0 | 5.., _) => Err(Silence::Version),
                    (_, 3) => Ok(()),
                    (1, 0) if port != 123 => Ok(()),
                    _ => Err(Silence::Mode),
                };
                assert_eq!(accept(&other, port).map(drop), expected, "{byte:08b} from {port}");
            }
        }
    }

    #[test]
    fn a_reply_echoes_the_request_and_rounds_its_claims_up() {
        for version in 1..=4 {
            let request = Packet { version, poll: 6, ..Packet::request(NtpTime(0xabcd)) };
            let receive = NtpTime::from_unix(unix_seconds(1_795_000_001));
            let bytes = Template::new(&IDENTITY).reply(&request, receive, NtpTime(receive.0 + 5));
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!((packet.version, packet.poll, packet.origin), (version, 6, NtpTime(0xabcd)));
            assert_eq!((packet.stratum, packet.mode, packet.leap), (3, Mode::Server, Leap::None));
            assert_eq!((packet.receive, packet.transmit.0 - packet.receive.0), (receive, 5));
            // What is read back is rounded up once more: here by the wire's own value.
            let wire = |short: NtpShort| i64::from(short.0) * 1_000_000_000;
            assert!(wire(packet.root_delay) >= IDENTITY.root_delay.0 << 16);
            assert!(wire(packet.root_dispersion) >= IDENTITY.root_dispersion.0 << 16);
        }
    }

    #[test]
    fn an_interleaved_reply_has_the_root_distance_of_its_transmit_timestamp_when_the_root_delay_is_another() {
        let request = Packet { receive: NtpTime(3), ..Packet::request(NtpTime(1)) };
        let distance = |packet: &Packet| u64::from(packet.root_delay.0) + 2 * u64::from(packet.root_dispersion.0);
        let identity = |delay, dispersion| Identity {
            root_delay: Nanos::from_millis(delay),
            root_dispersion: Nanos::from_millis(dispersion),
            ..IDENTITY
        };
        for (then, now) in
            [((100, 1), (0, 5)), ((100, 1), (3, 1)), ((0, 5), (100, 1)), ((20, 5), (20, 5)), ((7, 1), (3, 2))]
        {
            let (then, now) = (identity(then.0, then.1), identity(now.0, now.1));
            let [told_then, told_now] = [&then, &now].map(|identity| {
                Packet::parse(&Template::new(identity).reply(&request, NtpTime(9), NtpTime(10))).unwrap()
            });
            let earlier = Pair { transmit: NtpTime(4), root_distance: Template::new(&then).root_distance() };
            let bytes = Template::new(&now).interleaved(&request, NtpTime(9), &earlier);
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!((packet.transmit, packet.origin), (NtpTime(4), NtpTime(3)));
            assert_eq!(packet.root_delay, told_now.root_delay);
            let least = distance(&told_then).max(distance(&told_now));
            assert!((least..least + 4).contains(&distance(&packet)), "{then:?} {now:?}: {packet:?}");
        }
    }

    #[test]
    fn without_time_a_server_says_so_and_gives_none() {
        let request = Packet::request(NtpTime(1));
        let bytes = Template::new(&Identity::UNSYNCHRONIZED).reply(&request, NtpTime(5), NtpTime(6));
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.leap, packet.stratum), (Leap::Unknown, 16));
        assert_eq!((packet.root_dispersion, packet.reference), (NtpShort::MAX, NtpTime::ZERO));
        assert_eq!((packet.receive, packet.transmit, packet.origin), (NtpTime::ZERO, NtpTime::ZERO, NtpTime(1)));
    }

    #[test]
    fn a_kiss_names_its_code_and_the_request_and_gives_no_time() {
        let request = Packet { version: 3, ..Packet::request(NtpTime(77)) };
        let packet = Packet::parse(&rate_kiss(&request)).unwrap();
        assert_eq!((packet.stratum, packet.reference_id.to_be_bytes()), (0, *b"RATE"));
        assert_eq!((packet.version, packet.mode, packet.leap), (3, Mode::Server, Leap::Unknown));
        assert_eq!((packet.origin, packet.receive, packet.transmit), (NtpTime(77), NtpTime::ZERO, NtpTime::ZERO));
    }
}
