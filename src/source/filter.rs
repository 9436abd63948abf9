//! What one server has told over time: its last exchanges, and what follows from them.

use std::collections::VecDeque;

use crate::config::Settings;
use crate::exchange::Exchange;
use crate::model::bound::{self, Sighting, Witness};
use crate::model::estimator::{Estimate, Estimator, Prior, Sample};
use crate::units::{Counter, Nanos};

/// Exchanges kept: some 13 minutes at 16 s, and little enough to compare every pair.
const MEMORY: usize = 48;

/// For so long what was testified is carried on instead of worked out anew: the oscillator's limit allows for some
/// nanoseconds only.
const A_MOMENT: Nanos = Nanos::from_millis(100);

/// What two good exchanges on an idle machine may differ by.
const GRAIN: Nanos = Nanos(1_000);

/// The last exchanges of one source, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    sightings: VecDeque<Sighting>,
    estimator: Estimator,
    newest: Option<Sample>,
    shortest: Nanos,
    /// When and what was testified last.
    latest: Option<(Counter, Testimony)>,
}

/// What a source says about an instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Testimony {
    /// What must be so if the source tells the truth: the part that selection judges.
    pub(crate) witness: Witness,
    /// The likeliest line.
    pub(crate) estimate: Estimate,
}

impl Filter {
    /// Takes in one exchange; time must not run backwards from call to call.
    pub(crate) fn add(&mut self, exchange: &Exchange, settings: &Settings) {
        self.latest = None;
        let stamps = &exchange.stamps;
        let offset = stamps.interval(exchange.server.distance(), settings.frequency_limit);
        if self.sightings.len() == MEMORY {
            self.sightings.pop_front();
        }
        self.sightings.reserve_exact(MEMORY - self.sightings.len());
        self.sightings.push_back(Sighting { at: stamps.t4, offset });
        self.sightings.make_contiguous();
        let grain = Nanos::from_log2_seconds(exchange.server.precision);
        let sample = Sample { at: stamps.t4, offset: stamps.offset(), delay: stamps.delay(), grain };
        self.estimator.add(&sample);
        self.shortest = self.newest.map_or(sample.delay, |_| self.shortest.min(sample.delay));
        self.newest = Some(sample);
    }

    /// What the source says about `now` and the time up to `horizon` after it; `Err` if its own exchanges contradict
    /// each other, `Ok(None)` if there are none. It is remembered for a moment.
    pub(crate) fn testify(
        &mut self,
        now: Counter,
        horizon: Nanos,
        settings: &Settings,
    ) -> Result<Option<Testimony>, Contradiction> {
        let told = self.work_out(now, horizon, settings);
        self.latest = told.as_ref().ok().and_then(|told| Some((now, (*told)?)));
        told
    }

    /// The same, for whoever asks again.
    pub(crate) fn testimony(
        &self,
        now: Counter,
        horizon: Nanos,
        settings: &Settings,
    ) -> Result<Option<Testimony>, Contradiction> {
        if let Some((at, told)) = &self.latest
            && (Nanos::ZERO..=A_MOMENT).contains(&(now - *at))
            && told.witness.horizon == bound::horizon(horizon, &settings.drift)
        {
            let witness = told.witness.carried(now - *at, &settings.drift);
            return Ok(Some(Testimony { witness, ..*told }));
        }
        self.work_out(now, horizon, settings)
    }

    fn work_out(&self, now: Counter, horizon: Nanos, settings: &Settings) -> Result<Option<Testimony>, Contradiction> {
        let Some(estimate) = self.estimator.estimate() else { return Ok(None) };
        let sightings = self.sightings.as_slices().0;
        let witness = bound::outlook(sightings, now, horizon, &settings.drift, settings.frequency_limit);
        Ok(Some(Testimony { witness: witness.ok_or(Contradiction)?, estimate }))
    }

    /// The newest exchange.
    pub(crate) fn newest(&self) -> Option<Sample> {
        self.newest
    }

    /// Whether an exchange lies as close to the line of those before it as its own delay and their scatter let expect.
    pub(crate) fn fits(&self, at: Counter, offset: Nanos, delay: Nanos) -> bool {
        let Some(line) = self.estimator.estimate() else { return false };
        let excess = (delay - self.shortest).max(Nanos::ZERO).half_up();
        let gate = Nanos(line.deviation.0.saturating_mul(4)) + excess + GRAIN;
        (offset - line.offset_at(at)).abs() <= gate
    }

    /// Forgets everything but the newest exchange.
    pub(crate) fn restart(&mut self) {
        let (sighting, newest) = (self.sightings.pop_back(), self.newest);
        self.clear();
        self.sightings.extend(sighting);
        self.newest = newest;
        if let Some(sample) = newest {
            self.estimator.add(&sample);
            self.shortest = sample.delay;
        }
    }

    /// Forgets everything that was heard; what is expected of the oscillator stays.
    pub(crate) fn clear(&mut self) {
        self.seed(self.estimator.prior());
    }

    /// Begins anew, with an expectation of the frequency.
    pub(crate) fn seed(&mut self, prior: Prior) {
        *self = Self { estimator: Estimator::expecting(prior), ..Self::default() };
    }

    /// The frequency as it is believed to be now.
    pub(crate) fn frequency(&self) -> Prior {
        self.estimator.frequency()
    }
}

/// A source's own intervals cannot all be true: it stepped, it lies, or our oscillator broke its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contradiction;
