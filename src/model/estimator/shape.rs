//! What one exchange says about the offset: a likelihood, for each kind of queueing that is thought of.
//!
//! With `m` the midpoint and `q` what both ways together have queued, an offset of `m + x` means that the way there has
//! queued `q/2 - x` and the way back `q/2 + x`. The likelihood of `x` is the product of the two densities, scaled so
//! that its integral is 1: how long the round trip was tells nothing about the offset. It jumps at `x = ±q/2`, where
//! one way would not have queued at all.

use super::belief::{self, Looks, ROOM};
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
    density: Density,
    /// What it says where that matters by itself: closely within its tops, and on both sides of its edges.
    pub(super) looks: Looks,
}

/// A likelihood, whose integral is `norm` times what is worked out.
struct Density {
    /// `None`: uniform within `half` of the middle.
    ways: Option<[Queueing; 2]>,
    middle: f64,
    /// Half of what both ways together have queued, or more. There is an edge so far from the middle on either side:
    /// one of the delays would be no longer than its base.
    half: f64,
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
        let half = delay / 2.0 - scale.base;
        if matches!(kind, Kind::Any) {
            let half = half.max(0.0) + 0.05 * scale.there;
            return Self::looked_at(
                Density { ways: None, middle, half, norm: (1.0 - STRAY) / (2.0 * half) },
                &[(middle, half)],
            );
        }
        let ways = [Queueing::new(k, scale.there, stray), Queueing::new(k, scale.back, stray)];
        let [there, back] = &ways;
        let wide = half.abs() + there.reach().max(back.reach());
        let parts = [
            (middle, wide),
            (middle + half - there.usual(), there.reach()),
            (middle + back.usual() - half, back.reach()),
        ];
        let mut shape = Self::looked_at(Density { ways: Some(ways), middle, half, norm: 1.0 }, &parts);
        let norm = 1.0 / shape.looks.integral().max(f64::MIN_POSITIVE);
        shape.density.norm = norm;
        shape.looks.scale(norm);
        shape
    }

    fn looked_at(density: Density, parts: &[(f64, f64)]) -> Self {
        let edges = [density.middle - density.half, density.middle + density.half];
        let looks = Looks::new(parts, edges, |offsets, values| density.at(offsets, values));
        Self { density, looks }
    }

    /// The densities of this exchange if each of `offsets` is the true one, as many as there are `values`.
    pub(super) fn likelihoods(&self, offsets: &[f64], values: &mut [f64]) {
        self.density.at(offsets, values);
    }
}

impl Density {
    fn at(&self, offsets: &[f64], values: &mut [f64]) {
        match &self.ways {
            Some([there, back]) => {
                values.fill(self.norm);
                there.multiply(values, offsets, self.half + self.middle, -1.0);
                back.multiply(values, offsets, self.half - self.middle, 1.0);
            }
            None => {
                for (value, offset) in values.iter_mut().zip(offsets) {
                    let beyond = ((offset - self.middle).abs() / self.half - 1.0).max(0.0);
                    *value = self.norm * if beyond > 0.0 { STRAY * belief::exp(-beyond) } else { 1.0 };
                }
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

    /// Multiplies each of `values` by the density of `lead` plus or minus the offset beside it, [`ROOM`] at most. One
    /// step after the other for all of them, for each step can then be done for several at a time.
    fn multiply(&self, values: &mut [f64], offsets: &[f64], lead: f64, sign: f64) {
        let mut room = [0.0; ROOM];
        let Some(xs) = room.get_mut(..offsets.len()) else { return };
        let (lead, sign) = (lead * self.per_theta, sign * self.per_theta);
        for (x, offset) in xs.iter_mut().zip(offsets) {
            *x = lead + sign * offset;
        }
        if self.k > 1 {
            return self.multiply_by_powers(values, xs);
        }
        for (value, &x) in values.iter_mut().zip(&*xs) {
            *value *= self.density(x, 1.0);
        }
    }

    /// The same where the density's power has to be worked out.
    fn multiply_by_powers(&self, values: &mut [f64], xs: &[f64]) {
        let mut room = [[0.0; ROOM], [1.0; ROOM]];
        let [squares, powers] = &mut room;
        let (Some(squares), Some(powers)) = (squares.get_mut(..xs.len()), powers.get_mut(..xs.len())) else { return };
        for (square, x) in squares.iter_mut().zip(xs) {
            *square = x.min(NOWHERE);
        }
        let mut left = self.k - 1;
        while left > 0 {
            let is_odd = left & 1 == 1;
            for (power, square) in powers.iter_mut().zip(&mut *squares) {
                *power *= if is_odd { *square } else { 1.0 };
                *square *= *square;
            }
            left >>= 1;
        }
        for ((value, &x), &power) in values.iter_mut().zip(xs).zip(&*powers) {
            *value *= self.density(x, power);
        }
    }

    /// The density of `x`, in θ, whose power of `k - 1` is `power`.
    #[inline(always)]
    fn density(&self, x: f64, power: f64) -> f64 {
        // Whichever side of 0 it lies on, the exponent is the lesser one.
        let tail = belief::exp((-x).min(2.0 * x));
        let rest = 1.0 + x * self.decay;
        let above = self.core * power * tail + self.far / (rest * rest);
        let below = self.below * tail;
        if x > 0.0 { above } else { below }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn likelihood(shape: &Shape, offset: f64) -> f64 {
        let mut value = [0.0];
        shape.likelihoods(&[offset], &mut value);
        value[0]
    }

    #[test]
    fn a_density_is_never_negative_and_its_integral_is_one() {
        for k in [1, 2, 4, 40] {
            let way = Queueing::new(k, 100.0, STRAY);
            let step = 0.5;
            let density = |queued: f64| {
                let mut value = [1.0];
                way.multiply(&mut value, &[queued], 0.0, 1.0);
                value[0]
            };
            let sum: f64 = (-4_000..2_000_000).map(|index| density(f64::from(index) * step) * step).sum();
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
            assert!(likelihood(&shape, 5_000.0) > likelihood(&shape, 25_000.0));
            assert!(likelihood(&shape, 5_000.0) > likelihood(&shape, -15_000.0));
            assert!((likelihood(&shape, 12_000.0) / likelihood(&shape, -2_000.0) - 1.0).abs() < 1e-6, "lopsided");
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
            assert!(likelihood(&shape, 0.0) > 10.0 * likelihood(&shape, 60_000.0), "{kind:?}");
        }
    }
}
