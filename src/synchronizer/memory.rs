//! What one run of the core hands to the next: a warm start.
//!
//! The interval that was published, grown by the drift limit over all the time since, holds UTC as long as the counter
//! ran on: it is as good a claim as it was when a reader would have made it in holdover. It begins a new epoch. The
//! frequency, which outlives even the counter, is only an expectation, and no bound rests on it.
//!
//! Once the sources of this run agree on something, the remembered interval is one more witness, and what is published
//! lies in both. But it rests on assumption (a), that no more than f sources lie, *of the earlier run*, of whose
//! sources this one may know nothing. So it is believed with three reservations:
//!
//! - Where the two do not meet, one run's assumption is broken, or the counter did not run on. Only the present one can
//!   still be put right: the remembered interval is dropped at once, even if a single source speaks against it, and a
//!   new epoch begins, which is counted as a step. What was shown until then was promised and is taken back aloud.
//! - Where they do meet, a lie of the earlier run may narrow the truth of this one. It can for as long as the memory is
//!   worth something, but no longer than the knee of the drift limit (1000 s) after the first agreement: from then on
//!   the sources' own exchanges are memory enough.
//! - What this run hands on is what its own sources said, without the memory it began with; that is handed on only if
//!   no source was heard. So no chain of short runs carries a lie along.

use super::{Synchronizer, Verdict};
use crate::exchange::Interval;
use crate::model::bound::{FrequencyRange, Witness};
use crate::model::estimator::Prior;
use crate::model::slew::Line;
use crate::model::{ClockModel, UtcSpan};
use crate::status::{Flags, Leap, Selection, State};
use crate::units::{Counter, Nanos, Ppb, Rate, UnixTime};

/// What is worth keeping of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Memory {
    /// `None` if nothing was known of the time, or if the counter has not run on since.
    pub(crate) time: Option<RememberedTime>,
    pub(crate) frequency: Prior,
}

/// Where UTC was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RememberedTime {
    /// The published line without the correction that was being slewed in: UTC at `at`.
    pub(crate) at: Counter,
    pub(crate) utc: UnixTime,
    /// The interval that the sources agreed on, at an instant of its own.
    pub(crate) sighted: Counter,
    pub(crate) earliest: UnixTime,
    pub(crate) latest: UnixTime,
    /// The lowest and highest frequency possible from `sighted` on, for as long as `knee`.
    pub(crate) slowest: Rate,
    pub(crate) fastest: Rate,
    pub(crate) knee: Nanos,
    pub(crate) newest_exchange: Counter,
    /// It rests on authenticated sources alone.
    pub(crate) authenticated: bool,
}

/// The remembered time as a witness beside the sources.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remembered {
    span: UtcSpan,
    authenticated: bool,
    /// When it falls silent; `None`: the sources have not agreed on anything yet.
    until: Option<Counter>,
}

impl Remembered {
    pub(super) fn new(span: UtcSpan, authenticated: bool) -> Self {
        Self { span, authenticated, until: None }
    }

    /// What it and the sources leave possible together at `now`; `None` if they contradict each other.
    pub(super) fn narrow(&self, told: Witness, now: Counter) -> Option<Witness> {
        if self.is_silent(now) {
            return Some(told);
        }
        let span = &self.span;
        let (earliest, latest) = span.at(now);
        let offset = told.offset.intersect(Interval::new(earliest - UnixTime(now.0), latest - UnixTime(now.0)));
        let still_steady = now + told.horizon - span.at <= span.knee;
        let remembered = FrequencyRange { low: span.slowest.ppb(), high: span.fastest.ppb() };
        let remembered = if still_steady { remembered } else { remembered.widened(span.drift_long.ppb()) };
        let frequency = told.frequency.intersect(remembered);
        (!offset.is_empty() && !frequency.is_empty()).then_some(Witness { offset, frequency, ..told })
    }

    /// Whether it has no say any more, and nothing rests on it.
    pub(super) fn is_silent(&self, now: Counter) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// Whether what it says, if anything, rests on authenticated sources alone.
    pub(super) fn is_authenticated_or_silent(&self, now: Counter) -> bool {
        self.authenticated || self.is_silent(now)
    }

    /// The sources agreed on something at `now`; memory is worth something for `knee` from then on.
    pub(super) fn handle_agreement(&mut self, now: Counter, knee: Nanos) {
        self.until = self.until.or(Some(now + knee));
    }
}

impl Synchronizer {
    /// Goes on where an earlier run ended. To be called before sources are added.
    ///
    /// What is too vague to be of use is left out: the time if its bound has grown above the cap, the frequency if no
    /// oscillator within the limit has it.
    pub(crate) fn restore(&mut self, memory: &Memory, now: Counter) {
        if !self.presume(&memory.frequency) {
            return;
        }
        let Some(time) = memory.time else { return };
        let model = self.recall(&time, now);
        if model.state_at(now).is_usable() {
            self.last_epoch = model.epoch;
            self.remembered = Some(Remembered::new(model.span, time.authenticated));
            self.model = model;
            self.dirty = true;
        }
    }

    /// Expects of the oscillator what an earlier run knew of it, unless that is beyond the limit.
    pub(super) fn presume(&mut self, frequency: &Prior) -> bool {
        let possible = frequency.mean.0.abs() <= self.settings.frequency_limit.0;
        if possible {
            let typical = Prior::default().deviation.0;
            let deviation = Ppb(frequency.deviation.0.clamp(1.0, typical));
            self.prior = Prior { mean: frequency.mean, deviation };
            self.verdict = Verdict { frequency: frequency.mean, ..Verdict::default() };
        }
        possible
    }

    /// The model that follows from `time` alone.
    fn recall(&self, time: &RememberedTime, now: Counter) -> ClockModel {
        let span = UtcSpan {
            at: time.sighted,
            earliest: time.earliest,
            latest: time.latest,
            slowest: time.slowest,
            fastest: time.fastest,
            knee: time.knee.min(self.settings.drift.knee),
            drift_long: Rate::from_ppb_up(self.settings.drift.long),
        };
        let rate = Rate::from_ppb(self.prior.mean);
        let former = Line { base: time.at, utc: time.utc, slew: rate, slew_end: time.at, rate };
        let (earliest, latest) = span.at(now);
        let utc = former.utc_at(now).max(earliest).min(latest);
        ClockModel {
            line: Line { base: now, utc, slew: rate, slew_end: now, rate },
            span,
            state: State::Holdover,
            leap: Leap::None,
            flags: Flags::default().with(Flags::AUTHENTICATED, time.authenticated),
            epoch: self.last_epoch + 1,
            holdover_at: now,
            bound_cap: self.settings.bound_cap,
            newest_exchange: time.newest_exchange,
        }
    }

    /// What the next run should know; `None` if there is nothing to tell.
    pub(crate) fn memory(&self, now: Counter) -> Option<Memory> {
        let model = &self.model;
        if !model.has_line() {
            return None;
        }
        // Without a leap second ahead: the interval is not valid across one, and whoever finds it cannot tell.
        let steady = matches!(model.leap, Leap::None);
        let time = (steady && model.state_at(now).is_usable()).then(|| {
            let span = self.heard.as_ref().unwrap_or(&model.span);
            RememberedTime {
                at: now,
                utc: settled(&model.line, now),
                sighted: span.at,
                earliest: span.earliest,
                latest: span.latest,
                slowest: span.slowest,
                fastest: span.fastest,
                knee: span.knee,
                newest_exchange: model.newest_exchange,
                authenticated: model.flags.contains(Flags::AUTHENTICATED),
            }
        });
        Some(Memory { time, frequency: Prior { mean: self.verdict.frequency, deviation: self.frequency_deviation() } })
    }

    /// How far the published frequency is likely to be off: as far as the surest of those who made it thinks.
    pub(super) fn frequency_deviation(&self) -> Ppb {
        let truechimers = self.sources.iter().filter(|source| source.selection == Selection::Truechimer);
        let surest = truechimers.map(|source| source.frequency().deviation.0).fold(self.prior.deviation.0, f64::min);
        Ppb(surest)
    }
}

/// Where `line` says UTC is at `now`, had its correction been made long ago.
fn settled(line: &Line, now: Counter) -> UnixTime {
    let end = line.slew_end.max(now);
    let rest = end - now;
    line.utc_at(end) - rest - line.rate.gain(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DriftLimit, Settings};
    use crate::exchange::{Exchange, ServerState, Stamps};
    use crate::synchronizer::SourceId;
    use crate::units::unix_seconds;

    /// What UTC gains on the counter, ppb.
    const FREQUENCY: i64 = 37_000;

    fn seconds(seconds: i64) -> Counter {
        Counter(0) + Nanos::from_seconds(seconds)
    }

    fn utc(counter: Counter) -> UnixTime {
        unix_seconds(1_795_000_000) + Nanos(counter.0) + Nanos(counter.0 / 1_000_000 * FREQUENCY / 1_000)
    }

    fn core() -> Synchronizer {
        Synchronizer::new(Settings::default(), UnixTime(0), 0)
    }

    /// An exchange of 2 ms that ends at `t4`, and what follows from it.
    fn exchange(core: &mut Synchronizer, t4: Counter) {
        let millisecond = Nanos::from_millis(1);
        let middle = utc(t4 - millisecond);
        let stamps = Stamps { t1: t4 - millisecond - millisecond, t2: middle, t3: middle, t4 };
        core.handle_recorded(SourceId(0), &Exchange { stamps, server: ServerState::primary() });
        let plan = core.plan(t4);
        core.commit(plan, t4);
    }

    /// What a run of `count` exchanges, one every 16 s, leaves when it ends.
    fn memory_of(count: i64) -> (Memory, Counter) {
        let mut core = core();
        core.add_source(seconds(0));
        for index in 1..=count {
            exchange(&mut core, seconds(16 * index));
        }
        let end = seconds(16 * count + 5);
        (core.memory(end).unwrap(), end)
    }

    fn restored(memory: &Memory, now: Counter) -> Synchronizer {
        let mut core = core();
        core.restore(memory, now);
        core.add_source(now);
        core
    }

    #[test]
    fn a_run_that_learnt_nothing_has_nothing_to_tell() {
        let mut core = core();
        core.add_source(seconds(0));
        assert_eq!(core.memory(seconds(9)), None);
    }

    #[test]
    fn a_warm_start_reads_at_once_with_a_bound_that_has_grown_and_holds() {
        let (memory, end) = memory_of(60);
        let mut former = Nanos::ZERO;
        for pause in [0, 1, 60, 3_600, 20_000] {
            let now = end + Nanos::from_seconds(pause);
            let core = restored(&memory, now);
            let model = core.model();
            assert_eq!((model.state_at(now), model.epoch), (State::Holdover, 1), "{pause} s");
            for later in [0, 1_000, 10_000] {
                let now = now + Nanos::from_seconds(later);
                let (earliest, shown, latest) = model.at(now);
                assert!(earliest <= utc(now) && utc(now) <= latest, "{pause} s + {later} s");
                assert!(earliest <= shown && shown <= latest);
            }
            let (earliest, shown, latest) = model.at(now);
            assert!((shown - utc(now)).abs() < Nanos(100_000 + 500 * pause), "{pause} s: {:?}", shown - utc(now));
            assert!(latest - earliest > former, "the bound has not grown after {pause} s");
            former = latest - earliest;
            assert_eq!(core.report(now).frequency_ppb, memory.frequency.mean.0);
        }
    }

    #[test]
    fn the_first_exchange_goes_on_in_the_same_epoch_without_a_step() {
        let (memory, end) = memory_of(60);
        let now = end + Nanos::from_seconds(600);
        let mut core = restored(&memory, now);
        let before = *core.model();
        let t4 = now + Nanos::from_seconds(1);
        exchange(&mut core, t4);
        let report = core.report(t4);
        assert_eq!((report.state, report.epoch, report.steps), (State::Synchronized, 1, 0));
        assert_eq!(core.model().line.utc_at(t4), before.line.utc_at(t4));
    }

    /// A memory that errs by `lie`.
    fn false_memory(memory: &Memory, lie: Nanos) -> Memory {
        let time = memory.time.map(|time| RememberedTime {
            utc: time.utc + lie,
            earliest: time.earliest + lie,
            latest: time.latest + lie,
            ..time
        });
        Memory { time, ..*memory }
    }

    fn span_at(core: &Synchronizer, now: Counter) -> (Nanos, Nanos) {
        let (earliest, latest) = core.model().span.at(now);
        (earliest - utc(now), latest - utc(now))
    }

    #[test]
    fn what_is_remembered_and_what_is_heard_narrow_each_other() {
        let (memory, end) = memory_of(60);
        let now = end + Nanos::from_seconds(10);
        // The first exchange of this run alone would leave ± 1 ms; the memory has one end elsewhere.
        let shifted = false_memory(&memory, Nanos(800_000));
        let mut warm = restored(&shifted, now);
        let (remembered, _) = span_at(&warm, now);
        exchange(&mut warm, now);
        let (earliest, latest) = span_at(&warm, now);
        assert!((earliest - remembered).abs() < Nanos(100), "{earliest:?} {remembered:?}");
        assert!(latest > Nanos(900_000) && latest < Nanos(1_300_000), "{latest:?}");
        assert_eq!((warm.report(now).epoch, warm.report(now).steps), (1, 0));
    }

    #[test]
    fn a_memory_that_the_first_exchange_contradicts_is_dropped_and_that_is_told() {
        let (memory, end) = memory_of(60);
        let now = end + Nanos::from_seconds(10);
        let mut warm = restored(&false_memory(&memory, Nanos::from_millis(5)), now);
        let mut cold = core();
        cold.add_source(now);
        exchange(&mut warm, now);
        exchange(&mut cold, now);
        let report = warm.report(now);
        assert_eq!((report.state, report.epoch, report.steps), (State::Synchronized, 2, 1));
        assert_eq!(warm.model().span, cold.model().span);
        // It has no say later either.
        let later = now + Nanos::from_seconds(16);
        exchange(&mut warm, later);
        exchange(&mut cold, later);
        assert_eq!(warm.model().span, cold.model().span);
        assert_eq!(warm.report(later).steps, 1);
    }

    #[test]
    fn a_lie_that_cannot_be_told_from_the_truth_is_forgotten_in_the_end_and_not_passed_on() {
        let (memory, end) = memory_of(60);
        // An oscillator that hardly drifts, and of which all is known: so no memory fades by itself.
        let steady = DriftLimit { short: Ppb(1.0), long: Ppb(1.0), ..DriftLimit::default() };
        let settings = Settings { drift: steady, ..Settings::default() };
        let begun = || Synchronizer::new(settings.clone(), UnixTime(0), 0);
        let (mut warm, mut cold) = (begun(), begun());
        let mut memory = false_memory(&memory, Nanos(800_000));
        if let Some(time) = &mut memory.time {
            let frequency = Rate::from_ppb(Ppb(FREQUENCY as f64));
            (time.slowest, time.fastest) = (frequency, frequency);
        }
        warm.restore(&memory, end);
        warm.add_source(end);
        cold.add_source(end);
        for index in 1..=70 {
            let now = end + Nanos::from_seconds(16 * index);
            exchange(&mut warm, now);
            exchange(&mut cold, now);
            let handed_on = |core: &Synchronizer| core.memory(now).unwrap().time.unwrap();
            let (warms, colds) = (handed_on(&warm), handed_on(&cold));
            assert_eq!((warms.earliest, warms.latest), (colds.earliest, colds.latest), "{index}");
            assert_eq!((warms.slowest, warms.fastest), (colds.slowest, colds.fastest), "{index}");
            // The knee is 1000 s after the first agreement.
            assert_eq!(warm.model().span == cold.model().span, index >= 64, "{index}");
        }
        assert_eq!(warm.report(end).steps, 0);
    }

    #[test]
    fn a_run_that_hears_nobody_hands_on_what_it_was_given() {
        let (memory, end) = memory_of(60);
        let now = end + Nanos::from_seconds(3_600);
        let again = restored(&memory, now).memory(now + Nanos::from_seconds(5)).unwrap().time.unwrap();
        let time = memory.time.unwrap();
        assert_eq!((again.sighted, again.earliest, again.latest), (time.sighted, time.earliest, time.latest));
    }

    #[test]
    fn the_first_answer_still_waits_for_the_others() {
        let (memory, end) = memory_of(60);
        let mut core = core();
        core.restore(&memory, end);
        for number in 1..=2 {
            let id = core.add_source(end);
            core.assign(id, std::net::SocketAddr::from(([192, 0, 2, number], 123)), end);
        }
        let plan = core.plan(end);
        core.commit(plan, end);
        exchange(&mut core, end + Nanos::from_millis(5));
        assert_eq!(core.model().state, State::Holdover);
    }

    #[test]
    fn the_frequency_is_expected_and_no_bound_rests_on_it() {
        let (memory, _) = memory_of(120);
        let (mean, deviation) = (memory.frequency.mean.0, memory.frequency.deviation.0);
        assert!((mean - FREQUENCY as f64).abs() < 500.0 && deviation < 2_000.0, "{memory:?}");
        // Another boot: the counter begins anew.
        let begin = seconds(100_000);
        let mut warm = restored(&Memory { time: None, ..memory }, begin);
        let mut cold = core();
        cold.add_source(begin);
        assert_eq!(warm.model().state_at(begin), State::Unsynchronized);
        exchange(&mut warm, begin + Nanos::from_seconds(1));
        exchange(&mut cold, begin + Nanos::from_seconds(1));
        assert_eq!(warm.model().span, cold.model().span);
        // In the end a rate is as good as its next reading: here a quarter of an hour later.
        let later = begin + Nanos::from_seconds(900);
        let error = |core: &Synchronizer| (core.model().line.utc_at(later) - utc(later)).abs();
        assert!(error(&warm) < Nanos(1_000_000) && error(&cold) > Nanos(30_000_000), "{:?}", error(&warm));
    }

    #[test]
    fn a_wrong_frequency_is_unlearnt() {
        // A copy of a virtual machine on other hardware, say: six deviations off.
        let frequency = Prior { mean: Ppb(7_000.0), deviation: Ppb(5_000.0) };
        let mut core = restored(&Memory { time: None, frequency }, seconds(0));
        for index in 1..=60 {
            exchange(&mut core, seconds(16 * index));
        }
        let told = core.report(seconds(960)).frequency_ppb;
        assert!((told - FREQUENCY as f64).abs() < 1_000.0, "{told}");
    }

    #[test]
    fn a_short_run_does_not_forget_what_a_long_one_learnt() {
        let (memory, end) = memory_of(120);
        let now = end + Nanos::from_seconds(3_600);
        let mut core = restored(&memory, now);
        exchange(&mut core, now + Nanos::from_seconds(1));
        let again = core.memory(now + Nanos::from_seconds(2)).unwrap().frequency;
        assert!((again.mean.0 - memory.frequency.mean.0).abs() < 500.0, "{again:?}");
        assert!(again.deviation.0 < 2_000.0, "{again:?}");
    }

    #[test]
    fn what_is_too_old_to_be_of_use_leaves_the_frequency_alone() {
        let (memory, end) = memory_of(60);
        let now = end + Nanos::from_seconds(5 * 86_400);
        let core = restored(&memory, now);
        assert!(!core.model().has_line());
        assert_eq!(core.prior.mean, memory.frequency.mean);
        let impossible = Prior { mean: Ppb(300_000.0), ..memory.frequency };
        let core = restored(&Memory { frequency: impossible, ..memory }, end);
        assert_eq!((core.prior, core.model().has_line()), (Prior::default(), false));
    }

    #[test]
    fn no_time_is_left_over_a_leap_second() {
        let mut core = core();
        core.add_source(seconds(0));
        exchange(&mut core, seconds(16));
        core.model.leap = Leap::Insert;
        let memory = core.memory(seconds(17)).unwrap();
        assert_eq!(memory.time, None);
    }

    #[test]
    fn a_correction_under_way_is_counted_as_made() {
        let rate = Rate::from_ppb(Ppb(10_000.0));
        let slew = Rate::from_ppb(Ppb(510_000.0));
        let line = Line { base: seconds(0), utc: UnixTime(0), slew, slew_end: seconds(10), rate };
        for now in [0, 5, 10, 20] {
            let expected = UnixTime(0) + Nanos::from_seconds(now) + Nanos(5_000_000 + 10_000 * now);
            assert!((settled(&line, seconds(now)) - expected).abs() <= Nanos(2), "{now}");
        }
    }
}
