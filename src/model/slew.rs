//! How the published line follows the estimate: small corrections are slewed, large ones step.
//!
//! A line runs for a while at `slew` and from then on at `rate`, both known when it is published: if nobody ever
//! publishes again, the correction still ends where it should.

use crate::units::{Counter, Nanos, Ppb, Rate, UnixTime};

/// The fastest correction: readers must not see time run noticeably wrong (RFC 5905 and POSIX `adjtime` use the same).
pub(crate) const SLEW_MAX: Ppb = Ppb::from_ppm(500.0);

/// Counter → UTC: what a reader sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) base: Counter,
    /// UTC at `base`.
    pub(crate) utc: UnixTime,
    /// Gain on the counter from `base` to `slew_end`.
    pub(crate) slew: Rate,
    pub(crate) slew_end: Counter,
    /// Gain from `slew_end` on.
    pub(crate) rate: Rate,
}

impl Line {
    /// UTC at `counter`. Never decreasing in `counter`: every gain is above -1.
    pub(crate) fn utc_at(&self, counter: Counter) -> UnixTime {
        let slewed = counter.min(self.slew_end).max(self.base) - self.base;
        // Before `base` the line is continued backwards at its slewing rate.
        let before = counter.min(self.base) - self.base;
        let after = counter.max(self.slew_end.max(self.base)) - self.slew_end.max(self.base);
        let elapsed = counter - self.base;
        self.utc + elapsed + self.slew.gain(slewed) + self.slew.gain(before) + self.rate.gain(after)
    }

    pub(crate) fn is_slewing(&self, counter: Counter) -> bool {
        counter < self.slew_end
    }
}

/// How to get from the line published so far to the estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// Continuous with the former line.
    Slew(Line),
    /// A new epoch: the former line was too far away, or there was none.
    Step(Line),
}

/// The line from `switch` on that leads to `target` (UTC at `switch`), which gains at `frequency`.
pub(crate) fn steer(
    former: Option<&Line>,
    switch: Counter,
    target: UnixTime,
    frequency: Ppb,
    step_threshold: Nanos,
) -> Course {
    let rate = Rate::from_ppb(frequency);
    let at_target = Line { base: switch, utc: target, slew: rate, slew_end: switch, rate };
    let Some(former) = former else { return Course::Step(at_target) };
    let shown = former.utc_at(switch);
    let correction = target - shown;
    if correction.abs() > step_threshold {
        return Course::Step(at_target);
    }
    let towards = if correction < Nanos::ZERO { -SLEW_MAX.0 } else { SLEW_MAX.0 };
    let duration = Nanos::from_f64_outward(correction.as_f64() / towards * 1e9);
    let slew = Rate::from_ppb(Ppb(frequency.0 + towards));
    Course::Slew(Line { base: switch, utc: shown, slew, slew_end: switch + duration, rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLD: Nanos = Nanos::from_millis(100);

    fn line(ppm: f64) -> Line {
        let rate = Rate::from_ppb(Ppb::from_ppm(ppm));
        Line { base: Counter(1_000), utc: UnixTime(50_000), slew: rate, slew_end: Counter(1_000), rate }
    }

    #[test]
    fn without_a_line_the_first_one_is_a_step() {
        let course = steer(None, Counter(7), UnixTime(9), Ppb(0.0), THRESHOLD);
        assert!(matches!(course, Course::Step(line) if line.utc_at(Counter(7)) == UnixTime(9)));
    }

    #[test]
    fn a_correction_is_slewed_at_500_ppm_and_ends_on_target() {
        for correction in [-1_000_000, -37, 0, 1, 99_000_000] {
            let former = line(20.0);
            let switch = Counter(5_000_000_000);
            let target = former.utc_at(switch) + Nanos(correction);
            let Course::Slew(next) = steer(Some(&former), switch, target, Ppb(25_000.0), THRESHOLD) else {
                panic!("{correction} ns stepped");
            };
            assert_eq!(next.utc_at(switch), former.utc_at(switch));
            let end = next.slew_end;
            assert!((end - switch - Nanos(correction.abs() * 2000)).abs() <= Nanos(1), "{:?}", end - switch);
            let later = end + Nanos::from_seconds(1);
            let wanted = target + (later - switch) + (later - switch).gain(Ppb(25_000.0));
            assert!((next.utc_at(later) - wanted).abs() <= Nanos(2), "{correction}");
        }
    }

    #[test]
    fn what_is_too_far_away_steps() {
        let former = line(0.0);
        let switch = Counter(2_000);
        let target = former.utc_at(switch) + THRESHOLD + Nanos(1);
        assert!(matches!(steer(Some(&former), switch, target, Ppb(0.0), THRESHOLD), Course::Step(_)));
    }

    #[test]
    fn a_line_never_runs_backwards() {
        let former = line(-100.0);
        let target = former.utc_at(Counter(9_000)) - Nanos(5);
        let Course::Slew(next) = steer(Some(&former), Counter(9_000), target, Ppb(-100_000.0), THRESHOLD) else {
            panic!("stepped")
        };
        let mut last = next.utc_at(Counter(8_000));
        for counter in 8_001..40_000 {
            let utc = next.utc_at(Counter(counter));
            assert!(utc >= last, "at {counter}");
            last = utc;
        }
    }
}
