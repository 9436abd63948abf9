//! Network Time Security as its server sees it: what is asked for in a key exchange, and requests with our own cookies.

use super::Input;
use super::keyed::{self, forge};
use crate::nts::aead::NONCE_MAX;
use crate::nts::cookie::{KeyRing, Sealer, Secret};
use crate::nts::record::asked::{self, REQUEST_MAX};
use crate::nts::record::{Direction, Incoming};
use crate::nts::request::{self, Answer};
use crate::nts::session::{Association, Reply};
use crate::nts::trust::Basis;
use crate::nts::{Algorithm, COOKIES_MAX, Chance, Cookie};
use crate::packet::{HEADER_LEN, Mode, Packet};
use crate::units::{Counter, NtpTime, UnixTime};

/// However a client's message comes in pieces, it is the same message; and what it is told it can read.
pub(super) fn asked(data: &[u8]) {
    let mut input = Input(data);
    let cut = usize::from(input.short());
    let data = input.0;
    let (whole, part) = (asked::parse(data), asked::parse(&data[..cut.min(data.len())]));
    if !matches!(part, Ok(None)) {
        assert_eq!(part, whole, "what follows a verdict changes nothing");
    }
    match whole {
        Ok(Some(wish)) => {
            let cookies: Vec<Cookie> = (0..8).filter_map(|number| Cookie::new(&[number; 104])).collect();
            let told = Incoming::default().take(&wish.response(&cookies, Some(1)));
            let told = told.expect("a client understands it").expect("it has an end");
            assert_eq!((told.algorithm, &told.cookies, told.port), (wish.algorithm, &cookies, Some(1)));
            for direction in [Direction::ClientToServer, Direction::ServerToClient] {
                assert_eq!(told.exporter_context(direction), wish.exporter_context(direction), "two keys for one");
            }
        }
        Ok(None) => assert!(data.len() < REQUEST_MAX, "who never comes to an end is cut off"),
        Err(refusal) => assert!(Incoming::default().take(&refusal.response()).is_err()),
    }
}

/// The keys of cookies that everybody here knows.
fn sealer() -> Sealer {
    Sealer::new(&KeyRing::own(Secret { id: 7, key: [7; 32].into() }))
}

/// A client with one of our cookies, and its request.
pub(super) fn client(algorithm: Algorithm) -> (Association, Vec<u8>) {
    let mut cookie = vec![0; Sealer::cookie_length(algorithm)];
    let sealed = sealer().seal(&keyed::keys(algorithm).mirrored(), &[3; NONCE_MAX], &mut cookie);
    assert!(sealed.is_some());
    let mut association = Association::new(Counter(0));
    let mut grant = keyed::grant(algorithm, 0, Basis::Host, UnixTime(i64::MAX));
    grant.cookies.extend(Cookie::new(&cookie));
    association.grant(grant);
    let header = Packet::request(NtpTime(0x0123_4567_89ab_cdef)).bytes();
    let request = association.request(&header, &Chance { unique: [7; 32], nonce: [8; NONCE_MAX] });
    (association, request.expect("there is a cookie"))
}

/// A request of ours, as somebody on the path changes it: only what the client has sent is answered with new cookies,
/// and nothing is answered with more than came.
pub(super) fn served(data: &[u8]) {
    let mut input = Input(data);
    let algorithm = Algorithm::OFFERED[usize::from(input.byte()) % 3];
    let (client, genuine) = client(algorithm);
    let datagram = forge(&mut input, &genuine, data);
    let header = Packet { mode: Mode::Server, stratum: 1, ..Packet::request(NtpTime(5)) }.bytes();
    let Ok(Some(request)) = request::read(&datagram) else { return };
    let mut nonces = 0;
    let chance = || {
        nonces += 1;
        [nonces; NONCE_MAX]
    };
    let mut place = vec![0xee; datagram.len()];
    let reply = match request.answer(&sealer(), chance, &mut place) {
        Answer::Proven(draft) => {
            let at = genuine.len() - keyed::authenticator_length(&genuine);
            assert!(datagram.starts_with(&genuine[..at]), "it was forged");
            draft.finish(&header, &mut place).expect("it was written there");
            let Reply::Proven(cookies) = client.open(&place[..draft.len()]) else {
                panic!("the client does not believe it")
            };
            assert!(cookies.len() <= COOKIES_MAX);
            Some(draft.len())
        }
        Answer::Nak => request.nak(&mut place),
        Answer::TooShort => None,
    };
    assert!(reply.is_none_or(|length| (HEADER_LEN..=datagram.len()).contains(&length)), "more leaves than came");
}
