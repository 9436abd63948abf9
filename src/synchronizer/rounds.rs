//! Rounds of questions to servers that are not polled, and what follows from them: a veto on what the polled ones agree
//! on ([`crate::selection::khronos`]).

use std::net::SocketAddr;

use super::{Request, SourceId, Synchronizer};
use crate::exchange::{self, Exchange, Interval};
use crate::model::bound::Witness;
use crate::packet::Packet;
use crate::selection::khronos;
use crate::source::Outcome;
use crate::units::{Counter, Nanos, NtpTime};

/// How many are asked in a round, at most.
pub(crate) const SAMPLE: usize = 12;

/// How often, while all is well: once an hour each of a dozen strangers gets one request, which is less than any of the
/// polled servers gets.
const INTERVAL: Nanos = Nanos::from_seconds(3600);

/// The first round, when the polled servers have settled; and the next one after a doubt.
const SOON: Nanos = Nanos::from_seconds(128);

/// How long an answer is waited for.
const TIMEOUT: Nanos = Nanos::from_seconds(5);

/// Rounds in a row without backing before what the polled servers say is not believed any more.
const DOUBTS: u8 = 2;

/// Ids of those that are asked: beyond any source's.
const FIRST_ID: usize = 1 << 16;

/// The schedule, the round under way, and the outcome of those before.
#[derive(Debug)]
pub(super) struct Rounds {
    due: Counter,
    asked: Vec<Asked>,
    doubts: u8,
    /// What the polled servers agreed on last, and when.
    agreed: Option<(Witness, Counter)>,
}

/// One server of the round under way.
#[derive(Debug)]
struct Asked {
    address: SocketAddr,
    /// The request that is to be answered: its timestamp, when it left, and until when it is waited for.
    pending: Option<(NtpTime, Counter, Counter)>,
    state: Stage,
}

#[derive(Debug)]
enum Stage {
    Waiting,
    Done(Option<Exchange>),
}

impl Asked {
    fn waits(&self) -> bool {
        matches!(self.state, Stage::Waiting) && self.pending.is_none()
    }
}

impl SourceId {
    pub(super) fn of_round(place: usize) -> Self {
        Self(FIRST_ID + place)
    }

    /// Which server of a round it stands for, if for none of the sources.
    pub(super) fn in_round(self) -> Option<usize> {
        self.0.checked_sub(FIRST_ID)
    }
}

impl Rounds {
    pub(super) fn new() -> Self {
        // Not before there is a time to judge; that is when its first turn is put off.
        Self { due: Counter(i64::MAX), asked: Vec::new(), doubts: 0, agreed: None }
    }

    /// Whether what the polled servers agree on is not to be believed.
    pub(super) fn veto(&self) -> bool {
        self.doubts >= DOUBTS
    }

    pub(super) fn note_agreement(&mut self, agreed: Witness, at: Counter) {
        if self.agreed.is_none() {
            self.due = at + SOON;
        }
        self.agreed = Some((agreed, at));
    }

    /// The counter stood still, or the oscillator broke its limits: what was heard before means nothing. A veto stays.
    pub(super) fn abandon(&mut self) {
        *self = Self { doubts: self.doubts, ..Self::new() };
    }

    pub(super) fn due(&self) -> Counter {
        if self.asked.is_empty() {
            return self.due;
        }
        let due = |asked: &Asked| match (&asked.state, asked.pending) {
            (Stage::Done(_), _) => Counter(i64::MAX),
            (Stage::Waiting, None) => Counter(i64::MIN),
            (Stage::Waiting, Some((.., deadline))) => deadline,
        };
        self.asked.iter().map(due).min().unwrap_or(self.due)
    }

    /// Whether somebody is still to be asked.
    pub(super) fn wants_to_send(&self) -> bool {
        self.asked.iter().any(Asked::waits)
    }

    pub(super) fn poll_transmit(&mut self, now: Counter, transmit: NtpTime) -> Option<Request> {
        let (place, asked) = self.asked.iter_mut().enumerate().find(|(_, asked)| asked.waits())?;
        asked.pending = Some((transmit, now, now + TIMEOUT));
        let datagram = Packet::request(transmit).bytes().to_vec();
        Some(Request { source: SourceId::of_round(place), address: asked.address, datagram })
    }

    pub(super) fn handle_sent(&mut self, place: usize, t1: Counter) {
        if let Some((_, sent, _)) = self.asked.get_mut(place).and_then(|asked| asked.pending.as_mut()) {
            *sent = t1;
        }
    }

    /// Ends the question to that server.
    pub(super) fn end(&mut self, place: usize, told: Option<Exchange>) {
        if let Some(asked) = self.asked.get_mut(place) {
            (asked.pending, asked.state) = (None, Stage::Done(told));
        }
    }

    /// A server whose time is over.
    pub(super) fn expired(&self, now: Counter) -> Option<usize> {
        self.asked.iter().position(|asked| asked.pending.is_some_and(|(.., deadline)| deadline <= now))
    }
}

impl Synchronizer {
    /// Whether a sample of other servers is wanted now; the wish must be answered with [`Self::start_round`].
    pub(crate) fn take_round_wish(&mut self, now: Counter) -> bool {
        let Some(rounds) = &mut self.rounds else { return false };
        let wanted = rounds.asked.is_empty() && rounds.due <= now;
        if wanted {
            rounds.due = now + INTERVAL;
        }
        wanted
    }

    /// Has `servers` asked, which should be other ones than those that are polled, picked at random.
    pub(crate) fn start_round(&mut self, servers: &[SocketAddr]) {
        // With fewer nothing can come of it.
        let Some(rounds) = self.rounds.as_mut().filter(|_| servers.len() >= khronos::SAMPLE_MIN) else { return };
        let ask = |address: &SocketAddr| Asked { address: *address, pending: None, state: Stage::Waiting };
        rounds.asked = servers.iter().take(SAMPLE).map(ask).collect();
    }

    /// Something came for a server of the round.
    pub(super) fn handle_round_datagram(&mut self, place: usize, datagram: &[u8], t4: Counter) -> Outcome {
        let (pivot, frequency) = (self.pivot, self.settings.frequency_limit);
        let Some(rounds) = &mut self.rounds else { return Outcome::Ignored };
        let Some((transmit, t1, deadline)) = rounds.asked.get(place).and_then(|asked| asked.pending) else {
            return Outcome::Ignored;
        };
        let judged = exchange::judge(datagram, transmit, t1, t4, pivot, frequency);
        if judged.as_ref().is_err_and(|refusal| refusal.is_anonymous()) {
            return Outcome::Ignored;
        }
        rounds.end(place, judged.ok().filter(|_| t4 <= deadline));
        self.conclude_round(t4);
        Outcome::Refused
    }

    /// A server of the round cannot be asked, or has not answered.
    pub(super) fn end_in_round(&mut self, place: usize, now: Counter) {
        self.rounds.iter_mut().for_each(|rounds| rounds.end(place, None));
        self.conclude_round(now);
    }

    /// If all have answered, or failed to: whether they back what the polled servers agree on.
    pub(super) fn conclude_round(&mut self, now: Counter) {
        let (drift, frequency) = (self.settings.drift, self.settings.frequency_limit);
        let Some(rounds) = &mut self.rounds else { return };
        if rounds.asked.is_empty() || rounds.asked.iter().any(|asked| matches!(asked.state, Stage::Waiting)) {
            return;
        }
        let told = rounds.asked.drain(..).filter_map(|asked| match asked.state {
            Stage::Done(told) => told,
            Stage::Waiting => None,
        });
        // Between an exchange and now the oscillator may have been off by as much as it ever is.
        let as_of_now = |interval: Interval, at: Counter| {
            let gain = (now - at).abs().gain_outward(frequency);
            Interval::new(interval.low - gain, interval.high + gain)
        };
        let sample: Vec<Interval> = told
            .map(|told| as_of_now(told.stamps.interval(told.server.distance(), frequency), told.stamps.t4))
            .collect();
        let Some((agreed, at)) = &rounds.agreed else { return };
        let ours = agreed.after((now - *at).max(Nanos::ZERO), &drift);
        match khronos::backs(&sample, ours) {
            Some(true) => rounds.doubts = 0,
            Some(false) => {
                rounds.doubts = rounds.doubts.saturating_add(1);
                rounds.due = now + SOON;
            }
            None => {}
        }
        if rounds.veto() {
            // Until somebody backs them again, that is looked for often.
            rounds.due = rounds.due.min(now + SOON);
        }
        self.dirty = true;
    }
}
