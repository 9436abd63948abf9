//! The line as readers see it: UTC tick by tick, in two pieces, one addition and one high product each.
//!
//! A [`Line`] is the core's, over nanoseconds of the raw counter; a track is the same over ticks, and it is what is
//! true: every reader computes it in whole numbers and in the same way, so readings do not run backwards by a rounding.
//! Factors are rounded down and a track begins where its predecessor stands, or at its line if that is ahead: by at
//! most 2 ns it strays from its line, and never accumulates.

use super::scale::{Factor, Scale};
use crate::model::slew::Line;
use crate::sys::ticks::Tick;
use crate::units::{Counter, Nanos, UnixTime};

/// UTC by ticks: from `start` on while a correction is slewed in, and from `end` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Track {
    pub(crate) start: Tick,
    /// UTC at `start`.
    pub(crate) utc: UnixTime,
    /// Multiplier up to `end`; the shift is the scale's.
    pub(crate) slewing: u64,
    pub(crate) end: Tick,
    /// UTC at `end`.
    pub(crate) settled_utc: UnixTime,
    /// Multiplier from `end` on.
    pub(crate) settled: u64,
}

/// How far a track is moved ahead where it goes over to another scale: all roundings on the way are less.
const SEAM: Nanos = Nanos(4);

impl Track {
    /// `line` from `start` on, not before `floor`.
    pub(crate) fn new(line: &Line, scale: &Scale, start: Tick, floor: Option<UnixTime>) -> Self {
        let counter = scale.counter_at(start);
        let utc = line.utc_at(counter);
        let slewing = scale.factor.gaining(line.slew);
        let begun = Self {
            start,
            utc: floor.map_or(utc, |floor| floor.max(utc)),
            slewing: slewing.multiplier,
            end: scale.tick_at(line.slew_end).max(start),
            settled_utc: UnixTime(0),
            settled: scale.factor.gaining(line.rate).multiplier,
        };
        begun.joined(scale)
    }

    /// UTC at `tick`; before `start` the first piece is continued backwards.
    pub(crate) fn utc_at(&self, scale: &Scale, tick: Tick) -> UnixTime {
        let piece = |utc, from: Tick, multiplier| {
            let factor = Factor { multiplier, ..scale.factor };
            utc + factor.over(tick.0.saturating_sub(from.0))
        };
        if tick < self.end {
            piece(self.utc, self.start, self.slewing)
        } else {
            piece(self.settled_utc, self.end, self.settled)
        }
    }

    /// The same on another scale, from `around` on: never behind what this one shows at the raw counter's value, if
    /// `to` is never behind the raw counter.
    pub(crate) fn rescaled(&self, from: &Scale, to: &Scale, around: Counter) -> Self {
        // A tick may last longer than many nanoseconds: what counts is what the counter shows at it.
        let start = to.tick_at(around);
        let old = from.tick_at(to.counter_at(start));
        let multiplier = |multiplier: u64| {
            // (1 + rate) in 2^-63, then that of the other scale.
            let gain = (u128::from(multiplier) << 63) / u128::from(from.factor.multiplier.max(1));
            u64::try_from((gain * u128::from(to.factor.multiplier)) >> 63).unwrap_or(u64::MAX)
        };
        let slewing = old < self.end;
        let begun = Self {
            start,
            utc: self.utc_at(from, old) + SEAM,
            slewing: multiplier(if slewing { self.slewing } else { self.settled }),
            end: to.tick_at(from.counter_at(self.end)).max(start),
            settled_utc: UnixTime(0),
            settled: multiplier(self.settled),
        };
        begun.joined(to)
    }

    /// With the second piece beginning where the first one ends.
    fn joined(mut self, scale: &Scale) -> Self {
        let slewing = Factor { multiplier: self.slewing, ..scale.factor };
        self.settled_utc = self.utc + slewing.over(self.end.0.saturating_sub(self.start.0));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ticks::Kind;
    use crate::units::{NANOS_PER_SECOND, Ppb, Rate};

    const YEAR: i64 = 365 * 86_400;

    /// Scales whose counters show `uptime` seconds at their origins: RAW, a TSC of 2.445422 GHz with its kernel's
    /// numbers, one of 5 GHz, and an AArch64 counter of 24 MHz.
    fn scales(uptime: i64) -> [Scale; 4] {
        let of = |hertz: i128, multiplier: u64, shift| Scale {
            kind: Kind::Ticks,
            factor: Factor { multiplier, shift },
            tick: Tick((i128::from(uptime) * hertz) as i64),
            counter: Counter(uptime * NANOS_PER_SECOND),
        };
        let fifth = u64::MAX / 5;
        let micro = ((699_050_667_u128 << (64 - 24)) >> 6) as u64;
        [Scale::RAW, of(2_445_422_000, 6_860_664 << 40, 0), of(5_000_000_000, fifth, 0), of(24_000_000, micro, 6)]
    }

    fn line(base: Counter, utc: i64, ppm: [f64; 2], slewing: Nanos) -> Line {
        let [slew, rate] = ppm.map(|ppm| Rate::from_ppb(Ppb::from_ppm(ppm)));
        Line { base, utc: UnixTime(utc), slew, slew_end: base + slewing, rate }
    }

    /// Lines at the extremes: uptimes up to 30 years, UTC up to the next eras, oscillators at their worst.
    fn lines(uptime: i64) -> Vec<Line> {
        let base = Counter(uptime * NANOS_PER_SECOND);
        let mut lines = Vec::new();
        for utc in [0, 1_795_000_000, 4_102_444_800, (1 << 32) + 86_400 * 365 * 70, 9_000_000_000] {
            for ppm in [[0.0, 0.0], [500.0, 0.0], [-500.0, -0.000_1], [600.0, 100.0], [-10_000.0, -9_500.0]] {
                for slewing in [Nanos::ZERO, Nanos(1), Nanos(20_000_000), Nanos::from_seconds(200)] {
                    lines.push(line(base, utc * NANOS_PER_SECOND, ppm, slewing));
                }
            }
        }
        lines
    }

    #[test]
    fn a_track_follows_its_line_for_a_year_to_two_nanoseconds() {
        for uptime in [0, 1, YEAR, 30 * YEAR] {
            for scale in scales(uptime) {
                for line in lines(uptime) {
                    let track = Track::new(&line, &scale, scale.tick_at(line.base), None);
                    for later in [0, 1, 999, 20_000_000, 20_000_001, 200_000_000_000, YEAR * NANOS_PER_SECOND] {
                        let tick = scale.tick_at(line.base + Nanos(later));
                        let off = track.utc_at(&scale, tick) - line.utc_at(scale.counter_at(tick));
                        assert!(off.abs() <= Nanos(2), "{uptime} {line:?} {scale:?} {later}: {off:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_track_never_runs_backwards_whatever_its_pieces() {
        for scale in scales(30 * YEAR) {
            for line in lines(30 * YEAR) {
                let track = Track::new(&line, &scale, scale.tick_at(line.base), None);
                for from in [track.start, track.end, Tick(track.end.0 + (1 << 45))] {
                    let mut last = track.utc_at(&scale, Tick(from.0 - 100));
                    for tick in from.0 - 99..from.0 + 100 {
                        let utc = track.utc_at(&scale, Tick(tick));
                        assert!(utc >= last, "{line:?} {scale:?} at {tick}");
                        last = utc;
                    }
                }
            }
        }
    }

    #[test]
    fn a_track_begins_at_its_floor_or_at_its_line() {
        let scale = scales(1)[1];
        let line = line(Counter(NANOS_PER_SECOND), 5_000, [0.0, 0.0], Nanos::ZERO);
        let start = scale.tick_at(line.base);
        for (floor, begins) in [(None, 5_000), (Some(UnixTime(4_000)), 5_000), (Some(UnixTime(5_003)), 5_003)] {
            assert_eq!(Track::new(&line, &scale, start, floor).utc_at(&scale, start), UnixTime(begins));
        }
    }

    #[test]
    fn going_over_to_ticks_shows_nothing_earlier_and_hardly_anything_later() {
        for uptime in [1, YEAR, 30 * YEAR] {
            for to in &scales(uptime)[1..] {
                for line in lines(uptime) {
                    let from = Scale::RAW;
                    let old = Track::new(&line, &from, from.tick_at(line.base), None);
                    for around in [0, 1, 19_999_999, 20_000_000, 3_600_000_000_000].map(|age| line.base + Nanos(age)) {
                        let new = old.rescaled(&from, to, around);
                        for later in [0, 1, 2, 3, 10, 999, 64_000_000, 64_000_001, 10_000_000_000] {
                            let tick = to.tick_at(around + Nanos(later));
                            // The scale is exact here: at this tick the raw counter shows this or, if it is behind,
                            // less.
                            let raw = Tick(to.counter_at(tick).0);
                            let gain = new.utc_at(to, tick) - old.utc_at(&from, raw);
                            assert!((0..=2 * SEAM.0).contains(&gain.0), "{line:?} {to:?} {later}: {gain:?}");
                        }
                    }
                }
            }
        }
    }
}
