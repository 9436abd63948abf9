//! A key exchange as its server sees it: what a client asks for, and what it is told.

use super::super::{Algorithm, Cookie};
use super::{
    AEAD, COMPLIANT_GCM_SIV_EXPORT, COOKIE, CRITICAL, Direction, END_OF_MESSAGE, ERROR, NEXT_PROTOCOL, NTPV4, PORT,
    WARNING, exporter_context, push,
};

/// The longest request that is read: what clients have to say takes some dozens of bytes.
pub(crate) const REQUEST_MAX: usize = 1024;

/// What a client and we have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) algorithm: Algorithm,
}

/// Why a client gets no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is a critical record that is unknown.
    UnknownCritical,
    /// The request makes no sense.
    Bad,
    /// It does not ask for NTPv4.
    NoProtocol,
    /// It has none of our ciphers.
    NoAlgorithm,
    /// Something went wrong here.
    Internal,
}

/// What has come so far of a client's message; `Ok(None)` if its end has not.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Wish>, Refusal> {
    let (mut protocols, mut algorithms, mut is_compliant) = (None, None, false);
    let mut rest = bytes;
    loop {
        let Some((kind, body, after)) = split(rest) else {
            // A record that says that it is longer than all is not waited for.
            let announced = rest
                .get(2..)
                .and_then(<[u8]>::first_chunk)
                .map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
            let too_long = bytes.len() - rest.len() + announced > REQUEST_MAX || bytes.len() >= REQUEST_MAX;
            return if too_long { Err(Refusal::Bad) } else { Ok(None) };
        };
        if bytes.len() - after.len() > REQUEST_MAX {
            return Err(Refusal::Bad);
        }
        match kind & !CRITICAL {
            END_OF_MESSAGE if body.is_empty() => break,
            NEXT_PROTOCOL => once(&mut protocols, body)?,
            AEAD => once(&mut algorithms, body)?,
            COMPLIANT_GCM_SIV_EXPORT => is_compliant = true,
            // These are a server's to say.
            END_OF_MESSAGE | ERROR | WARNING | COOKIE => return Err(Refusal::Bad),
            _ if kind & CRITICAL != 0 => return Err(Refusal::UnknownCritical),
            // Wishes for another server, and what is not known.
            _ => {}
        }
        rest = after;
    }
    let (Some(protocols), Some(algorithms)) = (protocols, algorithms) else { return Err(Refusal::Bad) };
    if !numbers(protocols).any(|number| number == NTPV4) {
        return Err(Refusal::NoProtocol);
    }
    // Whoever does not say how it derives the keys of AES-128-GCM-SIV may do so as older chronys do, or as RFC 8915
    // says: nobody knows, and they have another cipher.
    let knows = |algorithm: &Algorithm| *algorithm != Algorithm::Aes128GcmSiv || is_compliant;
    let algorithm = numbers(algorithms).filter_map(Algorithm::from_number).find(knows).ok_or(Refusal::NoAlgorithm)?;
    Ok(Some(Wish { algorithm }))
}

/// The first record of `bytes` and what follows it; `None` if it is not here as a whole yet.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (&[kind, kind_low, length, length_low], rest) = bytes.split_first_chunk()?;
    let (body, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([length, length_low])))?;
    Some((u16::from_be_bytes([kind, kind_low]), body, rest))
}

fn once<'a>(place: &mut Option<&'a [u8]>, body: &'a [u8]) -> Result<(), Refusal> {
    let is_good = !body.is_empty() && body.len().is_multiple_of(2);
    if place.replace(body).is_some() || !is_good { Err(Refusal::Bad) } else { Ok(()) }
}

fn numbers(body: &[u8]) -> impl Iterator<Item = u16> + '_ {
    body.as_chunks().0.iter().map(|number| u16::from_be_bytes(*number))
}

impl Wish {
    /// The context of the TLS exporter for the key of one direction.
    pub(crate) fn exporter_context(self, direction: Direction) -> [u8; 5] {
        exporter_context(self.algorithm.number(), direction)
    }

    /// What the client is told: its cipher, the cookies, and the port of the NTP server, if that is not the usual one.
    pub(crate) fn response(self, cookies: &[Cookie], port: Option<u16>) -> Vec<u8> {
        let mut message = Vec::new();
        push(&mut message, CRITICAL | NEXT_PROTOCOL, &NTPV4.to_be_bytes());
        push(&mut message, CRITICAL | AEAD, &self.algorithm.number().to_be_bytes());
        if self.algorithm == Algorithm::Aes128GcmSiv {
            push(&mut message, COMPLIANT_GCM_SIV_EXPORT, &[]);
        }
        if let Some(port) = port {
            push(&mut message, CRITICAL | PORT, &port.to_be_bytes());
        }
        for Cookie(cookie) in cookies {
            push(&mut message, COOKIE, cookie);
        }
        push(&mut message, CRITICAL | END_OF_MESSAGE, &[]);
        message
    }
}

impl Refusal {
    /// What the client is told (RFC 8915, sections 4.1.2, 4.1.3 and 4.1.5).
    pub(crate) fn response(self) -> Vec<u8> {
        let mut message = Vec::new();
        match self {
            Self::UnknownCritical => push(&mut message, CRITICAL | ERROR, &[0, 0]),
            Self::Bad => push(&mut message, CRITICAL | ERROR, &[0, 1]),
            Self::Internal => push(&mut message, CRITICAL | ERROR, &[0, 2]),
            Self::NoProtocol => push(&mut message, CRITICAL | NEXT_PROTOCOL, &[]),
            Self::NoAlgorithm => {
                push(&mut message, CRITICAL | NEXT_PROTOCOL, &NTPV4.to_be_bytes());
                push(&mut message, CRITICAL | AEAD, &[]);
            }
        }
        push(&mut message, CRITICAL | END_OF_MESSAGE, &[]);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Fault, Incoming, request};
    use super::*;

    fn record(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        push(&mut message, kind, body);
        message
    }

    fn protocol() -> Vec<u8> {
        record(CRITICAL | NEXT_PROTOCOL, &[0, 0])
    }

    fn ciphers(numbers: &[u8]) -> Vec<u8> {
        record(CRITICAL | AEAD, &numbers.iter().flat_map(|number| [0, *number]).collect::<Vec<_>>())
    }

    fn compliant() -> Vec<u8> {
        record(COMPLIANT_GCM_SIV_EXPORT, &[])
    }

    fn parsed(records: &[Vec<u8>]) -> Result<Algorithm, Refusal> {
        let message = [records.concat(), record(CRITICAL | END_OF_MESSAGE, &[])].concat();
        parse(&message).map(|wish| wish.expect("the end is there").algorithm)
    }

    #[test]
    fn a_request_of_ours_is_understood_at_whatever_pace_it_comes() {
        let message = request();
        for length in 0..message.len() {
            assert_eq!(parse(&message[..length]), Ok(None));
        }
        let wish = parse(&message).unwrap().unwrap();
        assert_eq!(wish.algorithm, Algorithm::Aes128GcmSiv);
        let cookies = [Cookie::new(&[1; 72]).unwrap(), Cookie::new(&[2; 72]).unwrap()];
        let response = Incoming::default().take(&wish.response(&cookies, Some(1123))).unwrap().unwrap();
        assert_eq!(
            (response.algorithm, &response.cookies[..], response.port),
            (wish.algorithm, &cookies[..], Some(1123))
        );
        for direction in [Direction::ClientToServer, Direction::ServerToClient] {
            assert_eq!(response.exporter_context(direction), wish.exporter_context(direction));
        }
    }

    #[test]
    fn the_clients_order_counts_and_one_cipher_needs_more_than_its_number() {
        assert_eq!(parsed(&[protocol(), ciphers(&[17, 15]), compliant()]), Ok(Algorithm::AesSivCmac512));
        assert_eq!(parsed(&[protocol(), ciphers(&[99, 30, 15]), compliant()]), Ok(Algorithm::Aes128GcmSiv));
        assert_eq!(parsed(&[protocol(), ciphers(&[30, 15])]), Ok(Algorithm::AesSivCmac256));
        assert_eq!(parsed(&[protocol(), ciphers(&[30])]), Err(Refusal::NoAlgorithm));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_name() {
        let good = || vec![protocol(), ciphers(&[15])];
        let with = |record| [good(), vec![record]].concat();
        for (records, refusal) in [
            (vec![], Refusal::Bad),
            (vec![protocol()], Refusal::Bad),
            (vec![ciphers(&[15])], Refusal::Bad),
            (vec![record(NEXT_PROTOCOL, &[0, 1]), ciphers(&[15])], Refusal::NoProtocol),
            (vec![record(NEXT_PROTOCOL, &[0]), ciphers(&[15])], Refusal::Bad),
            (vec![protocol(), ciphers(&[1, 2])], Refusal::NoAlgorithm),
            (vec![protocol(), ciphers(&[])], Refusal::Bad),
            (with(protocol()), Refusal::Bad),
            (with(ciphers(&[15])), Refusal::Bad),
            (with(record(COOKIE, &[0; 100])), Refusal::Bad),
            (with(record(ERROR, &[0, 0])), Refusal::Bad),
            (with(record(CRITICAL | END_OF_MESSAGE, &[1])), Refusal::Bad),
            (with(record(CRITICAL | 99, &[])), Refusal::UnknownCritical),
            (with(record(77, &[0; 2_000])), Refusal::Bad),
        ] {
            assert_eq!(parsed(&records), Err(refusal), "{records:?}");
        }
        // What another server would be asked for is no mistake.
        assert_eq!(parsed(&with(record(6, b"ntp.example.org"))), Ok(Algorithm::AesSivCmac256));
        // Without an end it is refused when it is too long, or says that it will be.
        assert_eq!(parse(&[77, 77, 0xff, 0xff]), Err(Refusal::Bad));
        assert_eq!(parse(&record(77, &[0; 16]).repeat(60)), Err(Refusal::Bad));
    }

    #[test]
    fn a_refusal_is_what_a_client_understands() {
        for (message, fault) in [
            (Refusal::UnknownCritical.response(), Fault::Error(0)),
            (Refusal::Bad.response(), Fault::Error(1)),
            (Refusal::Internal.response(), Fault::Error(2)),
            (Refusal::NoProtocol.response(), Fault::NoProtocol),
            (Refusal::NoAlgorithm.response(), Fault::NoAlgorithm),
        ] {
            assert_eq!(Incoming::default().take(&message), Err(fault));
        }
    }
}
