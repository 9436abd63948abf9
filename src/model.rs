//! The clock model, counter → UTC, as a value: a line, the interval around it and how that grows, state, leap.

pub(crate) mod bound;
pub(crate) mod estimator;
pub(crate) mod slew;

use crate::status::{Flags, Leap, State};
use crate::units::{Counter, Nanos, Rate, UnixTime};
use slew::Line;

/// Everything a reader needs, valid from `line.base` on until a newer model replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockModel {
    pub(crate) line: Line,
    pub(crate) span: UtcSpan,
    /// As of publication; the reader lowers it by the deadlines below.
    pub(crate) state: State,
    pub(crate) leap: Leap,
    /// What else is to be known of whom this rests on: AUTHENTICATED, PROVISIONAL, VETOED.
    pub(crate) flags: Flags,
    /// 0: never synchronised, there is no line.
    pub(crate) epoch: u32,
    /// From here on SYNCHRONIZED is HOLDOVER.
    pub(crate) holdover_at: Counter,
    /// An error bound above this is no synchronisation.
    pub(crate) bound_cap: Nanos,
    /// When the newest exchange that counted ended.
    pub(crate) newest_exchange: Counter,
}

/// Where UTC lies around an instant, and how that widens with time: two slopes and a knee on either side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UtcSpan {
    pub(crate) at: Counter,
    /// Ends of the interval at `at`.
    pub(crate) earliest: UnixTime,
    pub(crate) latest: UnixTime,
    /// The lowest and highest frequency possible from `at` on, for as long as `knee`; and as long before, since no
    /// frequency of that time can differ more.
    pub(crate) slowest: Rate,
    pub(crate) fastest: Rate,
    pub(crate) knee: Nanos,
    /// By how much it may lie outside of these afterwards.
    pub(crate) drift_long: Rate,
}

impl UtcSpan {
    /// The interval at `counter`.
    pub(crate) fn at(&self, counter: Counter) -> (UnixTime, UnixTime) {
        let elapsed = counter - self.at;
        let late = (elapsed.abs() - self.knee).max(Nanos::ZERO);
        let growth = self.drift_long.gain(late) + Nanos(2);
        // Backwards in time the slow frequency is the one that leads to later times.
        let (below, above) =
            if elapsed < Nanos::ZERO { (self.fastest, self.slowest) } else { (self.slowest, self.fastest) };
        let earliest = self.earliest + elapsed + below.gain(elapsed) - growth;
        let latest = self.latest + elapsed + above.gain(elapsed) + growth + Nanos(1);
        (earliest, latest)
    }
}

impl ClockModel {
    /// Before the first synchronisation.
    pub(crate) const UNSYNCHRONIZED: Self = Self {
        line: Line { base: Counter(0), utc: UnixTime(0), slew: Rate(0), slew_end: Counter(0), rate: Rate(0) },
        span: UtcSpan {
            at: Counter(0),
            earliest: UnixTime(0),
            latest: UnixTime(0),
            slowest: Rate(0),
            fastest: Rate(0),
            knee: Nanos(0),
            drift_long: Rate(0),
        },
        state: State::Unsynchronized,
        leap: Leap::Unknown,
        flags: Flags(0),
        epoch: 0,
        holdover_at: Counter(0),
        bound_cap: Nanos(0),
        newest_exchange: Counter(0),
    };

    /// Whether there is a line to read.
    pub(crate) fn has_line(&self) -> bool {
        self.epoch != 0
    }

    /// What readers are told beside the state.
    pub(crate) fn told_flags(&self) -> Flags {
        self.flags.with(Flags::LEAP_PENDING, matches!(self.leap, Leap::Insert | Leap::Delete))
    }

    /// UTC, and the interval that holds it and UTC as shown, at `counter`.
    pub(crate) fn at(&self, counter: Counter) -> (UnixTime, UnixTime, UnixTime) {
        let utc = self.line.utc_at(counter);
        let (earliest, latest) = self.span.at(counter);
        // While a correction is slewed in, the line may be outside: the interval then reaches to it.
        (earliest.min(utc), utc, latest.max(utc))
    }

    /// The state that a reader at `counter` must conclude, whoever still updates the page.
    pub(crate) fn state_at(&self, counter: Counter) -> State {
        if !self.has_line() || !self.state.is_usable() {
            return self.state;
        }
        let (earliest, utc, latest) = self.at(counter);
        if (utc - earliest).max(latest - utc) > self.bound_cap {
            State::Unsynchronized
        } else if counter >= self.holdover_at {
            State::Holdover
        } else {
            self.state
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Ppb;

    fn model() -> ClockModel {
        let ppm = |ppm| Rate::from_ppb(Ppb::from_ppm(ppm));
        let at = Counter(0);
        ClockModel {
            line: Line { base: at, utc: UnixTime(1_000_000), slew: ppm(0.0), slew_end: at, rate: ppm(0.0) },
            span: UtcSpan {
                at,
                earliest: UnixTime(900_000),
                latest: UnixTime(1_200_000),
                slowest: ppm(-10.0),
                fastest: ppm(20.0),
                knee: Nanos::from_seconds(1000),
                drift_long: ppm(15.0),
            },
            state: State::Synchronized,
            epoch: 1,
            holdover_at: Counter(0) + Nanos::from_seconds(48),
            bound_cap: Nanos::from_seconds(1),
            ..ClockModel::UNSYNCHRONIZED
        }
    }

    #[test]
    fn the_interval_grows_by_both_slopes_on_either_side_of_the_knee() {
        let width = |seconds| {
            let (earliest, latest) = model().span.at(Counter(0) + Nanos::from_seconds(seconds));
            (latest - earliest).0
        };
        let near = |a: i64, b: i64| (a - b).abs() < 10;
        assert!(near(width(0), 300_000));
        assert!(near(width(1000), 300_000 + 1000 * 30_000));
        assert!(near(width(2000), width(1000) + 1000 * (30_000 + 2 * 15_000)));
    }

    #[test]
    fn the_reader_finds_holdover_and_loss_by_itself() {
        let after = |seconds| model().state_at(Counter(0) + Nanos::from_seconds(seconds));
        assert_eq!(after(47), State::Synchronized);
        assert_eq!(after(48), State::Holdover);
        assert_eq!(after(20_000), State::Holdover);
        assert_eq!(after(40_000), State::Unsynchronized);
    }

    #[test]
    fn the_interval_holds_the_reading_while_it_is_slewed() {
        let mut model = model();
        model.line.utc = UnixTime(5_000_000);
        let (earliest, utc, latest) = model.at(Counter(0));
        assert!(earliest <= utc && utc == latest);
    }
}
