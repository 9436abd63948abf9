//! What comes in datagrams: headers, extension fields, authenticators, and what follows from four stamps.

use super::Input;
use crate::exchange::{self, Refusal};
use crate::mac::Key;
use crate::packet::extension::{self, Field};
use crate::packet::{self, HEADER_LEN, Mode, Packet};
use crate::units::{Counter, Nanos, NtpTime, Ppb, UnixTime};

pub(super) fn packet(data: &[u8]) {
    let Some(packet) = Packet::parse(data) else { return assert!(data.len() < HEADER_LEN) };
    packet_is(&packet, data);
    assert_eq!(Packet::parse(&packet.bytes()), Some(packet), "what follows does not matter");
    if packet::has_sound_tail(data) {
        // Fields tile the tail up to an authenticator, and bytes in front of one are another authenticator or fields.
        let tail = data.len() - HEADER_LEN;
        assert!(tail.is_multiple_of(4) && !(1..28).contains(&tail) || [4, 20, 24].contains(&tail), "{tail}");
    }
}

pub(super) fn packet_is(packet: &Packet, data: &[u8]) {
    assert_eq!(packet.bytes(), data[..HEADER_LEN], "writing undoes reading");
}

pub(super) fn extension(data: &[u8]) {
    let (mut rest, mut again) = (data, Vec::new());
    while let Ok(Some((Field { kind, body }, after))) = extension::split(rest) {
        assert_eq!(4 + body.len() + after.len(), rest.len(), "nothing is lost between a field and the next");
        extension::push(&mut again, kind, body);
        assert_eq!(again, data[..data.len() - after.len()], "pushing undoes splitting");
        rest = after;
    }
    authenticated(data);
}

/// A message that is authenticated is accepted, and no other that differs in one bit, or by its end.
fn authenticated(data: &[u8]) {
    let mut input = Input(data);
    let kind = if input.byte() & 1 == 0 {
        ("AES128", "sixteen letters!")
    } else {
        ("AES256", "of letters, there are 32 in here")
    };
    let key = Key::parse("7", kind.0, kind.1).expect("a key of the right length");
    let (at, bit) = (usize::from(input.short()), input.byte() & 7);
    let header = input.0.len().min(HEADER_LEN);
    if input.0.len() < 1_500 {
        let mut message = input.0.to_vec();
        key.authenticate(&mut message);
        assert_eq!(key.verify(&message, header), Ok(()));
        assert!(key.verify(&message[..message.len() - 1], header).is_err(), "one byte is missing");
        let at = at % message.len();
        message[at] ^= 1 << bit;
        assert!(key.verify(&message, header).is_err(), "bit {bit} of byte {at}");
    }
    assert!(key.verify(data, data.len().min(HEADER_LEN)).is_err(), "nobody guesses a code");
}

/// A reply that is accepted as a measurement is what RFC 5905 calls one.
pub(super) fn reply(data: &[u8]) {
    let mut input = Input(data);
    let (t1, took) = (Counter(input.sized()), Nanos(input.sized()));
    let (pivot, frequency) = (UnixTime(input.sized()), Ppb(f64::from(input.short()) * 15.0));
    let (mask, datagram) = (input.sized(), input.0);
    let Some(packet) = Packet::parse(datagram) else { return };
    let t4 = t1 + took;
    // Mostly it answers what was asked.
    let asked = NtpTime(packet.origin.0 ^ if mask & 7 == 0 { mask as u64 } else { 0 });
    match exchange::judge(datagram, asked, t1, t4, pivot, frequency) {
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty());
            let anonymous = asked != packet.origin || packet.mode != Mode::Server;
            assert!(!anonymous || refusal.is_anonymous(), "{refusal}: not who was asked, and believed in something");
            assert!(!refusal.is_a_lie() || matches!(refusal, Refusal::Hold(_) | Refusal::NegativeDelay(_)));
        }
        Ok(told) => {
            assert_eq!((asked, packet.mode), (packet.origin, Mode::Server));
            assert!((3..=4).contains(&packet.version) && (1..16).contains(&packet.stratum));
            assert!(packet::has_sound_tail(datagram));
            let (stamps, server) = (told.stamps, told.server);
            // Two stamps of one clock are in order, as far as it can tell.
            let (held, grain) = (stamps.t3 - stamps.t2, Nanos::from_log2_seconds(server.precision));
            assert!((-grain..=Nanos::from_seconds(4)).contains(&held), "{stamps:?}");
            assert!(server.distance() < Nanos::from_seconds(16), "{server:?}");
            // Whatever the stamps, the offset lies in the interval that is believed, and that is not empty.
            let interval = stamps.interval(server.distance(), frequency);
            assert!(!interval.is_empty(), "{told:?}");
            let saturated = [interval.low, interval.high].iter().any(|end| end.0.unsigned_abs() > i64::MAX as u64 / 4);
            assert!(saturated || interval.clamp(stamps.offset()) == stamps.offset(), "{told:?} {interval:?}");
        }
    }
}
