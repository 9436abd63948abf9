//! The likeliest offset and frequency: a weighted line through the exchanges of one source.
//!
//! Offset `y` of each exchange against its time `x`, weighted by how much longer its round trip was than
//! the shortest: queueing only ever adds delay, and half of what it adds is the most it can move the offset
//! (so `σ ∝ scale + excess / 2`). Frequency has a prior of zero with a standard deviation of `PRIOR`, so that a few
//! exchanges close together do not invent one. Weighted least squares with a ridge (Tikhonov, 1963).

use crate::units::{Counter, Nanos, Ppb};

/// What the raw counter's frequency error typically is; crystals, ±30 ppm.
const PRIOR: Ppb = Ppb::from_ppm(30.0);

/// The least noise assumed of a timestamp.
const GRAIN: Nanos = Nanos(200);

/// One exchange as the estimator sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Counter,
    pub(crate) offset: Nanos,
    pub(crate) delay: Nanos,
}

/// A line: UTC minus counter is `offset` at `at` and gains by `frequency`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    pub(crate) at: Counter,
    pub(crate) offset: Nanos,
    pub(crate) frequency: Ppb,
    /// Root mean square of the weighted residuals: a statistical figure, not a bound.
    pub(crate) jitter: Nanos,
}

impl Estimate {
    /// The line's value at `now`.
    pub(crate) fn offset_at(&self, now: Counter) -> Nanos {
        self.offset + (now - self.at).gain(self.frequency)
    }
}

/// The line through `samples` (oldest first); `None` without any.
pub(crate) fn estimate(samples: &[Sample]) -> Option<Estimate> {
    let newest = samples.last()?;
    let shortest = samples.iter().map(|sample| sample.delay).min()?;
    let mut excesses: Vec<f64> = samples.iter().map(|sample| (sample.delay - shortest).as_f64() / 2.0).collect();
    excesses.sort_by(f64::total_cmp);
    let scale = excesses[excesses.len() / 2] / 2.0 + GRAIN.as_f64();

    // Relative to the newest: seconds and nanoseconds, which doubles hold exactly enough.
    let point = |sample: &Sample| {
        let sigma = scale + (sample.delay - shortest).as_f64() / 2.0;
        let x = (sample.at - newest.at).as_f64() * 1e-9;
        (x, (sample.offset - newest.offset).as_f64(), (scale / sigma).powi(2))
    };
    let (mut w, mut wx, mut wy, mut wxx, mut wxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (x, y, weight) in samples.iter().map(point) {
        w += weight;
        wx += weight * x;
        wy += weight * y;
        wxx += weight * x * x;
        wxy += weight * x * y;
    }
    let (mean_x, mean_y) = (wx / w, wy / w);
    let ridge = (scale / PRIOR.0).powi(2);
    let slope = (wxy - wx * mean_y) / (wxx - wx * mean_x + ridge);
    let residual = |(x, y, weight): (f64, f64, f64)| weight * (y - mean_y - slope * (x - mean_x)).powi(2);
    let spread = (samples.iter().map(point).map(residual).sum::<f64>() / w).sqrt();
    Some(Estimate {
        at: newest.at,
        offset: newest.offset + Nanos((mean_y - slope * mean_x).round() as i64),
        frequency: Ppb(slope),
        jitter: Nanos::from_f64_outward(spread.max(GRAIN.as_f64())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One sample every 16 s of a clock that gains `ppb`; `excess` is queued on the way back.
    fn samples(ppb: i64, excess: impl Fn(i64) -> i64) -> Vec<Sample> {
        let sample = |k: i64| Sample {
            at: Counter(16_000_000_000 * k),
            offset: Nanos(1_700_000_000_000_000_000 + 16 * k * ppb - excess(k) / 2),
            delay: Nanos(100_000 + excess(k)),
        };
        (0..16).map(sample).collect()
    }

    #[test]
    fn a_steady_oscillator_is_found_to_the_nanosecond() {
        let line = estimate(&samples(-12_345, |_| 0)).unwrap();
        assert!((line.frequency.0 + 12_345.0).abs() < 0.01, "{line:?}");
        assert_eq!(line.offset, Nanos(1_700_000_000_000_000_000 - 16 * 15 * 12_345));
        assert_eq!(line.offset_at(line.at + Nanos::from_seconds(100)), line.offset + Nanos(-1_234_500));
    }

    #[test]
    fn queueing_on_one_way_hardly_moves_the_line() {
        let quiet = estimate(&samples(5_000, |_| 0)).unwrap();
        let queued = estimate(&samples(5_000, |k| if k % 3 == 0 { 4_000_000 } else { 0 })).unwrap();
        assert!((quiet.offset - queued.offset).abs() < Nanos(20_000), "{queued:?}");
        assert!((queued.frequency.0 - 5_000.0).abs() < 500.0, "{queued:?}");
    }

    #[test]
    fn one_sample_has_an_offset_and_no_frequency() {
        let line = estimate(&samples(5_000, |_| 0)[..1]).unwrap();
        assert_eq!((line.offset, line.frequency), (Nanos(1_700_000_000_000_000_000), Ppb(0.0)));
        assert!(estimate(&[]).is_none());
    }
}
