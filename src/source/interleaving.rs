//! Interleaved mode (RFC 9769), the client's side.
//!
//! The transmit timestamp in a reply is of before it left; in interleaved mode the *next* reply tells when it really
//! did, by the server's network stack or hardware. A request asks for that by naming, as its origin timestamp, the
//! receive timestamp of the last reply. The reply then names, as its origin, not our transmit timestamp but our receive
//! timestamp: another 64 random bits here, so that nobody learns our time and nobody who has not seen the request can
//! answer it.
//!
//! What such a reply tells belongs to the exchange before: it is turned into the reply that the server would have sent
//! then, had it known. A server that does not know the mode, or has forgotten the last reply, answers as ever, which
//! counts as ever.

use crate::packet::{Mode, Packet};
use crate::units::{Counter, NtpShort, NtpTime};

/// Requests in a row that may stay without an answer before the server is asked as if for the first time.
const UNANSWERED_MAX: u8 = 3;

/// The exchange before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Earlier {
    t1: Counter,
    /// The server's receive timestamp: T2, and its name.
    receive: NtpTime,
    t4: Counter,
    root_delay: NtpShort,
    root_dispersion: NtpShort,
    /// By what its own reply said.
    counted: bool,
}

/// How far client and server have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interleaving {
    earlier: Option<Earlier>,
    /// The receive timestamp of the request that is under way, if it asks for the mode.
    asked: Option<NtpTime>,
    unanswered: u8,
}

/// What a reply in interleaved mode tells of the exchange before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Told {
    /// The origin timestamp by which the reply shows whose it is.
    pub(crate) origin: NtpTime,
    /// As if it had been sent then.
    pub(crate) packet: Packet,
    pub(crate) t1: Counter,
    pub(crate) t4: Counter,
    /// That exchange has counted already.
    pub(crate) counted: bool,
}

impl Interleaving {
    /// The next request; both numbers are random.
    pub(crate) fn request(&mut self, transmit: NtpTime, nonce: u64) -> Packet {
        let request = Packet::request(transmit);
        self.unanswered = self.unanswered.saturating_add(1);
        if self.unanswered > UNANSWERED_MAX {
            self.earlier = None;
        }
        let nonce = NtpTime(nonce.max(1));
        // Of one value the two origins could not be told from each other.
        self.asked = self.earlier.filter(|_| nonce != transmit).map(|_| nonce);
        match (self.earlier, self.asked) {
            (Some(earlier), Some(receive)) => Packet { origin: earlier.receive, receive, ..request },
            _ => request,
        }
    }

    /// What `packet` tells of the exchange before, if it is the answer in interleaved mode to the request that was sent
    /// with `transmit`.
    pub(crate) fn told(&self, packet: &Packet, transmit: NtpTime) -> Option<Told> {
        let (earlier, asked) = (self.earlier?, self.asked?);
        if packet.origin != asked || packet.mode != Mode::Server || packet.stratum == 0 {
            return None;
        }
        // What it claims of its time is of now; the two timestamps are of then.
        let packet = Packet {
            origin: transmit,
            receive: earlier.receive,
            root_delay: NtpShort(packet.root_delay.0.max(earlier.root_delay.0)),
            root_dispersion: NtpShort(packet.root_dispersion.0.max(earlier.root_dispersion.0)),
            ..*packet
        };
        Some(Told { origin: asked, packet, t1: earlier.t1, t4: earlier.t4, counted: earlier.counted })
    }

    /// `packet` was accepted as the answer to what was sent at `t1`; `counted`: as a measurement of its own.
    pub(crate) fn note(&mut self, packet: &Packet, t1: Counter, t4: Counter, counted: bool) {
        let Packet { receive, root_delay, root_dispersion, .. } = *packet;
        let earlier = Earlier { t1, receive, t4, root_delay, root_dispersion, counted };
        self.earlier = (receive != NtpTime::ZERO).then_some(earlier);
        (self.asked, self.unanswered) = (None, 0);
    }

    /// Another server, or another counter: nothing of before belongs to what comes.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSMIT: NtpTime = NtpTime(100);

    fn reply(origin: NtpTime, receive: u64, transmit: u64) -> Packet {
        let root_dispersion = NtpShort(7);
        Packet {
            mode: Mode::Server,
            stratum: 2,
            origin,
            receive: NtpTime(receive),
            root_dispersion,
            ..Packet::request(NtpTime(transmit))
        }
    }

    /// After one exchange in basic mode, received at 5 000 by the server.
    fn after_one() -> Interleaving {
        let mut interleaving = Interleaving::default();
        assert_eq!(interleaving.request(TRANSMIT, 9), Packet::request(TRANSMIT));
        interleaving.note(&reply(TRANSMIT, 5_000, 5_010), Counter(1), Counter(2), true);
        interleaving
    }

    #[test]
    fn a_reply_tells_when_the_one_before_left() {
        let mut interleaving = after_one();
        let request = interleaving.request(NtpTime(200), 300);
        assert_eq!((request.origin, request.receive, request.transmit), (NtpTime(5_000), NtpTime(300), NtpTime(200)));
        let packet = Packet { root_dispersion: NtpShort(3), ..reply(NtpTime(300), 6_000, 5_020) };
        let told = interleaving.told(&packet, NtpTime(200)).unwrap();
        assert_eq!((told.t1, told.t4, told.counted), (Counter(1), Counter(2), true));
        assert_eq!((told.packet.receive, told.packet.transmit), (NtpTime(5_000), NtpTime(5_020)));
        // As an answer to what is under way, and as uncertain as it was then.
        assert_eq!((told.packet.origin, told.packet.root_dispersion), (NtpTime(200), NtpShort(7)));
        interleaving.note(&packet, Counter(3), Counter(4), false);
        let request = interleaving.request(NtpTime(400), 500);
        assert_eq!(request.origin, NtpTime(6_000));
        let told = interleaving.told(&reply(NtpTime(500), 7_000, 6_020), NtpTime(400)).unwrap();
        assert_eq!((told.t1, told.t4, told.counted), (Counter(3), Counter(4), false));
    }

    #[test]
    fn a_basic_reply_a_stranger_s_and_a_kiss_tell_nothing_of_the_one_before() {
        let mut interleaving = after_one();
        assert_eq!(interleaving.told(&reply(NtpTime(300), 1, 2), TRANSMIT), None);
        interleaving.request(NtpTime(200), 300);
        for origin in [200, 301, 0, 5_000] {
            assert_eq!(interleaving.told(&reply(NtpTime(origin), 1, 2), NtpTime(200)), None, "{origin}");
        }
        let kiss = Packet { stratum: 0, ..reply(NtpTime(300), 1, 2) };
        assert_eq!(interleaving.told(&kiss, NtpTime(200)), None);
        let client = Packet { mode: Mode::Client, ..reply(NtpTime(300), 1, 2) };
        assert_eq!(interleaving.told(&client, NtpTime(200)), None);
    }

    #[test]
    fn who_is_not_answered_asks_anew_after_a_while_and_at_once_when_all_is_other() {
        let mut interleaving = after_one();
        for _ in 0..UNANSWERED_MAX {
            assert_eq!(interleaving.request(NtpTime(200), 300).origin, NtpTime(5_000));
        }
        assert_eq!(interleaving.request(NtpTime(200), 300), Packet::request(NtpTime(200)));
        let mut interleaving = after_one();
        interleaving.forget();
        assert_eq!(interleaving.request(NtpTime(200), 300), Packet::request(NtpTime(200)));
        // No two origins that are the same.
        assert_eq!(after_one().request(NtpTime(200), 200), Packet::request(NtpTime(200)));
    }
}
