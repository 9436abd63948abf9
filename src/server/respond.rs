//! From a request and the time to a reply, as values.

use crate::packet::{HEADER_LEN, Mode, Packet};
use crate::status::Leap;
use crate::units::{Nanos, NtpShort, NtpTime, UnixTime};

/// 2^-24 s, 60 ns: what one reading of our clock takes, rounded up.
const PRECISION: i8 = -24;

/// A stratum that means "not synchronised" (RFC 5905, MAXSTRAT).
pub(super) const UNSYNCHRONIZED: u8 = 16;

/// What a server says of its own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) leap: Leap,
    pub(crate) stratum: u8,
    pub(crate) root_delay: Nanos,
    pub(crate) root_dispersion: Nanos,
    pub(crate) reference_id: u32,
    pub(crate) reference_time: UnixTime,
}

impl Identity {
    /// A server that has no time to give.
    pub(crate) const UNSYNCHRONIZED: Self = Self {
        leap: Leap::Unknown,
        stratum: UNSYNCHRONIZED,
        root_delay: Nanos::ZERO,
        root_dispersion: Nanos::MAX,
        reference_id: 0,
        reference_time: UnixTime(0),
    };
}

/// The version and the request itself, if `datagram` is one that is answered: a client's, of version 3 or 4.
///
/// Everything else is met with silence: who answers an answer, or an error, can be made to talk for ever.
pub(crate) fn accept(datagram: &[u8]) -> Option<Packet> {
    Packet::parse(datagram).filter(|packet| packet.mode == Mode::Client && (3..=4).contains(&packet.version))
}

/// The reply to `request`, which came at `received` (not earlier) and whose reply leaves at `leaving` (not later).
/// It is never longer than the request.
pub(crate) fn reply(request: &Packet, identity: &Identity, received: UnixTime, leaving: UnixTime) -> [u8; HEADER_LEN] {
    let reference =
        if identity.stratum < UNSYNCHRONIZED { NtpTime::from_unix(identity.reference_time) } else { NtpTime::ZERO };
    Packet {
        leap: identity.leap,
        version: request.version,
        mode: Mode::Server,
        stratum: identity.stratum,
        poll: request.poll,
        precision: PRECISION,
        root_delay: NtpShort::from_nanos_up(identity.root_delay),
        root_dispersion: NtpShort::from_nanos_up(identity.root_dispersion),
        reference_id: identity.reference_id,
        reference,
        origin: request.transmit,
        receive: NtpTime::from_unix(received),
        transmit: NtpTime::from_unix(leaving),
    }
    .bytes()
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
        assert!(accept(&request).is_some());
        assert!(accept(&request[..47]).is_none());
        for byte in 0..=u8::MAX {
            let mut other = request;
            other[0] = byte;
            let (version, mode) = (byte >> 3 & 7, byte & 7);
            assert_eq!(accept(&other).is_some(), mode == 3 && (version == 3 || version == 4), "{byte:08b}");
        }
    }

    #[test]
    fn a_reply_echoes_the_request_and_rounds_its_claims_up() {
        let request = Packet { version: 3, poll: 6, ..Packet::request(NtpTime(0xabcd)) };
        let received = unix_seconds(1_795_000_001);
        let packet = Packet::parse(&reply(&request, &IDENTITY, received, received + Nanos(500))).unwrap();
        assert_eq!((packet.version, packet.poll, packet.origin), (3, 6, NtpTime(0xabcd)));
        assert_eq!((packet.stratum, packet.mode, packet.leap), (3, Mode::Server, Leap::None));
        assert!(packet.root_delay.nanos_up() >= IDENTITY.root_delay);
        assert!(packet.root_dispersion.nanos_up() >= IDENTITY.root_dispersion);
    }

    #[test]
    fn without_time_a_server_says_so() {
        let request = Packet::request(NtpTime(1));
        let bytes = reply(&request, &Identity::UNSYNCHRONIZED, UnixTime(0), UnixTime(0));
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.leap, packet.stratum), (Leap::Unknown, 16));
        assert_eq!((packet.root_dispersion, packet.reference), (NtpShort::MAX, NtpTime::ZERO));
    }
}
