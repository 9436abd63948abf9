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
    // Each of the three as near to the others as can be: the clock that counts suspended time is read between two
    // readings of the one that does not.
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

/// When a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// Not before it came.
    pub(crate) at: Counter,
    /// By the kernel's stamp; otherwise it is when we had taken it from its socket.
    pub(crate) stamped_by_kernel: bool,
}

/// Older stamps are not used. A process that its CPU quota holds back waits for up to one period, 100 ms by default;
/// longer waits are rare, and in them so much can happen to the system clock that to be late is the better choice.
const AGE_MAX: Nanos = Nanos::from_millis(100);

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

    /// When a datagram came that was taken from its socket just before this bracket; `earlier` is a bracket from
    /// before it came. What is told is the latest counter value that can be true: T2 and T4 may be late, which makes
    /// a delay longer than it was, but never early.
    pub(crate) fn arrival(&self, stamp: Option<UnixTime>, earlier: &Self) -> Arrived {
        let stamped = stamp.and_then(|stamp| self.counter_of(stamp, earlier)).map(|(_, latest)| latest);
        // Whatever a stamp says, the datagram was there before the bracket was.
        let at = stamped.map_or(self.before, |stamped| stamped.min(self.before));
        Arrived { at, stamped_by_kernel: stamped.is_some() }
    }

    /// When a datagram left that was sent between `earlier` and this bracket: the earliest counter value that can be
    /// true, as T1 and T3 may be early but never late. Without a stamp that can be used it is `None`.
    pub(crate) fn departure(&self, stamp: UnixTime, earlier: &Self) -> Option<Counter> {
        self.counter_of(stamp, earlier).map(|(earliest, _)| earliest)
    }

    /// The earliest and the latest counter value at which the system clock can have shown `stamp`, between `earlier`
    /// and this bracket; `None` if the stamp is old, or if the system clock was visibly stepped since `earlier`.
    ///
    /// The stamp is counted back from this bracket, and forward from `earlier`. Had the system clock gained on the
    /// counter after the stamp (a step too small to be seen, say), the first alone would be too early; had it lost,
    /// the second would be. So both are told. What remains is a step ahead that hides behind an equal loss
    /// since `earlier`, or the other way round: at most [`slack`] of that span.
    fn counter_of(&self, stamp: UnixTime, earlier: &Self) -> Option<(Counter, Counter)> {
        let system = self.system - earlier.system;
        let (now, half) = self.midpoint();
        let (then, earlier_half) = earlier.midpoint();
        let counted = now - then;
        let disagreement = (system - counted).abs();
        if disagreement > slack(counted) + half + earlier_half {
            return None;
        }
        let age = self.system - stamp;
        if age < Nanos::ZERO || age > AGE_MAX || age > counted + slack(counted) {
            return None;
        }
        let since = stamp - earlier.system;
        let earliest = (self.before - age - slack(age)).min(earlier.before + since);
        let latest = (self.after - age + slack(age)).max(earlier.after + since);
        Some((earliest, latest))
    }
}

/// How far the system clock may run from the counter within `span` without having been stepped: 1000 ppm. Both tick
/// with one oscillator; the kernel corrects the system clock's frequency by up to 500 ppm, and `adjtime` slews by
/// another 500 ppm. A daemon that slews faster is taken for one that steps, and its stamps are not used.
fn slack(span: Nanos) -> Nanos {
    Nanos(span.abs().0 / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bracket(before: i64, system: i64, after: i64) -> Bracket {
        Bracket { before: Counter(before), system: UnixTime(system), after: Counter(after) }
    }

    #[test]
    fn a_stamp_becomes_the_earliest_and_the_latest_counter_value_it_can_mean() {
        let (sent, received) = (bracket(1_000, 501_000, 1_100), bracket(201_000, 701_000, 201_100));
        // 50 µs before the second bracket, 0.1 % slack.
        let (earliest, latest) = (Counter(201_000 - 50_000 - 50), Counter(201_100 - 50_000 + 50));
        assert_eq!(received.counter_of(UnixTime(651_000), &sent), Some((earliest, latest)));
        assert_eq!(received.departure(UnixTime(651_000), &sent), Some(earliest));
    }

    /// A datagram that came at counter value 9.99 s, read at 10 s; the system clock has gained `before` by the time
    /// of its arrival, and `after` since.
    fn arrival_despite(before: i64, after: i64) -> (Arrived, Counter) {
        let (now, stamp, earlier, came) = stamped_despite(before, after);
        (now.arrival(Some(stamp), &earlier), came)
    }

    /// The look after it, its stamp, the look before it, and the counter value that it was made at.
    fn stamped_despite(before: i64, after: i64) -> (Bracket, UnixTime, Bracket, Counter) {
        const SECOND: i64 = 1_000_000_000;
        let (asleep, came, awake) = (0, 9_990_000_000, 10 * SECOND);
        let earlier = bracket(asleep - 50, 77 * SECOND, asleep + 50);
        let now = bracket(awake - 50, 77 * SECOND + awake + before + after, awake + 50);
        (now, UnixTime(77 * SECOND + came + before), earlier, Counter(came))
    }

    #[test]
    fn no_arrival_is_early_whatever_a_step_that_is_too_small_to_be_seen() {
        for step in [0, 1_000, 100_000, 4_000_000, 9_900_000] {
            for (before, after) in [(0, step), (step, 0), (0, -step), (-step, 0)] {
                let (arrived, came) = arrival_despite(before, after);
                assert!(arrived.at >= came, "{before}, {after}: {arrived:?}");
                assert!(arrived.at <= Counter(10_000_000_000 - 50), "{before}, {after}: {arrived:?}");
            }
        }
    }

    #[test]
    fn no_departure_is_late_whatever_a_step_that_is_too_small_to_be_seen() {
        for step in [0, 1_000, 100_000, 4_000_000, 9_900_000] {
            for (before, after) in [(0, step), (step, 0), (0, -step), (-step, 0)] {
                let (now, stamp, earlier, left) = stamped_despite(before, after);
                let told = now.departure(stamp, &earlier).expect("no step is seen");
                assert!(told <= left, "{before}, {after}: {told:?}");
            }
        }
    }

    #[test]
    fn a_quiet_system_clock_tells_an_arrival_to_its_slack() {
        let (arrived, came) = arrival_despite(0, 0);
        assert!(arrived.stamped_by_kernel);
        // 0.1 % of 10 ms, and half a bracket.
        assert!(arrived.at - came <= Nanos(10_000 + 50), "{arrived:?}");
    }

    #[test]
    fn without_a_stamp_that_can_be_used_a_datagram_came_before_it_was_read() {
        let (sent, received) = (bracket(1_000, 501_000, 1_100), bracket(300_001_000, 300_501_000, 300_001_100));
        let read = Arrived { at: Counter(300_001_000), stamped_by_kernel: false };
        let old = received.system - AGE_MAX - Nanos(1);
        for stamp in [None, Some(old), Some(received.system + Nanos(1))] {
            assert_eq!(received.arrival(stamp, &sent), read, "{stamp:?}");
        }
        assert!(received.arrival(Some(old + Nanos(1)), &sent).stamped_by_kernel);
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
