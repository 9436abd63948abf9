//! One hypothesis: offset and frequency as a Gaussian, and how an exchange of a given likelihood changes it.

/// Points at which a likelihood is taken.
const POINTS: usize = 28;

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

    /// Takes in an exchange with this `likelihood` of the offset, which is near zero outside of `span`; returns the
    /// density with which it was foreseen.
    pub(super) fn update(&mut self, span: (f64, f64), likelihood: impl Fn(f64) -> f64) -> f64 {
        let deviation = self.oo.sqrt();
        let (mut low, mut high) = (self.offset - REACH * deviation, self.offset + REACH * deviation);
        if span.0 < high && low < span.1 {
            (low, high) = (low.max(span.0), high.min(span.1));
        }
        let step = (high - low) / POINTS as f64;
        let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
        for index in 0..POINTS {
            let x = low + (index as f64 + 0.5) * step;
            let z = (x - self.offset) / deviation;
            let weight = (-0.5 * z * z).exp() * likelihood(x);
            total += weight;
            first += weight * z;
            second += weight * z * z;
        }
        let density = total * step / (deviation * std::f64::consts::TAU.sqrt());
        if !(total > 0.0 && density.is_finite()) {
            return f64::MIN_POSITIVE;
        }
        let (mean, square) = (first / total, second / total);
        // The width of a step is the least that the sum can resolve.
        let variance = ((square - mean * mean) * self.oo).max(step * step / 12.0);
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
