//! Is a reading right? It is compared with the system clock, taken just before and just after it.
//!
//! With `a` and `b` those two and `s` what the server is ahead of the system clock, the true time at the
//! reading is somewhere in `[a + s, b + s]`. So a reading `t` is wrong by at least
//! `|t - s - (a + b) / 2| - (b - a) / 2`: however long the reader was kept off the processor in between, it
//! is never judged by more than what it is surely off by.

use ntpclock::Reading;

use crate::peers::system_clock_ns;

/// The readings of one stretch, judged one by one.
#[derive(Default)]
pub(crate) struct Track {
    errors_ns: Vec<i64>,
    outside: Option<String>,
}

impl Track {
    /// Takes one reading by `read` and judges it against the system clock plus `shift_ns`.
    pub(crate) fn sample(&mut self, shift_ns: i64, read: impl FnOnce() -> Reading) -> Reading {
        let before = system_clock_ns();
        let reading = read();
        let after = system_clock_ns();
        self.judge(before + shift_ns, reading, after + shift_ns);
        reading
    }

    fn judge(&mut self, before: i64, reading: Reading, after: i64) {
        self.errors_ns.push(error_ns(before, reading.unix_ns, after));
        if reading.earliest_ns > after || reading.latest_ns < before {
            self.outside.get_or_insert_with(|| format!("true time in [{before}, {after}], but {reading:?}"));
        }
    }

    pub(crate) fn p99_ns(&self) -> i64 {
        assert!(!self.errors_ns.is_empty(), "nothing was sampled");
        let mut sorted = self.errors_ns.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() - 1) * 99 / 100]
    }

    /// Every interval held the true time, and 99 of 100 readings were wrong by no more than `limit_ns`.
    pub(crate) fn assert_right(&self, stretch: &str, limit_ns: i64) {
        if let Some(outside) = &self.outside {
            panic!("{stretch}: an interval missed the true time: {outside}");
        }
        let p99 = self.p99_ns();
        assert!(
            p99 <= limit_ns,
            "{stretch}: p99 is {p99} ns, above {limit_ns} ns, of {} samples",
            self.errors_ns.len()
        );
    }
}

/// What `reading` is surely wrong by, if the true time was in `[before, after]`.
pub(crate) fn error_ns(before: i64, reading: i64, after: i64) -> i64 {
    (before - reading).max(reading - after).max(0)
}

#[test]
fn a_reading_is_judged_by_its_distance_from_the_bracket() {
    assert_eq!(error_ns(100, 90, 110), 10);
    assert_eq!(error_ns(100, 105, 110), 0);
    assert_eq!(error_ns(100, 117, 110), 7);
}
