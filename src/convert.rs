//! Stamps that were taken already, on any clock of the system: where UTC was then. And where the clocks will be at some
//! UTC.
//!
//! Two steps, each with its interval: from the stamp to the raw counter, by *anchors*, at which all clocks were read
//! side by side; and from the counter to UTC, by the *models* that were published, each of which holds backwards as it
//! holds forwards, its interval widening by the drift limit. Both lists are bounded: they grow thinner with age, and
//! never pretend to know what they have forgotten.

#[expect(
    clippy::indexing_slicing,
    reason = "an index and its neighbours, of lists of our own that are longer than two"
)]
pub(crate) mod anchors;
#[expect(clippy::indexing_slicing, reason = "the same")]
pub(crate) mod models;

use crate::error::Error;
use crate::model::ClockModel;
use crate::reading::Reading;
use crate::status::State;
use crate::sys::clocks::Anchor;
use crate::units::{Counter, Nanos, UnixTime};
use anchors::Anchors;
use models::Models;

/// A clock of the system that stamps are taken on. The numbers are the C API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Timescale {
    /// The raw counter, as in [`Reading::raw_ns`].
    Raw = 0,
    /// `CLOCK_MONOTONIC`.
    Monotonic = 1,
    /// `CLOCK_BOOTTIME`.
    Boottime = 2,
    /// `CLOCK_REALTIME`, the system clock: what the kernel stamps datagrams and files with.
    Realtime = 3,
}

/// When a clock of the system will show that some point of UTC has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The best guess: about when [`crate::Clock::now`] will show that UTC, ns.
    pub stamp_ns: i64,
    /// Before this UTC has certainly not come there, ns.
    pub earliest_ns: i64,
    /// From this on it certainly has, ns.
    pub latest_ns: i64,
}

/// What conversions are made from.
#[derive(Debug)]
pub(crate) struct History {
    anchors: Anchors,
    models: Models,
}

const DISRUPTED: &str = "the clock was disrupted after it";

impl History {
    pub(crate) const fn new() -> Self {
        Self { anchors: Anchors::new(), models: Models::new() }
    }

    /// Takes note of where the clocks stand, at the start and whenever the engine wakes up.
    pub(crate) fn note(&mut self, anchor: Anchor) {
        if self.anchors.add(anchor) {
            // The counter stood still: what was known of it before is nothing after, and the other way round.
            self.models.clear();
        }
    }

    /// The clocks as they were noted last.
    pub(crate) fn last_anchor(&self) -> Option<Anchor> {
        self.anchors.last().copied()
    }

    /// `model` is published, and holds from `switch` on.
    pub(crate) fn publish(&mut self, switch: Counter, model: &ClockModel) {
        if model.state == State::Disrupted && self.models.last().is_some_and(|last| last.state != State::Disrupted) {
            self.models.clear();
            self.anchors.forget(DISRUPTED);
        }
        self.models.add(switch, *model);
    }

    /// Where UTC was when `scale` showed `stamp`; `now` is read just now. With `alive` a thread keeps the clock.
    pub(crate) fn utc(&self, scale: Timescale, stamp: i64, now: &Anchor, alive: bool) -> Result<Reading, Error> {
        let window = self.anchors.locate(scale, stamp, now).map_err(|why| Error::Unconvertible { why })?;
        self.models.reading(window, alive).ok_or_else(|| Error::NotSynchronized(self.state(now)))
    }

    /// When `scale` will show that it is `utc`, or when it has.
    pub(crate) fn deadline(&self, scale: Timescale, utc: UnixTime, now: &Anchor) -> Result<Deadline, Error> {
        if scale == Timescale::Realtime {
            return Err(Error::argument(
                "timescale",
                "is the system clock, which may be stepped before the time has come",
            ));
        }
        let state = self.state(now);
        let model = self.models.last().filter(|_| state.is_usable()).ok_or(Error::NotSynchronized(state))?;
        let counter = |reached: &dyn Fn(Counter) -> bool| first(now.before, reached);
        let earliest = counter(&|at| model.at(at).2 >= utc);
        let latest = counter(&|at| model.at(at).0 >= utc);
        let (Some(earliest), Some(shown), Some(latest)) =
            (earliest, counter(&|at| model.line.utc_at(at) >= utc), latest)
        else {
            return Err(Error::argument("unix_ns", "is too far away"));
        };
        self.anchors.check(earliest, now).map_err(|why| Error::Unconvertible { why })?;
        Ok(Deadline {
            stamp_ns: anchors::project(scale, shown, now).1,
            earliest_ns: anchors::project(scale, earliest, now).0,
            latest_ns: anchors::project(scale, latest, now).2,
        })
    }

    fn state(&self, now: &Anchor) -> State {
        self.models.last().map_or(State::Unsynchronized, |model| model.state_at(now.after))
    }
}

/// The first counter value at which `reached`, which never changes back, is true; `None` if it is more than a hundred
/// years from `near`.
fn first(near: Counter, reached: impl Fn(Counter) -> bool) -> Option<Counter> {
    const REACH: Nanos = Nanos::from_seconds(100 * 366 * 86_400);
    let (mut not_yet, mut already) = ((near - REACH).0, (near + REACH).0);
    if reached(Counter(not_yet)) || !reached(Counter(already)) {
        return None;
    }
    while already - not_yet > 1 {
        let middle = not_yet.midpoint(already);
        if reached(Counter(middle)) { already = middle } else { not_yet = middle }
    }
    Some(Counter(already))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UtcSpan;
    use crate::model::slew::Line;
    use crate::units::{Ppb, Rate};

    const SECOND: i64 = 1_000_000_000;
    const UTC: i64 = 1_795_000_000 * SECOND;

    fn rate(ppm: f64) -> Rate {
        Rate::from_ppb(Ppb::from_ppm(ppm))
    }

    /// A model made at `at` seconds: UTC is `UTC` plus the counter, known within ± `bound`, its frequency
    /// within ± `ppm`.
    fn model(at: i64, bound: i64, ppm: f64, epoch: u32, state: State) -> ClockModel {
        let at = Counter(at * SECOND);
        let utc = UnixTime(UTC + at.0);
        ClockModel {
            line: Line { base: at, utc, slew: rate(0.0), slew_end: at, rate: rate(0.0) },
            span: UtcSpan {
                at,
                earliest: utc - Nanos(bound),
                latest: utc + Nanos(bound),
                slowest: rate(-ppm - 2.0),
                fastest: rate(ppm + 2.0),
                knee: Nanos::from_seconds(1000),
                drift_long: rate(15.0),
            },
            state,
            epoch,
            holdover_at: at + Nanos::from_seconds(48),
            bound_cap: Nanos::from_seconds(1),
            newest_exchange: at,
            ..ClockModel::UNSYNCHRONIZED
        }
    }

    /// The clocks at a counter value: the monotonic ones gain 100 ppm on it, the system clock is 7 s behind UTC at the
    /// start.
    fn anchor(counter: i64) -> Anchor {
        let monotonic = Nanos(counter + counter / 10_000);
        Anchor {
            before: Counter(counter - 50),
            monotonic,
            boottime: monotonic,
            realtime: monotonic + Nanos(UTC - 7 * SECOND),
            after: Counter(counter + 50),
        }
    }

    /// Anchors every 16 s from 0 to 320 s, the first synchronisation at 100 s, a better one at 200 s.
    fn history() -> History {
        let mut history = History::new();
        for at in 0..=20 {
            history.note(anchor(at * 16 * SECOND));
            match at * 16 {
                0 => history.publish(Counter(0), &ClockModel::UNSYNCHRONIZED),
                96 => history.publish(Counter(100 * SECOND), &model(100, 50_000, 200.0, 1, State::Synchronized)),
                192 => history.publish(Counter(200 * SECOND), &model(200, 10_000, 0.1, 1, State::Synchronized)),
                _ => {}
            }
        }
        history
    }

    fn now() -> Anchor {
        anchor(330 * SECOND)
    }

    fn converted(history: &History, scale: Timescale, stamp: i64) -> Reading {
        history.utc(scale, stamp, &now(), true).unwrap()
    }

    #[test]
    fn a_stamp_of_any_clock_becomes_an_interval_that_holds_utc() {
        let history = history();
        for counter in (SECOND..330 * SECOND).step_by(777_777_777) {
            let clocks = anchor(counter);
            let scales = [
                (Timescale::Raw, counter),
                (Timescale::Monotonic, clocks.monotonic.0),
                (Timescale::Boottime, clocks.boottime.0),
                (Timescale::Realtime, clocks.realtime.0),
            ];
            for (scale, stamp) in scales {
                let told = converted(&history, scale, stamp);
                let truth = UTC + counter;
                assert!(told.earliest_ns <= truth && truth <= told.latest_ns, "{scale:?} {counter}: {told:?}");
                assert!(told.earliest_ns <= told.unix_ns && told.unix_ns <= told.latest_ns);
                // At most 8 s from an anchor, ± 0.1 %, and what the model leaves open: 200 s at 2 ppm and 0.1 ppm.
                assert!(told.error_bound_ns() < 2 * (8_010_000 + 500_000), "{scale:?} {counter}: {told:?}");
            }
        }
    }

    #[test]
    fn a_stamp_from_before_the_first_synchronisation_is_told_by_the_best_model_since() {
        let told = converted(&history(), Timescale::Raw, 40 * SECOND);
        // By the first alone: 50 µs, and 60 s at 202 ppm, 12 ms. By the second: 10 µs, and 160 s at 2.1 ppm.
        assert!(told.error_bound_ns() < 360_000, "{told:?}");
        assert!((told.unix_ns - (UTC + 40 * SECOND)).abs() < 1_000);
        assert_eq!((told.state, told.epoch, told.age_ns), (State::Holdover, 1, 0));
        let mut history = history();
        history.models.clear();
        history.publish(Counter(100 * SECOND), &model(100, 50_000, 200.0, 1, State::Synchronized));
        let told = converted(&history, Timescale::Raw, 40 * SECOND);
        assert!((12_000_000..13_000_000).contains(&told.error_bound_ns()), "{told:?}");
    }

    #[test]
    fn within_the_time_of_a_model_its_own_line_is_told() {
        let mut history = history();
        let mut slewing = model(300, 10_000, 0.1, 1, State::Synchronized);
        slewing.line.utc += Nanos(4_000);
        history.publish(Counter(300 * SECOND), &slewing);
        let told = converted(&history, Timescale::Raw, 310 * SECOND);
        assert_eq!((told.unix_ns, told.state), (UTC + 310 * SECOND + 4_000, State::Synchronized));
        assert_eq!(told.age_ns, 10 * SECOND);
        let in_child = history.utc(Timescale::Raw, 310 * SECOND, &now(), false).unwrap();
        assert_eq!(in_child.state, State::Holdover);
    }

    #[test]
    fn before_any_synchronisation_nothing_is_told() {
        let mut history = History::new();
        let refused = |history: &History| history.utc(Timescale::Raw, 5 * SECOND, &now(), true).unwrap_err();
        assert!(matches!(refused(&history), Error::NotSynchronized(State::Unsynchronized)));
        history.note(anchor(0));
        history.publish(Counter(0), &ClockModel::UNSYNCHRONIZED);
        assert!(matches!(refused(&history), Error::NotSynchronized(State::Unsynchronized)));
        assert!(history.deadline(Timescale::Raw, UnixTime(UTC), &now()).is_err());
    }

    #[test]
    fn a_stamp_from_before_a_disruption_is_refused_and_later_ones_are_not() {
        let mut history = history();
        history.publish(Counter(321 * SECOND), &model(321, 10_000, 0.1, 1, State::Disrupted));
        history.note(anchor(321 * SECOND));
        let error = history.utc(Timescale::Raw, 310 * SECOND, &now(), true).unwrap_err();
        assert_eq!(error.to_string(), "the stamp cannot be converted: the clock was disrupted after it");
        assert!(matches!(
            history.utc(Timescale::Raw, 325 * SECOND, &now(), true),
            Err(Error::NotSynchronized(State::Disrupted))
        ));
        history.publish(Counter(326 * SECOND), &model(326, 10_000, 0.1, 2, State::Synchronized));
        let told = converted(&history, Timescale::Raw, 325 * SECOND);
        assert_eq!((told.epoch, told.state), (2, State::Holdover));
    }

    #[test]
    fn what_was_known_before_a_suspend_is_nothing_after_it() {
        let mut history = history();
        let asleep = |mut anchor: Anchor| {
            anchor.boottime += Nanos::from_seconds(3600);
            anchor
        };
        let now = asleep(now());
        for scale in [Timescale::Raw, Timescale::Monotonic, Timescale::Realtime] {
            let stamp = if scale == Timescale::Realtime { UTC + 293 * SECOND } else { 300 * SECOND };
            let error = history.utc(scale, stamp, &now, true).unwrap_err().to_string();
            assert_eq!(error, "the stamp cannot be converted: the machine was suspended after it", "{scale:?}");
        }
        history.note(now);
        assert!(history.utc(Timescale::Raw, 300 * SECOND, &now, true).is_err());
        history.publish(Counter(331 * SECOND), &model(331, 10_000, 0.1, 2, State::Synchronized));
        assert!(history.utc(Timescale::Raw, 300 * SECOND, &now, true).is_err());
        assert!(history.utc(Timescale::Raw, now.after.0 + 1, &now, true).is_ok());
    }

    #[test]
    fn a_deadline_holds_the_moment_at_which_utc_comes() {
        let history = history();
        for ahead in [1_000, SECOND, 60 * SECOND, 3600 * SECOND] {
            let counter = 330 * SECOND + ahead;
            let clocks = anchor(counter);
            for (scale, truth) in [
                (Timescale::Raw, counter),
                (Timescale::Monotonic, clocks.monotonic.0),
                (Timescale::Boottime, clocks.boottime.0),
            ] {
                let told = history.deadline(scale, UnixTime(UTC + counter), &now()).unwrap();
                assert!(told.earliest_ns <= truth && truth <= told.latest_ns, "{scale:?} {ahead}: {told:?}");
                assert!(told.earliest_ns <= told.stamp_ns && told.stamp_ns <= told.latest_ns);
                // 0.1 % of the way, and the model's interval.
                assert!(told.latest_ns - told.earliest_ns < ahead / 400 + 1_100_000, "{scale:?} {ahead}: {told:?}");
            }
        }
        assert!(history.deadline(Timescale::Realtime, UnixTime(UTC), &now()).is_err());
        assert!(history.deadline(Timescale::Raw, UnixTime(i64::MAX), &now()).is_err());
        assert!(history.deadline(Timescale::Raw, UnixTime(i64::MIN), &now()).is_err());
    }

    #[test]
    fn any_numbers_are_answered_and_never_with_an_interval_turned_round() {
        let history = history();
        for stamp in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX] {
            for scale in [Timescale::Raw, Timescale::Monotonic, Timescale::Boottime, Timescale::Realtime] {
                if let Ok(told) = history.utc(scale, stamp, &now(), true) {
                    assert!(told.earliest_ns <= told.unix_ns && told.unix_ns <= told.latest_ns, "{scale:?} {stamp}");
                }
                if let Ok(told) = history.deadline(scale, UnixTime(stamp), &now()) {
                    assert!(told.earliest_ns <= told.stamp_ns && told.stamp_ns <= told.latest_ns, "{scale:?} {stamp}");
                }
            }
        }
    }

    #[test]
    fn a_deadline_and_a_conversion_of_it_are_one() {
        let history = history();
        let told = history.deadline(Timescale::Raw, UnixTime(UTC + 400 * SECOND), &now()).unwrap();
        let back = |stamp| history.utc(Timescale::Raw, stamp, &now(), true).unwrap();
        assert!(back(told.latest_ns).earliest_ns >= UTC + 400 * SECOND);
        assert!(back(told.earliest_ns - 1).latest_ns < UTC + 400 * SECOND);
    }
}
