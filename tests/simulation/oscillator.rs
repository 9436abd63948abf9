//! The local oscillator: UTC as a function of the raw counter, and the frequencies it may have on the way.
//!
//! The frequency is given at knots 25 s apart and runs straight in between, so UTC is exactly integrable: no step of a
//! numerical integration stands between what is simulated and what is checked.

use std::collections::VecDeque;

use super::random::Random;
use crate::config::Settings;
use crate::units::{Counter, NANOS_PER_SECOND, Nanos, UnixTime};

/// Distance of knots, in seconds. The knee of the drift limit is a multiple of it, so that the largest change within
/// the knee is one between two knots.
const GRID: f64 = 25.0;

/// Stretches kept: answers may be asked about a while ago.
const KEPT: usize = 64;

/// Frequency of UTC against the counter in ppb, at a second of the simulation.
pub(super) type Frequency = Box<dyn FnMut(f64, &mut Random) -> f64>;

/// Where the oscillator stands in its declared limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obedience {
    /// A breach is a mistake of the scenario.
    Designed,
    /// What would breach them is held at the limit.
    Held,
}

/// UTC against the raw counter.
pub(super) struct Oscillator {
    /// The counter and UTC at the beginning.
    origin: Counter,
    begin: UnixTime,
    frequency: Frequency,
    obedience: Obedience,
    /// Frequencies of the last knots, the newest last; as many as fit in the knee.
    knots: VecDeque<f64>,
    lowest: f64,
    highest: f64,
    stretches: VecDeque<Stretch>,
    /// The counter stood still: at this value of it, for so long.
    pauses: VecDeque<(Counter, Nanos)>,
    random: Random,
    settings: Settings,
}

/// From `at` to `end` the frequency changes evenly.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    at: Counter,
    end: Counter,
    /// UTC minus counter, less that of the beginning, ns.
    offset: f64,
    /// ppb, and ppb/s.
    frequency: f64,
    slope: f64,
}

impl Stretch {
    fn seconds(&self, counter: Counter) -> f64 {
        (counter - self.at).as_f64() / 1e9
    }

    fn offset_at(&self, counter: Counter) -> f64 {
        let seconds = self.seconds(counter);
        self.offset + seconds * (self.frequency + 0.5 * self.slope * seconds)
    }
}

impl Oscillator {
    /// An oscillator of the given frequency, which must keep to the limits of `settings`.
    pub(super) fn new(settings: &Settings, frequency: Frequency) -> Self {
        Self {
            origin: Counter(0),
            begin: UnixTime(0),
            frequency,
            obedience: Obedience::Designed,
            knots: VecDeque::new(),
            lowest: f64::INFINITY,
            highest: f64::NEG_INFINITY,
            stretches: VecDeque::new(),
            pauses: VecDeque::new(),
            random: Random::new(0),
            settings: settings.clone(),
        }
    }

    pub(super) fn constant(settings: &Settings, ppb: f64) -> Self {
        Self::new(settings, Box::new(move |_, _| ppb))
    }

    /// A random walk around `ppb`, of `wander` ppb per √s, held within the limits.
    pub(super) fn wandering(settings: &Settings, ppb: f64, wander: f64) -> Self {
        let mut at = ppb;
        let step = wander * GRID.sqrt();
        // A quarter of what the limit allows on either side of the middle, lest it live at the limit.
        let leash = settings.drift.long.0 / 2.0;
        let walk = move |_: f64, random: &mut Random| {
            at = (at + step * random.normal()).clamp(ppb - leash, ppb + leash);
            at
        };
        Self { obedience: Obedience::Held, ..Self::new(settings, Box::new(walk)) }
    }

    /// The counter stands still at these seconds of the simulation, for so many seconds of UTC.
    pub(super) fn pausing(mut self, pauses: &[(f64, f64)]) -> Self {
        let nanos = |seconds: f64| Nanos((seconds * 1e9) as i64);
        self.pauses = pauses.iter().map(|&(at, span)| (Counter(0) + nanos(at), nanos(span))).collect();
        self
    }

    /// Sets it going.
    pub(super) fn start(&mut self, origin: Counter, begin: UnixTime, random: Random) {
        (self.origin, self.begin, self.random) = (origin, begin, random);
        for (at, _) in &mut self.pauses {
            *at = origin + (*at - Counter(0));
        }
        let frequency = self.knot(0.0);
        self.stretches.push_back(Stretch { at: origin, end: origin, offset: 0.0, frequency, slope: 0.0 });
    }

    /// When the counter next stands still, at or after `counter`.
    pub(super) fn next_pause(&self, counter: Counter) -> Option<Counter> {
        self.pauses.iter().map(|&(at, _)| at).find(|&at| at >= counter)
    }

    /// UTC when the counter reads `counter`; where it stood still, at the end of the pause.
    pub(super) fn utc_at(&mut self, counter: Counter) -> UnixTime {
        while self.stretches.back().is_none_or(|last| last.end <= counter) {
            self.extend();
        }
        let stretch = self.stretches.iter().rev().find(|stretch| stretch.at <= counter);
        let offset = stretch.map_or(0.0, |stretch| stretch.offset_at(counter));
        self.begin + (counter - self.origin) + Nanos(offset.round() as i64)
    }

    /// The frequency at the next knot, at second `t`.
    fn knot(&mut self, t: f64) -> f64 {
        let drift = self.settings.drift;
        let limit = self.settings.frequency_limit.0;
        let wanted = (self.frequency)(t, &mut self.random);
        let recent = |pick: fn(f64, f64) -> f64| self.knots.iter().copied().reduce(pick).unwrap_or(wanted);
        let low = (recent(f64::max) - drift.short.0).max(self.highest - drift.long.0).max(-limit);
        let high = (recent(f64::min) + drift.short.0).min(self.lowest + drift.long.0).min(limit);
        let held = wanted.clamp(low, high);
        // Rounding of a design that goes to the very limit is none of the oscillator's faults.
        let breach = self.obedience == Obedience::Designed && (held - wanted).abs() > 1e-3;
        assert!(!breach, "the scenario's oscillator breaks its limit at second {t}: {wanted} ppb, not {low}..{high}");
        if self.knots.len() as f64 * GRID >= drift.knee.as_f64() / 1e9 {
            self.knots.pop_front();
        }
        self.knots.push_back(held);
        (self.lowest, self.highest) = (self.lowest.min(held), self.highest.max(held));
        held
    }

    fn extend(&mut self) {
        let grid = Nanos(GRID as i64 * NANOS_PER_SECOND);
        let Some(&last) = self.stretches.back() else { return };
        let (at, mut offset) = (last.end, last.offset_at(last.end));
        let frequency = last.frequency + last.slope * last.seconds(last.end);
        let pause = self.pauses.iter().find(|&&(pause, _)| pause == at && last.at < at).copied();
        if let Some((_, span)) = pause {
            offset += span.as_f64();
        }
        let phase = Nanos((at - self.origin).0.rem_euclid(grid.0));
        let knot = at + (grid - phase);
        let slope = if phase == Nanos::ZERO {
            let wanted = self.knot((knot - self.origin).as_f64() / 1e9);
            (wanted - frequency) / GRID
        } else {
            last.slope
        };
        let end = self.next_pause(at + Nanos(1)).map_or(knot, |pause| pause.min(knot));
        if self.stretches.len() == KEPT {
            self.stretches.pop_front();
        }
        self.stretches.push_back(Stretch { at, end, offset, frequency, slope });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::unix_seconds;

    fn started(mut oscillator: Oscillator) -> Oscillator {
        oscillator.start(Counter(500), unix_seconds(1_000), Random::new(1));
        oscillator
    }

    fn at(seconds: i64) -> Counter {
        Counter(500) + Nanos::from_seconds(seconds)
    }

    #[test]
    fn utc_gains_by_the_frequency() {
        let mut oscillator = started(Oscillator::constant(&Settings::default(), 20_000.0));
        assert_eq!(oscillator.utc_at(at(0)), unix_seconds(1_000));
        assert_eq!(oscillator.utc_at(at(1_000)), unix_seconds(2_000) + Nanos(20_000_000));
        assert_eq!(oscillator.utc_at(at(999)), unix_seconds(1_999) + Nanos(19_980_000));
    }

    #[test]
    fn utc_is_continuous_and_a_pause_is_a_leap_of_it() {
        let settings = Settings::default();
        let mut oscillator = started(Oscillator::wandering(&settings, 0.0, 10.0).pausing(&[(60.0, 600.0)]));
        let mut last = oscillator.utc_at(at(0));
        for second in 1..200 {
            let utc = oscillator.utc_at(at(second));
            let pause = if second == 60 { 600 } else { 0 };
            let gain = utc - last - Nanos::from_seconds(1 + pause);
            assert!(gain.abs() < Nanos(10_000), "second {second}: {gain:?}");
            last = utc;
        }
    }

    #[test]
    fn a_random_walk_keeps_to_the_drift_limit() {
        let settings = Settings::default();
        let mut oscillator = started(Oscillator::wandering(&settings, 0.0, 300.0));
        let mut seen = Vec::new();
        for knot in 0..4_000 {
            oscillator.utc_at(at(25 * knot));
            seen.push(*oscillator.knots.back().unwrap());
        }
        for (index, late) in seen.iter().enumerate() {
            for (former, early) in seen[..index].iter().enumerate() {
                let limit = if index - former <= 40 { 2_000.0 } else { 15_000.0 };
                assert!((late - early).abs() <= limit + 1e-6, "knots {former} and {index}: {early}, {late}");
            }
        }
        let change = seen.iter().map(|ppb| (ppb - seen[0]).abs()).fold(0.0, f64::max);
        assert!(change > 5_000.0, "it hardly moved: {change}");
    }

    #[test]
    #[should_panic(expected = "breaks its limit")]
    fn a_scenario_cannot_break_the_limit_unnoticed() {
        let jump = |t: f64, _: &mut Random| if t < 500.0 { 0.0 } else { 2_100.0 };
        started(Oscillator::new(&Settings::default(), Box::new(jump))).utc_at(at(1_000));
    }
}
