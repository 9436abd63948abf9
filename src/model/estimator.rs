//! The likeliest offset and frequency of one source: a bank of filters over shapes of jitter and rates of wander.
//!
//! The offset `o` drifts at a frequency that walks at random. An exchange with the midpoint `z` and a round trip
//! that exceeds the path's base by `e` says that `o` lies within `z ± e/2`: the excess was queued on the way there or
//! on the way back. If both ways queue alike, as Gamma(k, θ), then `(o - z)/(e/2)` has the density of a symmetric Beta(k, k) on
//! [-1, 1]: uniform for exponential queueing, ever more bell-shaped for larger k. Each filter of the bank is a Gaussian
//! belief about (o, frequency) that meets this density by its first two moments (assumed-density filtering).
//!
//! Nobody knows k or the oscillator's wander beforehand. So a filter runs for every pair of them, and the estimate is
//! their mean, weighted by how well each has foreseen the exchanges so far, old ones forgotten
//! (multiple-model estimation; Magill, IEEE Trans. Automatic Control 10, 1965). The longest quarter of the round trips
//! has no say in that: outliers tell nothing about shapes.

mod delays;
mod kalman;

use crate::units::{Counter, Nanos, Ppb};
use delays::Delays;
use kalman::{Belief, Likelihood};

/// Shapes of queueing: k of the Gamma density, and ∞ for normal jitter; `norm` makes (1-u²)^(k-1) a density.
const SHAPES: [Shape; 5] = [
    Shape { k: 1.0, norm: 0.5 },
    Shape { k: 2.0, norm: 0.75 },
    Shape { k: 4.0, norm: 1.093_75 },
    Shape { k: 12.0, norm: 1.933_9 },
    Shape { k: f64::INFINITY, norm: 0.0 },
];

/// Random walk of the frequency in ppb per √s: from a machine room's crystal to a busy virtual machine's counter.
const WANDERS: [f64; 5] = [0.3, 1.5, 6.0, 25.0, 100.0];

/// How long evidence counts, as its share after one exchange.
const MEMORY: f64 = 0.985;

/// What the frequency error of a raw counter typically is, ppb.
const FREQUENCY_DEVIATION: f64 = 30_000.0;

#[derive(Clone, Copy, Debug)]
struct Shape {
    k: f64,
    norm: f64,
}

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
    shape: Shape,
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
        let ordinary = self.delays.is_ordinary(delay);
        let likelihoods = SHAPES.map(|shape| likelihood(&self.delays, shape, middle, delay));
        for (index, hypothesis) in self.bank.iter_mut().enumerate() {
            hypothesis.belief.predict(dt, hypothesis.wander);
            let foreseen = hypothesis.belief.update(&likelihoods[index / WANDERS.len()]);
            if ordinary {
                hypothesis.evidence = MEMORY * hypothesis.evidence + foreseen.max(f64::MIN_POSITIVE).ln();
            }
        }
        let best = self.bank.iter().map(|hypothesis| hypothesis.evidence).fold(f64::NEG_INFINITY, f64::max);
        for hypothesis in &mut self.bank {
            hypothesis.evidence -= best;
        }
    }

    fn begin(&mut self, sample: &Sample) {
        (self.origin, self.at) = (sample.offset, sample.at);
        let deviation = (sample.delay.as_f64() / 4.0).max(1_000.0);
        let belief = Belief::new(0.0, deviation, FREQUENCY_DEVIATION);
        self.bank = (SHAPES.iter())
            .flat_map(|&shape| WANDERS.map(|wander| Hypothesis { shape, wander, belief, evidence: 0.0 }))
            .collect();
    }

    /// The weighted mean of the bank; `None` before the first exchange.
    pub(crate) fn estimate(&self) -> Option<Estimate> {
        let (mut weights, mut offset, mut frequency) = (0.0, 0.0, 0.0);
        for hypothesis in &self.bank {
            let weight = hypothesis.evidence.exp();
            weights += weight;
            offset += weight * hypothesis.belief.offset;
            frequency += weight * hypothesis.belief.frequency;
        }
        if self.bank.is_empty() {
            return None;
        }
        let (offset, frequency) = (offset / weights, frequency / weights);
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

/// What an exchange says under one shape.
fn likelihood(delays: &Delays, shape: Shape, middle: f64, delay: f64) -> Likelihood {
    if shape.k.is_infinite() {
        return Likelihood::Normal { middle, variance: (delays.deviation() / 2.0).powi(2) };
    }
    let (theta, base) = delays.gamma(shape.k);
    // Half the excess, and a little more: the base is itself uncertain.
    let half = (delay - base).max(0.0) / 2.0 + 0.05 * theta;
    Likelihood::Box { middle, half, k: shape.k, norm: shape.norm }
}
