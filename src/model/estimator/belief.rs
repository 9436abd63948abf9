//! One hypothesis: offset and frequency as a Gaussian, and how an exchange of a given likelihood changes it.

/// Points at which a likelihood is taken, over the belief and over each of its tops.
const POINTS: usize = 10;

/// How far around the mean a belief is looked at, in standard deviations.
const REACH: f64 = 4.0;

/// Offset (ns) and frequency (ns/s) with their covariance, at the time of the last exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Belief {
    pub(super) offset: f64,
    pub(super) frequency: f64,
    oo: f64,
    of: f64,
    ff: f64,
}

impl Belief {
    pub(super) fn new(offset: f64, deviation: f64, frequency_deviation: f64) -> Self {
        let square = |x: f64| x * x;
        Self { offset, frequency: 0.0, oo: square(deviation), of: 0.0, ff: square(frequency_deviation) }
    }

    /// Lets `dt` seconds pass; the frequency walks at `wander` (ns/s per √s).
    pub(super) fn predict(&mut self, dt: f64, wander: f64) {
        let q = wander * wander;
        self.offset += self.frequency * dt;
        self.oo += dt * (2.0 * self.of + dt * self.ff) + q * dt * dt * dt / 3.0;
        self.of += dt * self.ff + q * dt * dt / 2.0;
        self.ff += q * dt;
    }

    pub(super) fn variance(&self) -> f64 {
        self.oo
    }

    pub(super) fn frequency_variance(&self) -> f64 {
        self.ff
    }

    /// Takes in an exchange of which the likelihood of an offset is known; returns the density with which it was
    /// foreseen.
    ///
    /// The likelihood is `known` at the points that matter by themselves, its tops and edges, so that none of them
    /// falls between two points of a wide belief; `likelihood` tells it at further ones, all over the belief.
    pub(super) fn update(&mut self, known: &Looks, likelihood: impl Fn(&[f64], &mut [f64])) -> f64 {
        let deviation = self.oo.sqrt();
        let own = grid(self.offset, REACH * deviation);
        let mut told = [0.0; POINTS];
        likelihood(&own, &mut told);
        let mut looks = known.between(self.offset - REACH * deviation, self.offset + REACH * deviation);
        looks.merge(&own, &told);
        let mut zs = [0.0; ROOM];
        let scale = 1.0 / deviation;
        let (points, weights) = looks.parts();
        for ((z, weight), point) in zs.iter_mut().zip(weights).zip(points) {
            *z = (point - self.offset) * scale;
            *weight *= exp(-0.5 * *z * *z);
        }
        let mut moments = [0.0; 3];
        for (z, weight) in zs.iter().zip(looks.weighed()) {
            let first = weight * z;
            moments[0] += weight;
            moments[1] += first;
            moments[2] += first * z;
        }
        let density = moments[0] / (deviation * std::f64::consts::TAU.sqrt());
        if !(density > 0.0 && density.is_finite()) {
            return f64::MIN_POSITIVE;
        }
        let (mean, square) = (moments[1] / moments[0], moments[2] / moments[0]);
        // A sum of finite steps cannot resolve less.
        let variance = (square - mean * mean).max(1e-6) * self.oo;
        self.set_offset(self.offset + mean * deviation, variance);
        density.max(f64::MIN_POSITIVE)
    }

    /// Replaces mean and variance of the offset; the frequency follows by their covariance.
    fn set_offset(&mut self, offset: f64, variance: f64) {
        let gain = self.of / self.oo;
        let ratio = variance / self.oo;
        self.frequency += gain * (offset - self.offset);
        self.ff -= gain * self.of * (1.0 - ratio);
        self.of *= ratio;
        self.offset = offset;
        self.oo = variance;
    }
}

/// e^x for x <= 0, to 1 part in 10^7: a filter looks at thousands of points for one exchange.
///
/// 2^n times a Taylor series of the rest, which is at most ln √2. Without branches and conversions, so that several are
/// worked out at a time: a number of 2^52 and a half has no room for fractions, and what is added to it stands, to the
/// nearest, in its low bits.
#[inline(always)]
pub(super) fn exp(x: f64) -> f64 {
    const ROUNDER: f64 = 1.5 * (1_u64 << 52) as f64;
    let x = if x > -700.0 { x } else { -700.0 };
    let rounded = x * std::f64::consts::LOG2_E + ROUNDER;
    let r = x - (rounded - ROUNDER) * std::f64::consts::LN_2;
    let series = 1.0 + r * (1.0 + r * (1.0 / 2.0 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r / 720.0)))));
    series * f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52)
}

/// The most points at which a function is known: three parts of a likelihood and both sides of its edges, and a belief.
pub(super) const ROOM: usize = 4 * POINTS + 4;

/// A function at points, which are in ascending order.
#[derive(Clone, Copy)]
pub(super) struct Looks {
    points: [f64; ROOM],
    values: [f64; ROOM],
    length: usize,
}

/// Points all over `reach` on both sides of `middle`.
fn grid(middle: f64, reach: f64) -> [f64; POINTS] {
    std::array::from_fn(|index| middle + reach * (2.0 * (index as f64 + 0.5) / POINTS as f64 - 1.0))
}

impl Looks {
    /// A `function` where it matters: all over `parts`, up to three pairs of a middle and a reach, and on both sides of
    /// its `edges`, where it jumps.
    pub(super) fn new(parts: &[(f64, f64)], edges: [f64; 2], function: impl Fn(&[f64], &mut [f64])) -> Self {
        // Wide enough for doubles, narrow enough for nothing to lie in between.
        let hair = 1e-9 * parts.iter().map(|part| part.1).fold(0.0, f64::max);
        let mut jumps = [edges[0] - hair, edges[0] + hair, edges[1] - hair, edges[1] + hair];
        jumps.sort_unstable_by(f64::total_cmp);
        let mut looks = Self { points: [0.0; ROOM], values: [0.0; ROOM], length: jumps.len() };
        looks.points[..jumps.len()].copy_from_slice(&jumps);
        for &(middle, reach) in parts {
            looks.merge(&grid(middle, reach), &[0.0; POINTS]);
        }
        let (points, values) = looks.parts();
        function(points, values);
        looks
    }

    /// Those within two ends.
    fn between(&self, low: f64, high: f64) -> Self {
        let points = &self.points[..self.length];
        let first = points.partition_point(|&point| point <= low);
        let last = points.partition_point(|&point| point < high).max(first);
        let mut within = Self { points: [0.0; ROOM], values: [0.0; ROOM], length: last - first };
        within.points[..last - first].copy_from_slice(&points[first..last]);
        within.values[..last - first].copy_from_slice(&self.values[first..last]);
        within
    }

    /// Puts in further points, which are in ascending order, and the values there.
    fn merge(&mut self, points: &[f64; POINTS], values: &[f64; POINTS]) {
        let (mut ours, mut theirs) = (self.length, POINTS);
        self.length += POINTS;
        // From the highest down, in place.
        for place in (0..self.length).rev() {
            if theirs == 0 {
                return;
            }
            if ours > 0 && self.points[ours - 1] > points[theirs - 1] {
                ours -= 1;
                (self.points[place], self.values[place]) = (self.points[ours], self.values[ours]);
            } else {
                theirs -= 1;
                (self.points[place], self.values[place]) = (points[theirs], values[theirs]);
            }
        }
    }

    /// The points, and the values there.
    fn parts(&mut self) -> (&[f64], &mut [f64]) {
        (&self.points[..self.length], &mut self.values[..self.length])
    }

    /// Multiplies the values by `factor`.
    pub(super) fn scale(&mut self, factor: f64) {
        self.parts().1.iter_mut().for_each(|value| *value *= factor);
    }

    /// What each value adds to the integral, by the trapezoid rule.
    fn weighed(&self) -> impl Iterator<Item = f64> {
        let (points, values) = (&self.points[..self.length], &self.values[..self.length]);
        let last = self.length.saturating_sub(1);
        (0..self.length).map(move |index| {
            let width = points[(index + 1).min(last)] - points[index.saturating_sub(1)];
            0.5 * width * values[index]
        })
    }

    /// The function's integral.
    pub(super) fn integral(&self) -> f64 {
        self.weighed().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_exponential_is_good_to_seven_digits() {
        for step in 0..70_000 {
            let x = -f64::from(step) * 0.01;
            assert!((exp(x) / x.exp() - 1.0).abs() < 2e-7, "{x}");
        }
        assert!(exp(-1e300) >= 0.0 && exp(f64::NEG_INFINITY) < 1e-300);
    }

    #[test]
    fn looks_are_in_order_wherever_parts_and_edges_lie() {
        let parts = [(0.0, 4.0), (3.0, 0.1), (-9.0, 2.0)];
        let constant = |_: &[f64], values: &mut [f64]| values.fill(2.0);
        for edges in [[-1.0, 1.0], [1.0, -1.0], [2.0, 2.0], [-50.0, 50.0], [f64::NEG_INFINITY, f64::INFINITY]] {
            for count in [1, 3] {
                let looks = Looks::new(&parts[..count], edges, constant);
                assert_eq!(looks.length, count * POINTS + 4);
                for (low, high) in [(-100.0, 100.0), (-4.0, 3.0), (0.01, 0.02), (5.0, 5.0), (9.0, 8.0)] {
                    let mut looks = looks.between(low, high);
                    looks.merge(&grid(0.0, 4.0), &[2.0; POINTS]);
                    let points = &looks.points[..looks.length];
                    assert!(points.windows(2).all(|pair| pair[0] <= pair[1]), "{points:?}");
                    let (first, last) = (points[0], points[points.len() - 1]);
                    assert!((looks.integral() - 2.0 * (last - first)).abs() < 1e-9 * (1.0 + last - first));
                }
            }
        }
    }

    #[test]
    fn a_gaussian_likelihood_gives_the_kalman_filters_answer() {
        let mut belief = Belief::new(100.0, 30.0, 5.0);
        belief.predict(2.0, 0.0);
        let variance = belief.variance();
        let likelihood = |points: &[f64], values: &mut [f64]| {
            for (value, x) in values.iter_mut().zip(points) {
                *value = (-0.5 * ((x - 130.0) / 40.0_f64).powi(2)).exp();
            }
        };
        belief.update(&Looks::new(&[(130.0, 1e9)], [-1e9, 1e9], likelihood), likelihood);
        let gain = variance / (variance + 1600.0);
        assert!((belief.offset - (100.0 + gain * 30.0)).abs() < 0.05, "{belief:?}");
        assert!((belief.variance() / ((1.0 - gain) * variance) - 1.0).abs() < 0.02, "{belief:?}");
    }
}
