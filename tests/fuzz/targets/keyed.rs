//! Network Time Security: records of a key exchange, and replies in the name of a server whose keys we have.

use std::sync::Arc;

use super::Input;
use crate::nts::aead::Keys;
use crate::nts::field;
use crate::nts::record::{Direction, Incoming, MESSAGE_MAX};
use crate::nts::session::{Association, Grant, Reply};
use crate::nts::trust::{Basis, Chain, Credential, Invalid};
use crate::nts::{Algorithm, COOKIES_MAX, Chance, Cookie};
use crate::packet::{HEADER_LEN, Mode, Packet, extension};
use crate::units::{Counter, NtpTime, UnixTime};

/// However a message comes in pieces, it is the same message.
pub(super) fn records(data: &[u8]) {
    let (cut, data) = data.split_at(data.len().min(2));
    let whole = Incoming::default().take(data);
    let cut = usize::from(u16::from_le_bytes([cut.first().copied().unwrap_or(0), cut.get(1).copied().unwrap_or(0)]));
    let (mut incoming, (now, later)) = (Incoming::default(), data.split_at(cut.min(data.len())));
    let parts = match incoming.take(now) {
        Ok(None) => incoming.take(later),
        verdict => verdict,
    };
    assert_eq!(parts, whole);
    match whole {
        Ok(Some(response)) => {
            assert!((1..=COOKIES_MAX).contains(&response.cookies.len()));
            assert!(response.port != Some(0));
            let server = response.server.as_deref().unwrap_or("name");
            assert!((1..=253).contains(&server.len()) && server.bytes().all(|byte| byte.is_ascii_graphic()));
            let [ours, theirs] = [Direction::ClientToServer, Direction::ServerToClient];
            assert_ne!(response.exporter_context(ours), response.exporter_context(theirs));
        }
        Ok(None) => assert!(data.len() < MESSAGE_MAX, "who never comes to an end is cut off"),
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

/// A chain of certificates that holds up to some time.
#[derive(Debug)]
struct Until(UnixTime);

impl Chain for Until {
    fn check(&self, at: UnixTime) -> Result<(), Invalid> {
        if at <= self.0 { Ok(()) } else { Err(Invalid::Expired { since: self.0 }) }
    }
}

pub(super) fn keys(algorithm: Algorithm) -> Keys {
    Keys::new(algorithm, &vec![1; algorithm.key_length()], &vec![2; algorithm.key_length()]).expect("of its length")
}

/// What a key exchange brings: the same keys each time, that many cookies, and a certificate that holds up to `until`.
pub(super) fn grant(algorithm: Algorithm, cookies: u8, basis: Basis, until: UnixTime) -> Grant {
    let cookies = (0..cookies).filter_map(|number| Cookie::new(&[number; 100])).collect();
    let credential = Credential { chain: Arc::new(Until(until)), basis };
    Grant { keys: keys(algorithm), cookies, credential }
}

/// An association that has asked, and its request.
fn asked(algorithm: Algorithm) -> (Association, Vec<u8>) {
    let mut association = Association::new(Counter(0));
    association.grant(grant(algorithm, 3, Basis::Host, UnixTime(i64::MAX)));
    let header = Packet::request(NtpTime(1)).bytes();
    let request = association.request(&header, &Chance { unique: [7; 32], nonce: [8; 16] });
    (association, request.expect("there are cookies"))
}

/// A request.
#[cfg(test)]
pub(super) fn request(algorithm: Algorithm) -> Vec<u8> {
    asked(algorithm).1
}

/// The server's answer to `request`, with a cookie of that number.
pub(super) fn answer(algorithm: Algorithm, header: &Packet, request: &[u8], cookie: u32) -> Vec<u8> {
    let mut rest = &request[HEADER_LEN..];
    let mut unique: &[u8] = &[];
    while let Ok(Some((field, after))) = extension::split(rest) {
        unique = if field.kind == field::UNIQUE { field.body } else { unique };
        rest = after;
    }
    let mut plaintext = Vec::new();
    extension::push(&mut plaintext, field::COOKIE, &[cookie.to_be_bytes(); 25].concat());
    reply(algorithm, header, &[(field::UNIQUE, unique)], &plaintext)
}

/// `plaintext` behind `header` and `fields`, as the server would seal them.
fn reply(algorithm: Algorithm, header: &Packet, fields: &[(u16, &[u8])], plaintext: &[u8]) -> Vec<u8> {
    let mut datagram = header.bytes().to_vec();
    fields.iter().for_each(|(kind, body)| extension::push(&mut datagram, *kind, body));
    let server = keys(algorithm).mirrored();
    let (nonce, sealed) = server.seal(&[9; 16], &datagram, plaintext).expect("keys of their length");
    extension::push(&mut datagram, field::AUTHENTICATOR, &field::authenticator(nonce, &sealed));
    datagram
}

/// First a server that lies within what it seals, then somebody on the path who has no keys.
pub(super) fn sealed(data: &[u8]) {
    let mut input = Input(data);
    let algorithm = Algorithm::OFFERED[usize::from(input.byte()) % 3];
    let (mut association, request) = asked(algorithm);
    let (kind, length) = (input.short(), usize::from(input.byte()));
    let other = input.bytes(length);
    let plaintext_length = usize::from(input.short() % 1_400);
    let plaintext = input.bytes(plaintext_length);
    let header = Packet { mode: Mode::Server, stratum: 1, ..Packet::request(NtpTime(5)) };
    let genuine = reply(algorithm, &header, &[(field::UNIQUE, &[7; 32]), (kind, other)], plaintext);
    let opened = association.open(&genuine);
    // A second identifier, or an authenticator of its own, makes it none of ours; anything else is passed by.
    let confused = [field::UNIQUE, field::AUTHENTICATOR].contains(&kind);
    assert_eq!(matches!(opened, Reply::Proven(_)), !confused, "{opened:?}");

    let forged = forge(&mut input, &genuine, &request);
    match association.open(&forged) {
        Reply::Proven(cookies) => {
            // All in front of the authenticator is as the server wrote it, and so is what it sealed.
            let at = genuine.len() - authenticator_length(&genuine);
            assert!(!confused && forged[..at] == genuine[..at], "it was forged");
            assert_eq!(opened, Reply::Proven(cookies.clone()), "other cookies");
            assert!(cookies.len() <= COOKIES_MAX);
            association.accept(cookies);
        }
        Reply::Nak => {
            let kiss = Packet::parse(&forged).expect("it has a header");
            assert_eq!((kiss.stratum, kiss.reference_id.to_be_bytes()), (0, *b"NTSN"));
            association.handle_nak();
        }
        Reply::Unproven(why) => assert!(!why.is_empty()),
    }
    assert!(association.cookies() <= COOKIES_MAX);
}

pub(super) fn authenticator_length(datagram: &[u8]) -> usize {
    let mut rest = &datagram[HEADER_LEN..];
    while let Ok(Some((field, after))) = extension::split(rest) {
        if field.kind == field::AUTHENTICATOR {
            return rest.len();
        }
        rest = after;
    }
    0
}

/// What somebody makes of a genuine reply, or of our own request.
pub(super) fn forge(input: &mut Input, genuine: &[u8], request: &[u8]) -> Vec<u8> {
    let mut forged = if input.byte() & 7 == 7 { request.to_vec() } else { genuine.to_vec() };
    while !input.is_over() {
        let (what, at) = (input.byte(), usize::from(input.short()) % (forged.len() + 1));
        match what % 5 {
            0 => forged.truncate(at),
            1 => {
                let length = usize::from(input.byte());
                forged.splice(at..at, input.bytes(length).iter().copied());
            }
            2 => drop(forged.drain(at..forged.len().min(at + usize::from(input.byte())))),
            3 => {
                let other = input.array::<4>();
                forged.iter_mut().skip(at).zip(other).for_each(|(byte, other)| *byte = other);
            }
            _ => forged.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (what >> 5)),
        }
        if forged.len() > 4_000 {
            break;
        }
    }
    forged
}
