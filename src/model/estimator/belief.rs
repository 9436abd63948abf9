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
        let known = known.between(self.offset - REACH * deviation, self.offset + REACH * deviation);
        let scale = 1.0 / deviation;
        let known = Weighed::<ROOM>::new(known, |point| (point - self.offset) * scale);
        let own = Weighed::<POINTS>::new((&grid(0.0, REACH), &told), |z| z);
        let moments = known.moments_with(&own);
        let density = moments[0] / std::f64::consts::TAU.sqrt();
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

/// A function times a belief's density, but for its height, at `count` points in ascending order; at most `N`.
struct Weighed<const N: usize> {
    /// The points, in standard deviations from the mean.
    zs: [f64; N],
    values: [f64; N],
    count: usize,
}

impl<const N: usize> Weighed<N> {
    /// From points of any unit and the function's values there, as many as there is room for.
    fn new((points, values): (&[f64], &[f64]), z: impl Fn(f64) -> f64) -> Self {
        let count = points.len().min(N);
        let mut weighed = Self { zs: [0.0; N], values: [0.0; N], count };
        let (zs, weights) = (&mut weighed.zs[..count], &mut weighed.values[..count]);
        for (place, point) in zs.iter_mut().zip(points) {
            *place = z(*point);
        }
        for ((weight, z), value) in weights.iter_mut().zip(zs).zip(values) {
            *weight = value * exp(-0.5 * *z * *z);
        }
        weighed
    }

    /// In the order of the points.
    fn pairs(&self) -> impl Iterator<Item = (f64, f64)> {
        self.zs[..self.count].iter().copied().zip(self.values[..self.count].iter().copied())
    }

    /// The integrals over z, by the trapezoid rule over the points of both, of the function, of z times it and of z²
    /// times it.
    fn moments_with<const M: usize>(&self, other: &Weighed<M>) -> [f64; 3] {
        let mut moments = Moments::default();
        let mut ours = self.pairs().peekable();
        for their in other.pairs() {
            while let Some(our) = ours.next_if(|our| our.0 <= their.0) {
                moments.add(our);
            }
            moments.add(their);
        }
        ours.for_each(|our| moments.add(our));
        moments.end()
    }
}

/// Twice the first three moments of a function so far, but for its last point.
#[derive(Default)]
struct Moments {
    sums: [f64; 3],
    /// The last point and the function there, and the point before.
    last: Option<(f64, f64)>,
    before: f64,
}

impl Moments {
    fn add(&mut self, (z, value): (f64, f64)) {
        let Some((last, former)) = self.last.replace((z, value)) else {
            self.before = z;
            return;
        };
        let mut term = former * (z - self.before);
        for sum in &mut self.sums {
            *sum += term;
            term *= last;
        }
        self.before = last;
    }

    fn end(mut self) -> [f64; 3] {
        self.last.into_iter().for_each(|end| self.add(end));
        self.sums.map(|sum| sum / 2.0)
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
    let series =
        1.0 + r * (1.0 + r * (1.0 / 2.0 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    series * f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52)
}

/// The most points at which a function is known: three parts of a likelihood and both sides of its edges.
pub(super) const ROOM: usize = 3 * POINTS + 4;

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

    /// Those within two ends: points and values.
    fn between(&self, low: f64, high: f64) -> (&[f64], &[f64]) {
        let points = &self.points[..self.length];
        let first = points.partition_point(|&point| point <= low);
        let last = points.partition_point(|&point| point < high).max(first);
        (&points[first..last], &self.values[first..last])
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

    /// The function's integral, by the trapezoid rule.
    pub(super) fn integral(&self) -> f64 {
        let (points, values) = (&self.points[..self.length], &self.values[..self.length]);
        let pairs = points.windows(2).zip(values.windows(2));
        pairs.map(|(ends, values)| 0.5 * (ends[1] - ends[0]) * (values[0] + values[1])).sum()
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
                let points = &looks.points[..looks.length];
                assert!(points.windows(2).all(|pair| pair[0] <= pair[1]), "{points:?}");
                let (first, last) = (points[0], points[points.len() - 1]);
                assert!((last - first).is_infinite() || (looks.integral() / 2.0 / (last - first) - 1.0).abs() < 1e-9);
                for (low, high) in [(-100.0, 100.0), (-4.0, 3.0), (0.01, 0.02), (5.0, 5.0), (9.0, 8.0)] {
                    let (within, _) = looks.between(low, high);
                    let expected: Vec<f64> = points.iter().copied().filter(|&at| low < at && at < high).collect();
                    assert_eq!(within, expected);
                }
            }
        }
    }

    #[test]
    fn moments_are_those_of_one_function_wherever_its_points_come_from() {
        // All points of ±4 in one, and every other in each of two.
        let zs: Vec<f64> = (0..34).map(|index| f64::from(index) * 8.0 / 33.0 - 4.0).collect();
        let weighed = |zs: &[f64]| Weighed::<ROOM>::new((zs, &vec![1.0; zs.len()]), |z| z);
        let [odd, even]: [Vec<f64>; 2] = [1, 0].map(|first| zs.iter().copied().skip(first).step_by(2).collect());
        let whole = weighed(&zs).moments_with(&weighed(&[]));
        for parts in [[&odd, &even], [&even, &odd], [&vec![], &zs]] {
            let moments = weighed(parts[0]).moments_with(&weighed(parts[1]));
            for ((one, other), of_a_gaussian) in moments.iter().zip(whole).zip([1.0, 0.0, 1.0]) {
                assert!((one - other).abs() < 1e-12, "{moments:?} {whole:?}");
                assert!((one / std::f64::consts::TAU.sqrt() - of_a_gaussian).abs() < 0.01, "{moments:?}");
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
