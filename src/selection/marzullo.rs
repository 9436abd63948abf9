//! Marzullo's algorithm: where the largest number of intervals meet.
//!
//! K. Marzullo, "Maintaining the Time in a Distributed System" (Stanford, 1984); RFC 5905, section
//! 11.2.1, uses it with midpoints, which is not done here: an interval may be lopsided.

/// The hull of all points that at least `quorum` of the closed `intervals` cover; `None` if there is none.
///
/// Intervals with ends in disorder cover nothing.
pub(crate) fn hull<T: Copy + PartialOrd>(intervals: &[(T, T)], quorum: usize) -> Option<(T, T)> {
    if quorum == 0 {
        return None;
    }
    // Beginnings sort before endings at the same point: closed intervals that touch do meet.
    let mut edges: Vec<(T, bool)> = Vec::with_capacity(intervals.len() * 2);
    for &(low, high) in intervals.iter().filter(|(low, high)| low <= high) {
        edges.push((low, false));
        edges.push((high, true));
    }
    edges.sort_unstable_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal).then(a.1.cmp(&b.1)));
    let mut covering = 0;
    let (mut first, mut last) = (None, None);
    for (point, ends) in edges {
        if ends {
            if covering >= quorum {
                last = Some(point);
            }
            covering -= 1;
        } else {
            covering += 1;
            if covering >= quorum && first.is_none() {
                first = Some(point);
            }
        }
    }
    first.zip(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_literature() {
        // [8,12], [11,13], [10,12]: all three meet in [11,12]; with [14,15] still three of four do.
        let three = [(8, 12), (11, 13), (10, 12)];
        assert_eq!(hull(&three, 3), Some((11, 12)));
        assert_eq!(hull(&[three.as_slice(), &[(14, 15)]].concat(), 3), Some((11, 12)));
    }

    #[test]
    fn the_hull_spans_separate_regions() {
        assert_eq!(hull(&[(0, 10), (0, 2), (8, 10)], 2), Some((0, 10)));
    }

    #[test]
    fn touching_intervals_meet_in_a_point() {
        assert_eq!(hull(&[(0, 5), (5, 9)], 2), Some((5, 5)));
        assert_eq!(hull(&[(0, 5), (6, 9)], 2), None);
    }

    #[test]
    fn nothing_agrees_on_nothing() {
        assert_eq!(hull::<i64>(&[], 1), None);
        assert_eq!(hull(&[(1, 2)], 0), None);
        assert_eq!(hull(&[(2, 1)], 1), None);
    }

    #[test]
    fn every_point_that_enough_intervals_cover_lies_in_the_hull() {
        // All triples of intervals on a small grid, against counting.
        let all: Vec<(i32, i32)> = (0..5).flat_map(|low| (low..5).map(move |high| (low, high))).collect();
        for &a in &all {
            for &b in &all {
                for &c in &all {
                    for quorum in 1..=3 {
                        let covered = |p: &i32| [a, b, c].iter().filter(|(l, h)| l <= p && p <= h).count() >= quorum;
                        let points: Vec<i32> = (0..5).filter(covered).collect();
                        let counted = points.first().copied().zip(points.last().copied());
                        assert_eq!(hull(&[a, b, c], quorum), counted, "{a:?} {b:?} {c:?} {quorum}");
                    }
                }
            }
        }
    }
}
