//! One hypothesis: offset and frequency as a Gaussian, and how an exchange of a given likelihood changes it.

/// Points at which a likelihood is taken, over the belief and over each of its tops.
const POINTS: usize = 12;

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

    /// Takes in an exchange with this `likelihood` of the offset; returns the density with which it was foreseen.
    ///
    /// The likelihood is looked at all over the belief, on both sides of its two `edges`, where it jumps, and closely
    /// within `tops`, pairs of a middle and a reach, so that none of its narrow tops falls between two points of a wide
    /// belief.
    pub(super) fn update(&mut self, tops: [(f64, f64); 2], edges: [f64; 2], likelihood: impl Fn(f64) -> f64) -> f64 {
        let deviation = self.oo.sqrt();
        let reach = REACH * deviation;
        let ends = (self.offset - reach, self.offset + reach);
        let functions = |x: f64| {
            let z = (x - self.offset) / deviation;
            let weight = exp(-0.5 * z * z) * likelihood(x);
            [weight, weight * z, weight * z * z]
        };
        let moments = if tops.iter().all(|top| top.1 > reach) {
            integrate(&[(self.offset, reach)], edges, ends, functions)
        } else {
            integrate(&[(self.offset, reach), tops[0], tops[1]], edges, ends, functions)
        };
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
/// 2^n times a Taylor series of the rest, which is at most ln √2.
pub(super) fn exp(x: f64) -> f64 {
    let x = x.max(-700.0);
    // To the nearest: a conversion cuts off towards zero.
    let n = (x * std::f64::consts::LOG2_E - 0.5) as i64;
    let r = x - n as f64 * std::f64::consts::LN_2;
    let series = 1.0 + r * (1.0 + r * (1.0 / 2.0 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r / 720.0)))));
    series * f64::from_bits(((1023 + n) as u64) << 52)
}

/// Integrals of three functions between `ends`, looked at closely within `parts`, pairs of a middle and a reach; the
/// functions may jump at `edges`.
pub(super) fn integrate<const PARTS: usize>(
    parts: &[(f64, f64); PARTS],
    edges: [f64; 2],
    ends: (f64, f64),
    functions: impl Fn(f64) -> [f64; 3],
) -> [f64; 3] {
    // Wide enough for doubles, narrow enough for nothing to lie in between.
    let hair = 1e-9 * (ends.1 - ends.0);
    let jumps = edges.into_iter().flat_map(|edge| [edge - hair, edge + hair]);
    let looks = parts.iter().flat_map(|&(middle, reach)| {
        (0..POINTS).map(move |index| middle + reach * (2.0 * (index as f64 + 0.5) / POINTS as f64 - 1.0))
    });
    let mut points = [ends.1; 3 * POINTS + 4];
    let points = &mut points[..PARTS * POINTS + 4];
    for (point, look) in points.iter_mut().zip(looks.chain(jumps)) {
        *point = look.clamp(ends.0, ends.1);
    }
    points.sort_unstable_by(f64::total_cmp);
    // The trapezoid rule; points held at the ends have no width.
    let mut totals = [0.0; 3];
    let mut former = (points[0], functions(points[0]));
    for &mut point in &mut points[1..] {
        let next = (point, functions(point));
        let width = (next.0 - former.0) / 2.0;
        for (total, (a, b)) in totals.iter_mut().zip(next.1.into_iter().zip(former.1)) {
            *total += width * (a + b);
        }
        former = next;
    }
    totals
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
    fn a_gaussian_likelihood_gives_the_kalman_filters_answer() {
        let mut belief = Belief::new(100.0, 30.0, 5.0);
        belief.predict(2.0, 0.0);
        let variance = belief.variance();
        let likelihood = |x: f64| (-0.5 * ((x - 130.0) / 40.0_f64).powi(2)).exp();
        belief.update([(130.0, 1e9); 2], [-1e9, 1e9], likelihood);
        let gain = variance / (variance + 1600.0);
        assert!((belief.offset - (100.0 + gain * 30.0)).abs() < 0.05, "{belief:?}");
        assert!((belief.variance() / ((1.0 - gain) * variance) - 1.0).abs() < 0.02, "{belief:?}");
    }
}
