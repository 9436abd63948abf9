//! How far UTC minus counter can have moved: the declared drift limit D, and what it allows.
//!
//! Let `o(t)` be UTC minus counter and `F = do/dt` the frequency. Assumed is `|F(t) - F(s)| <= D(|t - s|)`
//! with D constant (`short`) up to a knee and constant (`long`) beyond, and `|F| <= limit`. With
//! `G(τ) = ∫₀^τ D`, two correctness intervals `o(i) in [a, b]` and `o(j) in [c, d]`, `i < j <= now`, bound the present
//! frequency,
//!
//! ```text
//! F(now)·(j - i)  in  [c - b - S, d - a + S],   S = G(now - i) - G(now - j)
//! ```
//!
//! and with it `o(now) - o(i)`, which differs from `F(now)·(now - i)` by at most `G(now - i)`.
//!
//! Of times that all lie within one knee more can be said. No two frequencies differ by more than `short` there, so no
//! two averages do; with `A` the average from `i` to `j`, the average over *any* span from `i` on that ends before `i +
//! knee` is within `A ± short`. So the intersection of these over all pairs, young enough that `now + horizon` still
//! lies within their knee, tells how the offset moves from any of them to now, and from now to the horizon. The latter
//! also lies within `short` of F(now). Beyond the horizon the frequency is within `long` of any of these.
//!
//! All that follows from the declared limit alone: no symmetry of paths, no distribution, no fit.

use crate::config::DriftLimit;
use crate::exchange::Interval;
use crate::units::{Counter, Nanos, Ppb};

/// Where a source says UTC minus counter lies: one correctness interval, at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) at: Counter,
    pub(crate) offset: Interval,
}

/// What one answering source testifies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Witness {
    /// Where UTC minus counter lies now, if it tells the truth.
    pub(crate) offset: Interval,
    /// The frequencies possible from now on if so.
    pub(crate) frequency: FrequencyRange,
    /// For how long they are.
    pub(crate) horizon: Nanos,
}

impl Witness {
    /// Where UTC minus counter will lie after `span`, if it tells the truth.
    pub(crate) fn after(&self, span: Nanos, drift: &DriftLimit) -> Interval {
        let beyond = (span - self.horizon).max(Nanos::ZERO);
        self.frequency.carry(self.offset, span, beyond.gain_outward(drift.long))
    }

    /// What it testifies of an instant that is `span` later, as long as that is within the horizon.
    pub(crate) fn carried(&self, span: Nanos, drift: &DriftLimit) -> Self {
        Self { offset: self.after(span, drift), horizon: self.horizon - span, ..*self }
    }

    /// What is true if either tells the truth.
    pub(crate) fn hull(&self, other: &Self) -> Self {
        let offset = Interval::new(self.offset.low.min(other.offset.low), self.offset.high.max(other.offset.high));
        let low = Ppb(self.frequency.low.0.min(other.frequency.low.0));
        let high = Ppb(self.frequency.high.0.max(other.frequency.high.0));
        Self { offset, frequency: FrequencyRange { low, high }, horizon: self.horizon.min(other.horizon) }
    }
}

/// The frequencies a truthful source leaves possible.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FrequencyRange {
    pub(crate) low: Ppb,
    pub(crate) high: Ppb,
}

impl FrequencyRange {
    /// Nothing is known but the oscillator's absolute limit.
    pub(crate) fn unknown(limit: Ppb) -> Self {
        Self { low: Ppb(-limit.0), high: limit }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.low.0 > self.high.0
    }

    pub(crate) fn clamp(self, value: Ppb) -> Ppb {
        Ppb(value.0.max(self.low.0).min(self.high.0))
    }

    pub(crate) fn intersect(self, other: Self) -> Self {
        Self { low: Ppb(self.low.0.max(other.low.0)), high: Ppb(self.high.0.min(other.high.0)) }
    }

    /// These frequencies, and those that differ by up to `change` from one of them.
    pub(crate) fn widened(self, change: Ppb) -> Self {
        Self { low: Ppb(self.low.0 - change.0), high: Ppb(self.high.0 + change.0) }
    }

    /// Excludes what cannot be if the offset lies where `late` says and lay where any of `earlier` says, give or take
    /// `slack`.
    fn narrow(&mut self, earlier: &[Point], late: &Point, slack: f64) {
        let (low, high) = (late.low_up - slack, late.high_down + slack);
        for early in earlier {
            let seconds = (late.at - early.at).max(0.0);
            let (least, most) = (low - early.high_up, high - early.low_down);
            // Hardly any pair tells more than all before.
            if least > self.low.0 * seconds {
                self.low = rate(least, seconds);
            }
            if most < self.high.0 * seconds {
                self.high = rate(most, seconds);
            }
        }
    }

    /// `interval` moved on by `span` at any of these frequencies, widened by `growth`.
    fn carry(self, interval: Interval, span: Nanos, growth: Nanos) -> Interval {
        let low = Nanos::from_f64_outward((span.as_f64() * self.low.0 * 1e-9).floor());
        let high = Nanos::from_f64_outward((span.as_f64() * self.high.0 * 1e-9).ceil());
        Interval::new(interval.low + low - growth, interval.high + high + growth)
    }
}

/// A gain of `nanos` in `seconds`; of one instant, which tells nothing of the frequency, come infinities of the right
/// sign. Not where it could be worked out beforehand: divisions are slow.
#[cold]
fn rate(nanos: f64, seconds: f64) -> Ppb {
    Ppb(nanos / seconds)
}

/// A sighting in ns, relative to the oldest one: pairs of them are compared by the thousand, and doubles are faster.
///
/// How far the offset may stray from a steady gain between any two of them is the difference of what either is raised
/// by, so that it need not be worked out for every pair.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// In seconds.
    at: f64,
    /// Both ends, raised and lowered.
    low_up: f64,
    high_up: f64,
    low_down: f64,
    high_down: f64,
}

/// `sightings`, each raised by what `raise` says of it.
fn points(sightings: &[Sighting], raise: impl Fn(&Sighting) -> f64) -> Vec<Point> {
    let Some(oldest) = sightings.first() else { return Vec::new() };
    let point = |sighting: &Sighting| {
        let low = (sighting.offset.low - oldest.offset.low).as_f64();
        let high = (sighting.offset.high - oldest.offset.low).as_f64();
        let (at, by) = ((sighting.at - oldest.at).as_f64() * 1e-9, raise(sighting));
        Point { at, low_up: low + by, high_up: high + by, low_down: low - by, high_down: high - by }
    };
    // Of few sizes: an allocator keeps what it gets back of each size, and there is one more sighting every time.
    let mut points = Vec::with_capacity(sightings.len().next_power_of_two());
    points.extend(sightings.iter().map(point));
    points
}

/// The frequencies that pairs of `points`, oldest first, leave possible, as [`FrequencyRange::narrow`] says: each of the
/// first `elders` with all that are younger.
fn frequencies(points: &[Point], elders: usize, slack: f64, limit: Ppb) -> FrequencyRange {
    let mut range = FrequencyRange::unknown(limit);
    for (index, late) in points.iter().enumerate() {
        let (earlier, _) = points.split_at_checked(index.min(elders)).unwrap_or_default();
        range.narrow(earlier, late, slack);
    }
    range
}

/// How far sightings can be made to tell of the future by the short limit alone: to the knee.
pub(crate) fn horizon(wanted: Nanos, drift: &DriftLimit) -> Nanos {
    wanted.min(drift.knee)
}

/// What `sightings`, oldest first, say together about `now` and the time up to the `wanted` horizon after it; `None` if
/// they contradict each other.
pub(crate) fn outlook(
    sightings: &[Sighting],
    now: Counter,
    wanted: Nanos,
    drift: &DriftLimit,
    limit: Ppb,
) -> Option<Witness> {
    let horizon = horizon(wanted, drift);
    let recent = sightings.partition_point(|sighting| now + horizon - sighting.at > drift.knee);
    let (_, lately) = sightings.split_at_checked(recent).unwrap_or_default();
    // The younger of two is raised by less.
    let steady = |sighting: &Sighting| (now - sighting.at).as_f64() * drift.short.0 * 1e-9;
    let average = frequencies(&points(lately, steady), lately.len(), 0.0, limit);
    // Each growth is rounded up, by 2 ns at most. Of two that lie within the knee both tell the same.
    let growth = |sighting: &Sighting| drift.growth(now - sighting.at).as_f64();
    let present = frequencies(&points(sightings, growth), recent, 2.0, limit).intersect(average);
    let ahead = average.intersect(present.widened(drift.short));
    let mut offset = Interval::new(Nanos(i64::MIN), Nanos(i64::MAX));
    for (index, sighting) in sightings.iter().enumerate() {
        let span = now - sighting.at;
        offset = offset.intersect(present.carry(sighting.offset, span, drift.growth(span)));
        if index >= recent {
            offset = offset.intersect(average.carry(sighting.offset, span, Nanos::ZERO));
        }
    }
    let contradictory = present.is_empty() || ahead.is_empty() || offset.is_empty();
    (!contradictory).then_some(Witness { offset, frequency: ahead, horizon })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIFT: DriftLimit = DriftLimit { short: Ppb(2_000.0), knee: Nanos::from_seconds(1000), long: Ppb(15_000.0) };
    const LIMIT: Ppb = Ppb(100_000.0);

    fn sighting(seconds: i64, low: i64, high: i64) -> Sighting {
        Sighting { at: Counter(seconds * 1_000_000_000), offset: Interval::new(Nanos(low), Nanos(high)) }
    }

    fn look(seen: &[Sighting], seconds: i64) -> Option<Witness> {
        outlook(seen, Counter(seconds * 1_000_000_000), Nanos::from_seconds(100), &DRIFT, LIMIT)
    }

    #[test]
    fn two_sightings_bound_the_frequency() {
        // The offset gains 1000 ± 20 ns in 1 s, so 1000 ± 20 ppb, ± what D allows.
        let range = look(&[sighting(0, -10, 10), sighting(1, 990, 1010)], 1).unwrap().frequency;
        assert!((range.low.0 - (980.0 - 2000.0)).abs() < 5.0, "{range:?}");
        assert!((range.high.0 - (1020.0 + 2000.0)).abs() < 5.0, "{range:?}");
    }

    #[test]
    fn sightings_that_need_an_impossible_oscillator_contradict_each_other() {
        assert!(look(&[sighting(0, -10, 10), sighting(1, 990_000, 990_010)], 1).is_none());
    }

    #[test]
    fn an_oscillator_at_its_worst_stays_inside() {
        // Frequency 50 ppm, rising by 2 ppm at the worst instant; sightings of ± 1 µs every 16 s.
        for rise in [0, 100, 130, 143, 150, 200] {
            let truth = |s: i64| 50_000 * s + 2_000 * (s - rise).max(0);
            let seen: Vec<_> =
                (0..10).map(|k| sighting(16 * k, truth(16 * k) - 1_000, truth(16 * k) + 1_000)).collect();
            for now in [144, 150, 200, 900] {
                let witness = look(&seen, now).unwrap();
                assert!(
                    witness.offset.low.0 <= truth(now) && truth(now) <= witness.offset.high.0,
                    "{now}: {witness:?}"
                );
                let ahead = (truth(now + 100) - truth(now)) as f64 / 100.0;
                assert!(witness.frequency.low.0 <= ahead && ahead <= witness.frequency.high.0, "{now}: {witness:?}");
            }
        }
    }

    #[test]
    fn what_old_sightings_say_of_the_future_allows_for_a_change_before_now_and_another_after() {
        // Too old for an average that would still hold at the horizon.
        let seen: Vec<_> = (0..4).map(|k| sighting(16 * k, 50_000 * 16 * k - 10, 50_000 * 16 * k + 10)).collect();
        let range = look(&seen, 940).unwrap().frequency;
        assert!((range.high.0 - 54_000.0).abs() < 10.0 && (range.low.0 - 46_000.0).abs() < 10.0, "{range:?}");
    }

    #[test]
    fn a_new_and_close_sighting_narrows_an_old_and_wide_one() {
        let witness = look(&[sighting(0, -1_000_000, 1_000_000), sighting(16, -1_000, 1_000)], 16).unwrap();
        assert_eq!(witness.offset, Interval::new(Nanos(-1_000), Nanos(1_000)));
    }
}
