//! A look beyond the servers that are polled, in the spirit of Khronos (RFC 9523).
//!
//! Whoever owns all the servers that a client polls owns its time, and no vote among them shows it. But a pool has many
//! servers, and whoever owns a few does not own most. So from time to time a random sample of the others is asked once.
//! The third of them with the lowest time and the third with the highest are dropped: as long as less than a third of
//! the sample lies, what is left is not lower than some honest server's time and not higher than another's. If the rest
//! does not back what the polled servers agree on, something is wrong; if another sample says the same, it is with
//! them.

use crate::exchange::Interval;

/// A smaller sample is no opinion.
pub(crate) const SAMPLE_MIN: usize = 6;

/// Whether a `sample` of others backs `ours`: most of what is left when the extremes are dropped can be true together
/// with it. `None` if too few have answered.
pub(crate) fn backs(sample: &[Interval], ours: Interval) -> Option<bool> {
    if sample.len() < SAMPLE_MIN {
        return None;
    }
    let mut sample = sample.to_vec();
    sample.sort_unstable_by_key(|interval| interval.low.0.midpoint(interval.high.0));
    let dropped = sample.len() / 3;
    let left = sample.len() - 2 * dropped;
    let rest = sample.iter().skip(dropped).take(left);
    Some(rest.filter(|interval| interval.overlaps(ours)).count() * 2 > left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Nanos;

    fn at(middle: i64) -> Interval {
        Interval::new(Nanos(middle - 10), Nanos(middle + 10))
    }

    #[test]
    fn a_third_of_the_sample_may_lie_whichever_way() {
        for liars in 0..=3 {
            for lie in [-1_000, 1_000] {
                let sample: Vec<_> = (0..9).map(|place| at(if place < liars { lie } else { 5 })).collect();
                assert_eq!(backs(&sample, at(0)), Some(true), "{liars} {lie}");
                assert_eq!(backs(&sample, at(lie)), Some(false), "{liars} {lie}");
            }
        }
        // However the liars disagree.
        let sample: Vec<_> = [-900, -800, 900, 5, 4, 3, 2, 1, 0].map(at).into();
        assert_eq!((backs(&sample, at(0)), backs(&sample, at(900))), (Some(true), Some(false)));
    }

    #[test]
    fn few_are_no_opinion() {
        assert_eq!(backs(&[at(0); 5], at(0)), None);
        assert_eq!(backs(&[at(0); 6], at(0)), Some(true));
    }
}
