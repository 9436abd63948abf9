//! A request as its server sees it (RFC 8915, section 5.7): from its bytes and the keys that cookies are sealed with to
//! the bytes of the reply.
//!
//! What is wrong with the lengths and numbers of its fields is found before any cipher is touched: placeholders by the
//! hundred cost no more than one. Nothing is kept of a session, so that a request that is replayed is answered again;
//! the reply is never longer than the request.

use super::aead::{Keys, NONCE_MAX, TAG};
use super::cookie::Sealer;
use super::field::{AUTHENTICATOR, COOKIE, PLACEHOLDER, UNIQUE, UNIQUE_LEN, split_authenticator};
use super::{COOKIE_LENGTH_MAX, COOKIE_LENGTH_MIN, COOKIES_MAX};
use crate::packet::{HEADER_LEN, extension};

/// The longest identifier that is repeated.
const UNIQUE_MAX: usize = 64;

/// Bytes of an extension field's type and length, and of the lengths in an authenticator.
const HEAD: usize = 4;

/// The longest plaintext that is decrypted in a request: nothing in it is of any interest.
const SEALED_MAX: usize = 256;

/// A request by its fields; nothing of it is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    datagram: &'a [u8],
    /// The field with its head, as it is to be repeated.
    unique: &'a [u8],
    cookie: &'a [u8],
    /// Cookies that are asked for, the one that came included; eight at most.
    wanted: usize,
    /// Up to where the datagram is authenticated.
    associated: &'a [u8],
    nonce: &'a [u8],
    sealed: &'a [u8],
}

/// It wants to be a secure request, and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A reply that waits for its header. All the rest of it is written already, but that the cookies are not sealed yet.
#[derive(Debug)]
pub(crate) struct Draft {
    keys: Keys,
    nonce: [u8; NONCE_MAX],
    associated: usize,
    length: usize,
}

/// Takes `datagram` apart; `Ok(None)` if there is nothing of NTS in it.
pub(crate) fn read(datagram: &[u8]) -> Result<Option<Request<'_>>, Malformed> {
    let Some((_, fields)) = datagram.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let (mut unique, mut cookie, mut placeholders) = (None, None::<&[u8]>, 0);
    let mut rest = fields;
    loop {
        let associated = datagram.get(..datagram.len() - rest.len()).unwrap_or_default();
        let split = extension::split(rest);
        let is_ours = unique.is_some() || cookie.is_some() || placeholders > 0;
        let (field, after) = match split {
            Ok(Some(split)) => split,
            // Something else may stand there, which is none of our business; but not in a secure request.
            Ok(None) | Err(extension::Malformed) => {
                return if is_ours || begins(rest) { Err(Malformed) } else { Ok(None) };
            }
        };
        match field.kind {
            UNIQUE => {
                if unique.is_some() || !(UNIQUE_LEN..=UNIQUE_MAX).contains(&field.body.len()) {
                    return Err(Malformed);
                }
                unique = rest.get(..HEAD + field.body.len());
            }
            COOKIE => {
                let fits = (COOKIE_LENGTH_MIN..=COOKIE_LENGTH_MAX).contains(&field.body.len());
                if cookie.replace(field.body).is_some() || !fits {
                    return Err(Malformed);
                }
            }
            PLACEHOLDER => {
                placeholders += 1;
                // They have to be as long as the cookie; where that comes later it is looked at then.
                if !(COOKIE_LENGTH_MIN..=COOKIE_LENGTH_MAX).contains(&field.body.len())
                    || cookie.is_some_and(|cookie| cookie.len() != field.body.len())
                {
                    return Err(Malformed);
                }
            }
            AUTHENTICATOR => {
                let (Some(unique), Some(cookie)) = (unique, cookie) else { return Err(Malformed) };
                let (nonce, sealed) = split_authenticator(field.body).ok_or(Malformed)?;
                if nonce.is_empty() || !(TAG..=SEALED_MAX).contains(&sealed.len()) {
                    return Err(Malformed);
                }
                // What follows is authenticated by nobody, and not looked at.
                let wanted = COOKIES_MAX.min(1 + placeholders);
                return Ok(Some(Request { datagram, unique, cookie, wanted, associated, nonce, sealed }));
            }
            _ => {}
        }
        rest = after;
    }
}

/// Whether a field of NTS begins here, whatever its length is.
fn begins(rest: &[u8]) -> bool {
    let kind = rest.first_chunk().map(|kind| u16::from_be_bytes(*kind));
    kind.is_some_and(|kind| [UNIQUE, COOKIE, PLACEHOLDER, AUTHENTICATOR].contains(&kind))
}

/// What is to be said to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    Proven(Draft),
    /// The cookie, or what it should prove, is not ours.
    Nak,
    /// There is no room for a reply.
    TooShort,
}

impl Request<'_> {
    /// Checks who it is from, and writes all of the reply that does not depend on the time to the beginning of `place`,
    /// in which there is room for as much as came. `chance` gives nonces.
    pub(crate) fn answer(&self, sealer: &Sealer, chance: impl FnMut() -> [u8; NONCE_MAX], place: &mut [u8]) -> Answer {
        let Some(keys) = sealer.open(self.cookie) else { return Answer::Nak };
        let mut space = [0; SEALED_MAX];
        let proven = space.get_mut(..self.sealed.len()).and_then(|place| {
            place.copy_from_slice(self.sealed);
            keys.open_in_place(self.nonce, self.associated, place).map(drop)
        });
        if proven.is_none() {
            return Answer::Nak;
        }
        self.draft(keys, sealer, chance, place)
    }

    fn draft(
        &self,
        keys: Keys,
        sealer: &Sealer,
        mut chance: impl FnMut() -> [u8; NONCE_MAX],
        place: &mut [u8],
    ) -> Answer {
        let nonce = chance();
        let cookie_length = Sealer::cookie_length(keys.algorithm());
        let associated = HEADER_LEN + self.unique.len();
        let nonce_length = keys.nonce(&nonce).len();
        let bare = associated + 2 * HEAD + nonce_length + TAG;
        let Some(room) = self.datagram.len().checked_sub(bare) else { return Answer::TooShort };
        let cookies = self.wanted.min(room / (HEAD + cookie_length));
        let text = cookies * (HEAD + cookie_length);
        // All lengths are of what fits into a datagram.
        let lengths = [AUTHENTICATOR, (bare + text - associated) as u16, nonce_length as u16, (TAG + text) as u16];
        let mut write = || {
            let mut rest = place.get_mut(..bare + text)?;
            rest.split_off_mut(..HEADER_LEN)?;
            rest.split_off_mut(..self.unique.len())?.copy_from_slice(self.unique);
            rest.split_off_mut(..2 * HEAD)?.copy_from_slice(lengths.map(u16::to_be_bytes).as_flattened());
            rest.split_off_mut(..nonce_length)?.copy_from_slice(keys.nonce(&nonce));
            rest.split_off_mut(..keys.text_at())?;
            for _ in 0..cookies {
                let field = [COOKIE, (HEAD + cookie_length) as u16].map(u16::to_be_bytes);
                rest.split_off_mut(..HEAD)?.copy_from_slice(field.as_flattened());
                sealer.seal(&keys, &chance(), rest.split_off_mut(..cookie_length)?)?;
            }
            Some(())
        };
        match write() {
            Some(()) => Answer::Proven(Draft { keys, nonce, associated, length: bare + text }),
            // A bug of ours.
            None => Answer::Nak,
        }
    }

    /// Writes a reply that tells that keys are to be exchanged anew, but for its header, to the beginning of `place`:
    /// its length; `None` if there is no room.
    pub(crate) fn nak(&self, place: &mut [u8]) -> Option<usize> {
        let length = HEADER_LEN + self.unique.len();
        let place = place.get_mut(HEADER_LEN..length).filter(|_| length <= self.datagram.len())?;
        place.copy_from_slice(self.unique);
        Some(length)
    }
}

impl Draft {
    /// How long the reply is.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Makes the reply at the beginning of `place`, where the rest of it stands, one with this header. `None` only if
    /// another was written there.
    pub(crate) fn finish(&self, header: &[u8; HEADER_LEN], place: &mut [u8]) -> Option<()> {
        let place = place.get_mut(..self.length)?;
        *place.first_chunk_mut()? = *header;
        let nonce = self.keys.nonce(&self.nonce);
        let (associated, behind) = place.split_at_mut_checked(self.associated)?;
        self.keys.seal_in_place(nonce, associated, behind.get_mut(2 * HEAD + nonce.len()..)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cookie::{KeyRing, SECRET_LEN, Secret};
    use super::super::session::tests::Until;
    use super::super::session::{Association, Grant, NAK, Reply};
    use super::super::trust::{Basis, Credential};
    use super::super::{Algorithm, Chance, Cookie, KEY_MAX};
    use super::*;
    use crate::packet::Packet;
    use crate::units::{Counter, NtpTime};
    use std::sync::Arc;
    use zeroize::Zeroizing;

    fn ring(id: u32) -> KeyRing {
        KeyRing::own(Secret { id, key: Zeroizing::new([id as u8; SECRET_LEN]) })
    }

    fn counting() -> impl FnMut() -> [u8; NONCE_MAX] {
        let mut number = 0_u8;
        move || {
            number += 1;
            [number; NONCE_MAX]
        }
    }

    /// A client with so many cookies of a server with `ring`.
    fn client(ring: &KeyRing, algorithm: Algorithm, cookies: usize) -> Association {
        let length = algorithm.key_length();
        let keys = || Keys::new(algorithm, &[1; KEY_MAX][..length], &[2; KEY_MAX][..length]).unwrap();
        let (sealer, mut chance) = (Sealer::new(ring), counting());
        let cookie = |_| {
            let mut place = vec![0; Sealer::cookie_length(algorithm)];
            sealer.seal(&keys().mirrored(), &chance(), &mut place).unwrap();
            Cookie::new(&place).unwrap()
        };
        let cookies = (0..cookies).map(cookie).collect();
        let credential = Credential { chain: Arc::new(Until(i64::MAX)), basis: Basis::Host };
        let mut association = Association::new(Counter(0));
        association.grant(Grant { keys: keys(), cookies, credential });
        association
    }

    fn asked(client: &mut Association, number: u8) -> Vec<u8> {
        let chance = Chance { unique: [number; UNIQUE_LEN], nonce: [number; NONCE_MAX] };
        client.request(&Packet::request(NtpTime(42)).bytes(), &chance).unwrap()
    }

    fn header() -> [u8; HEADER_LEN] {
        Packet { mode: crate::packet::Mode::Server, stratum: 1, ..Packet::request(NtpTime(7)) }.bytes()
    }

    fn answered(datagram: &[u8], ring: &KeyRing) -> Vec<u8> {
        let request = read(datagram).unwrap().unwrap();
        let mut place = [0xee; 1500];
        match request.answer(&Sealer::new(ring), counting(), &mut place[..datagram.len()]) {
            Answer::Proven(draft) => {
                draft.finish(&header(), &mut place).unwrap();
                place[..draft.len()].to_vec()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_client_of_ours_is_answered_and_has_eight_cookies_again() {
        for algorithm in Algorithm::OFFERED {
            let ring = ring(3);
            for cookies in 1..=8 {
                let mut client = client(&ring, algorithm, cookies);
                for number in 0..3 {
                    let request = asked(&mut client, number);
                    let reply = answered(&request, &ring);
                    // Exactly as long, but for what a request with very long cookies has no room to ask for.
                    assert_eq!(reply.len(), request.len(), "{algorithm:?} {cookies}");
                    let Reply::Proven(new) = client.open(&reply) else { panic!("{algorithm:?} {cookies}") };
                    client.accept(new);
                }
                assert!(client.cookies() == 8 || algorithm == Algorithm::AesSivCmac512, "{algorithm:?}");
            }
        }
    }

    #[test]
    fn a_bit_that_is_flipped_is_never_proven() {
        for algorithm in Algorithm::OFFERED {
            let ring = ring(3);
            let request = asked(&mut client(&ring, algorithm, 7), 1);
            let sealer = Sealer::new(&ring);
            for bit in 0..request.len() * 8 {
                let mut flipped = request.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let read = read(&flipped);
                let proven = |request: Request<'_>| {
                    matches!(request.answer(&sealer, counting(), &mut [0; 1500]), Answer::Proven(_))
                };
                assert!(!read.ok().flatten().is_some_and(proven), "{algorithm:?} {bit}");
            }
        }
    }

    #[test]
    fn cookies_of_other_keys_are_answered_by_a_nak_with_the_identifier() {
        let mut client = client(&ring(3), Algorithm::AesSivCmac256, 8);
        let datagram = asked(&mut client, 9);
        let request = read(&datagram).unwrap().unwrap();
        let mut place = [0xee; 1500];
        assert!(matches!(request.answer(&Sealer::new(&ring(4)), counting(), &mut place), Answer::Nak));
        let kiss = Packet { stratum: 0, reference_id: u32::from_be_bytes(NAK), ..Packet::parse(&header()).unwrap() };
        let length = request.nak(&mut place).unwrap();
        place[..HEADER_LEN].copy_from_slice(&kiss.bytes());
        assert_eq!(client.open(&place[..length]), Reply::Nak);
    }

    /// A field with this body, whatever length it says.
    fn field(kind: u16, length: u16, body: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &length.to_be_bytes(), body].concat()
    }

    fn datagram(fields: &[Vec<u8>]) -> Vec<u8> {
        [Packet::request(NtpTime(42)).bytes().to_vec(), fields.concat()].concat()
    }

    fn unique() -> Vec<u8> {
        field(UNIQUE, 36, &[7; 32])
    }

    fn cookie() -> Vec<u8> {
        field(COOKIE, 104, &[1; 100])
    }

    fn placeholder() -> Vec<u8> {
        field(PLACEHOLDER, 104, &[0; 100])
    }

    fn authenticator() -> Vec<u8> {
        field(AUTHENTICATOR, 40, &[&[0, 16, 0, 16][..], &[0; 32]].concat())
    }

    #[test]
    fn what_has_nothing_of_nts_is_a_plain_request() {
        for fields in [vec![], vec![vec![1, 2, 3]], vec![field(0x4242, 28, &[0; 24])], vec![vec![0xff; 20]]] {
            assert_eq!(read(&datagram(&fields)), Ok(None), "{fields:?}");
        }
        assert_eq!(read(&[0; 47]), Ok(None));
        let good = datagram(&[unique(), cookie(), authenticator()]);
        assert_eq!(read(&good).unwrap().unwrap().wanted, 1);
    }

    #[test]
    fn whatever_is_wrong_with_the_fields_is_found_without_a_cipher() {
        let lying = |nonce: u16, sealed: u16| {
            let lengths = [nonce.to_be_bytes(), sealed.to_be_bytes()].concat();
            field(AUTHENTICATOR, 40, &[lengths, vec![0; 32]].concat())
        };
        for fields in [
            vec![unique(), cookie()],
            vec![unique(), authenticator()],
            vec![cookie(), authenticator()],
            vec![authenticator()],
            vec![unique(), unique(), cookie(), authenticator()],
            vec![unique(), cookie(), cookie(), authenticator()],
            vec![field(UNIQUE, 32, &[7; 28]), cookie(), authenticator()],
            vec![field(UNIQUE, 72, &[7; 68]), cookie(), authenticator()],
            vec![unique(), field(COOKIE, 4, &[]), authenticator()],
            vec![unique(), field(COOKIE, 264, &[0; 260]), authenticator()],
            vec![unique(), cookie(), field(PLACEHOLDER, 100, &[0; 96]), authenticator()],
            vec![unique(), cookie(), field(PLACEHOLDER, 4, &[]), authenticator()],
            vec![unique(), cookie(), lying(0, 16)],
            vec![unique(), cookie(), lying(65_535, 16)],
            vec![unique(), cookie(), lying(20, 16)],
            vec![unique(), cookie(), lying(16, 0)],
            vec![unique(), cookie(), lying(16, 15)],
            vec![unique(), cookie(), lying(16, 17)],
            vec![unique(), cookie(), lying(16, 65_535)],
            vec![unique(), cookie(), field(AUTHENTICATOR, 0, &[0; 36])],
            vec![unique(), cookie(), field(AUTHENTICATOR, 41, &[0; 37])],
            vec![unique(), cookie(), field(AUTHENTICATOR, 65_535, &[0; 36])],
            vec![field(UNIQUE, 65_535, &[0; 32])],
            vec![unique(), vec![1, 2]],
        ] {
            assert_eq!(read(&datagram(&fields)), Err(Malformed), "{fields:?}");
        }
    }

    #[test]
    fn placeholders_by_the_hundred_are_worth_seven() {
        let fields = [vec![unique(), cookie()], vec![placeholder(); 100], vec![authenticator()]].concat();
        assert_eq!(read(&datagram(&fields)).unwrap().unwrap().wanted, COOKIES_MAX);
    }

    #[test]
    fn a_reply_is_never_longer_than_its_request() {
        // Short nonces, and more asked for than there is room: the cookies that do not fit are not given.
        let ring = ring(3);
        let (sealer, mut chance) = (Sealer::new(&ring), counting());
        for (algorithm, nonce) in [(Algorithm::AesSivCmac256, 1_usize), (Algorithm::AesSivCmac512, 4)] {
            let length = algorithm.key_length();
            let keys = Keys::new(algorithm, &[1; KEY_MAX][..length], &[2; KEY_MAX][..length]).unwrap();
            let mut cookie = vec![0; Sealer::cookie_length(algorithm)];
            sealer.seal(&keys, &chance(), &mut cookie).unwrap();
            let keys = sealer.open(&cookie).unwrap().mirrored();
            let mut bytes = datagram(&[unique()]);
            extension::push(&mut bytes, COOKIE, &cookie);
            let mut sealed = [0; TAG];
            keys.seal_in_place(&[0; NONCE_MAX][..nonce], &bytes, &mut sealed).unwrap();
            let mut body = [(nonce as u16).to_be_bytes(), (TAG as u16).to_be_bytes()].concat();
            body.resize(4 + nonce.next_multiple_of(4), 0);
            body.extend(sealed);
            extension::push(&mut bytes, AUTHENTICATOR, &body);
            let request = read(&bytes).unwrap().unwrap();
            let mut place = vec![0; bytes.len()];
            let Answer::Proven(draft) = request.answer(&sealer, counting(), &mut place) else {
                panic!("{algorithm:?}")
            };
            assert_eq!(draft.len(), bytes.len() + 12 - cookie.len() - 4);
            assert!(draft.len() <= bytes.len() && draft.finish(&header(), &mut place).is_some());
        }
    }
}
