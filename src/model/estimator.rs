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

/// Kinds of queueing that are thought of.
const KINDS: [Kind; 8] = [
    Kind::Alike { k: 1 },
    Kind::Alike { k: 2 },
    Kind::Alike { k: 4 },
    Kind::Alike { k: 12 },
    Kind::Alike { k: 40 },
    Kind::Apart { k: 1 },
    Kind::Apart { k: 2 },
    Kind::Any,
];

/// Random walk of the frequency in ppb per √s: from a machine room's crystal to a busy virtual machine's counter.
const WANDERS: [f64; 5] = [0.3, 1.2, 5.0, 20.0, 80.0];

/// How long evidence counts, as its share after one exchange.
const MEMORY: f64 = 0.985;

/// What the frequency error of a raw counter typically is, ppb.
const FREQUENCY_DEVIATION: f64 = 30_000.0;

/// Exchanges that are judged again as long as there are no more than these.
const EARLY: usize = 12;

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
    early: Vec<Sample>,
}

impl Estimator {
    /// Takes in one exchange; time must not run backwards.
    ///
    /// The first exchanges are judged before anything is known of their delays. So they are kept, and judged again, all
    /// of them, by what each new one adds to that knowledge.
    pub(crate) fn add(&mut self, sample: &Sample) {
        self.delays.add(sample.delay.as_f64());
        if self.early.len() == EARLY {
            self.judge(sample);
            return;
        }
        self.early.push(*sample);
        let early = std::mem::take(&mut self.early);
        self.delays.forget_ways();
        self.begin(&early[0]);
        for sample in &early[1..] {
            self.judge(sample);
        }
        self.early = early;
    }

    /// Lets every filter take in one exchange, and weighs them by how well they foresaw it.
    fn judge(&mut self, sample: &Sample) {
        let delay = sample.delay.as_f64();
        let dt = (sample.at - self.at).as_f64() * 1e-9;
        self.at = sample.at;
        let middle = (sample.offset - self.origin).as_f64();
        let ordinary = self.delays.is_ordinary(delay);
        let shapes = KINDS.map(|kind| Shape::new(kind, &self.delays, middle, delay));
        for (index, hypothesis) in self.bank.iter_mut().enumerate() {
            let shape = &shapes[index / WANDERS.len()];
            hypothesis.belief.predict(dt, hypothesis.wander);
            let foreseen = hypothesis.belief.update(&shape.tops, |offset| shape.likelihood(offset));
            if ordinary {
                hypothesis.evidence = MEMORY * hypothesis.evidence + foreseen.ln();
            }
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
        self.bank = KINDS.iter().flat_map(|_| filters).collect();
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

/// A kind of queueing.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Gamma(k), with the same θ both ways.
    Alike { k: i32 },
    /// Gamma(k), with a θ for each way.
    Apart { k: i32 },
    /// Nothing is known but that both delays are positive: the offset may be anywhere the round trip allows.
    Any,
}

/// What one exchange says about the offset, given one kind of queueing and how long its round trip was.
struct Shape {
    /// `None`: uniform between the tops.
    ways: Option<[Queueing; 2]>,
    middle: f64,
    /// What both ways together have queued.
    queued: f64,
    /// Where the likelihood is to be looked at closely.
    tops: [(f64, f64); 2],
    /// Makes it a density.
    norm: f64,
}

impl Shape {
    fn new(kind: Kind, delays: &Delays, middle: f64, delay: f64) -> Self {
        let (k, apart) = match kind {
            Kind::Alike { k } => (k, false),
            Kind::Apart { k } => (k, true),
            Kind::Any => (1, false),
        };
        let scale = delays.scale(f64::from(k), apart);
        let queued = delay - 2.0 * scale.base;
        if matches!(kind, Kind::Any) {
            let half = queued.max(0.0) / 2.0 + 0.05 * scale.there;
            let norm = (1.0 - STRAY) / (2.0 * half);
            return Self { ways: None, middle, queued, tops: [(middle, half); 2], norm };
        }
        let ways = [Queueing::new(k, scale.there), Queueing::new(k, scale.back)];
        let tops =
            [(queued / 2.0 - ways[0].usual(), ways[0].reach()), (ways[1].usual() - queued / 2.0, ways[1].reach())];
        let wide = (0.0, queued.abs() / 2.0 + ways[0].reach().max(ways[1].reach()));
        let shape = Self { ways: Some(ways), middle: 0.0, queued, tops, norm: 1.0 };
        let total =
            belief::integrate(&[wide, tops[0], tops[1]], (-wide.1, wide.1), |x| [shape.likelihood(x), 0.0, 0.0]);
        let tops = tops.map(|(top, reach)| (middle + top, reach));
        Self { middle, tops, norm: 1.0 / total[0].max(f64::MIN_POSITIVE), ..shape }
    }

    fn likelihood(&self, offset: f64) -> f64 {
        let lead = offset - self.middle;
        match &self.ways {
            Some([there, back]) => {
                self.norm * there.density(self.queued / 2.0 - lead) * back.density(self.queued / 2.0 + lead)
            }
            None => {
                let half = self.tops[0].1;
                let beyond = (lead.abs() / half - 1.0).max(0.0);
                if beyond == 0.0 { self.norm } else { self.norm * STRAY * (-beyond).exp() }
            }
        }
    }
}

/// The density of one way's queueing time.
#[derive(Clone, Copy)]
struct Queueing {
    k: f64,
    theta: f64,
    /// ln Γ(k).
    log_gamma: f64,
}

impl Queueing {
    fn new(k: i32, theta: f64) -> Self {
        let log_gamma = (1..k).map(|factor| f64::from(factor).ln()).sum();
        Self { k: f64::from(k), theta, log_gamma }
    }

    /// The mean queueing time.
    fn usual(&self) -> f64 {
        self.k * self.theta
    }

    /// How far around the mean nearly all of it lies.
    fn reach(&self) -> f64 {
        3.0 * self.k.sqrt() * self.theta
    }

    fn density(&self, queued: f64) -> f64 {
        let x = queued / self.theta;
        if x <= 0.0 {
            // The base is an estimate too, and routes become shorter.
            return STRAY / self.theta * 0.5 * (2.0 * x).exp();
        }
        let power = if self.k == 1.0 { -x } else { (self.k - 1.0) * x.ln() - x - self.log_gamma };
        let far = 1.0 / (1.0 + x / (10.0 * self.k));
        ((1.0 - STRAY) * power.exp() + STRAY / (20.0 * self.k) * far * far) / self.theta
    }
}
