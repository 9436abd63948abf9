//! One source's side of NTS over time: when keys are to be exchanged, what a request looks like, what a reply proves.
//!
//! Keys are exchanged at the start, when the cookies are used up, when the server no longer knows the keys (NAK) or has
//! fallen silent, and every four weeks, with the certificate that is valid then. How often is limited whatever is sent
//! to us: the next exchange waits for 16 s, and twice as long after each that led to no authenticated reply under a
//! certificate that holds at the time obtained. Until there are new keys the old ones serve on: a NAK can be forged by
//! whoever sees the request.

use std::collections::VecDeque;

use super::aead::Keys;
use super::field::{
    AUTHENTICATOR, COOKIE, PLACEHOLDER, UNIQUE, UNIQUE_LEN, authenticator, cookies, split_authenticator,
};
use super::trust::{Basis, Credential, Invalid};
use super::{Algorithm, COOKIES_MAX, Chance, Cookie};
use crate::packet::{HEADER_LEN, extension};
use crate::units::{Counter, Nanos, UnixTime};

/// The kiss code of a server that cannot make anything of our cookie.
pub(super) const NAK: [u8; 4] = *b"NTSN";

/// Longer requests are not made: what comes back is as long, and both should pass any network in one piece.
const REQUEST_MAX: usize = 1_200;

/// Distance of the first two key exchanges, and the longest, as exponents of 2 in seconds.
const RETRY_MIN: i8 = 4;
const RETRY_MAX: i8 = 19;

/// How long keys are used, and how long after that they are if there are no others to be had, until these are sought
/// again.
const LIFE: Nanos = Nanos::from_seconds(28 * 86_400);
const GRACE: Nanos = Nanos::from_seconds(86_400);

/// What a key exchange brings.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) keys: Keys,
    pub(crate) cookies: Vec<Cookie>,
    pub(crate) credential: Credential,
}

/// Why there are no keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyFault {
    /// Nobody was reached: nothing is asked too much of anybody.
    Unreached(String),
    /// A server was reached, and it came to nothing.
    Failed(String),
}

/// One source's NTS.
#[derive(Debug)]
pub(crate) struct Association {
    session: Option<Session>,
    /// Identifies the request that is under way.
    unique: Option<[u8; UNIQUE_LEN]>,
    /// That request was answered with a NAK.
    refused: bool,
    /// Key exchanges since the last authenticated reply under a certificate that stands.
    attempts: i8,
    /// When the last one began.
    asked: Counter,
    /// The next key exchange does not begin before.
    not_before: Counter,
    /// Key exchanges that brought keys.
    pub(crate) key_exchanges: u32,
    pub(crate) naks: u32,
    /// Why the last key exchange brought none.
    pub(crate) fault: Option<String>,
}

#[derive(Debug)]
struct Session {
    keys: Keys,
    jar: VecDeque<Cookie>,
    credential: Credential,
    /// When others should take their place.
    renew_due: Counter,
}

/// What a datagram proves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It is the server's answer to our request; with new cookies.
    Proven(Vec<Cookie>),
    /// It may be a NAK, which proves nothing.
    Nak,
    /// Nothing, and why.
    Unproven(&'static str),
}

impl Association {
    pub(crate) fn new(now: Counter) -> Self {
        Self {
            session: None,
            unique: None,
            refused: false,
            attempts: 0,
            asked: now,
            not_before: now,
            key_exchanges: 0,
            naks: 0,
            fault: None,
        }
    }

    /// When keys may be exchanged next.
    pub(crate) fn not_before(&self) -> Counter {
        self.not_before
    }

    /// Keys are being exchanged from `now` on.
    pub(crate) fn handle_asked(&mut self, now: Counter) {
        self.attempts = self.attempts.saturating_add(1);
        (self.asked, self.not_before) = (now, now + self.back_off());
    }

    /// The distance of the next key exchange from the last one.
    fn back_off(&self) -> Nanos {
        Nanos::from_log2_seconds(RETRY_MIN.saturating_add(self.attempts.saturating_sub(1)).min(RETRY_MAX))
    }

    /// The counter stood still or was replaced: what was to wait until a value that may be far away waits as long from
    /// `now`.
    pub(crate) fn handle_gap(&mut self, now: Counter) {
        self.not_before = self.not_before.min(now + self.back_off());
        if let Some(session) = &mut self.session {
            session.renew_due = session.renew_due.min(now + LIFE);
        }
    }

    /// Whether its keys have served for so long that others are wanted.
    pub(crate) fn is_to_be_renewed(&self, now: Counter) -> bool {
        self.session.as_ref().is_some_and(|session| session.renew_due <= now)
    }

    /// New keys; the old ones are forgotten.
    pub(crate) fn grant(&mut self, grant: Grant) {
        let Grant { keys, cookies, credential } = grant;
        self.session = Some(Session { keys, jar: cookies.into(), credential, renew_due: self.asked + LIFE });
        self.key_exchanges = self.key_exchanges.saturating_add(1);
        self.fault = None;
    }

    /// There are no new keys. Who reached nobody has bothered nobody, and need not wait for long.
    pub(crate) fn handle_no_keys(&mut self, fault: &KeyFault, now: Counter) {
        let (KeyFault::Unreached(why) | KeyFault::Failed(why)) = fault;
        self.fault = Some(why.clone());
        if let Some(session) = &mut self.session {
            session.renew_due = session.renew_due.max(now + GRACE);
        }
        if matches!(fault, KeyFault::Unreached(_)) {
            self.attempts = (self.attempts - 1).max(0);
            self.not_before = now;
        }
    }

    /// The keys are not to be trusted any more.
    pub(crate) fn revoke(&mut self, why: &str) {
        (self.session, self.unique, self.refused) = (None, None, false);
        self.fault = Some(why.to_owned());
    }

    /// Whether the next request could not be made.
    pub(crate) fn is_out_of_cookies(&self) -> bool {
        self.cookies() == 0
    }

    pub(crate) fn cookies(&self) -> usize {
        self.session.as_ref().map_or(0, |session| session.jar.len())
    }

    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        self.session.as_ref().map(|session| session.keys.algorithm())
    }

    /// Whose time the certificate behind the keys was checked at; `None` without keys.
    pub(crate) fn basis(&self) -> Option<Basis> {
        self.session.as_ref().map(|session| session.credential.basis)
    }

    /// Checks the certificate behind the keys at a time that was obtained.
    pub(crate) fn check_certificate(&self, at: UnixTime) -> Result<(), Invalid> {
        self.session.as_ref().map_or(Ok(()), |session| session.credential.chain.check(at))
    }

    /// The certificate has passed that check.
    pub(crate) fn certify(&mut self) {
        self.session.iter_mut().for_each(|session| session.credential.basis = Basis::Obtained);
        // It has answered, else there would be nothing to certify it by.
        self.attempts = 0;
    }

    /// The request that `header` begins; `None` without a cookie.
    pub(crate) fn request(&mut self, header: &[u8; HEADER_LEN], chance: &Chance) -> Option<Vec<u8>> {
        let session = self.session.as_mut()?;
        let Cookie(cookie) = session.jar.pop_front()?;
        let mut datagram = header.to_vec();
        extension::push(&mut datagram, UNIQUE, &chance.unique);
        extension::push(&mut datagram, COOKIE, &cookie);
        // The reply brings one; as many more are asked for as are missing then.
        let missing = COOKIES_MAX.saturating_sub(session.jar.len() + 1);
        let room = REQUEST_MAX.saturating_sub(datagram.len()) / (4 + cookie.len());
        for _ in 0..missing.min(room) {
            extension::push(&mut datagram, PLACEHOLDER, &vec![0; cookie.len()]);
        }
        let (nonce, sealed) = session.keys.seal(&chance.nonce, &datagram, &[])?;
        extension::push(&mut datagram, AUTHENTICATOR, &authenticator(nonce, &sealed));
        (self.unique, self.refused) = (Some(chance.unique), false);
        Some(datagram)
    }

    /// What `datagram` proves. Believes nothing before it is proven.
    pub(crate) fn open(&self, datagram: &[u8]) -> Reply {
        let (Some(session), Some(unique)) = (&self.session, &self.unique) else {
            return Reply::Unproven("there are no keys");
        };
        let Some((header, fields)) = datagram.split_first_chunk::<HEADER_LEN>() else {
            return Reply::Unproven("it has no header");
        };
        let (mut rest, mut ours) = (fields, false);
        loop {
            let before = datagram.get(..datagram.len() - rest.len()).unwrap_or_default();
            match extension::split(rest) {
                Err(extension::Malformed) => return Reply::Unproven("its extension fields are malformed"),
                // Stratum 0 marks a kiss, and the reference id is its code.
                Ok(None) if ours && header[1] == 0 && header[12..16] == NAK => return Reply::Nak,
                Ok(None) => return Reply::Unproven("it is not authenticated"),
                Ok(Some((field, after))) => match field.kind {
                    UNIQUE if ours || field.body != unique => return Reply::Unproven("it does not answer our request"),
                    UNIQUE => (rest, ours) = (after, true),
                    AUTHENTICATOR if !ours => return Reply::Unproven("it does not answer our request"),
                    AUTHENTICATOR if !after.is_empty() => {
                        return Reply::Unproven("something follows what is authenticated");
                    }
                    AUTHENTICATOR => {
                        let plaintext = split_authenticator(field.body)
                            .and_then(|(nonce, sealed)| session.keys.open(nonce, before, sealed));
                        return match plaintext {
                            Some(plaintext) => Reply::Proven(cookies(&plaintext)),
                            None => Reply::Unproven("its authentication is wrong"),
                        };
                    }
                    _ => rest = after,
                },
            }
        }
    }

    /// A reply was proven to be the server's: the request is over, and these cookies are new.
    pub(crate) fn accept(&mut self, cookies: Vec<Cookie>) {
        (self.unique, self.refused) = (None, false);
        let Some(session) = &mut self.session else { return };
        // Under a certificate that may yet prove not to hold anybody may have answered.
        if session.credential.basis == Basis::Obtained {
            self.attempts = 0;
        }
        let room = COOKIES_MAX.saturating_sub(session.jar.len());
        session.jar.extend(cookies.into_iter().take(room));
    }

    /// A NAK answers the request that is under way; the true answer may still come.
    pub(crate) fn handle_nak(&mut self) {
        self.refused = true;
        self.naks = self.naks.saturating_add(1);
    }

    /// Whether the request that just came to nothing was answered with a NAK.
    pub(crate) fn take_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }
}

#[cfg(feature = "_nts")]
#[cfg(test)]
pub(crate) mod tests {
    use super::super::aead::NONCE_MAX;
    use super::*;
    use crate::packet::Packet;
    use crate::units::{NtpTime, unix_seconds};
    use std::sync::Arc;

    const NOW: Counter = Counter(0);

    /// A chain that is valid up to some second.
    #[derive(Debug)]
    pub(crate) struct Until(pub(crate) i64);

    impl super::super::trust::Chain for Until {
        fn check(&self, at: UnixTime) -> Result<(), Invalid> {
            if at <= unix_seconds(self.0) { Ok(()) } else { Err(Invalid::Expired { since: unix_seconds(self.0) }) }
        }
    }

    /// A server that knows the keys of one session.
    pub(crate) struct Server {
        keys: Keys,
        /// Numbers the cookies that are given.
        given: u32,
        /// Every cookie that came.
        pub(crate) seen: Vec<Vec<u8>>,
    }

    impl Server {
        /// What it grants, and the server itself.
        pub(crate) fn grant(algorithm: Algorithm, cookies: usize, basis: Basis, until: i64) -> (Grant, Self) {
            let length = algorithm.key_length();
            let keys = || Keys::new(algorithm, &vec![1; length], &vec![2; length]).unwrap();
            let mut server = Self { keys: keys().mirrored(), given: 0, seen: Vec::new() };
            let cookies = (0..cookies).map(|_| server.cookie()).collect();
            (Grant { keys: keys(), cookies, credential: Credential { chain: Arc::new(Until(until)), basis } }, server)
        }

        fn cookie(&mut self) -> Cookie {
            self.given += 1;
            Cookie::new(&[&self.given.to_be_bytes()[..], &[0; 96]].concat()).unwrap()
        }

        /// What `request` says: its unique identifier, and how many cookies it wants.
        pub(crate) fn read(&mut self, request: &[u8]) -> ([u8; UNIQUE_LEN], usize) {
            let (mut rest, mut unique, mut wanted) = (&request[HEADER_LEN..], [0; UNIQUE_LEN], 0);
            while let Some((field, after)) = extension::split(rest).unwrap() {
                match field.kind {
                    UNIQUE => unique = field.body.try_into().unwrap(),
                    COOKIE => {
                        wanted += 1;
                        self.seen.push(field.body.to_vec());
                    }
                    PLACEHOLDER => {
                        assert_eq!(field.body.len(), 100);
                        wanted += 1;
                    }
                    AUTHENTICATOR => {
                        let (nonce, sealed) = split_authenticator(field.body).unwrap();
                        let before = &request[..request.len() - rest.len()];
                        assert_eq!(self.keys.open(nonce, before, sealed).as_deref(), Some(&[][..]));
                        assert!(after.is_empty());
                    }
                    other => panic!("{other:#x}"),
                }
                rest = after;
            }
            (unique, wanted)
        }

        /// A reply with this header to a request with this identifier.
        pub(crate) fn reply(&mut self, header: &Packet, unique: &[u8], cookies: usize) -> Vec<u8> {
            let mut datagram = header.bytes().to_vec();
            extension::push(&mut datagram, UNIQUE, unique);
            let mut plaintext = Vec::new();
            for _ in 0..cookies {
                let Cookie(cookie) = self.cookie();
                extension::push(&mut plaintext, COOKIE, &cookie);
            }
            let (nonce, sealed) = self.keys.seal(&[5; NONCE_MAX], &datagram, &plaintext).unwrap();
            extension::push(&mut datagram, AUTHENTICATOR, &authenticator(nonce, &sealed));
            datagram
        }
    }

    fn chance(byte: u8) -> Chance {
        Chance { unique: [byte; UNIQUE_LEN], nonce: [byte; NONCE_MAX] }
    }

    fn header() -> [u8; HEADER_LEN] {
        Packet::request(NtpTime(42)).bytes()
    }

    fn answer() -> Packet {
        Packet { mode: crate::packet::Mode::Server, stratum: 1, ..Packet::request(NtpTime(7)) }
    }

    /// A source with keys, and its server.
    fn associated(algorithm: Algorithm, cookies: usize) -> (Association, Server) {
        let (grant, server) = Server::grant(algorithm, cookies, Basis::Host, i64::MAX);
        let mut association = Association::new(NOW);
        association.handle_asked(NOW);
        association.grant(grant);
        (association, server)
    }

    #[test]
    fn cookies_are_replenished_to_eight_and_no_cookie_goes_out_twice() {
        for algorithm in Algorithm::OFFERED {
            let (mut association, mut server) = associated(algorithm, 8);
            for turn in 0..60_u8 {
                let request = association.request(&header(), &chance(turn)).unwrap();
                assert!(request.len() <= REQUEST_MAX, "{}", request.len());
                let (unique, wanted) = server.read(&request);
                assert_eq!(unique, [turn; UNIQUE_LEN]);
                // Of three requests one is lost.
                if turn % 3 != 0 {
                    let reply = server.reply(&answer(), &unique, wanted);
                    let Reply::Proven(cookies) = association.open(&reply) else { panic!("{turn}") };
                    association.accept(cookies);
                    assert_eq!(association.cookies(), COOKIES_MAX);
                }
            }
            let mut seen = server.seen.clone();
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), 60, "{algorithm:?}");
        }
    }

    #[test]
    fn without_answers_the_cookies_last_for_eight_requests_and_there_is_no_plain_one() {
        let (mut association, _) = associated(Algorithm::AesSivCmac256, 8);
        for turn in 0..8 {
            assert!(!association.is_out_of_cookies());
            assert!(association.request(&header(), &chance(turn)).is_some());
        }
        assert!(association.is_out_of_cookies());
        assert_eq!(association.request(&header(), &chance(9)), None);
    }

    #[test]
    fn a_reply_that_is_not_whole_and_the_servers_proves_nothing() {
        for algorithm in Algorithm::OFFERED {
            let (mut association, mut server) = associated(algorithm, 8);
            let request = association.request(&header(), &chance(1)).unwrap();
            let (unique, _) = server.read(&request);
            let good = server.reply(&answer(), &unique, 2);
            for bit in 0..good.len() * 8 {
                let mut flipped = good.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(matches!(association.open(&flipped), Reply::Unproven(_)), "bit {bit}");
            }
            for length in 0..good.len() {
                assert!(matches!(association.open(&good[..length]), Reply::Unproven(_)), "{length} bytes");
            }
            let mut longer = good.clone();
            extension::push(&mut longer, 0x4242, &[0; 24]);
            assert_eq!(association.open(&longer), Reply::Unproven("something follows what is authenticated"));
            let other = server.reply(&answer(), &[9; UNIQUE_LEN], 1);
            assert_eq!(association.open(&other), Reply::Unproven("it does not answer our request"));
            assert_eq!(association.open(&answer().bytes()), Reply::Unproven("it is not authenticated"));
            assert_eq!(association.open(&request), Reply::Unproven("its authentication is wrong"));
            // Sealed with the key of the other direction.
            let (_, other) = Server::grant(algorithm, 0, Basis::Host, i64::MAX);
            let mut swapped = Server { keys: other.keys.mirrored(), given: 100, seen: Vec::new() };
            let swapped = swapped.reply(&answer(), &unique, 1);
            assert_eq!(association.open(&swapped), Reply::Unproven("its authentication is wrong"));
            assert!(matches!(association.open(&good), Reply::Proven(cookies) if cookies.len() == 2));
        }
    }

    #[test]
    fn a_reply_to_an_earlier_request_proves_nothing() {
        let (mut association, mut server) = associated(Algorithm::Aes128GcmSiv, 8);
        let (unique, _) = server.read(&association.request(&header(), &chance(1)).unwrap());
        let reply = server.reply(&answer(), &unique, 1);
        association.request(&header(), &chance(2)).unwrap();
        assert!(matches!(association.open(&reply), Reply::Unproven(_)));
        // And none proves anything twice.
        let reply = server.reply(&answer(), &[2; UNIQUE_LEN], 1);
        let Reply::Proven(cookies) = association.open(&reply) else { panic!() };
        association.accept(cookies);
        assert!(matches!(association.open(&reply), Reply::Unproven(_)));
    }

    #[test]
    fn a_nak_is_one_only_with_our_identifier_and_takes_nothing_away() {
        let (mut association, mut server) = associated(Algorithm::Aes128GcmSiv, 8);
        let (unique, _) = server.read(&association.request(&header(), &chance(1)).unwrap());
        let kiss = Packet { stratum: 0, reference_id: u32::from_be_bytes(NAK), ..answer() };
        let nak = |unique: &[u8]| {
            let mut datagram = kiss.bytes().to_vec();
            extension::push(&mut datagram, UNIQUE, unique);
            datagram
        };
        assert!(matches!(association.open(&nak(&[3; UNIQUE_LEN])), Reply::Unproven(_)));
        assert!(matches!(association.open(&kiss.bytes()), Reply::Unproven(_)));
        assert_eq!(association.open(&nak(&unique)), Reply::Nak);
        association.handle_nak();
        assert_eq!((association.cookies(), association.naks), (7, 1));
        assert!(matches!(association.open(&server.reply(&answer(), &unique, 1)), Reply::Proven(_)));
        assert!(association.take_refused() && !association.take_refused());
    }

    #[test]
    fn keys_that_never_serve_are_exchanged_more_and_more_seldom() {
        let (mut association, mut server) = associated(Algorithm::AesSivCmac512, 8);
        let mut gaps = Vec::new();
        for _ in 0..40 {
            let before = association.not_before();
            association.handle_asked(before);
            gaps.push((association.not_before() - before).0 / 1_000_000_000);
        }
        assert_eq!(gaps[..3], [32, 64, 128]);
        assert_eq!(gaps[39], 1 << 19);
        let mut accept = |association: &mut Association, turn| {
            let (unique, _) = server.read(&association.request(&header(), &chance(turn)).unwrap());
            let Reply::Proven(cookies) = association.open(&server.reply(&answer(), &unique, 1)) else { panic!() };
            association.accept(cookies);
        };
        let gap = |association: &mut Association| {
            let now = association.not_before();
            association.handle_asked(now);
            association.not_before() - now
        };
        // Whose certificate may not hold proves nothing; but once it is known to, a reply shows that the keys serve.
        accept(&mut association, 1);
        assert_eq!(gap(&mut association), Nanos::from_seconds(1 << 19));
        association.certify();
        assert_eq!(gap(&mut association), Nanos::from_seconds(16));
        assert_eq!(gap(&mut association), Nanos::from_seconds(32));
        accept(&mut association, 2);
        assert_eq!(gap(&mut association), Nanos::from_seconds(16));
    }

    #[test]
    fn naks_without_end_double_the_wait_for_new_keys_each_time_though_keys_are_granted_each_time() {
        let mut association = Association::new(NOW);
        let (mut now, mut gaps) = (NOW, Vec::new());
        for turn in 0..20 {
            association.handle_asked(now);
            let (grant, mut server) = Server::grant(Algorithm::AesSivCmac256, 8, Basis::Obtained, i64::MAX);
            association.grant(grant);
            let (unique, _) = server.read(&association.request(&header(), &chance(turn)).unwrap());
            let kiss = Packet { stratum: 0, reference_id: u32::from_be_bytes(NAK), ..answer() };
            let mut nak = kiss.bytes().to_vec();
            extension::push(&mut nak, UNIQUE, &unique);
            assert_eq!(association.open(&nak), Reply::Nak);
            association.handle_nak();
            gaps.push((association.not_before() - now).0 / 1_000_000_000);
            now = association.not_before();
        }
        let doubled: Vec<i64> = (4..=19).map(|exponent| 1 << exponent).chain([1 << 19; 4]).collect();
        assert_eq!(gaps, doubled);
    }

    #[test]
    fn a_counter_that_is_set_back_neither_shortens_nor_lengthens_the_wait_for_keys() {
        let mut association = Association::new(NOW);
        let late = NOW + Nanos::from_seconds(1_000_000);
        for _ in 0..3 {
            association.handle_asked(late);
        }
        association.handle_gap(NOW);
        assert_eq!(association.not_before(), NOW + Nanos::from_seconds(64));
        association.handle_gap(NOW + Nanos::from_seconds(9));
        assert_eq!(association.not_before(), NOW + Nanos::from_seconds(64));
    }

    #[test]
    fn keys_are_renewed_after_four_weeks_and_sought_once_a_day_where_there_are_none() {
        let (mut association, _) = associated(Algorithm::Aes128GcmSiv, 8);
        let day = |days: i64| NOW + Nanos::from_seconds(days * 86_400);
        assert!(!association.is_to_be_renewed(day(27)) && association.is_to_be_renewed(day(28)));
        association.handle_asked(day(28));
        association.handle_no_keys(&KeyFault::Failed("refused".into()), day(28));
        assert!(!association.is_to_be_renewed(day(28)) && association.is_to_be_renewed(day(29)));
        association.handle_asked(day(29));
        association.grant(Server::grant(Algorithm::Aes128GcmSiv, 8, Basis::Host, i64::MAX).0);
        assert!(!association.is_to_be_renewed(day(56)) && association.is_to_be_renewed(day(57)));
        // A counter that was set back does not put it off for ever.
        association.handle_gap(NOW);
        assert!(association.is_to_be_renewed(day(28)));
    }

    #[test]
    fn who_reached_nobody_need_not_wait_and_who_was_refused_must() {
        let mut association = Association::new(NOW);
        let later = NOW + Nanos::from_seconds(1);
        association.handle_asked(NOW);
        association.handle_no_keys(&KeyFault::Unreached("nobody".into()), later);
        assert_eq!((association.not_before(), association.fault.as_deref()), (later, Some("nobody")));
        association.handle_asked(later);
        association.handle_no_keys(&KeyFault::Failed("refused".into()), later);
        assert_eq!(association.not_before(), later + Nanos::from_seconds(16));
    }
}
