//! The likeliest offset and frequency of one source: a bank of filters over shapes of jitter and rates of wander.
//!
//! The offset `o` drifts at a frequency that walks at random. With `b` half the base of the round trip, an exchange
//! leaves for the queueing on the two ways
//!
//! ```text
//! there = (t2 - t1) - o - b        back = (t4 - t3) + o - b
//! ```
//!
//! Neither is negative, and each has a density of its own: mostly Gamma(k, θ) with the direction's θ, now and then
//! (`STRAY`) anything, as a route changes or a queue bursts. Their product is the likelihood of `o`; it has an edge
//! where a delay would be negative, and may have two tops, one for each way that may have been the slow one. Each
//! filter of the bank is a Gaussian belief about (o, frequency) that takes it in by its first two moments
//! (assumed-density filtering).
//!
//! Nobody knows k or the oscillator's wander beforehand. So a filter runs for every pair of them, and the estimate is
//! their mean, weighted by how well each has foreseen the exchanges so far, old ones forgotten
//! (multiple-model estimation; Magill, IEEE Trans. Automatic Control 10, 1965).
//!
//! That the base is the same both ways is an assumption nobody can check from here; the error bound does not make it.

mod belief;
mod delays;

use crate::units::{Counter, Nanos, Ppb};
use belief::Belief;
use delays::Delays;

/// Shapes of queueing: k of the Gamma density.
const SHAPES: [i32; 5] = [1, 2, 4, 12, 40];

/// Random walk of the frequency in ppb per √s: from a machine room's crystal to a busy virtual machine's counter.
const WANDERS: [f64; 5] = [0.3, 1.5, 6.0, 25.0, 100.0];

/// How long evidence counts, as its share after one exchange.
const MEMORY: f64 = 0.985;

/// What the frequency error of a raw counter typically is, ppb.
const FREQUENCY_DEVIATION: f64 = 30_000.0;

/// How often a delay follows no shape.
const STRAY: f64 = 0.03;

/// One exchange as the estimator sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Counter,
    pub(crate) offset: Nanos,
    pub(crate) delay: Nanos,
}

/// A line: UTC minus counter is `offset` at `at` and gains by `frequency`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    pub(crate) at: Counter,
    pub(crate) offset: Nanos,
    pub(crate) frequency: Ppb,
    /// Standard deviation of the offset: a statistical figure, not a bound.
    pub(crate) deviation: Nanos,
}

impl Estimate {
    /// The line's value at `now`.
    pub(crate) fn offset_at(&self, now: Counter) -> Nanos {
        self.offset + (now - self.at).gain(self.frequency)
    }
}

/// One filter, and the logarithm of its weight.
#[derive(Clone, Copy, Debug)]
struct Hypothesis {
    wander: f64,
    belief: Belief,
    evidence: f64,
}

/// The bank of one source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Estimator {
    delays: Delays,
    /// Offsets are kept relative to the first, in which doubles are exact enough.
    origin: Nanos,
    at: Counter,
    bank: Vec<Hypothesis>,
}

impl Estimator {
    /// Takes in one exchange; time must not run backwards.
    pub(crate) fn add(&mut self, sample: &Sample) {
        let delay = sample.delay.as_f64();
        self.delays.add(delay);
        if self.bank.is_empty() {
            self.begin(sample);
            return;
        }
        let dt = (sample.at - self.at).as_f64() * 1e-9;
        self.at = sample.at;
        let middle = (sample.offset - self.origin).as_f64();
        let shapes = SHAPES.map(|k| Shape::new(k, &self.delays));
        for (index, hypothesis) in self.bank.iter_mut().enumerate() {
            let shape = &shapes[index / WANDERS.len()];
            // What both ways together queued; the likelihood has a top wherever one way did as usual.
            let queued = delay - 2.0 * shape.base;
            let tops = [
                (middle + queued / 2.0 - shape.there.usual(), shape.there.reach()),
                (middle - queued / 2.0 + shape.back.usual(), shape.back.reach()),
            ];
            hypothesis.belief.predict(dt, hypothesis.wander);
            let foreseen = hypothesis.belief.update(&tops, |offset| {
                let lead = offset - middle;
                shape.there.density(queued / 2.0 - lead) * shape.back.density(queued / 2.0 + lead)
            });
            hypothesis.evidence = MEMORY * hypothesis.evidence + foreseen.ln();
        }
        let best = self.bank.iter().map(|hypothesis| hypothesis.evidence).fold(f64::NEG_INFINITY, f64::max);
        for hypothesis in &mut self.bank {
            hypothesis.evidence -= best;
        }
        let (offset, _) = self.mean();
        self.delays.add_ways(delay / 2.0 + middle - offset, delay / 2.0 - middle + offset);
    }

    fn begin(&mut self, sample: &Sample) {
        (self.origin, self.at) = (sample.offset, sample.at);
        let deviation = (sample.delay.as_f64() / 2.0).max(1_000.0);
        let belief = Belief::new(0.0, deviation, FREQUENCY_DEVIATION);
        let filters = WANDERS.map(|wander| Hypothesis { wander, belief, evidence: 0.0 });
        self.bank = SHAPES.iter().flat_map(|_| filters).collect();
    }

    /// The weighted mean of offset and frequency.
    fn mean(&self) -> (f64, f64) {
        let (mut weights, mut offset, mut frequency) = (0.0, 0.0, 0.0);
        for hypothesis in &self.bank {
            let weight = hypothesis.evidence.exp();
            weights += weight;
            offset += weight * hypothesis.belief.offset;
            frequency += weight * hypothesis.belief.frequency;
        }
        (offset / weights, frequency / weights)
    }

    /// The line that the bank holds likeliest; `None` before the first exchange.
    pub(crate) fn estimate(&self) -> Option<Estimate> {
        if self.bank.is_empty() {
            return None;
        }
        let (offset, frequency) = self.mean();
        let weights: f64 = self.bank.iter().map(|hypothesis| hypothesis.evidence.exp()).sum();
        let spread = |h: &Hypothesis| h.evidence.exp() * (h.belief.variance() + (h.belief.offset - offset).powi(2));
        let variance = self.bank.iter().map(spread).sum::<f64>() / weights;
        Some(Estimate {
            at: self.at,
            offset: self.origin + Nanos(offset.round() as i64),
            frequency: Ppb(frequency),
            deviation: Nanos::from_f64_outward(variance.sqrt()),
        })
    }
}

/// One shape of queueing, in both directions, with the base that belongs to it.
struct Shape {
    there: Queueing,
    back: Queueing,
    /// Of one way.
    base: f64,
}

impl Shape {
    fn new(k: i32, delays: &Delays) -> Self {
        let scale = delays.scale(f64::from(k));
        Self { there: Queueing::new(k, scale.there), back: Queueing::new(k, scale.back), base: scale.base }
    }
}

/// The density of one way's queueing time.
struct Queueing {
    k: i32,
    theta: f64,
    /// 1 / (θ Γ(k)), as the density is taken at q/θ.
    norm: f64,
}

impl Queueing {
    fn new(k: i32, theta: f64) -> Self {
        Self { k, theta, norm: (1.0 - STRAY) / theta }
    }

    /// The mean queueing time.
    fn usual(&self) -> f64 {
        f64::from(self.k) * self.theta
    }

    /// How far around the mean nearly all of it lies.
    fn reach(&self) -> f64 {
        3.0 * f64::from(self.k).sqrt() * self.theta
    }

    fn density(&self, queued: f64) -> f64 {
        let x = queued / self.theta;
        if x < 0.0 {
            // The base is an estimate too, and routes become shorter.
            return STRAY / self.theta * 0.5 * (2.0 * x).exp();
        }
        // Γ(k) by the product, interleaved with the powers so that neither overflows.
        let mut power = (-x).exp();
        for factor in 1..self.k {
            power *= x / f64::from(factor);
        }
        let far = 1.0 / (1.0 + x / (10.0 * f64::from(self.k)));
        self.norm * power + STRAY / (20.0 * f64::from(self.k) * self.theta) * far * far
    }
}
