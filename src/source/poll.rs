//! When to ask: burst at the start, poll interval, reach register, back-off.
//!
//! A source is first asked a few times in quick succession (burst), then every 2^exponent seconds; the exponent grows
//! while its answers fit the clock and what it told stays of use until the next one, and falls when they do not, or it
//! does not: a server in the same building is asked more often than one overseas. Unanswered requests shift zeros into
//! the reach register (RFC 5905, section 9.1); when it is empty the source counts as not answering and is asked less
//! and less often. Before the first answer ever, retries start quickly, so that a clock started without a network
//! recovers soon after the network appears.

use crate::config::Settings;
use crate::units::{Counter, Nanos};

/// Requests in the burst at the start (RFC 5905 allows 8).
const BURST: u8 = 6;

/// Distance of requests within a burst (RFC 5905, BTIME).
const BURST_INTERVAL: Nanos = Nanos::from_seconds(2);

/// Answers in a row that must fit the clock before the poll interval doubles.
const STEADY: u8 = 8;

/// Longest wait between tries before the first answer, as an exponent of 2 in seconds.
const FIRST_RETRY_MAX: i8 = 6;

/// Answers in a row, without a word that we ask too often, after which we dare to ask a step more often again.
const FORGIVEN: u8 = 64;

/// Longest wait for an answer.
const TIMEOUT_MAX: Nanos = Nanos::from_seconds(5);

/// The schedule of one source.
#[derive(Clone, Debug)]
pub(crate) struct Poll {
    min: i8,
    max: i8,
    /// Raised by the server's RATE above the configured minimum; never above `max`.
    floor: i8,
    /// Answers in a row since the server's last word that we ask too much, saturating.
    unkissed: u8,
    exponent: i8,
    fixed: Option<Nanos>,
    burst: u8,
    steady: u8,
    reach: u8,
    /// Unanswered requests in a row, saturating.
    missed: u8,
    ever_answered: bool,
    /// The server has said that we ask too much.
    kissed: bool,
    due: Counter,
}

impl Poll {
    /// Due at once.
    pub(crate) fn new(settings: &Settings, now: Counter) -> Self {
        Self {
            min: settings.poll_min,
            max: settings.poll_max,
            floor: settings.poll_min,
            unkissed: 0,
            exponent: settings.poll_min,
            fixed: settings.fixed_poll,
            burst: BURST,
            steady: 0,
            reach: 0,
            missed: 0,
            ever_answered: false,
            kissed: false,
            due: now,
        }
    }

    pub(crate) fn due(&self) -> Counter {
        self.due
    }

    pub(crate) fn reach(&self) -> u8 {
        self.reach
    }

    pub(crate) fn exponent(&self) -> i8 {
        self.exponent
    }

    /// The present distance of requests, burst aside.
    pub(crate) fn interval(&self) -> Nanos {
        self.fixed.unwrap_or_else(|| Nanos::from_log2_seconds(self.exponent))
    }

    /// How long what is said about the time after an exchange should serve: until the next one, and somewhat longer.
    pub(crate) fn horizon(&self) -> Nanos {
        let interval = self.interval();
        interval + interval.half_up()
    }

    /// How long an answer is waited for.
    pub(crate) fn timeout(&self) -> Nanos {
        self.spacing().min(TIMEOUT_MAX)
    }

    /// Eight requests in a row went unanswered.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.reach == 0 && self.missed >= 8
    }

    /// Whether the first request still awaits its fate.
    pub(crate) fn is_untried(&self) -> bool {
        !self.ever_answered && self.missed == 0
    }

    fn spacing(&self) -> Nanos {
        if self.burst > 0 { BURST_INTERVAL.min(Nanos::from_log2_seconds(self.floor)) } else { self.interval() }
    }

    /// A request goes out now; `dither` is random and spreads the next one by up to 3 %.
    pub(crate) fn handle_sent(&mut self, now: Counter, dither: u64) {
        self.reach <<= 1;
        self.burst = self.burst.saturating_sub(u8::from(self.ever_answered));
        let spacing = self.spacing();
        let spread = (i128::from(spacing.0) * 3 / 100 * i128::from(dither as u32)) >> 32;
        // Late rather than early: servers judge us by our shortest interval.
        self.due = now + spacing + Nanos(spread as i64);
    }

    /// An answer counted; `fits`: it agreed with the clock as well as the noise allows; `useful`: whether what the
    /// source has told is still of use if the next answer comes after this long.
    pub(crate) fn handle_answer(&mut self, fits: bool, useful: impl Fn(Nanos) -> bool) {
        if self.reach == 0 && self.missed >= 8 {
            // Back after a silence: learn quickly again.
            (self.burst, self.exponent, self.steady) = (BURST, self.floor, 0);
        }
        self.reach |= 1;
        self.missed = 0;
        self.ever_answered = true;
        self.forgive();
        if self.burst > 0 {
            return;
        }
        if !fits || !useful(Nanos::from_log2_seconds(self.exponent)) {
            self.steady = 0;
            self.exponent = (self.exponent - 1).max(self.floor);
            return;
        }
        self.steady = self.steady.saturating_add(1);
        if self.steady >= STEADY && useful(Nanos::from_log2_seconds(self.exponent + 1)) {
            self.steady = 0;
            self.exponent = (self.exponent + 1).min(self.max);
        }
    }

    /// After a row of answers the floor sinks back by a step: a kiss may have been for others who share our address.
    fn forgive(&mut self) {
        self.unkissed = self.unkissed.saturating_add(1);
        if self.unkissed >= FORGIVEN {
            (self.unkissed, self.kissed) = (0, false);
            self.floor = (self.floor - 1).max(self.min);
        }
    }

    /// No answer counted for the last request: it was lost, refused or useless.
    pub(crate) fn handle_miss(&mut self, now: Counter) {
        self.missed = self.missed.saturating_add(1);
        self.steady = 0;
        if !self.ever_answered {
            // 1, 2, 4 … s, never closer together than the configured polls allow.
            let doublings = i8::try_from(self.missed - 1).unwrap_or(i8::MAX).min(FIRST_RETRY_MAX).min(self.max);
            let retry = now + Nanos::from_log2_seconds(doublings);
            // A kiss may have asked for a longer silence.
            self.due = if self.kissed { self.due.max(retry) } else { retry };
        } else if self.is_unreachable() {
            self.burst = 0;
            self.exponent = (self.exponent + 1).min(self.max);
            self.due = self.due.max(now + self.interval());
        }
    }

    /// The server says we ask too often. Its own poll field is not believed: a forged one would silence us.
    pub(crate) fn handle_rate_kiss(&mut self, now: Counter) {
        (self.burst, self.kissed, self.unkissed) = (0, true, 0);
        self.floor = (self.floor + 1).min(self.max);
        self.exponent = (self.exponent + 1).max(self.floor).min(self.max);
        self.due = self.due.max(now + self.interval());
    }

    /// The server denies service: ask less often; and if it has said so `for_good`, as seldom as we ever do.
    pub(crate) fn handle_deny_kiss(&mut self, now: Counter, for_good: bool) {
        (self.burst, self.kissed, self.unkissed) = (0, true, 0);
        self.exponent = if for_good { self.max } else { (self.exponent + 1).min(self.max) };
        self.due = self.due.max(now + self.interval());
    }

    /// What was learnt from the server is void, and is to be learnt anew soon. Not from one that has said that we ask
    /// too much.
    pub(crate) fn hasten(&mut self, now: Counter) {
        // A burst that is under way is quick enough: however often this happens, requests come no closer.
        if self.ever_answered && !self.kissed && self.burst == 0 {
            (self.burst, self.exponent, self.steady) = (BURST, self.floor, 0);
            self.due = self.due.min(now);
        }
    }

    /// As [`Self::hasten`], where the counter may have been set back: nothing is due later than in one interval from
    /// `now`.
    pub(crate) fn handle_gap(&mut self, now: Counter) {
        self.due = self.due.min(now + self.interval());
        self.hasten(now);
    }

    /// The address changed: everything learnt about the old server is void.
    pub(crate) fn restart(&mut self, now: Counter) {
        *self = Self {
            floor: self.min,
            unkissed: 0,
            exponent: self.min,
            burst: BURST,
            steady: 0,
            reach: 0,
            missed: 0,
            ever_answered: false,
            kissed: false,
            due: now,
            ..*self
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: i64) -> Counter {
        Counter(0) + Nanos::from_seconds(s)
    }

    fn answered(poll: &mut Poll, times: u32, fits: bool) {
        for _ in 0..times {
            poll.handle_sent(poll.due(), 0);
            poll.handle_answer(fits, |_| true);
        }
    }

    #[test]
    fn a_source_is_asked_in_a_burst_and_then_at_the_shortest_interval() {
        let mut poll = Poll::new(&Settings::default(), seconds(0));
        let mut times = Vec::new();
        for _ in 0..9 {
            times.push(poll.due().0 / 1_000_000_000);
            poll.handle_sent(poll.due(), 0);
            poll.handle_answer(true, |_| true);
        }
        assert_eq!(times, [0, 2, 4, 6, 8, 10, 12, 28, 44]);
    }

    #[test]
    fn the_interval_grows_while_answers_fit_and_shrinks_when_they_do_not() {
        let mut poll = Poll::new(&Settings::default(), seconds(0));
        answered(&mut poll, 200, true);
        assert_eq!(poll.exponent(), 10);
        answered(&mut poll, 3, false);
        assert_eq!(poll.exponent(), 7);
        answered(&mut poll, 20, false);
        assert_eq!(poll.exponent(), 4);
    }

    #[test]
    fn the_interval_does_not_outgrow_what_the_source_is_worth() {
        let mut poll = Poll::new(&Settings::default(), seconds(0));
        let mut ask = |worth: i64, times| {
            for _ in 0..times {
                poll.handle_sent(poll.due(), 0);
                poll.handle_answer(true, |span| span <= Nanos::from_seconds(worth));
            }
            poll.exponent()
        };
        assert_eq!(ask(100, 300), 6);
        assert_eq!(ask(1_000, 300), 9);
        assert_eq!(ask(1_000_000, 300), 10);
        // It came nearer.
        assert_eq!(ask(50, 300), 5);
        assert_eq!(ask(0, 300), 4);
    }

    #[test]
    fn without_a_first_answer_tries_go_on_at_growing_distance() {
        let mut poll = Poll::new(&Settings::default(), seconds(0));
        let mut gaps = Vec::new();
        for _ in 0..400 {
            let sent = poll.due();
            poll.handle_sent(sent, 0);
            poll.handle_miss(sent);
            gaps.push((poll.due() - sent).0 / 1_000_000_000);
        }
        assert_eq!(gaps[..7], [1, 2, 4, 8, 16, 32, 64]);
        assert!(gaps[7..].iter().all(|&gap| gap == 64), "{gaps:?}");
    }

    #[test]
    fn a_kiss_is_heeded_even_as_the_first_answer() {
        let mut poll = Poll::new(&Settings::default(), seconds(0));
        poll.handle_sent(seconds(0), 0);
        poll.handle_deny_kiss(seconds(0), true);
        poll.handle_miss(seconds(0));
        assert_eq!(poll.due(), seconds(1024));
        let mut poll = Poll::new(&Settings::default(), seconds(0));
        poll.handle_sent(seconds(0), 0);
        poll.handle_deny_kiss(seconds(0), false);
        poll.handle_miss(seconds(0));
        assert_eq!(poll.due(), seconds(32));
        let mut poll = Poll::new(&Settings::default(), seconds(0));
        poll.handle_sent(seconds(0), 0);
        poll.handle_rate_kiss(seconds(0));
        poll.handle_miss(seconds(0));
        assert_eq!(poll.due(), seconds(32));
    }

    #[test]
    fn a_silent_source_becomes_unreachable_after_eight_misses_and_learns_quickly_when_it_returns() {
        let mut poll = Poll::new(&Settings::default(), seconds(0));
        answered(&mut poll, 40, true);
        for misses in 1..=8 {
            poll.handle_sent(poll.due(), 0);
            poll.handle_miss(poll.due());
            assert_eq!(poll.is_unreachable(), misses == 8);
        }
        poll.handle_sent(poll.due(), 0);
        poll.handle_answer(true, |_| true);
        assert_eq!((poll.exponent(), poll.reach()), (4, 1));
        let sent = poll.due();
        poll.handle_sent(sent, 0);
        assert_eq!(poll.due() - sent, Nanos::from_seconds(2));
    }

    /// (case 9)
    #[test]
    fn rate_raises_the_shortest_interval_until_many_answers_have_come_without() {
        let mut poll = Poll::new(&Settings::default(), seconds(0));
        answered(&mut poll, 10, true);
        poll.handle_rate_kiss(poll.due());
        poll.handle_rate_kiss(poll.due());
        answered(&mut poll, 60, false);
        assert_eq!(poll.exponent(), 6);
        answered(&mut poll, 64, false);
        assert_eq!(poll.exponent(), 5);
        answered(&mut poll, 64, false);
        assert_eq!(poll.exponent(), 4);
    }

    #[test]
    fn rate_raises_the_interval_and_never_above_the_longest() {
        let mut poll = Poll::new(&Settings::default(), seconds(0));
        answered(&mut poll, 1, true);
        for _ in 0..100 {
            poll.handle_rate_kiss(seconds(0));
        }
        assert_eq!(poll.exponent(), 10);
        assert!(poll.due() <= seconds(0) + Nanos::from_seconds(1024));
        answered(&mut poll, 50, false);
        assert_eq!(poll.exponent(), 10);
    }

    #[test]
    fn what_is_void_is_asked_for_at_once_but_in_no_closer_a_sequence_than_a_burst() {
        let mut poll = Poll::new(&Settings::default(), seconds(0));
        answered(&mut poll, 40, true);
        let now = poll.due() - Nanos::from_seconds(1);
        poll.hasten(now);
        assert_eq!(poll.due(), now);
        poll.handle_sent(now, 0);
        let next = poll.due();
        assert_eq!(next, now + BURST_INTERVAL);
        poll.hasten(now + Nanos::from_millis(1));
        assert_eq!(poll.due(), next);
        poll.handle_rate_kiss(next);
        let patient = poll.due();
        poll.hasten(next);
        assert_eq!(poll.due(), patient);
    }

    #[test]
    fn dither_only_delays() {
        let mut poll = Poll::new(&Settings::default(), seconds(0));
        answered(&mut poll, 10, true);
        let sent = poll.due();
        poll.handle_sent(sent, u64::MAX);
        let gap = poll.due() - sent;
        assert!(gap > Nanos::from_seconds(16) && gap <= Nanos::from_millis(16_480), "{gap:?}");
    }
}
