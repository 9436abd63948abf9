//! How long round trips take: their shortest, their scale, and the shapes of jitter they may come from.
//!
//! A one-way delay is a base that never changes plus a queueing time, taken to be Gamma(k, θ); the round trip's excess
//! over its base is then Gamma(2k, θ). The base is not observed: of N round trips the shortest still has an excess of
//! about the 1/(N+1)-quantile. With the median's excess, `2k - 1/3`, this gives θ and the base for any k. Quantiles by
//! Wilson and Hilferty, "The distribution of chi-square" (PNAS 17, 1931).

use std::collections::VecDeque;

/// Round trips whose median and spread are kept.
const RECENT: usize = 64;

/// Round trips after which the shortest counts as old. An old one is not forgotten at once: a path that became longer
/// in one direction shows only by contrast with it.
const MEMORY: u32 = 2048;

/// What a timestamp is off by even on an idle machine, ns.
const GRAIN: f64 = 50.0;

/// The round trips of one source, in ns.
#[derive(Clone, Debug, Default)]
pub(super) struct Delays {
    recent: VecDeque<f64>,
    shortest: f64,
    seen: u32,
    /// Of the recent: quartiles.
    lower: f64,
    median: f64,
    upper: f64,
}

impl Delays {
    pub(super) fn add(&mut self, delay: f64) {
        self.shortest = if self.seen == 0 { delay } else { self.shortest.min(delay) };
        self.seen = (self.seen + 1).min(MEMORY);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(delay);
        let mut sorted: Vec<f64> = self.recent.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |numerator: usize| sorted[(sorted.len() - 1) * numerator / 4];
        (self.lower, self.median, self.upper) = (at(1), at(2), at(3));
    }

    /// Whether `delay` is none of the longest quarter.
    pub(super) fn is_ordinary(&self, delay: f64) -> bool {
        delay <= self.upper
    }

    /// θ and the base of the round trip for jitter of shape `k`.
    pub(super) fn gamma(&self, k: f64) -> (f64, f64) {
        let first = gamma_quantile(2.0 * k, normal_quantile(1.0 / f64::from(self.seen + 1)));
        let middle = 2.0 * k - 1.0 / 3.0;
        let theta = ((self.median - self.shortest) / (middle - first).max(0.1)).max(GRAIN);
        (theta, self.shortest - theta * first)
    }

    /// Standard deviation of a round trip, from its quartiles.
    pub(super) fn deviation(&self) -> f64 {
        ((self.upper - self.lower) / 1.349).max(2.0 * GRAIN)
    }
}

/// The quantile of Gamma(`shape`, 1) that lies as high as the normal one `z`.
fn gamma_quantile(shape: f64, z: f64) -> f64 {
    let cube = 1.0 - 1.0 / (9.0 * shape) + z / (3.0 * shape.sqrt());
    shape * cube.max(0.0).powi(3)
}

/// The standard normal quantile at `p` < 1/2 (Abramowitz and Stegun, 26.2.23; error below 4.5e-4).
fn normal_quantile(p: f64) -> f64 {
    let t = (-2.0 * p.ln()).sqrt();
    let numerator = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let denominator = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    numerator / denominator - t
}
