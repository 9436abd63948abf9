//! The raw counter and the system clock.

use crate::units::{Counter, NANOS_PER_SECOND, Nanos, UnixTime};

/// The raw counter: `CLOCK_MONOTONIC_RAW`, which nobody slews, read through the vDSO. The read is ordered: a thread
/// never reads less than a value another thread read before and passed on.
pub(crate) fn now() -> Counter {
    Counter(read(libc::CLOCK_MONOTONIC_RAW))
}

/// What kind of counter [`now`] reads, for files that outlive us: 1 is `CLOCK_MONOTONIC_RAW`.
pub(crate) const KIND: u32 = 1;

/// The time spent suspended since boot: the counter stands still meanwhile.
pub(crate) fn suspended() -> Nanos {
    // Each of the three as near to the others as can be: the clock that counts suspended time is read between two readings
    // of the one that does not.
    let once = || {
        let before = read(libc::CLOCK_MONOTONIC);
        let all = read(libc::CLOCK_BOOTTIME);
        let after = read(libc::CLOCK_MONOTONIC);
        (after.saturating_sub(before), Nanos(all) - Nanos(before.midpoint(after)))
    };
    let narrowest = [once(), once(), once()].into_iter().min_by_key(|(width, _)| *width);
    narrowest.map_or(Nanos::ZERO, |(_, suspended)| suspended)
}

/// The system clock's UTC.
pub(crate) fn system_time() -> UnixTime {
    UnixTime(read(libc::CLOCK_REALTIME))
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec of ours, writable for the call.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    debug_assert_eq!(result, 0, "every Linux since 2.6.28 has both clocks");
    time.tv_sec.saturating_mul(NANOS_PER_SECOND).saturating_add(time.tv_nsec)
}

/// The system clock at an instant that lies between two counter values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bracket {
    pub(crate) before: Counter,
    pub(crate) system: UnixTime,
    pub(crate) after: Counter,
}

impl Bracket {
    /// The narrowest of three attempts: an interruption in one of them does not matter.
    pub(crate) fn read() -> Self {
        let once = |_| {
            let before = now();
            let system = system_time();
            Self { before, system, after: now() }
        };
        let first = once(0);
        (1..3).map(once).fold(first, |best, next| if next.width() < best.width() { next } else { best })
    }

    fn width(&self) -> Nanos {
        self.after - self.before
    }

    /// The counter value at the system clock's reading, and how far it may be off.
    pub(crate) fn midpoint(&self) -> (Counter, Nanos) {
        (self.before.midpoint(self.after), self.width().half_up())
    }

    /// The latest counter value at which the system clock can have shown `stamp`, a little before this bracket;
    /// `None` if `earlier`, a bracket from before the stamp, shows that the system clock was stepped since.
    pub(crate) fn counter_of(&self, stamp: UnixTime, earlier: &Self) -> Option<Counter> {
        // The system clock may be slewed against the counter by 500 ppm, and counter rates differ by less.
        let slack = |span: Nanos| Nanos(span.abs().0 / 1000);
        let system = self.system - earlier.system;
        let (now, width) = self.midpoint();
        let (then, earlier_width) = earlier.midpoint();
        let counted = now - then;
        let disagreement = (system - counted).abs();
        if disagreement > slack(counted) + width + earlier_width {
            return None;
        }
        let age = self.system - stamp;
        if age < Nanos::ZERO || age > counted + slack(counted) {
            return None;
        }
        Some(self.after - age + slack(age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bracket(before: i64, system: i64, after: i64) -> Bracket {
        Bracket { before: Counter(before), system: UnixTime(system), after: Counter(after) }
    }

    #[test]
    fn a_stamp_becomes_the_latest_counter_value_it_can_mean() {
        let (sent, received) = (bracket(1_000, 501_000, 1_100), bracket(201_000, 701_050, 201_100));
        // 50 µs before the second bracket, 0.1 % slack.
        assert_eq!(received.counter_of(UnixTime(651_050), &sent), Some(Counter(201_100 - 50_000 + 50)));
    }

    #[test]
    fn a_step_of_the_system_clock_voids_the_stamp() {
        let sent = bracket(1_000, 501_000, 1_100);
        for stepped in [3_600_000_000_000, -3_600_000_000_000, 10_000] {
            let received = bracket(201_000, 701_050 + stepped, 201_100);
            assert_eq!(received.counter_of(UnixTime(651_050 + stepped), &sent), None, "{stepped}");
        }
    }

    #[test]
    fn a_stamp_from_before_the_request_or_from_the_future_is_void() {
        let (sent, received) = (bracket(1_000, 501_000, 1_100), bracket(201_000, 701_050, 201_100));
        assert_eq!(received.counter_of(UnixTime(500_000), &sent), None);
        assert_eq!(received.counter_of(UnixTime(701_051), &sent), None);
    }

    #[test]
    fn the_counter_advances() {
        let (first, second) = (now(), now());
        assert!(second >= first);
    }
}
