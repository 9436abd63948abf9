//! One hypothesis: offset and frequency as a Gaussian, and how an exchange of a given likelihood changes it.

/// Points at which a likelihood is taken, over the belief and over each of its tops.
const POINTS: usize = 12;

/// How far around the mean a belief is looked at, in standard deviations.
const REACH: f64 = 5.0;

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

    /// Takes in an exchange with this `likelihood` of the offset; returns the density with which it was foreseen.
    ///
    /// The likelihood is looked at all over the belief, and closely within `tops`, pairs of a middle and a reach, so that
    /// none of its narrow tops falls between two points of a wide belief.
    pub(super) fn update(&mut self, tops: &[(f64, f64); 2], likelihood: impl Fn(f64) -> f64) -> f64 {
        let deviation = self.oo.sqrt();
        let (low, high) = (self.offset - REACH * deviation, self.offset + REACH * deviation);
        let mut points = [0.0; 3 * POINTS];
        let whole = (self.offset, REACH * deviation);
        for (part, (middle, reach)) in points.chunks_exact_mut(POINTS).zip([whole, tops[0], tops[1]]) {
            for (index, point) in part.iter_mut().enumerate() {
                let along = 2.0 * (index as f64 + 0.5) / POINTS as f64 - 1.0;
                *point = (middle + reach * along).clamp(low, high);
            }
        }
        points.sort_unstable_by(f64::total_cmp);
        let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
        let mut last: Option<(f64, f64)> = None;
        for point in points {
            let z = (point - self.offset) / deviation;
            let weight = (-0.5 * z * z).exp() * likelihood(point);
            // The trapezoid rule; points held at the ends have no width.
            if let Some((former, former_weight)) = last {
                let width = (z - former) / 2.0;
                total += width * (weight + former_weight);
                first += width * (weight * z + former_weight * former);
                second += width * (weight * z * z + former_weight * former * former);
            }
            last = Some((z, weight));
        }
        let density = total / std::f64::consts::TAU.sqrt();
        if !(density > 0.0 && density.is_finite()) {
            return f64::MIN_POSITIVE;
        }
        let (mean, square) = (first / total, second / total);
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
