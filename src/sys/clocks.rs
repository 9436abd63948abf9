//! The system's clocks side by side with the raw counter.

use super::counter;
use crate::units::{Counter, NANOS_PER_SECOND, Nanos};

/// What the system's clocks showed, each at an instant between two counter values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) before: Counter,
    /// `CLOCK_MONOTONIC`: slewed by the kernel, never stepped; stands still during a suspend, as the counter does.
    pub(crate) monotonic: Nanos,
    /// `CLOCK_BOOTTIME`: the same, and the time suspended.
    pub(crate) boottime: Nanos,
    /// `CLOCK_REALTIME`: slewed alike, and stepped by whoever may.
    pub(crate) realtime: Nanos,
    pub(crate) after: Counter,
}

impl Anchor {
    /// The narrowest of three attempts: an interruption in one of them does not matter.
    pub(crate) fn read() -> Self {
        let once = |_| Self {
            before: counter::now(),
            monotonic: read(libc::CLOCK_MONOTONIC),
            boottime: read(libc::CLOCK_BOOTTIME),
            realtime: read(libc::CLOCK_REALTIME),
            after: counter::now(),
        };
        let first = once(0);
        (1..3).map(once).fold(first, |best, next| if next.width() < best.width() { next } else { best })
    }

    /// How far apart in time two of the readings may be.
    pub(crate) fn width(&self) -> Nanos {
        self.after - self.before
    }

    /// The time suspended since boot: at most this, and less by [`Self::width`] at most.
    pub(crate) fn suspended(&self) -> Nanos {
        self.boottime - self.monotonic
    }

    /// Whether the machine was suspended between `earlier` and this: by more than the two could be wrong about it.
    pub(crate) fn was_suspended_since(&self, earlier: &Self) -> bool {
        (self.suspended() - earlier.suspended()).abs() > self.width() + earlier.width()
    }

    /// Whether the counter went another way than `CLOCK_MONOTONIC` between `earlier` and this: not what the kernel's
    /// slewing can have made of it, but a reset, or another counter.
    pub(crate) fn has_strayed_since(&self, earlier: &Self) -> bool {
        let passed = self.monotonic - earlier.monotonic;
        // By `adjtimex` a tick can be made 10 % longer or shorter, and the frequency another 0.1 %.
        let slack = Nanos(passed.abs().0 / 8);
        self.after - earlier.before < passed - slack || self.before - earlier.after > passed + slack
    }

    /// What steps have made of the system clock, within [`Self::width`].
    pub(crate) fn stepped(&self) -> Nanos {
        self.realtime - self.monotonic
    }
}

/// The time suspended since boot: at least this.
pub(crate) fn suspended_at_least() -> Nanos {
    // The clock that counts it comes first: what passes between the two readings makes the answer less, never more.
    let all = read(libc::CLOCK_BOOTTIME);
    all - read(libc::CLOCK_MONOTONIC)
}

fn read(clock: libc::clockid_t) -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec of ours, writable for the call.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    debug_assert_eq!(result, 0, "every Linux since 2.6.39 has these clocks");
    Nanos(time.tv_sec.saturating_mul(NANOS_PER_SECOND).saturating_add(time.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_read_side_by_side_keep_their_distances() {
        let (first, second) = (Anchor::read(), Anchor::read());
        let width = first.width() + second.width();
        assert!(first.after <= second.before && first.monotonic <= second.monotonic);
        assert!((first.suspended() - second.suspended()).abs() <= width, "{first:?} {second:?}");
        assert!((first.stepped() - second.stepped()).abs() <= width, "{first:?} {second:?}");
        assert!(!second.was_suspended_since(&first) && !second.has_strayed_since(&first));
    }

    #[test]
    fn the_time_suspended_is_between_what_both_ways_of_asking_say() {
        for _ in 0..1_000 {
            let (most, least) = (Anchor::read().suspended(), suspended_at_least());
            assert!(least <= most, "{least:?} {most:?}");
        }
    }
}
