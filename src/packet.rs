//! Bytes ↔ values: the NTP header (RFC 5905, section 7.3), versions 3 and 4.
//!
//! Extension fields and authenticators may follow the header (RFC 7822, [`extension`]). Whoever asks for none passes
//! them by unread; but what is neither makes the whole datagram malformed.

pub(crate) mod extension;

use std::net::IpAddr;

use md5::{Digest, Md5};

use crate::status::Leap;
use crate::units::{NtpShort, NtpTime};

/// The header's length in bytes; no valid packet is shorter.
pub(crate) const HEADER_LEN: usize = 48;

/// What the sender is to the receiver (RFC 5905, figure 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Client,
    Server,
    /// Symmetric, broadcast, control and private modes: never answered, never believed.
    Other(u8),
}

/// One packet's header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Packet {
    pub(crate) leap: Leap,
    pub(crate) version: u8,
    pub(crate) mode: Mode,
    pub(crate) stratum: u8,
    pub(crate) poll: i8,
    pub(crate) precision: i8,
    pub(crate) root_delay: NtpShort,
    pub(crate) root_dispersion: NtpShort,
    pub(crate) reference_id: u32,
    pub(crate) reference: NtpTime,
    pub(crate) origin: NtpTime,
    pub(crate) receive: NtpTime,
    pub(crate) transmit: NtpTime,
}

impl Packet {
    /// A client's request: only version, mode and a random `transmit`. What it does not say, nobody can use
    /// (RFC 5905 asks for nothing more; "data minimisation").
    pub(crate) fn request(transmit: NtpTime) -> Self {
        Self {
            leap: Leap::None,
            version: 4,
            mode: Mode::Client,
            stratum: 0,
            poll: 0,
            precision: 0,
            root_delay: NtpShort(0),
            root_dispersion: NtpShort(0),
            reference_id: 0,
            reference: NtpTime::ZERO,
            origin: NtpTime::ZERO,
            receive: NtpTime::ZERO,
            transmit,
        }
    }

    /// Reads the header of a datagram; `None` if it is too short to have one.
    pub(crate) fn parse(datagram: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_LEN] = datagram.first_chunk()?;
        Some(Self {
            leap: Leap::from_number(u64::from(bytes[0] >> 6)),
            version: bytes[0] >> 3 & 7,
            mode: match bytes[0] & 7 {
                3 => Mode::Client,
                4 => Mode::Server,
                other => Mode::Other(other),
            },
            stratum: bytes[1],
            poll: bytes[2].cast_signed(),
            precision: bytes[3].cast_signed(),
            root_delay: NtpShort(word(bytes, 4)),
            root_dispersion: NtpShort(word(bytes, 8)),
            reference_id: word(bytes, 12),
            reference: timestamp(bytes, 16),
            origin: timestamp(bytes, 24),
            receive: timestamp(bytes, 32),
            transmit: timestamp(bytes, 40),
        })
    }

    /// The header as it goes on the wire.
    pub(crate) fn bytes(&self) -> [u8; HEADER_LEN] {
        let mode = match self.mode {
            Mode::Client => 3,
            Mode::Server => 4,
            Mode::Other(other) => other & 7,
        };
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = (self.leap as u8) << 6 | (self.version & 7) << 3 | mode;
        bytes[1] = self.stratum;
        bytes[2] = self.poll.cast_unsigned();
        bytes[3] = self.precision.cast_unsigned();
        bytes[4..8].copy_from_slice(&self.root_delay.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.root_dispersion.0.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.reference_id.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.reference.0.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.origin.0.to_be_bytes());
        bytes[32..40].copy_from_slice(&self.receive.0.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.transmit.0.to_be_bytes());
        bytes
    }
}

/// What a server that follows `upstream` writes as its reference id: the address, or the first four octets of
/// the MD5 digest of an IPv6 address (RFC 5905, section 7.3). It serves to find loops, not to be secret.
pub(crate) fn reference_id(upstream: IpAddr) -> u32 {
    match upstream {
        IpAddr::V4(address) => u32::from(address),
        IpAddr::V6(address) => {
            let [first, second, third, fourth, ..]: [u8; 16] = Md5::digest(address.octets()).into();
            u32::from_be_bytes([first, second, third, fourth])
        }
    }
}

/// The shortest extension field, and the shortest that no authenticator follows (RFC 7822, section 3).
const FIELD_MIN: usize = 16;
const LAST_FIELD_MIN: usize = 28;

/// Lengths of an authenticator: none, a crypto-NAK, a key id with 16 bytes, or with 20.
const AUTHENTICATORS: [usize; 4] = [0, 4, 20, 24];

/// Whether extension fields of sound lengths, and at most one authenticator, are all that follows the header.
pub(crate) fn has_sound_tail(datagram: &[u8]) -> bool {
    let Some(mut rest) = datagram.get(HEADER_LEN..) else { return false };
    while rest.len() >= LAST_FIELD_MIN {
        match extension::split(rest) {
            Ok(Some((_, after))) if rest.len() - after.len() >= FIELD_MIN => rest = after,
            _ => return false,
        }
    }
    AUTHENTICATORS.contains(&rest.len())
}

/// The field at `at`. All of them lie within a header.
#[inline(always)]
fn field<const N: usize>(bytes: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn word(bytes: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_be_bytes(field(bytes, at))
}

fn timestamp(bytes: &[u8; HEADER_LEN], at: usize) -> NtpTime {
    NtpTime(u64::from_be_bytes(field(bytes, at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply as a stratum-2 server would send it, written by hand from RFC 5905, figure 8.
    const REPLY: [u8; HEADER_LEN] = [
        0b01_100_100,
        2,
        6,
        0xe9, // leap 1, version 4, mode 4; stratum; poll; precision -23
        0x00,
        0x00,
        0x01,
        0x00, // root delay 256/65536 s
        0x00,
        0x00,
        0x02,
        0x00, // root dispersion
        192,
        0,
        2,
        1, // reference id
        0xe0,
        0,
        0,
        1,
        0x80,
        0,
        0,
        0, // reference
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8, // origin
        0xe0,
        0,
        0,
        2,
        0x40,
        0,
        0,
        0, // receive
        0xe0,
        0,
        0,
        2,
        0x40,
        0,
        0,
        1, // transmit
    ];

    #[test]
    fn a_header_is_read_as_rfc_5905_draws_it() {
        let packet = Packet::parse(&REPLY).unwrap();
        assert_eq!(packet.leap, Leap::Insert);
        assert_eq!((packet.version, packet.mode, packet.stratum), (4, Mode::Server, 2));
        assert_eq!((packet.poll, packet.precision), (6, -23));
        assert_eq!((packet.root_delay, packet.root_dispersion), (NtpShort(256), NtpShort(512)));
        assert_eq!(packet.reference_id, u32::from_be_bytes([192, 0, 2, 1]));
        assert_eq!(packet.origin, NtpTime(0x0102_0304_0506_0708));
        assert_eq!(packet.transmit.0 - packet.receive.0, 1);
    }

    #[test]
    fn writing_undoes_reading() {
        assert_eq!(Packet::parse(&REPLY).unwrap().bytes(), REPLY);
    }

    #[test]
    fn what_is_too_short_is_no_packet_and_what_follows_is_ignored() {
        for length in 0..HEADER_LEN {
            assert_eq!(Packet::parse(&REPLY[..length]), None);
        }
        let long = [REPLY.as_slice(), &[0xff; 1452]].concat();
        assert_eq!(Packet::parse(&long), Packet::parse(&REPLY));
    }

    #[test]
    fn every_first_byte_is_readable() {
        for byte in 0..=u8::MAX {
            let mut bytes = REPLY;
            bytes[0] = byte;
            assert_eq!(Packet::parse(&bytes).unwrap().bytes(), bytes);
        }
    }

    #[test]
    fn a_request_says_nothing_but_its_random_timestamp() {
        let bytes = Packet::request(NtpTime(u64::MAX)).bytes();
        assert_eq!(bytes[0], 0b00_100_011);
        assert_eq!(bytes[1..40], [0; 39]);
        assert_eq!(bytes[40..], [0xff; 8]);
    }

    fn with_tail(tail: &[u8]) -> bool {
        has_sound_tail(&[&REPLY, tail].concat())
    }

    /// An extension field that says it is `said` bytes long, and is `real`.
    fn field(said: u16, real: usize) -> Vec<u8> {
        let mut field = vec![0; real];
        field[2..4].copy_from_slice(&said.to_be_bytes());
        field
    }

    #[test]
    fn only_an_authenticator_and_sound_extension_fields_may_follow() {
        for length in 0..28 {
            assert_eq!(with_tail(&vec![0; length]), [0, 4, 20, 24].contains(&length), "{length}");
        }
        assert!(with_tail(&field(28, 28)) && with_tail(&[field(16, 16), field(28, 28)].concat()));
        assert!(with_tail(&[field(100, 100), vec![1; 20]].concat()));
        for said in (0..=u16::MAX).filter(|said| *said != 64) {
            // With 20 bytes behind it, a field of 44 takes itself for one and an authenticator.
            assert_eq!(with_tail(&field(said, 64)), [40, 44, 60].contains(&said), "{said}");
        }
        assert!(!has_sound_tail(&REPLY[..40]));
    }
}
