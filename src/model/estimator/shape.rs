//! What one exchange says about the offset: a likelihood, for each kind of queueing that is thought of.
//!
//! With `m` the midpoint and `q` what both ways together have queued, an offset of `m + x` means that the way there has
//! queued `q/2 - x` and the way back `q/2 + x`. The likelihood of `x` is the product of the two densities, scaled so
//! that its integral is 1: how long the round trip was tells nothing about the offset. It jumps at `x = ±q/2`, where
//! one way would not have queued at all.

use super::belief;
use super::delays::{Delays, Spread};

/// How often a delay follows no shape.
const STRAY: f64 = 0.03;

/// The same where queues burst.
const STRAY_IN_BURSTS: f64 = 0.3;

/// Beyond this many θ nothing is left of a Gamma density's exponential.
const NOWHERE: f64 = 700.0;

/// A kind of queueing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Gamma(k), with the same θ both ways.
    Alike { k: i32 },
    /// Gamma(k), with a θ for each way.
    Apart { k: i32 },
    /// Gamma(1) with the same θ both ways, and very often anything.
    Bursty,
    /// Nothing is known but that both delays are positive: the offset may be anywhere the round trip allows.
    Any,
}

/// What one exchange says about the offset, given one kind of queueing and how long its round trip was.
pub(super) struct Shape {
    /// `None`: uniform between the tops.
    ways: Option<[Queueing; 2]>,
    middle: f64,
    /// What both ways together have queued.
    queued: f64,
    /// Where the likelihood is to be looked at closely: pairs of a middle and a reach.
    pub(super) tops: [(f64, f64); 2],
    /// Makes it a density.
    norm: f64,
}

impl Shape {
    /// For an exchange whose round trip took `delay` and whose midpoint is `middle`, both in ns.
    pub(super) fn new(kind: Kind, delays: &Delays, middle: f64, delay: f64) -> Self {
        let (k, apart, stray, spread) = match kind {
            Kind::Alike { k } => (k, false, STRAY, Spread::Common),
            Kind::Apart { k } => (k, true, STRAY, Spread::Common),
            Kind::Bursty => (1, false, STRAY_IN_BURSTS, Spread::Low),
            Kind::Any => (1, false, STRAY, Spread::Common),
        };
        let scale = delays.scale(f64::from(k), apart, spread);
        let queued = delay - 2.0 * scale.base;
        if matches!(kind, Kind::Any) {
            let half = queued.max(0.0) / 2.0 + 0.05 * scale.there;
            let norm = (1.0 - STRAY) / (2.0 * half);
            return Self { ways: None, middle, queued, tops: [(middle, half); 2], norm };
        }
        let ways = [Queueing::new(k, scale.there, stray), Queueing::new(k, scale.back, stray)];
        let tops =
            [(queued / 2.0 - ways[0].usual(), ways[0].reach()), (ways[1].usual() - queued / 2.0, ways[1].reach())];
        let wide = (0.0, queued.abs() / 2.0 + ways[0].reach().max(ways[1].reach()));
        let shape = Self { ways: Some(ways), middle: 0.0, queued, tops, norm: 1.0 };
        let parts = [wide, tops[0], tops[1]];
        let total = belief::integrate(&parts, shape.edges(), (-wide.1, wide.1), |x| [shape.likelihood(x), 0.0, 0.0]);
        let tops = tops.map(|(top, reach)| (middle + top, reach));
        Self { middle, tops, norm: 1.0 / total[0].max(f64::MIN_POSITIVE), ..shape }
    }

    /// Where the likelihood jumps: there one of the delays would be no longer than its base.
    pub(super) fn edges(&self) -> [f64; 2] {
        let half = if self.ways.is_some() { self.queued / 2.0 } else { self.tops[0].1 };
        [self.middle - half, self.middle + half]
    }

    /// The density of this exchange if `offset` is the true one.
    pub(super) fn likelihood(&self, offset: f64) -> f64 {
        let lead = offset - self.middle;
        match &self.ways {
            Some([there, back]) => {
                self.norm * there.density(self.queued / 2.0 - lead) * back.density(self.queued / 2.0 + lead)
            }
            None => {
                let half = self.tops[0].1;
                let beyond = (lead.abs() / half - 1.0).max(0.0);
                if beyond == 0.0 { self.norm } else { self.norm * STRAY * belief::exp(-beyond) }
            }
        }
    }
}

/// The density of one way's queueing time, with all that does not depend on that time worked out.
#[derive(Clone, Copy)]
struct Queueing {
    k: i32,
    theta: f64,
    per_theta: f64,
    /// Height of the Gamma density, of the strays' beyond it, and of what is shorter than the base.
    core: f64,
    far: f64,
    below: f64,
    /// How slowly the strays become fewer, in 1/θ.
    decay: f64,
}

impl Queueing {
    fn new(k: i32, theta: f64, stray: f64) -> Self {
        let factorial: f64 = (1..k).map(f64::from).product();
        let decay = 0.1 / f64::from(k);
        Self {
            k,
            theta,
            per_theta: 1.0 / theta,
            core: (1.0 - stray) / (factorial * theta),
            far: stray * decay / (2.0 * theta),
            // The base is an estimate too, and routes become shorter.
            below: STRAY / (2.0 * theta),
            decay,
        }
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
        let x = queued * self.per_theta;
        if x <= 0.0 {
            return self.below * belief::exp(2.0 * x);
        }
        let rest = 1.0 + x * self.decay;
        let near = x.min(NOWHERE);
        self.core * power(near, self.k - 1) * belief::exp(-near) + self.far / (rest * rest)
    }
}

/// `x` to the power of `n`, which mostly is next to nothing: a call would cost more than it does.
fn power(x: f64, n: i32) -> f64 {
    let (mut square, mut left, mut product) = (x, n, 1.0);
    while left > 0 {
        if left & 1 == 1 {
            product *= square;
        }
        square *= square;
        left >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_density_is_never_negative_and_its_integral_is_one() {
        for k in [1, 2, 4, 40] {
            let way = Queueing::new(k, 100.0, STRAY);
            let step = 0.5;
            let sum: f64 = (-4_000..2_000_000).map(|index| way.density(f64::from(index) * step) * step).sum();
            // Below the base as well; the strays have no end.
            assert!((0.97..1.02).contains(&sum), "{k}: {sum}");
        }
    }

    #[test]
    fn a_likelihood_is_highest_where_both_ways_have_queued_as_usual() {
        let mut delays = Delays::default();
        for index in 0..40 {
            delays.add(1_000_000.0 + 20_000.0 * f64::from(index % 7));
        }
        for kind in [Kind::Alike { k: 4 }, Kind::Alike { k: 40 }] {
            let shape = Shape::new(kind, &delays, 5_000.0, 1_060_000.0);
            assert!(shape.likelihood(5_000.0) > shape.likelihood(25_000.0));
            assert!(shape.likelihood(5_000.0) > shape.likelihood(-15_000.0));
            assert!((shape.likelihood(12_000.0) / shape.likelihood(-2_000.0) - 1.0).abs() < 1e-6, "lopsided");
        }
    }

    #[test]
    fn beyond_what_the_round_trip_allows_there_is_next_to_nothing() {
        let mut delays = Delays::default();
        for _ in 0..40 {
            delays.add(1_000_000.0);
        }
        for kind in [Kind::Alike { k: 1 }, Kind::Apart { k: 1 }, Kind::Bursty, Kind::Any] {
            let shape = Shape::new(kind, &delays, 0.0, 1_100_000.0);
            assert!(shape.likelihood(0.0) > 10.0 * shape.likelihood(60_000.0), "{kind:?}");
        }
    }
}
