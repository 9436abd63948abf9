//! How long the two ways take: their common base, and how far each way's queueing spreads.
//!
//! A one-way delay is a base that hardly ever changes plus a queueing time, taken to be Gamma(k, θ) with its own θ in
//! each direction. Offsets cancel in differences, so θ is judged by the distance of the quartiles, not by any
//! level. Of N round trips the shortest still has an excess of about the 1/(N+1)-quantile of Gamma(2k, θ): that much is
//! taken off it to get the base. Quantiles by Wilson and Hilferty, "The distribution of chi-square" (PNAS 17, 1931).

use std::collections::VecDeque;

/// One-way times whose quartiles are kept.
const RECENT: usize = 64;

/// What a timestamp is off by even on an idle machine, ns.
const GRAIN: f64 = 30.0;

/// The normal quantile of the upper quartile.
const QUARTILE: f64 = 0.674_49;

/// The shortest round trip of a source.
#[derive(Clone, Debug, Default)]
pub(super) struct Base {
    shortest: f64,
    seen: u32,
}

impl Base {
    pub(super) fn add(&mut self, delay: f64) {
        self.shortest = if self.seen == 0 { delay } else { self.shortest.min(delay) };
        self.seen = self.seen.saturating_add(1);
    }

    /// What the quartiles of a way may be apart, before any were seen.
    pub(super) fn guess(&self) -> f64 {
        self.shortest / 50.0
    }

    /// The round trip without any queueing, if it is Gamma(k) with the mean scale `theta`.
    pub(super) fn round_trip(&self, k: f64, theta: f64) -> f64 {
        let first = gamma_quantile(2.0 * k, normal_quantile(1.0 / (f64::from(self.seen.min(4096)) + 1.0)));
        self.shortest - theta * first
    }
}

/// The times of one direction, less the offset as it was estimated, in ns.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    recent: VecDeque<f64>,
    /// Distance of the quartiles.
    spread: f64,
}

impl Way {
    pub(super) fn add(&mut self, time: f64) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(time);
        let mut sorted: Vec<f64> = self.recent.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |quarters: usize| sorted[(sorted.len() - 1) * quarters / 4];
        self.spread = at(3) - at(1);
    }

    /// θ of Gamma(k, θ); `guess` stands for the first few times, whose quartiles mean little.
    pub(super) fn theta(&self, k: f64, guess: f64) -> f64 {
        let seen = self.recent.len() as f64;
        let trust = (seen / 8.0).min(1.0).powi(2);
        let spread = trust * self.spread + (1.0 - trust) * guess;
        let unit = gamma_quantile(k, QUARTILE) - gamma_quantile(k, -QUARTILE);
        (spread / unit).max(GRAIN / k.sqrt())
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
