//! How long the two ways take: their common base, and how far each way's queueing spreads.
//!
//! A one-way delay is a base that hardly ever changes plus a queueing time, taken to be Gamma(k, θ) with its own θ in
//! each direction. Offsets cancel in differences, so θ is judged by the distance of the quartiles, not by any
//! level. Of N round trips the shortest still has an excess of about the 1/(N+1)-quantile of Gamma(2k, θ): that much is
//! taken off it to get the base. Quantiles by Wilson and Hilferty, "The distribution of chi-square" (PNAS 17, 1931).

use std::collections::VecDeque;

/// One-way times whose quartiles are kept.
const RECENT: usize = 128;

/// What a timestamp is off by even on an idle machine, ns.
const GRAIN: f64 = 30.0;

/// The normal quantile of the upper octile.
const OCTILE: f64 = 1.150_35;

/// What the quartiles of the round trip are apart, as a share of the shortest, before any were seen.
const GUESS: f64 = 0.07;

/// Times enough to know their quartiles.
const ENOUGH: f64 = 12.0;

/// The delays of one source, in ns.
#[derive(Clone, Debug, Default)]
pub(super) struct Delays {
    shortest: f64,
    seen: u32,
    round_trips: Recent,
    /// One-way times, less the offset as it was estimated.
    there: Recent,
    back: Recent,
}

/// What queueing of one shape looks like now.
pub(super) struct Scale {
    /// θ of either direction.
    pub(super) there: f64,
    pub(super) back: f64,
    /// One way without any queueing.
    pub(super) base: f64,
}

impl Delays {
    /// Takes in a round trip, before its exchange is judged.
    pub(super) fn add(&mut self, delay: f64) {
        self.shortest = if self.seen == 0 { delay } else { self.shortest.min(delay) };
        self.seen = self.seen.saturating_add(1);
        self.round_trips.add(delay);
    }

    /// Takes in the one-way times of an exchange that was judged.
    pub(super) fn add_ways(&mut self, there: f64, back: f64) {
        self.there.add(there);
        self.back.add(back);
    }

    /// Forgets the one-way times: the estimates they rest on are made anew.
    pub(super) fn forget_ways(&mut self) {
        (self.there, self.back) = (Recent::default(), Recent::default());
    }

    /// Whether `delay` is none of the longest quarter of the recent ones.
    pub(super) fn is_ordinary(&self, delay: f64) -> bool {
        delay <= self.round_trips.upper
    }

    /// The scale of Gamma(k) jitter.
    ///
    /// The round trip tells how much is queued; the ways, whose times rest on our own estimate of the offset, only
    /// how it is shared between them. Else an estimate that wanders would excuse its own wandering.
    pub(super) fn scale(&self, k: f64, apart: bool, bursty: bool) -> Scale {
        let trust = (self.round_trips.count() / ENOUGH).min(1.0);
        let (seen, unit) = if bursty {
            (self.round_trips.low_spread, gamma_quantile(2.0 * k, -0.674) - gamma_quantile(2.0 * k, -1.534))
        } else {
            (self.round_trips.spread, gamma_quantile(2.0 * k, 0.0) - gamma_quantile(2.0 * k, -OCTILE))
        };
        let spread = trust * seen + (1.0 - trust) * GUESS * self.shortest;
        let theta = (spread / unit).max(GRAIN / k.sqrt());
        let share = |way: &Recent| {
            let both = (self.there.wide.powi(2) + self.back.wide.powi(2)).sqrt();
            let share = if both > 0.0 { (std::f64::consts::SQRT_2 * way.wide / both).max(0.1) } else { 1.0 };
            if apart { trust * share + (1.0 - trust) } else { 1.0 }
        };
        let first = gamma_quantile(2.0 * k, normal_quantile(1.0 / (f64::from(self.seen.min(4096)) + 1.0)));
        Scale {
            there: theta * share(&self.there),
            back: theta * share(&self.back),
            base: (self.shortest - theta * first) / 2.0,
        }
    }
}

/// The last times of one kind.
#[derive(Clone, Debug, Default)]
struct Recent {
    times: VecDeque<f64>,
    /// Distance of the quartiles, and the upper one.
    spread: f64,
    low_spread: f64,
    wide: f64,
    upper: f64,
}

impl Recent {
    fn add(&mut self, time: f64) {
        if self.times.len() == RECENT {
            self.times.pop_front();
        }
        self.times.push_back(time);
        let mut sorted: Vec<f64> = self.times.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |eighths: usize| sorted[(sorted.len() - 1) * eighths / 8];
        (self.spread, self.upper) = (at(4) - at(1), at(6));
        self.wide = at(6) - at(2);
        self.low_spread = at(2) - sorted[(sorted.len() - 1) / 16];
    }

    fn count(&self) -> f64 {
        self.times.len() as f64
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
