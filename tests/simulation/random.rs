//! Randomness that is the same for the same seed, on every machine.
//!
//! SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): any seed will do.

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own, so that what one part of the world draws leaves the others alone.
    pub(super) fn split(&mut self) -> Self {
        Self(self.next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Uniform in (0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[(self.unit() * choices.len() as f64) as usize]
    }

    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }

    /// The sum of `shape` exponentials: the bigger the shape, the more bell-like.
    pub(super) fn gamma(&mut self, shape: u32, mean: f64) -> f64 {
        (0..shape).map(|_| self.exponential(mean / f64::from(shape))).sum()
    }

    /// At least 0, mostly below `scale`, and without a mean if `alpha` is at most 1.
    pub(super) fn heavy_tailed(&mut self, scale: f64, alpha: f64) -> f64 {
        scale * (self.unit().powf(-1.0 / alpha) - 1.0)
    }

    /// Standard normal (Box and Muller).
    pub(super) fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[test]
fn the_moments_are_as_named() {
    let mut random = Random::new(7);
    let mut mean = |draw: fn(&mut Random) -> f64| (0..100_000).map(|_| draw(&mut random)).sum::<f64>() / 1e5;
    assert!((mean(Random::unit) - 0.5).abs() < 0.01);
    assert!((mean(|random| random.exponential(3.0)) - 3.0).abs() < 0.05);
    assert!((mean(|random| random.gamma(4, 3.0)) - 3.0).abs() < 0.05);
    assert!(mean(Random::normal).abs() < 0.02);
    assert!((mean(|random| random.normal().powi(2)) - 1.0).abs() < 0.03);
}
