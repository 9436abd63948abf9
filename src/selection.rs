//! Who tells the truth: from the sources' testimonies to one interval, and to the sources that agree with it.
//!
//! Of `n` configured sources at most `f` lie; `r` of them answer. The truth is covered by at least `r - f` of the
//! answering ones, so the hull of what `r - f` cover holds it (Marzullo). Where nothing is covered by so many, more
//! than `f` lie: the hull of what a strict majority of `n` covers is taken, and said to be so. Where `r <= f`, or
//! there is no such majority, there is no agreement, and the clock is in holdover.

#[expect(clippy::indexing_slicing, reason = "an index counts voices, and every list has an entry for each of them")]
pub(crate) mod cluster;
pub(crate) mod khronos;
pub(crate) mod marzullo;

use crate::exchange::Interval;
use crate::model::bound::{FrequencyRange, Witness};
use crate::units::{Nanos, Ppb};

/// What enough witnesses agree on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Agreement {
    /// What must be so if no more of them lie than may.
    pub(crate) told: Witness,
    /// The largest number of witnesses that have one point in common.
    pub(crate) agreeing: usize,
    /// More than `f` sources lie: this rests on a strict majority of all that are configured.
    pub(crate) faults_exceeded: bool,
}

impl Agreement {
    /// By how much `witness` misses what was agreed on; `None` if it covers a part of it.
    pub(crate) fn missed_by(&self, witness: &Witness) -> Option<Nanos> {
        let gap = (witness.offset.low - self.told.offset.high).max(self.told.offset.low - witness.offset.high);
        (gap > Nanos::ZERO).then_some(gap)
    }
}

/// Why there is no agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disagreement {
    /// No more sources answer than may lie.
    TooFew,
    /// Neither n - f nor a majority of the sources have a point in common.
    NoMajority,
}

/// What the answering `witnesses` agree on, of `configured` sources of which at most `faults` lie.
pub(crate) fn agree(witnesses: &[Witness], configured: usize, faults: usize) -> Result<Agreement, Disagreement> {
    let answering = witnesses.len();
    if answering <= faults {
        return Err(Disagreement::TooFew);
    }
    let agreeing = deepest(witnesses);
    let horizon = witnesses.iter().map(|witness| witness.horizon).min().unwrap_or(Nanos::ZERO);
    let told_by = |quorum, faults_exceeded| {
        let told = Witness { offset: offsets(witnesses, quorum)?, frequency: frequencies(witnesses, quorum), horizon };
        Some(Agreement { told, agreeing, faults_exceeded })
    };
    // Where more lie than may, fewer than a majority may tell the truth about the frequency as well.
    told_by(answering - faults, false).or_else(|| told_by(configured / 2 + 1, true)).ok_or(Disagreement::NoMajority)
}

/// How many witnesses the best-covered point has.
pub(crate) fn deepest(witnesses: &[Witness]) -> usize {
    (1..=witnesses.len()).rev().find(|&quorum| offsets(witnesses, quorum).is_some()).unwrap_or(0)
}

/// The hull of the offsets that `quorum` witnesses cover.
fn offsets(witnesses: &[Witness], quorum: usize) -> Option<Interval> {
    let ends: Vec<(Nanos, Nanos)> = witnesses.iter().map(|w| (w.offset.low, w.offset.high)).collect();
    marzullo::hull(&ends, quorum).map(|(low, high)| Interval::new(low, high))
}

/// The hull of the frequencies that `quorum` witnesses cover; if there is none, of all that any covers:
/// the offsets agree, so this is a wide truth rather than none.
fn frequencies(witnesses: &[Witness], quorum: usize) -> FrequencyRange {
    let ends: Vec<(f64, f64)> = witnesses.iter().map(|w| (w.frequency.low.0, w.frequency.high.0)).collect();
    let (low, high) = marzullo::hull(&ends, quorum)
        .or_else(|| marzullo::hull(&ends, 1))
        .unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    FrequencyRange { low: Ppb(low), high: Ppb(high) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness(low: i64, high: i64) -> Witness {
        let frequency = FrequencyRange::unknown(Ppb(1000.0));
        Witness { offset: Interval::new(Nanos(low), Nanos(high)), frequency, horizon: Nanos::from_seconds(24) }
    }

    fn agreed(witnesses: &[Witness], configured: usize, faults: usize) -> Option<(i64, i64, bool)> {
        let agreement = agree(witnesses, configured, faults).ok()?;
        Some((agreement.told.offset.low.0, agreement.told.offset.high.0, agreement.faults_exceeded))
    }

    #[test]
    fn one_source_alone_is_believed() {
        assert_eq!(agreed(&[witness(1, 5)], 1, 0), Some((1, 5, false)));
    }

    #[test]
    fn of_two_servers_one_may_be_dead() {
        assert_eq!(agreed(&[witness(1, 5)], 2, 0), Some((1, 5, false)));
    }

    #[test]
    fn one_liar_of_three_is_outvoted_and_the_report_says_so() {
        let witnesses = [witness(0, 10), witness(5_000, 5_010), witness(5, 15)];
        assert_eq!(agreed(&witnesses, 3, 0), Some((5, 10, true)));
        let agreement = agree(&witnesses, 3, 0).unwrap();
        assert_eq!(witnesses.map(|w| agreement.missed_by(&w)), [None, Some(Nanos(4_990)), None]);
    }

    #[test]
    fn one_liar_of_four_was_to_be_expected() {
        let witnesses = [witness(0, 10), witness(5_000, 5_010), witness(5, 15), witness(2, 9)];
        assert_eq!(agreed(&witnesses, 4, 1), Some((5, 9, false)));
    }

    #[test]
    fn no_more_answers_than_possible_liars_are_no_agreement() {
        assert_eq!(agree(&[witness(0, 1)], 4, 1), Err(Disagreement::TooFew));
        assert_eq!(agree(&[], 1, 0), Err(Disagreement::TooFew));
    }

    #[test]
    fn two_that_are_both_possible_do_not_agree() {
        // Two of four are silent and one of all may lie: the hull spans both that answer, and neither backs the other.
        let agreement = agree(&[witness(0, 1), witness(500, 501)], 4, 1).unwrap();
        assert_eq!((agreement.told.offset, agreement.agreeing), (Interval::new(Nanos(0), Nanos(501)), 1));
    }

    #[test]
    fn two_that_contradict_each_other_are_no_majority() {
        assert_eq!(agree(&[witness(0, 1), witness(5, 6)], 2, 0), Err(Disagreement::NoMajority));
        // Two of four are no majority of the configured either.
        assert_eq!(
            agree(&[witness(0, 1), witness(0, 1), witness(5, 6), witness(8, 9)], 4, 1),
            Err(Disagreement::NoMajority)
        );
    }
}
