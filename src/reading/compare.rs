//! Which of two readings is of the earlier instant, and whether an instant has certainly passed.
//!
//! A reading says that UTC was in its interval. Of two instants the one whose interval lies wholly below the other's
//! was the earlier one; where the intervals overlap nobody can say, whatever the two times look like.

use super::Reading;

/// How two intervals lie. The numbers are the C API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Relation {
    /// The first is certainly of an earlier instant.
    Before = -1,
    /// It cannot be told, or nothing is known of one of them.
    Overlap = 0,
    /// The first is certainly of a later instant.
    After = 1,
}

impl Relation {
    /// How `[earliest, latest]` lies to `[other_earliest, other_latest]`, ns; an unknown end is that of the range.
    ///
    /// Any numbers have an answer, and exchanging the two turns it round: ends that are the wrong way round overlap
    /// with whatever they would be both before and after.
    pub(crate) fn of(earliest: i64, latest: i64, other_earliest: i64, other_latest: i64) -> Self {
        match (latest < other_earliest, earliest > other_latest) {
            (true, false) => Self::Before,
            (false, true) => Self::After,
            _ => Self::Overlap,
        }
    }
}

impl Reading {
    /// Whether this reading is certainly of an earlier or of a later instant than `other`, of whatever clock or host.
    pub fn compare(&self, other: &Self) -> Relation {
        Relation::of(self.earliest_ns, self.latest_ns, other.earliest_ns, other.latest_ns)
    }

    /// Whether UTC was certainly after `unix_ns`.
    pub fn is_after(&self, unix_ns: i64) -> bool {
        self.earliest_ns > unix_ns
    }

    /// Whether UTC was certainly before `unix_ns`.
    pub fn is_before(&self, unix_ns: i64) -> bool {
        self.latest_ns < unix_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publication::page::Page;
    use crate::publication::page::WORDS;
    use crate::sys::ticks::Tick;
    use crate::units::UnixTime;

    /// A reading of which only the interval matters.
    fn reading(earliest_ns: i64, latest_ns: i64) -> Reading {
        let blank = Reading::new(&Page::from_words(&[0; WORDS]), Tick(0), 0, || UnixTime(0));
        Reading { earliest_ns, latest_ns, ..blank }
    }

    #[test]
    fn intervals_that_do_not_meet_are_before_or_after_and_others_overlap() {
        let at = |earliest, latest| reading(earliest, latest);
        assert_eq!(at(10, 20).compare(&at(21, 30)), Relation::Before);
        assert_eq!(at(21, 30).compare(&at(10, 20)), Relation::After);
        for (earliest, latest) in [(20, 30), (0, 10), (12, 13), (0, 40), (10, 20)] {
            assert_eq!(at(10, 20).compare(&at(earliest, latest)), Relation::Overlap, "{earliest} {latest}");
        }
    }

    #[test]
    fn what_is_unknown_overlaps_with_everything() {
        let unknown = reading(i64::MIN, i64::MAX);
        for (earliest, latest) in [(10, 20), (i64::MIN, i64::MIN), (i64::MAX, i64::MAX), (i64::MIN, i64::MAX)] {
            assert_eq!(unknown.compare(&reading(earliest, latest)), Relation::Overlap);
            assert_eq!(reading(earliest, latest).compare(&unknown), Relation::Overlap);
        }
        assert!(!unknown.is_after(i64::MIN) && !unknown.is_before(i64::MAX));
    }

    #[test]
    fn a_comparison_has_an_answer_for_any_numbers_and_turns_round_with_its_operands() {
        let ends = [i64::MIN, i64::MIN + 1, -5, 0, 5, 6, i64::MAX - 1, i64::MAX];
        for a in ends {
            for b in ends {
                for c in ends {
                    for d in ends {
                        let (one, other) = (reading(a, b), reading(c, d));
                        assert_eq!(one.compare(&other) as i32, -(other.compare(&one) as i32), "{a} {b} {c} {d}");
                        assert_eq!(one.compare(&one), Relation::Overlap);
                    }
                }
            }
        }
    }

    #[test]
    fn an_instant_is_past_or_to_come_only_beyond_the_interval() {
        let now = reading(10, 20);
        assert!(now.is_after(9) && !now.is_after(10) && !now.is_after(20));
        assert!(now.is_before(21) && !now.is_before(20) && !now.is_before(10));
    }
}
