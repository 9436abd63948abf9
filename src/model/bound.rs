//! How far UTC minus counter can have moved: the declared drift limit D, and what it allows.
//!
//! Let `o(t)` be UTC minus counter and `F = do/dt` the frequency. Assumed is `|F(t) - F(s)| <= D(|t - s|)`
//! with D constant (`short`) up to a knee and constant (`long`) beyond, and `|F| <= limit`. With
//! `G(τ) = ∫₀^τ D`, and F between `low` and `high` at the instant `now`:
//!
//! ```text
//! o(now) - o(now - τ)  in  [low·τ - G(τ), high·τ + G(τ)]
//! o(now + τ) - o(now)  in  [low·τ - G(τ), high·τ + G(τ)]
//! ```
//!
//! and from two correctness intervals `o(i) in [a, b]`, `o(j) in [c, d]`, `i < j <= now`:
//!
//! ```text
//! F(now)·(j - i)  in  [c - b - S, d - a + S],   S = G(now - i) - G(now - j)
//! ```
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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Witness {
    /// Where UTC minus counter lies, if it tells the truth.
    pub(crate) offset: Interval,
    /// The frequencies possible if so.
    pub(crate) frequency: FrequencyRange,
}

impl Witness {
    /// What is true if either tells the truth.
    pub(crate) fn hull(&self, other: &Self) -> Self {
        let offset = Interval::new(self.offset.low.min(other.offset.low), self.offset.high.max(other.offset.high));
        let low = Ppb(self.frequency.low.0.min(other.frequency.low.0));
        let high = Ppb(self.frequency.high.0.max(other.frequency.high.0));
        Self { offset, frequency: FrequencyRange { low, high } }
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

    /// The frequencies at `now` that no pair of `sightings` excludes; empty if they contradict each other.
    pub(crate) fn seen(sightings: &[Sighting], now: Counter, drift: &DriftLimit, limit: Ppb) -> Self {
        // Both growths are rounded up, by 2 ns at most.
        Self::between(sightings, limit, |early, late| {
            (drift.growth(now - early.at) - drift.growth(now - late.at) + Nanos(2)).as_f64()
        })
    }

    /// The frequencies that no pair of `sightings` excludes, if `slack` is how far in ns the offset may have strayed from a
    /// steady gain between the earlier and the later of a pair.
    fn between(sightings: &[Sighting], limit: Ppb, slack: impl Fn(&Sighting, &Sighting) -> f64) -> Self {
        let mut range = Self::unknown(limit);
        for (index, late) in sightings.iter().enumerate() {
            for early in &sightings[..index] {
                let span = (late.at - early.at).as_f64();
                if span <= 0.0 {
                    continue;
                }
                let slack = slack(early, late);
                let most = (late.offset.high - early.offset.low).as_f64() + slack;
                let least = (late.offset.low - early.offset.high).as_f64() - slack;
                range.high = Ppb(range.high.0.min(most / span * 1e9));
                range.low = Ppb(range.low.0.max(least / span * 1e9));
            }
        }
        range
    }

    /// `interval` moved on by `span` at any of these frequencies, widened by G.
    pub(crate) fn carry(self, interval: Interval, span: Nanos, drift: &DriftLimit) -> Interval {
        let growth = drift.growth(span);
        let low = Nanos::from_f64_outward((span.as_f64() * self.low.0 * 1e-9).floor());
        let high = Nanos::from_f64_outward((span.as_f64() * self.high.0 * 1e-9).ceil());
        Interval::new(interval.low + low - growth, interval.high + high + growth)
    }
}

/// The average frequencies, over any span that lies within the knee before `now`, that no pair of `sightings` of that time
/// excludes: no two frequencies of that time differ by more than `short`.
fn averages(sightings: &[Sighting], drift: &DriftLimit, limit: Ppb) -> FrequencyRange {
    FrequencyRange::between(sightings, limit, |early, late| (late.at - early.at).as_f64() * drift.short.0 * 1e-9)
}

/// Where UTC minus counter lies at `now` by all of `sightings` together; empty if they contradict each other.
///
/// Each is carried to `now` twice: from the frequency at `now` backwards, widened by G; and, within the knee, at an average
/// frequency. Both hold, so their intersection does.
pub(crate) fn carry_all(
    sightings: &[Sighting],
    range: FrequencyRange,
    now: Counter,
    drift: &DriftLimit,
    limit: Ppb,
) -> Interval {
    let everywhere = Interval::new(Nanos(i64::MIN), Nanos(i64::MAX));
    let carried = sightings.iter().map(|sighting| range.carry(sighting.offset, now - sighting.at, drift));
    let all = carried.fold(everywhere, Interval::intersect);
    let recent = sightings.partition_point(|sighting| now - sighting.at > drift.knee);
    let recent = &sightings[recent..];
    let averages = averages(recent, drift, limit);
    let steady = DriftLimit { short: Ppb(0.0), knee: drift.knee, long: Ppb(0.0) };
    let carried = recent.iter().map(|sighting| averages.carry(sighting.offset, now - sighting.at, &steady));
    carried.fold(all, Interval::intersect)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIFT: DriftLimit = DriftLimit { short: Ppb(2_000.0), knee: Nanos::from_seconds(1000), long: Ppb(15_000.0) };
    const LIMIT: Ppb = Ppb(100_000.0);

    fn sighting(seconds: i64, low: i64, high: i64) -> Sighting {
        Sighting { at: Counter(seconds * 1_000_000_000), offset: Interval::new(Nanos(low), Nanos(high)) }
    }

    #[test]
    fn two_sightings_bound_the_frequency() {
        // The offset gains 1000 ± 20 ns in 1 s, so 1000 ± 20 ppb, ± what D allows within that second.
        let seen = [sighting(0, -10, 10), sighting(1, 990, 1010)];
        let range = FrequencyRange::seen(&seen, seen[1].at, &DRIFT, LIMIT);
        assert!(
            (range.low.0 - (980.0 - 2000.0)).abs() < 5.0 && (range.high.0 - (1020.0 + 2000.0)).abs() < 5.0,
            "{range:?}"
        );
    }

    #[test]
    fn sightings_that_need_an_impossible_oscillator_leave_nothing() {
        let seen = [sighting(0, -10, 10), sighting(1, 990_000, 990_010)];
        assert!(FrequencyRange::seen(&seen, seen[1].at, &DRIFT, LIMIT).is_empty());
    }

    #[test]
    fn an_oscillator_at_its_worst_stays_inside() {
        // Frequency 50 ppm, rising by 2 ppm at the worst instant; sightings of ± 1 µs every 16 s.
        let truth = |s: i64| 50_000 * s + if s > 100 { 2_000 * (s - 100) } else { 0 };
        let seen: Vec<_> = (0..10).map(|k| sighting(16 * k, truth(16 * k) - 1_000, truth(16 * k) + 1_000)).collect();
        for later in [144, 150, 200, 900] {
            let now = Counter(later * 1_000_000_000);
            let range = FrequencyRange::seen(&seen, now, &DRIFT, LIMIT);
            assert!(range.low.0 <= 52_000.0 && 52_000.0 <= range.high.0, "{range:?}");
            let interval = carry_all(&seen, range, now, &DRIFT, LIMIT);
            assert!(interval.low.0 <= truth(later) && truth(later) <= interval.high.0, "{later}: {interval:?}");
        }
    }

    #[test]
    fn a_new_and_close_sighting_narrows_an_old_and_wide_one() {
        let seen = [sighting(0, -1_000_000, 1_000_000), sighting(16, -1_000, 1_000)];
        let interval = carry_all(&seen, FrequencyRange::unknown(LIMIT), Counter(16_000_000_000), &DRIFT, LIMIT);
        assert_eq!(interval, Interval::new(Nanos(-1_000), Nanos(1_000)));
    }
}
