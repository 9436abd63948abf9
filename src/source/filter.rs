//! What one server has told over time: its last exchanges, and what follows from them.

use std::collections::VecDeque;

use crate::config::Settings;
use crate::exchange::{Exchange, Interval};
use crate::model::bound::{FrequencyRange, Sighting, Witness, carry_all};
use crate::model::estimator::{Estimate, Sample, estimate};
use crate::units::{Counter, Nanos};

/// Exchanges kept: half an hour at 64 s, and little enough to compare every pair.
const MEMORY: usize = 24;

/// The last exchanges of one source, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    sightings: VecDeque<Sighting>,
    samples: VecDeque<Sample>,
}

/// What a source says about an instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Testimony {
    /// Where UTC minus counter lies, if the source tells the truth.
    pub(crate) offset: Interval,
    /// The frequencies that are possible if so.
    pub(crate) frequency: FrequencyRange,
    /// The likeliest line.
    pub(crate) estimate: Estimate,
}

impl Testimony {
    /// The part that selection judges.
    pub(crate) fn witness(&self) -> Witness {
        Witness { offset: self.offset, frequency: self.frequency }
    }
}

impl Filter {
    /// Takes in one exchange; time must not run backwards from call to call.
    pub(crate) fn add(&mut self, exchange: &Exchange, settings: &Settings) {
        let stamps = &exchange.stamps;
        let offset = stamps.interval(exchange.server.distance(), settings.frequency_limit);
        if self.sightings.len() == MEMORY {
            self.sightings.pop_front();
            self.samples.pop_front();
        }
        self.sightings.push_back(Sighting { at: stamps.t4, offset });
        self.samples.push_back(Sample { at: stamps.t4, offset: stamps.offset(), delay: stamps.delay() });
        self.sightings.make_contiguous();
        self.samples.make_contiguous();
    }

    /// What the source says about `now`; `Err` if its own exchanges contradict each other, `Ok(None)` if
    /// there are none.
    pub(crate) fn testimony(&self, now: Counter, settings: &Settings) -> Result<Option<Testimony>, Contradiction> {
        let Some(estimate) = estimate(self.samples.as_slices().0) else { return Ok(None) };
        let sightings = self.sightings.as_slices().0;
        let frequency = FrequencyRange::seen(sightings, now, &settings.drift, settings.frequency_limit);
        let offset = carry_all(sightings, frequency, now, &settings.drift);
        if frequency.is_empty() || offset.is_empty() {
            Err(Contradiction)
        } else {
            Ok(Some(Testimony { offset, frequency, estimate }))
        }
    }

    /// The newest exchange's delay and when it ended.
    pub(crate) fn newest(&self) -> Option<Sample> {
        self.samples.back().copied()
    }

    /// Whether `sample` lies as close to the line of those before it as their scatter lets expect.
    pub(crate) fn fits(&self, at: Counter, offset: Nanos, delay: Nanos) -> bool {
        let Some(line) = estimate(self.samples.as_slices().0) else { return false };
        let shortest = self.samples.iter().map(|sample| sample.delay).min().unwrap_or(delay);
        let excess = (delay - shortest).max(Nanos::ZERO).half_up();
        let gate = Nanos(line.jitter.0.saturating_mul(4)) + excess;
        (offset - line.offset_at(at)).abs() <= gate
    }

    /// Forgets everything but the newest exchange.
    pub(crate) fn restart(&mut self) {
        let keep = self.sightings.len().saturating_sub(1);
        self.sightings.drain(..keep);
        self.samples.drain(..keep);
        self.sightings.make_contiguous();
        self.samples.make_contiguous();
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A source's own intervals cannot all be true: it stepped, it lies, or our oscillator broke its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contradiction;
