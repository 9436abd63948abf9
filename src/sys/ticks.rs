//! The processor's own tick counter, where the kernel itself tells the time by it: half the price of a clock read.
//!
//! It is used only while `CLOCK_MONOTONIC_RAW` is a function of it: then the kernel vouches that it runs evenly,
//! through every idle state, and alike on all processors. What function that is, [`crate::publication`] finds out by
//! looking at both ([`sight`]).

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::counter;
use crate::units::Counter;

/// A value of what a page is read by: ticks, or nanoseconds of `CLOCK_MONOTONIC_RAW`, as its [`Kind`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) i64);

/// What a page is read by. The numbers are the page's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// `CLOCK_MONOTONIC_RAW`, in nanoseconds.
    #[default]
    Raw = 0,
    /// The processor's counter: TSC (x86-64), virtual counter (AArch64).
    Ticks = 1,
}

/// `CLOCK_MONOTONIC_RAW` read at a tick not before `before` and not after `after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) before: Tick,
    pub(crate) raw: Counter,
    pub(crate) after: Tick,
}

/// The present value. Ordered: not taken before what stands before it in the program, so no thread reads less than a
/// value that another thread read before and passed on.
#[inline]
pub(crate) fn read(kind: Kind) -> Tick {
    match kind {
        Kind::Raw => Tick(counter::now().0),
        Kind::Ticks => Tick(processor::ordered()),
    }
}

/// As [`read`], but the processor may take it some microseconds early: not to be compared between threads.
#[inline]
pub(crate) fn read_relaxed(kind: Kind) -> Tick {
    match kind {
        Kind::Raw => Tick(counter::now().0),
        Kind::Ticks => Tick(processor::relaxed()),
    }
}

/// Looks at both counters: the narrowest of a few attempts. `None` where ticks cannot be read.
pub(crate) fn sight() -> Option<Sight> {
    let once = |_| {
        let before = read(Kind::Ticks);
        let raw = counter::now();
        Sight { before, raw, after: read(Kind::Ticks) }
    };
    is_readable().then(|| (1..8).map(once).fold(once(0), narrower))
}

/// Whether ticks can be read here; asked once, for a virtual machine answers such a question slowly.
pub(crate) fn is_readable() -> bool {
    const YES: u8 = 1;
    const NO: u8 = 2;
    static ANSWER: AtomicU8 = AtomicU8::new(0);
    match ANSWER.load(Relaxed) {
        YES => true,
        NO => false,
        _ => {
            let answer = processor::is_readable();
            // Two threads that ask at once get the same answer.
            ANSWER.store(if answer { YES } else { NO }, Relaxed);
            answer
        }
    }
}

fn narrower(best: Sight, next: Sight) -> Sight {
    if next.after.0 - next.before.0 < best.after.0 - best.before.0 { next } else { best }
}

/// A first sight where the kernel tells the time by the ticks that we can read; it says so in a file.
pub(crate) fn kernel_sight() -> Option<Sight> {
    const CURRENT: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let name = std::fs::read_to_string(CURRENT).ok()?;
    if name.trim() == processor::CLOCKSOURCE { sight() } else { None }
}

#[cfg(target_arch = "x86_64")]
mod processor {
    use std::arch::x86_64::{__cpuid, _mm_lfence, _rdtsc};

    /// The kernel's name for it.
    pub(super) const CLOCKSOURCE: &str = "tsc";

    #[inline]
    pub(super) fn ordered() -> i64 {
        // `lfence` lets nothing after it begin before everything before it is done (Intel SDM, vol. 2; on AMD the
        // kernel makes it so). `rdtscp` costs the same, and not every processor has it. SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_lfence() };
        relaxed()
    }

    #[inline]
    pub(super) fn relaxed() -> i64 {
        // SAFETY: part of x86-64; touches no memory. Where the host forbids it, `is_readable` says so, and no page of
        // this process is ever read by ticks.
        let ticks = unsafe { _rdtsc() };
        ticks.cast_signed()
    }

    /// That the counter runs evenly in all states of the processor (invariant TSC), and that the host has not had its
    /// reading made a fault (`PR_SET_TSC`).
    pub(super) fn is_readable() -> bool {
        const POWER: u32 = 0x8000_0007;
        let invariant = __cpuid(0x8000_0000).eax >= POWER && __cpuid(POWER).edx & 1 << 8 != 0;
        let mut mode: libc::c_int = 0;
        // SAFETY: PR_GET_TSC writes one int, to `mode`.
        let told = unsafe { libc::prctl(libc::PR_GET_TSC, &raw mut mode) };
        invariant && told == 0 && mode == libc::PR_TSC_ENABLE
    }
}

#[cfg(target_arch = "aarch64")]
mod processor {
    use std::arch::asm;

    /// The kernel's name for it.
    pub(super) const CLOCKSOURCE: &str = "arch_sys_counter";

    #[inline]
    pub(super) fn ordered() -> i64 {
        // SAFETY: `isb` waits for the instructions before it, so that the counter is not read early (Arm ARM, D11.2).
        // It is no compiler's barrier unless memory is clobbered, which is the default.
        unsafe { asm!("isb", options(nostack, preserves_flags)) };
        relaxed()
    }

    #[inline]
    pub(super) fn relaxed() -> i64 {
        let ticks: u64;
        // SAFETY: Linux lets every process read the virtual counter, as its own vDSO does; no memory is touched. Not
        // `nomem`: the compiler shall leave it between the checks of the latch.
        unsafe { asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nostack, preserves_flags)) };
        ticks.cast_signed()
    }

    pub(super) fn is_readable() -> bool {
        true
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod processor {
    /// No kernel's name: there is no counter that we can read.
    pub(super) const CLOCKSOURCE: &str = "";

    pub(super) fn ordered() -> i64 {
        0
    }

    pub(super) fn relaxed() -> i64 {
        0
    }

    pub(super) fn is_readable() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sight_is_in_order() {
        if let Some(sight) = sight() {
            let later = super::sight().unwrap();
            // A tick may last longer than a reading takes: 42 ns where they come at 24 MHz.
            assert!(sight.before <= sight.after && sight.after <= later.before && sight.raw <= later.raw);
            assert!(sight.before < later.after);
        }
    }

    #[test]
    fn the_raw_counter_is_always_there() {
        let first = read(Kind::Raw);
        assert!(first.0 > 0 && read_relaxed(Kind::Raw) >= first);
    }
}
