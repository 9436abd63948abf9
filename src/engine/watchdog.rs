//! The watchdog: from one look at the machine's clocks to the next, whether what was known of UTC before still means
//! anything.
//!
//! It does not if the counter has missed some time, or is another one by now. Three signs tell: the time that the
//! kernel says it was suspended has grown; the raw counter and `CLOCK_MONOTONIC` have gone different ways; the ticks
//! that readers read are no longer what the kernel counts by ([`crate::publication::gauge`]).
//!
//! It is no sign that the system clock was set: our clock is made of the raw counter alone. Its stamps are guarded
//! where they are used, in [`crate::sys::counter`] and [`crate::convert`]. And no sign of these is left by a hypervisor
//! that pauses or moves a virtual machine behind its kernel's back. One that has a `vmclock` says so itself, which is
//! the fourth sign; of the others only the servers can tell, and the core listens for it.

use crate::publication::gauge::Finding;
use crate::sys::clocks::Anchor;
use crate::sys::vmclock::Marks;
use crate::units::Nanos;

/// Why nothing older is to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disruption {
    /// The machine was suspended.
    Suspend,
    /// The counter was reset or replaced.
    Counter,
    /// The hypervisor says that it has disrupted the counter, or brought the machine back from a saved state.
    Hypervisor,
}

/// What was seen of the clocks so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watchdog {
    last: Anchor,
    /// The narrowest since the last suspend: a look that was interrupted for longer than the machine was suspended
    /// shows nothing, and must not hide it from the next.
    sharpest: Anchor,
    /// What the hypervisor has shown last, if it shows anything.
    marks: Option<Marks>,
}

impl Watchdog {
    /// Begins with a first look.
    pub(crate) fn new(first: Anchor, marks: Option<Marks>) -> Self {
        Self { last: first, sharpest: first, marks }
    }

    /// Looks again; `ticks` is what the comparison of ticks and raw counter came to at the same time, `marks` what the
    /// hypervisor shows, `None` if that cannot be read now.
    pub(crate) fn look(&mut self, now: Anchor, ticks: Finding, marks: Option<Marks>) -> Option<Disruption> {
        let marked = marks.is_some() && self.marks.is_some() && marks != self.marks;
        self.marks = marks.or(self.marks);
        let suspended = now.was_suspended_since(&self.sharpest);
        let strayed = now.has_strayed_since(&self.last);
        self.last = now;
        if suspended || now.width() < self.sharpest.width() {
            self.sharpest = now;
        }
        if suspended {
            Some(Disruption::Suspend)
        } else if strayed || ticks == Finding::Broken {
            Some(Disruption::Counter)
        } else if marked {
            Some(Disruption::Hypervisor)
        } else {
            None
        }
    }

    /// What the hypervisor has shown last.
    pub(crate) fn marks(&self) -> Option<Marks> {
        self.marks
    }

    /// The time suspended since boot as of the last suspend that was seen: not more than this.
    pub(crate) fn suspended(&self) -> Nanos {
        self.sharpest.suspended()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Counter;

    const SECOND: i64 = 1_000_000_000;

    /// A machine that was suspended for an hour before we came; all times in ns.
    #[derive(Clone, Copy)]
    struct Machine {
        raw: i64,
        monotonic: i64,
        boottime: i64,
        realtime: i64,
        /// How long a look takes.
        width: i64,
    }

    impl Machine {
        fn new() -> Self {
            let monotonic = 500 * SECOND;
            let boottime = monotonic + 3_600 * SECOND;
            Self { raw: 501 * SECOND, monotonic, boottime, realtime: 1_795_000_000 * SECOND, width: 150 }
        }

        /// `nanos` of the counter pass, in which the kernel's clocks gain `ppm` on it.
        fn pass(&mut self, nanos: i64, ppm: i64) {
            let gained = nanos + nanos / 1_000_000 * ppm;
            self.raw += nanos;
            self.monotonic += gained;
            self.boottime += gained;
            self.realtime += gained;
        }

        fn suspend(&mut self, nanos: i64) {
            self.boottime += nanos;
            self.realtime += nanos;
        }

        /// Each clock is read a little after the one before it.
        fn look(&self) -> Anchor {
            let part = self.width / 4;
            Anchor {
                before: Counter(self.raw),
                monotonic: Nanos(self.monotonic + part),
                boottime: Nanos(self.boottime + 2 * part),
                realtime: Nanos(self.realtime + 3 * part),
                after: Counter(self.raw + self.width),
            }
        }
    }

    /// A watchdog that has looked every 16 s for a while and found nothing.
    fn watched(machine: &mut Machine) -> Watchdog {
        let mut watchdog = Watchdog::new(machine.look(), None);
        for _ in 0..20 {
            machine.pass(16 * SECOND, 100);
            assert_eq!(watchdog.look(machine.look(), Finding::Holds, None), None);
        }
        watchdog
    }

    #[test]
    fn a_suspend_is_found_at_the_first_look_after_it_and_only_there() {
        for suspended in [100_000, 50_000_000, SECOND, 30_000 * SECOND] {
            let mut machine = Machine::new();
            let mut watchdog = watched(&mut machine);
            let before = watchdog.suspended();
            machine.pass(SECOND, 0);
            machine.suspend(suspended);
            machine.pass(1_000, 0);
            assert_eq!(watchdog.look(machine.look(), Finding::Holds, None), Some(Disruption::Suspend), "{suspended}");
            assert!((watchdog.suspended() - before - Nanos(suspended)).abs() <= Nanos(2 * machine.width));
            machine.pass(SECOND, 0);
            assert_eq!(watchdog.look(machine.look(), Finding::Holds, None), None);
        }
    }

    #[test]
    fn a_look_that_was_interrupted_hides_no_suspend_from_the_next() {
        let mut machine = Machine::new();
        let mut watchdog = watched(&mut machine);
        machine.suspend(50_000_000);
        let sharp = std::mem::replace(&mut machine.width, 100_000_000);
        assert_eq!(watchdog.look(machine.look(), Finding::Holds, None), None);
        machine.pass(100_000_000, 0);
        machine.width = sharp;
        assert_eq!(watchdog.look(machine.look(), Finding::Holds, None), Some(Disruption::Suspend));
    }

    #[test]
    fn interrupted_looks_are_no_suspend() {
        let mut machine = Machine::new();
        let mut watchdog = watched(&mut machine);
        for width in [150, 4_000_000, 150, 2 * SECOND, 300, 150] {
            machine.width = width;
            assert_eq!(watchdog.look(machine.look(), Finding::Nothing, None), None, "{width}");
            machine.pass(width + SECOND, 0);
        }
    }

    #[test]
    fn whatever_the_kernel_slews_nothing_has_happened() {
        for ppm in [-1_000, -500, 0, 500, 1_000, 100_500, -100_500] {
            let mut machine = Machine::new();
            let mut watchdog = watched(&mut machine);
            for pause in [1, SECOND, 1_024 * SECOND, 1_000_000, 100_000 * SECOND] {
                machine.pass(pause, ppm);
                assert_eq!(watchdog.look(machine.look(), Finding::Holds, None), None, "{ppm} {pause}");
            }
        }
    }

    #[test]
    fn a_step_of_the_system_clock_is_no_disruption_of_ours() {
        for step in [-3_600 * SECOND, -SECOND, -1_000, 1_000, SECOND, 3_600 * SECOND] {
            let mut machine = Machine::new();
            let mut watchdog = watched(&mut machine);
            machine.realtime += step;
            assert_eq!(watchdog.look(machine.look(), Finding::Holds, None), None, "{step}");
        }
    }

    #[test]
    fn a_counter_that_leaps_or_is_no_longer_counted_by_is_found() {
        for leap in [-400 * SECOND, -20 * SECOND, 20 * SECOND, 400 * SECOND] {
            let mut machine = Machine::new();
            let mut watchdog = watched(&mut machine);
            machine.pass(16 * SECOND, 0);
            machine.raw += leap;
            assert_eq!(watchdog.look(machine.look(), Finding::Nothing, None), Some(Disruption::Counter), "{leap}");
            machine.pass(16 * SECOND, 0);
            assert_eq!(watchdog.look(machine.look(), Finding::Nothing, None), None);
        }
        let mut machine = Machine::new();
        let mut watchdog = watched(&mut machine);
        assert_eq!(watchdog.look(machine.look(), Finding::Broken, None), Some(Disruption::Counter));
    }

    #[test]
    fn what_the_hypervisor_marks_is_found_once_and_its_silence_is_no_sign() {
        let marks = |disruption, generation| Some(Marks { disruption, generation });
        let mut machine = Machine::new();
        let mut watchdog = Watchdog::new(machine.look(), marks(1, Some(1)));
        let mut look = |marks| {
            machine.pass(SECOND, 0);
            watchdog.look(machine.look(), Finding::Holds, marks)
        };
        for quiet in [marks(1, Some(1)), None, marks(1, Some(1))] {
            assert_eq!(look(quiet), None);
        }
        // A migration; a return from a snapshot; one that was marked while nothing could be read.
        for (found, first) in [(marks(2, Some(1)), None), (marks(2, Some(2)), None), (marks(3, Some(3)), Some(None))] {
            if let Some(unread) = first {
                assert_eq!(look(unread), None);
            }
            assert_eq!(look(found), Some(Disruption::Hypervisor));
            assert_eq!(look(found), None);
        }
        let mut late = Watchdog::new(machine.look(), None);
        assert_eq!(late.look(machine.look(), Finding::Holds, marks(9, None)), None);
        assert_eq!(late.look(machine.look(), Finding::Holds, marks(8, None)), Some(Disruption::Hypervisor));
    }
}
