//! A new leader of a page that processes share goes on where the one before it ended: in the same epoch, on the same
//! line.
//!
//! Why that is sound, where a [warm start](super::memory) begins a new epoch: the line is no claim about UTC but a
//! promise to readers, who have seen it and go on seeing it. It is whole on the page, and so is what takes it up in
//! mid-slew; nobody else writes meanwhile. To continue it breaks no promise, whatever UTC is; to begin another would
//! break one for nothing.
//!
//! The interval is a claim, and rests on assumption (a) *of the former leader*, of whose sources this one may know
//! nothing. It stands, and the state with it, as the former leader published both: with deadlines that readers judge.
//! From the first agreement of our own sources on it is one more witness, with the reservations of a warm start:
//! refuted, it is dropped and a new epoch begins, which is counted as a step; not refuted, it falls silent after the
//! knee of the drift limit; and what is handed on to the leader after us is what our own sources said, so no chain of
//! leaders carries a lie along.
//!
//! - A page that is UNSYNCHRONIZED because its bound has passed the cap still has a line that readers see: a correction
//!   within the threshold is slewed, a larger one steps.
//! - One that is DISRUPTED stays so until our sources agree, and then begins a new epoch.
//! - If the machine was suspended since the page was written, or the counter is no longer what the page is read by, the
//!   caller says so with [`Synchronizer::handle_disruption`] before it publishes anything.

use super::memory::Remembered;
use super::{Plan, Primary, Synchronizer};
use crate::exchange::ServerState;
use crate::model::estimator::Prior;
use crate::model::{ClockModel, UtcSpan};
use crate::status::{Flags, Report, State};
use crate::units::{Counter, Nanos};

/// What a leader leaves to the next, beside the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Legacy {
    /// Where UTC lies by what its own sources said.
    pub(crate) heard: UtcSpan,
    pub(crate) frequency: Prior,
}

impl Synchronizer {
    /// Goes on with what another published last. To be called before sources are added.
    pub(crate) fn succeed(&mut self, model: ClockModel, report: &Report, legacy: &Legacy, now: Counter) {
        self.presume(&legacy.frequency);
        self.verdict.primary = inherited(report);
        self.verdict.deviation = (report.estimated_error_ns != i64::MAX).then_some(Nanos(report.estimated_error_ns));
        self.last_epoch = self.last_epoch.max(model.epoch);
        self.steps = report.steps;
        self.inherited = model.has_line();
        if model.state == State::Disrupted {
            self.disrupt(now);
        } else if model.has_line() {
            self.remembered = Some(Remembered::new(legacy.heard, model.flags.contains(Flags::AUTHENTICATED)));
            self.heard = Some(legacy.heard);
        }
        // What that rests on cannot be checked here.
        self.unreviewed = model.flags.contains(Flags::PROVISIONAL);
        self.model = model;
        self.dirty = true;
    }

    /// What the next leader should know if `plan` is what was published last.
    pub(crate) fn legacy(&self, plan: &Plan) -> Legacy {
        Legacy {
            heard: plan.heard.or(self.heard).unwrap_or(plan.model.span),
            frequency: Prior { mean: plan.verdict.frequency, deviation: self.frequency_deviation() },
        }
    }

    /// The same of what was published last.
    pub(crate) fn committed_legacy(&self) -> Legacy {
        Legacy {
            heard: self.heard.unwrap_or(self.model.span),
            frequency: Prior { mean: self.verdict.frequency, deviation: self.frequency_deviation() },
        }
    }
}

/// Whom the former leader followed most: what a server of ours says of itself until our sources agree.
fn inherited(report: &Report) -> Option<Primary> {
    let stratum = report.stratum.checked_sub(1).filter(|stratum| (1..15).contains(stratum))?;
    let server = ServerState {
        leap: report.leap,
        version: 4,
        stratum,
        precision: 0,
        root_delay: Nanos(report.root_delay_ns),
        root_dispersion: Nanos::ZERO,
        reference_id: 0,
        reference_time: None,
    };
    // It has no place in our list, and the delay to it is in the root delay already.
    Some(Primary { source: usize::MAX, server, delay: Nanos::ZERO, reference_id: report.reference_id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::config::Settings;
    use crate::exchange::{Exchange, Stamps};
    use crate::mac::Key;
    use crate::model::slew::SLEW_MAX;
    use crate::source::Standing;
    use crate::status::Flags;
    use crate::synchronizer::SourceId;
    use crate::units::{Ppb, Rate, UnixTime, unix_seconds};

    /// A server that is off by so much.
    type Off = Nanos;

    fn seconds(seconds: i64) -> Counter {
        Counter(0) + Nanos::from_seconds(seconds)
    }

    /// UTC gains 40 ppm on the counter.
    fn utc(counter: Counter) -> UnixTime {
        unix_seconds(1_795_000_000) + Nanos(counter.0) + Nanos(counter.0 / 25_000)
    }

    fn core() -> Synchronizer {
        Synchronizer::new(Settings::default(), UnixTime(0), 0)
    }

    /// What is on the page: the model, and what stands behind it.
    #[derive(Clone)]
    struct Left(ClockModel, Report, Legacy);

    /// Plans and commits at `now`, as whoever leads does, and returns what is then on the page.
    fn publish(core: &mut Synchronizer, now: Counter) -> Left {
        let plan = core.plan(now);
        let left = Left(plan.model, core.report_with(&plan, now), core.legacy(&plan));
        core.commit(plan, now);
        left
    }

    /// An exchange of 2 ms that ends at `t4`, with a server that is off, and what is published after it.
    fn exchange(core: &mut Synchronizer, t4: Counter, off: Off) -> Left {
        let millisecond = Nanos::from_millis(1);
        let middle = utc(t4 - millisecond) + off;
        let stamps = Stamps { t1: t4 - millisecond - millisecond, t2: middle, t3: middle, t4 };
        core.handle_recorded(SourceId(0), &Exchange { stamps, server: ServerState::primary() });
        publish(core, t4)
    }

    /// What a leader leaves that has heard a server every 16 s up to `end`.
    fn left_at(end: i64, off: Off) -> Left {
        let mut core = core();
        core.add_source(seconds(0));
        let mut left = None;
        for second in (16..=end).step_by(16) {
            left = Some(exchange(&mut core, seconds(second), off));
        }
        left.unwrap()
    }

    fn successor(Left(model, report, legacy): &Left, now: Counter) -> Synchronizer {
        let mut core = core();
        core.succeed(*model, report, legacy, now);
        core.add_source(now);
        core
    }

    /// The same line at all these instants.
    fn assert_same_line(one: &ClockModel, other: &ClockModel, from: Counter) {
        for later in [0, 1, 1_000_000, 1_000_000_000, 60_000_000_000, 4_000_000_000_000] {
            let at = from + Nanos(later);
            assert_eq!(one.line.utc_at(at), other.line.utc_at(at), "{later} ns later");
        }
        assert_eq!(one.epoch, other.epoch);
    }

    #[test]
    fn a_successor_shows_the_same_line_interval_and_state_until_it_has_asked() {
        let left = left_at(320, Nanos::ZERO);
        let now = seconds(330);
        let mut core = successor(&left, now);
        assert!(core.wants_plan(now));
        let shown = publish(&mut core, now).0;
        assert_eq!(shown, left.0);
        assert_eq!((shown.state_at(now), shown.epoch), (State::Synchronized, 1));
        // Its deadlines hold, whoever leads.
        assert_eq!(shown.state_at(shown.holdover_at), State::Holdover);
        // A server of ours says what that of the former leader did.
        let (before, after) = (left.1, core.report(now));
        assert_eq!((after.stratum, after.reference_id), (before.stratum, before.reference_id));
        assert_eq!((after.root_delay_ns, after.frequency_ppb), (before.root_delay_ns, before.frequency_ppb));
    }

    #[test]
    fn a_leader_that_changes_in_mid_slew_goes_on_along_the_same_line_and_then_with_its_own_sources() {
        // The former leader was 20 ms behind, which takes 40 s to correct.
        let mut left = left_at(320, Nanos::ZERO);
        let line = &mut left.0.line;
        line.utc = line.utc - Nanos::from_millis(20);
        line.slew = Rate(line.rate.0 + Rate::from_ppb(SLEW_MAX).0);
        line.slew_end = line.base + Nanos::from_seconds(40);
        let now = line.base + Nanos::from_seconds(5);
        let mut core = successor(&left, now);
        assert_same_line(&publish(&mut core, now).0, &left.0, now);
        // Its first exchange bends the line where it is, and never breaks it.
        let t4 = now + Nanos::from_seconds(2);
        let Left(model, report, _) = exchange(&mut core, t4, Nanos::ZERO);
        assert_eq!(model.line.utc_at(t4), left.0.line.utc_at(t4));
        assert_eq!((model.epoch, report.steps, report.state), (1, 0, State::Synchronized));
        // And ends where UTC is, in the time that was left.
        assert!((model.line.slew_end - seconds(320) - Nanos::from_seconds(40)).abs() < Nanos::from_seconds(3));
        let end = model.line.slew_end;
        assert!((model.line.utc_at(end) - utc(end)).abs() < Nanos::from_millis(1));
    }

    #[test]
    fn a_successor_that_hears_nobody_leaves_the_interval_and_its_deadlines_as_they_were_published() {
        let left = left_at(320, Nanos::ZERO);
        let mut core = successor(&left, seconds(330));
        // Asked and not answered: it is known by now that nobody answers.
        core.handle_no_address(SourceId(0), "there is none".into(), seconds(331));
        core.handle_no_address(SourceId(0), "there is none".into(), seconds(332));
        let shown = publish(&mut core, seconds(332)).0;
        assert_eq!(shown, left.0);
        assert!(seconds(332) < shown.holdover_at && shown.state_at(seconds(332)) == State::Synchronized);
        assert_eq!(shown.state_at(shown.holdover_at), State::Holdover);
        let (earliest, _, latest) = shown.at(seconds(20_000));
        assert!(earliest <= utc(seconds(20_000)) && utc(seconds(20_000)) <= latest);
        // And hands on what it was handed.
        let plan = core.plan(seconds(400));
        assert_eq!(core.legacy(&plan).heard, left.2.heard);
    }

    #[test]
    fn one_request_that_is_not_answered_does_not_end_what_was_inherited() {
        let left = left_at(320, Nanos::ZERO);
        let mut core = successor(&left, seconds(330));
        core.handle_silence(SourceId(0), seconds(333));
        assert_eq!(publish(&mut core, seconds(333)).0.state_at(seconds(333)), State::Synchronized);
        // Of its own, once it has agreed with somebody, deadlines are its own to keep.
        let own = exchange(&mut core, seconds(334), Nanos::ZERO).0;
        assert!(own.state == State::Synchronized && own.span != left.0.span);
    }

    #[test]
    fn what_was_inherited_is_forgotten_once_it_has_no_say_and_authentication_counts_again() {
        let left = left_at(320, Nanos::ZERO);
        let mut core = self::core();
        core.succeed(left.0, &left.1, &left.2, seconds(330));
        let key = Key::parse("5", "AES128", "HEX:2b7e151628aed2a6abf7158809cf4f3c").unwrap();
        core.add_source_of(Standing { key: Some(Arc::new(key)), ..Standing::default() }, seconds(330));
        let knee = core.settings.drift.knee.0 / 1_000_000_000;
        let flags = |core: &mut Synchronizer, second| exchange(core, seconds(second), Nanos::ZERO).0.flags;
        assert!(!flags(&mut core, 331).contains(Flags::AUTHENTICATED));
        flags(&mut core, 331 + knee + 16);
        assert!(core.remembered.is_none());
        assert!(flags(&mut core, 331 + knee + 32).contains(Flags::AUTHENTICATED));
    }

    #[test]
    fn steps_are_counted_on_as_epochs_are() {
        let (mut left, now) = (left_at(320, Nanos::ZERO), seconds(330));
        (left.0.epoch, left.1.steps) = (4, 3);
        let mut core = successor(&left, now);
        assert_eq!(publish(&mut core, now).1.steps, 3);
        let Left(model, report, _) = exchange(&mut core, seconds(331), Nanos::from_seconds(2));
        assert_eq!((model.epoch, report.steps), (5, 4));
    }

    #[test]
    fn a_page_in_holdover_is_synchronised_again_in_the_same_epoch_however_late() {
        let left = left_at(320, Nanos::ZERO);
        for late in [100, 3_000, 20_000] {
            let now = seconds(320 + late);
            assert_eq!(left.0.state_at(now), State::Holdover);
            let mut core = successor(&left, now);
            let Left(model, report, _) = exchange(&mut core, now, Nanos::ZERO);
            assert_eq!((model.state, model.epoch, report.steps), (State::Synchronized, 1, 0), "{late} s");
            assert_eq!(model.line.utc_at(now), left.0.line.utc_at(now));
        }
    }

    #[test]
    fn a_page_whose_bound_has_passed_its_cap_keeps_its_line_unless_it_is_too_far_away() {
        for (off, epoch, steps) in [(Nanos::ZERO, 1, 0), (Nanos::from_seconds(1), 2, 1)] {
            let left = left_at(320, Nanos::ZERO);
            let now = seconds(60_000);
            assert_eq!(left.0.state_at(now), State::Unsynchronized);
            let mut core = successor(&left, now);
            let shown = publish(&mut core, now).0;
            assert_eq!(shown.state_at(now), State::Unsynchronized);
            assert_same_line(&shown, &left.0, now);
            let Left(model, report, _) = exchange(&mut core, now, off);
            assert_eq!((model.state, model.epoch, report.steps), (State::Synchronized, epoch, steps), "{off:?}");
        }
    }

    #[test]
    fn a_page_that_was_never_synchronised_begins_with_its_first_leader_that_is() {
        let mut silent = core();
        silent.add_source(seconds(0));
        let left = publish(&mut silent, seconds(1));
        let mut core = successor(&left, seconds(9));
        assert_eq!(publish(&mut core, seconds(9)).0.state, State::Unsynchronized);
        let Left(model, report, _) = exchange(&mut core, seconds(10), Nanos::ZERO);
        assert_eq!((model.state, model.epoch, report.steps), (State::Synchronized, 1, 0));
    }

    #[test]
    fn a_disruption_outlives_its_leader_and_ends_in_a_new_epoch() {
        // Either the former leader had seen it, or the new one finds it.
        for seen in [true, false] {
            let mut former = core();
            former.add_source(seconds(0));
            (1..20).for_each(|index| _ = exchange(&mut former, seconds(16 * index), Nanos::ZERO));
            if seen {
                former.handle_disruption(seconds(310));
            }
            let left = publish(&mut former, seconds(310));
            assert_eq!(left.0.state == State::Disrupted, seen);
            let mut core = successor(&left, seconds(320));
            if !seen {
                core.handle_disruption(seconds(320));
            }
            let shown = publish(&mut core, seconds(320)).0;
            assert_eq!((shown.state, shown.epoch), (State::Disrupted, 1));
            // Nothing of what was known before is used: an hour is missing.
            let hour = Nanos::from_seconds(3_600);
            let Left(model, report, legacy) = exchange(&mut core, seconds(330), hour);
            assert_eq!((model.state, model.epoch, report.steps), (State::Synchronized, 2, 1));
            let (earliest, latest) = legacy.heard.at(seconds(330));
            assert!(earliest <= utc(seconds(330)) + hour && utc(seconds(330)) + hour <= latest);
        }
    }

    #[test]
    fn an_interval_that_the_new_sources_refute_is_dropped_and_that_is_told() {
        let left = left_at(320, Nanos::from_millis(50));
        let mut core = successor(&left, seconds(330));
        let Left(model, report, _) = exchange(&mut core, seconds(331), Nanos::ZERO);
        assert_eq!((model.state, model.epoch, report.steps), (State::Synchronized, 2, 1));
        let (earliest, _, latest) = model.at(seconds(331));
        assert!(earliest <= utc(seconds(331)) && utc(seconds(331)) <= latest);
    }

    #[test]
    fn no_chain_of_leaders_carries_a_lie_along() {
        // The first one's server is off by less than can be told from the truth at once.
        let mut left = left_at(320, Nanos(800_000));
        let mut now = seconds(330);
        for leader in 0..3 {
            let mut core = successor(&left, now);
            for _ in 0..4 {
                left = exchange(&mut core, now, Nanos::ZERO);
                now += Nanos::from_seconds(16);
            }
            let mut alone = self::core();
            alone.add_source(now);
            for back in (1..=4).rev() {
                exchange(&mut alone, now - Nanos::from_seconds(16 * back), Nanos::ZERO);
            }
            // What is left to the next one is what this one's own server said.
            let own = alone.legacy(&alone.plan(now)).heard;
            let (mine, theirs) = (left.2.heard.at(now), own.at(now));
            assert!((mine.0 - theirs.0).abs() < Nanos(50_000), "{leader}: {mine:?} {theirs:?}");
            assert!((mine.1 - theirs.1).abs() < Nanos(50_000), "{leader}: {mine:?} {theirs:?}");
        }
    }

    #[test]
    fn a_frequency_beyond_the_limit_is_not_expected() {
        let Left(model, report, legacy) = left_at(320, Nanos::ZERO);
        let wild = Legacy { frequency: Prior { mean: Ppb(f64::NAN), deviation: Ppb(f64::NAN) }, ..legacy };
        let mut core = successor(&Left(model, report, wild), seconds(330));
        assert_eq!(core.prior.mean, Prior::default().mean);
        let Left(model, ..) = exchange(&mut core, seconds(331), Nanos::ZERO);
        assert!(model.line.rate.0.abs() < Rate::from_ppb(Ppb::from_ppm(200.0)).0);
    }
}
