//! One hypothesis: offset and frequency as a Gaussian, under one shape of jitter and one rate of wander.

/// Points at which a likelihood is taken.
const POINTS: usize = 24;

/// How likely an exchange is to fit no delay model at all.
const OUTLIER: f64 = 0.01;

/// Offset (ns) and frequency (ns/s) with their covariance, at the time of the last exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Belief {
    pub(super) offset: f64,
    pub(super) frequency: f64,
    /// Variances and covariance.
    oo: f64,
    of: f64,
    ff: f64,
}

/// What one exchange says about the offset.
#[derive(Clone, Copy, Debug)]
pub(super) enum Likelihood {
    /// The offset is `middle` ± `half`, distributed as Beta(k, k) over that span.
    Box { middle: f64, half: f64, k: f64, norm: f64 },
    /// Normal about `middle`.
    Normal { middle: f64, variance: f64 },
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

    /// Takes in one exchange; returns how well it was foreseen (a density).
    pub(super) fn update(&mut self, likelihood: &Likelihood) -> f64 {
        let deviation = self.oo.sqrt();
        let (weight, mean, variance, reach) = match *likelihood {
            Likelihood::Normal { middle, variance } => {
                let total = self.oo + variance;
                let gain = self.oo / total;
                let miss = middle - self.offset;
                let density = (-0.5 * miss * miss / total).exp() / (total * std::f64::consts::TAU).sqrt();
                (density, self.offset + gain * miss, self.oo * (1.0 - gain), variance.sqrt() * 2.0)
            }
            Likelihood::Box { middle, half, k, norm } => {
                let (density, mean, variance) = self.meet(middle, half, k, norm, deviation);
                (density, mean, variance, half)
            }
        };
        // An outlier leaves the belief as it is; the mixture of both cases is brought back to one Gaussian.
        let stray = OUTLIER / (10.0 * (reach + deviation));
        let told = (1.0 - OUTLIER) * weight;
        let evidence = told + stray;
        let share = told / evidence;
        let moved = share * (mean - self.offset);
        let spread = share * variance + (1.0 - share) * self.oo + share * (1.0 - share) * (mean - self.offset).powi(2);
        self.set_offset(self.offset + moved, spread);
        evidence
    }

    /// Density of the exchange, and mean and variance of the offset given both.
    fn meet(&self, middle: f64, half: f64, k: f64, norm: f64, deviation: f64) -> (f64, f64, f64) {
        let low = (middle - half).max(self.offset - 6.0 * deviation);
        let high = (middle + half).min(self.offset + 6.0 * deviation);
        if low >= high {
            return (0.0, self.offset, self.oo);
        }
        let step = (high - low) / POINTS as f64;
        let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
        for index in 0..POINTS {
            let x = low + (index as f64 + 0.5) * step;
            let z = (x - self.offset) / deviation;
            let u = (x - middle) / half;
            let shape = if k == 1.0 { 1.0 } else { (1.0 - u * u).powf(k - 1.0) };
            let weight = (-0.5 * z * z).exp() * shape;
            total += weight;
            first += weight * z;
            second += weight * z * z;
        }
        if total <= 0.0 {
            return (0.0, self.offset, self.oo);
        }
        let (mean, square) = (first / total, second / total);
        let density = total * step * norm / (half * deviation * std::f64::consts::TAU.sqrt());
        // The width of a step is the least that the sum can resolve.
        let variance = ((square - mean * mean) * self.oo).max(step * step / 12.0);
        (density, self.offset + mean * deviation, variance)
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
