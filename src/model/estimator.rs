//! The likeliest offset and frequency of one source: a bank of filters over kinds of queueing and rates of wander.
//!
//! The offset `o` drifts at a frequency that walks at random. With `b` the base of one way, an exchange leaves for the
//! queueing on the two ways
//!
//! ```text
//! there = (t2 - t1) - o - b        back = (t4 - t3) + o - b
//! ```
//!
//! Neither is negative, and each has a density: mostly Gamma(k, θ), now and then anything, as a route changes or a
//! queue bursts. Given their sum, which the round trip tells, their product is the likelihood of `o`. It has an edge
//! where a delay would be negative, and may have two tops, one for each way that may have been the slow one. Each
//! filter of the bank is a Gaussian belief about (o, frequency) that takes it in by its first two moments
//! (assumed-density filtering).
//!
//! Nobody knows the kind of queueing or the oscillator's wander beforehand. So a filter runs for every pair of them,
//! and the estimate is their mean, weighted by how well each has foreseen the exchanges so far, old ones forgotten
//! (multiple-model estimation; Magill, IEEE Trans. Automatic Control 10, 1965). The longest quarter of the round trips
//! has no say in that: what strays tells nothing about kinds.
//!
//! That the base is the same both ways is an assumption nobody can check from here; the error bound does not make it.

#[expect(clippy::indexing_slicing, reason = "arrays of fixed lengths, and parts of them that constants name")]
mod belief;
#[expect(clippy::indexing_slicing, reason = "quantiles: a share of the last index, of lists that are not empty")]
mod delays;
mod jump;
mod shape;

use crate::units::{Counter, Nanos, Ppb};
use belief::Belief;
use delays::Delays;
use jump::{Finding, Suspects};
use shape::{Kind, Shape};

/// Kinds of queueing that are thought of. Others between them foresee nothing that these, each at its weight, do not.
const KINDS: [Kind; 5] = [Kind::Bursty, Kind::Alike { k: 1 }, Kind::Alike { k: 40 }, Kind::Apart { k: 1 }, Kind::Any];

/// Random walk of the frequency in ppb per √s: from a machine room's crystal to a busy virtual machine's counter.
const WANDERS: [f64; 4] = [0.3, 1.2, 5.0, FASTEST];

/// It walks 2 ppm in 1000 s at three deviations; a faster one would take a queue that slowly grows for a clock that runs
/// away.
const FASTEST: f64 = 20.0;

/// How long evidence counts, as its share after one exchange.
const MEMORY: f64 = 0.985;

/// What the frequency error of a raw counter typically is, ppb.
const FREQUENCY_DEVIATION: f64 = 30_000.0;

/// What is held likely of the frequency before the first exchange. Nothing but a likelihood: no bound rests on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prior {
    pub(crate) mean: Ppb,
    /// Standard deviation.
    pub(crate) deviation: Ppb,
}

impl Default for Prior {
    fn default() -> Self {
        Self { mean: Ppb(0.0), deviation: Ppb(FREQUENCY_DEVIATION) }
    }
}

/// Exchanges that are judged again as long as there are no more than these.
const EARLY: usize = 6;

/// One exchange as the estimator sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Counter,
    pub(crate) offset: Nanos,
    pub(crate) delay: Nanos,
    /// How fine the server's timestamps are.
    pub(crate) grain: Nanos,
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

/// One filter, its weight, and the logarithm of that.
#[derive(Clone, Copy, Debug)]
struct Hypothesis {
    wander: f64,
    belief: Belief,
    evidence: f64,
    weight: f64,
}

/// The bank of one source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Estimator {
    prior: Prior,
    /// The same of the frequency since the server's clock has jumped.
    since: Option<Prior>,
    delays: Delays,
    /// Offsets are kept relative to the first, in which doubles are exact enough.
    origin: Nanos,
    at: Counter,
    bank: Vec<Hypothesis>,
    early: Vec<Sample>,
    suspects: Suspects,
}

impl Estimator {
    /// An estimator that has heard nothing and expects the frequency to be as `prior` says.
    pub(crate) fn expecting(prior: Prior) -> Self {
        Self { prior, ..Self::default() }
    }

    pub(crate) fn prior(&self) -> Prior {
        self.prior
    }

    /// The frequency as it is believed to be now, for whoever begins later.
    pub(crate) fn frequency(&self) -> Prior {
        if self.bank.is_empty() {
            return self.prior;
        }
        let mean = self.average(|belief| belief.frequency);
        let variance = self.average(|belief| belief.frequency_variance() + (belief.frequency - mean).powi(2));
        Prior { mean: Ppb(mean), deviation: Ppb(variance.max(0.0).sqrt()) }
    }

    /// Takes in one exchange; time must not run backwards.
    pub(crate) fn add(&mut self, sample: &Sample) {
        self.delays.add(sample.delay.as_f64());
        if self.early.len() < EARLY {
            self.early.push(*sample);
            self.begin_anew();
            return;
        }
        let Some(line) = self.estimate() else { return };
        match self.suspects.handle(sample, &line, self.frequency(), FASTEST) {
            Finding::Believable(held) => held.iter().chain([sample]).for_each(|sample| self.judge(sample)),
            Finding::Undecided => {}
            Finding::Jump(samples) => {
                self.since = Some(jump::frequency_after(&samples, self.frequency()));
                self.early = samples;
                self.begin_anew();
            }
        }
    }

    /// The first exchanges are judged before anything is known of their delays. So they are kept, and judged again, all
    /// of them, by what each new one adds to that knowledge.
    fn begin_anew(&mut self) {
        let early = std::mem::take(&mut self.early);
        self.delays.forget_ways();
        if let Some((first, rest)) = early.split_first() {
            self.begin(first);
            rest.iter().for_each(|sample| self.judge(sample));
        }
        self.early = early;
    }

    /// Lets every filter take in one exchange, and weighs them by how well they foresaw it.
    fn judge(&mut self, sample: &Sample) {
        let delay = sample.delay.as_f64();
        let dt = (sample.at - self.at).as_f64() * 1e-9;
        self.at = sample.at;
        let middle = (sample.offset - self.origin).as_f64() + self.delays.lead();
        let ordinary = self.delays.is_ordinary(delay);
        for (hypotheses, kind) in self.bank.chunks_mut(WANDERS.len()).zip(KINDS) {
            // One after the other: what a thread's stack has ever held stays in memory.
            let shape = Shape::new(kind, &self.delays, middle, delay);
            let likelihood = |offsets: &[f64], values: &mut [f64]| shape.likelihoods(offsets, values);
            for hypothesis in hypotheses {
                hypothesis.belief.predict(dt, hypothesis.wander);
                let foreseen = hypothesis.belief.update(&shape.looks, likelihood);
                if ordinary {
                    hypothesis.evidence = MEMORY * hypothesis.evidence + foreseen.ln();
                }
            }
        }
        let best = self.bank.iter().map(|hypothesis| hypothesis.evidence).fold(f64::NEG_INFINITY, f64::max);
        for hypothesis in &mut self.bank {
            hypothesis.evidence -= best;
            hypothesis.weight = hypothesis.evidence.exp();
        }
        let offset = self.average(|belief| belief.offset);
        self.delays.add_ways(delay / 2.0 + middle - offset, delay / 2.0 - middle + offset);
    }

    fn begin(&mut self, sample: &Sample) {
        (self.origin, self.at) = (sample.offset, sample.at);
        let deviation = (sample.delay.as_f64() / 2.0).max(1_000.0);
        let prior = self.since.unwrap_or(self.prior);
        let mut belief = Belief::new(0.0, deviation, prior.deviation.0);
        belief.frequency = prior.mean.0;
        let filters = WANDERS.map(|wander| Hypothesis { wander, belief, evidence: 0.0, weight: 1.0 });
        self.bank.clear();
        self.bank.extend(KINDS.iter().flat_map(|_| filters));
    }

    /// The mean of something over the bank, each filter weighted by its evidence.
    fn average(&self, of: impl Fn(&Belief) -> f64) -> f64 {
        let (mut weights, mut sum) = (0.0, 0.0);
        for hypothesis in &self.bank {
            weights += hypothesis.weight;
            sum += hypothesis.weight * of(&hypothesis.belief);
        }
        sum / weights
    }

    /// The line that the bank holds likeliest; `None` before the first exchange.
    pub(crate) fn estimate(&self) -> Option<Estimate> {
        if self.bank.is_empty() {
            return None;
        }
        let offset = self.average(|belief| belief.offset);
        let variance = self.average(|belief| belief.variance() + (belief.offset - offset).powi(2));
        Some(Estimate {
            at: self.at,
            offset: self.origin + Nanos(offset.round() as i64),
            frequency: Ppb(self.average(|belief| belief.frequency)),
            deviation: Nanos::from_f64_outward(variance.sqrt()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random bits, the same in every run.
    struct Dice(u64);

    impl Dice {
        /// Uniform in (0, 1).
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        }

        fn exponential(&mut self, mean: f64) -> f64 {
            -mean * self.uniform().ln()
        }
    }

    const FREQUENCY: f64 = 12_000.0;
    const BASE: f64 = 1_000_000.0;

    /// Exchanges every 16 s of a clock that gains 12 ppm; `queued` gives both ways' queueing. Returns the error of the
    /// estimate after each.
    fn errors(count: i64, mut queued: impl FnMut(i64, &mut Dice) -> (f64, f64)) -> Vec<f64> {
        let (mut dice, mut estimator) = (Dice(7), Estimator::default());
        let truth = |at: i64| 1_700_000_000_000_000_000 + (at as f64 * 1e-9 * FREQUENCY) as i64;
        let mut exchange = |index: i64| {
            let at = index * 16_000_000_000;
            let (there, back) = queued(index, &mut dice);
            let offset = Nanos(truth(at) + ((there - back) / 2.0) as i64);
            estimator.add(&Sample {
                at: Counter(at),
                offset,
                delay: Nanos((2.0 * BASE + there + back) as i64),
                grain: Nanos::ZERO,
            });
            (estimator.estimate().unwrap().offset_at(Counter(at)) - Nanos(truth(at))).as_f64()
        };
        (0..count).map(&mut exchange).collect()
    }

    fn rms(errors: &[f64]) -> f64 {
        (errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64).sqrt()
    }

    #[test]
    fn exponential_queueing_is_averaged_far_below_the_error_of_one_exchange() {
        let errors = errors(300, |_, dice| (dice.exponential(100_000.0), dice.exponential(100_000.0)));
        // One midpoint errs by 71 µs; the mean of a hundred would by 7 µs.
        assert!(rms(&errors[100..]) < 7_000.0, "{}", rms(&errors[100..]));
    }

    #[test]
    fn a_way_that_queues_much_more_than_the_other_does_not_pull_the_offset() {
        let errors = errors(400, |_, dice| (dice.exponential(20_000.0), dice.exponential(400_000.0)));
        // The midpoints err by -190 µs on average.
        assert!(rms(&errors[100..]) < 50_000.0, "{}", rms(&errors[100..]));
    }

    #[test]
    fn a_route_that_becomes_longer_in_one_direction_is_seen_through() {
        let errors = errors(400, |index, dice| {
            let longer = if index < 200 { 0.0 } else { 2_000_000.0 };
            (dice.exponential(50_000.0), longer + dice.exponential(50_000.0))
        });
        // The midpoints err by a millisecond from then on.
        assert!(rms(&errors[200..]) < 60_000.0, "{}", rms(&errors[200..]));
    }

    /// The error after each exchange, every 64 s, of a clock whose frequency has stepped by 2 ppm at the 100th.
    fn errors_after_a_step(queue: f64) -> Vec<f64> {
        let (mut dice, mut estimator) = (Dice(7), Estimator::default());
        let error = |index: i64| {
            let at = index * 64_000_000_000;
            let truth = at / 1_000_000 * 12 + (index - 100).max(0) * 128_000;
            let (there, back) = (dice.exponential(queue), dice.exponential(queue));
            let offset = Nanos(truth + ((there - back) / 2.0) as i64);
            estimator.add(&Sample {
                at: Counter(at),
                offset,
                delay: Nanos((2.0 * BASE + there + back) as i64),
                grain: Nanos::ZERO,
            });
            (estimator.estimate().unwrap().offset_at(Counter(at)) - Nanos(truth)).as_f64()
        };
        (0..160).map(error).collect()
    }

    #[test]
    fn a_step_of_the_frequency_is_followed_within_a_few_polls() {
        // Half of the round trip's queueing is what one exchange leaves open; unfollowed, the step makes 128 µs a poll.
        let worst = |errors: &[f64]| errors.iter().fold(0.0_f64, |most, error| most.max(error.abs()));
        let errors = errors_after_a_step(50_000.0);
        assert!(worst(&errors[106..]) < 100_000.0, "{:?}", &errors[100..120]);
        let errors = errors_after_a_step(1_000_000.0);
        assert!(worst(&errors[100..]) < 1_500_000.0 && worst(&errors[116..]) < 400_000.0, "{:?}", &errors[100..130]);
    }

    /// The error after each exchange, every `poll` seconds, with a server some 50 µs away whose clock jumps by `jump` at the
    /// 60th, while our oscillator's frequency steps by `step` ppb.
    fn errors_after_a_jump(poll: i64, jump: i64, step: i64) -> Vec<f64> {
        let (mut dice, mut estimator) = (Dice(7), Estimator::default());
        let error = |index: i64| {
            let at = Counter(index * poll * 1_000_000_000);
            let after = index.max(60) - 60;
            let truth = poll * (index * 12_000 + after * step) + if index < 60 { 0 } else { jump };
            let (there, back) = (dice.exponential(5_000.0), dice.exponential(5_000.0));
            let (offset, delay) =
                (Nanos(truth + ((there - back) / 2.0) as i64), Nanos((100_000.0 + there + back) as i64));
            estimator.add(&Sample { at, offset, delay, grain: Nanos(1) });
            (estimator.estimate().unwrap().offset_at(at) - Nanos(truth)).as_f64()
        };
        (0..200).map(error).collect()
    }

    #[test]
    fn a_server_that_jumps_further_than_its_round_trips_are_long_is_followed_within_six_exchanges() {
        for (poll, jump, step) in [
            (1, 700_000, 0),
            (1, -700_000, 0),
            (1, 700_000, 40_000),
            (1, 0, 400_000),
            (1, 200_000, -400_000),
            (16, 150_000, 0),
            (64, 180_000, 0),
            (64, -180_000, 0),
            (256, 500_000, 0),
            (1024, 3_000_000, 0),
        ] {
            let errors = errors_after_a_jump(poll, jump, step);
            let told = format!("{poll} s, {jump} {step}: {:?}", &errors[58..80]);
            assert!(errors[66..].iter().all(|error| error.abs() < 25_000.0), "{told}");
        }
        // One that could be the ways' own doing is not taken for a jump.
        let errors = errors_after_a_jump(1, 40_000, 0);
        assert!(errors[60].abs() > 20_000.0, "{:?}", &errors[58..80]);
    }

    #[test]
    fn a_burst_of_delay_at_the_start_is_forgotten() {
        let errors = errors(100, |index, dice| {
            let burst = if index == 0 { 60_000_000.0 } else { 0.0 };
            (burst + dice.exponential(100_000.0), dice.exponential(100_000.0))
        });
        assert!(rms(&errors[20..]) < 60_000.0, "{}", rms(&errors[20..]));
    }

    #[test]
    fn one_exchange_gives_its_midpoint_and_no_frequency() {
        let mut estimator = Estimator::default();
        assert!(estimator.estimate().is_none());
        estimator.add(&Sample { at: Counter(5), offset: Nanos(-77), delay: Nanos(1000), grain: Nanos::ZERO });
        let line = estimator.estimate().unwrap();
        assert_eq!((line.offset, line.frequency), (Nanos(-77), Ppb(0.0)));
    }

    #[test]
    fn nonsense_is_survived() {
        let mut estimator = Estimator::default();
        for (at, offset, delay) in
            [(0, i64::MIN, 0), (0, i64::MAX, i64::MAX), (1, 0, -5), (i64::MAX, 5, 0), (i64::MAX, -5, 1)]
        {
            let sample = Sample { at: Counter(at), offset: Nanos(offset), delay: Nanos(delay), grain: Nanos::ZERO };
            // Often enough to be taken for a jump, too.
            for _ in 0..8 {
                estimator.add(&sample);
                assert!(estimator.estimate().unwrap().frequency.0.is_finite());
            }
        }
    }
}
