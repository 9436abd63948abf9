//! Time as events need it: comparisons, a cap on the bound, waits for an instant.

use std::time::Duration;

use super::clock::{Meant, ntp_clock, timeout};
use super::result::ntp_result;
use super::values::ntp_reading;
use super::{boundary, caught, not_null, reading_boundary};
use crate::clock::moments;
use crate::error::Error;
use crate::reading::compare::Relation;

/// How two readings lie to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum ntp_relation {
    /// The first is certainly of an earlier instant.
    NTP_RELATION_BEFORE = -1,
    /// It cannot be told, or nothing is known of one of them.
    NTP_RELATION_OVERLAP = 0,
    /// The first is certainly of a later instant.
    NTP_RELATION_AFTER = 1,
}

impl From<Relation> for ntp_relation {
    fn from(relation: Relation) -> Self {
        match relation {
            Relation::Before => Self::NTP_RELATION_BEFORE,
            Relation::Overlap => Self::NTP_RELATION_OVERLAP,
            Relation::After => Self::NTP_RELATION_AFTER,
        }
    }
}

/// Which of two readings is certainly of the earlier instant, of whatever clock or host: `first` before, after, or
/// overlapping `second`.
///
/// Only the intervals count, and unknown ones overlap with everything. Any two readings have an answer; a NULL
/// overlaps. Async-signal-safe.
///
/// # Safety
///
/// - `first` and `second` are NULL, or point to `ntp_reading`s that nobody changes meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_reading_compare(first: *const ntp_reading, second: *const ntp_reading) -> ntp_relation {
    let answer = caught(|| {
        // SAFETY: NULL or readable by contract.
        let (Some(first), Some(second)) = (unsafe { interval(first) }, unsafe { interval(second) }) else {
            return Relation::Overlap;
        };
        Relation::of(first.0, first.1, second.0, second.1)
    });
    answer.unwrap_or(Relation::Overlap).into()
}

/// The interval of a reading, `None` for NULL.
///
/// # Safety
///
/// `reading` is NULL, or points to an `ntp_reading`, of which only two members are read: the `state` that C left in it
/// need not be one.
unsafe fn interval(reading: *const ntp_reading) -> Option<(i64, i64)> {
    if reading.is_null() {
        return None;
    }
    // SAFETY: in bounds by contract; the place is only named.
    let earliest = unsafe { &raw const (*reading).earliest_ns };
    // SAFETY: the same.
    let latest = unsafe { &raw const (*reading).latest_ns };
    // SAFETY: readable by contract, and any bits are a number.
    let earliest = unsafe { earliest.read() };
    // SAFETY: the same.
    let latest = unsafe { latest.read() };
    Some((earliest, latest))
}

/// Reads `clock` as `ntp_clock_now` does, for a caller that needs an error bound of at most `max_bound_ns`.
///
/// Returns `NTP_ERR_BOUND_EXCEEDED` when the bound is larger, and `NTP_ERR_NOT_SYNCHRONIZED` when there is none;
/// `reading` is filled all the same. Returns `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if `reading` is NULL or
/// `max_bound_ns` below zero.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
/// - `reading` is NULL, or points to an `ntp_reading` that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_now_within(
    clock: *const ntp_clock,
    max_bound_ns: i64,
    reading: *mut ntp_reading,
) -> ntp_result {
    reading_boundary(|| {
        not_null("reading", reading)?;
        let max_bound = u64::try_from(max_bound_ns)
            .map_err(|_| Error::argument("max_bound_ns", format!("is {max_bound_ns}, below zero")))?;
        // SAFETY: NULL or live for this call, by contract.
        let now = unsafe { Meant::by(clock) }.now();
        // SAFETY: not NULL, so by contract aligned, writable and ours alone for this call.
        unsafe { reading.write(now.into()) };
        moments::within(&now, Duration::from_nanos(max_bound))
    })
}

/// 1 if UTC is certainly after `unix_ns` (nanoseconds since 1970), else 0; also 0 when nothing is known.
///
/// A NULL `clock` is the process-wide one. Any number of threads may call this at the same time. Takes no lock and
/// makes no system call; async-signal-safe.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_after(clock: *const ntp_clock, unix_ns: i64) -> i32 {
    // SAFETY: NULL or live for this call, by contract.
    caught(|| unsafe { Meant::by(clock) }.now().is_after(unix_ns)).unwrap_or(false).into()
}

/// 1 if UTC is certainly before `unix_ns` (nanoseconds since 1970), else 0; also 0 when nothing is known.
///
/// A NULL `clock` is the process-wide one. Any number of threads may call this at the same time. Takes no lock and
/// makes no system call; async-signal-safe.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_before(clock: *const ntp_clock, unix_ns: i64) -> i32 {
    // SAFETY: NULL or live for this call, by contract.
    caught(|| unsafe { Meant::by(clock) }.now().is_before(unix_ns)).unwrap_or(false).into()
}

/// Commit wait: returns when UTC is certainly after `unix_ns`, up to `timeout_ms` milliseconds, for ever if that is
/// negative.
///
/// Give an event the time `latest_ns` of a reading, wait for that time to pass, and only then make the event known:
/// then no event that anybody begins after that, on whatever host with an honest clock, gets an earlier time.
///
/// A NULL `clock` is the process-wide one. Any number of threads may wait. The thread sleeps, and is woken when the
/// time has come, to about what the kernel's timers give (50 us unless set otherwise). The wait goes on through steps,
/// disruptions and losses of synchronisation of a running clock. On a clock without a thread, after a stop or in a
/// forked child, it works as long as there is an interval.
///
/// Returns `NTP_ERR_TIMEOUT` when the time ran out, `NTP_ERR_NOT_SYNCHRONIZED` when it ran out and nothing was known of
/// UTC, `NTP_ERR_STOPPED` when the clock was stopped meanwhile, `NTP_ERR_NOT_RUNNING` when there is neither a
/// thread nor an interval, and `NTP_ERR_SYSTEM` inside a fork handler.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed before this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_wait_until_past(
    clock: *const ntp_clock,
    unix_ns: i64,
    timeout_ms: i64,
) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live for this call, by contract.
        let shared = unsafe { Meant::by(clock) }.roused();
        moments::wait_until_past(&shared, unix_ns, timeout(timeout_ms))
    })
}

/// Sleeps until `clock` shows `unix_ns` or later; it aims anew whenever the clock is corrected or stepped.
///
/// A NULL `clock` is the process-wide one. Any number of threads may sleep. Before the first synchronisation the clock
/// shows the system clock's time. To be certain that UTC has come there, use `ntp_clock_wait_until_past`.
///
/// Returns `NTP_ERR_STOPPED` when the clock was stopped meanwhile, `NTP_ERR_NOT_RUNNING` when it is not started and
/// was never synchronised, unless it shows that time already, and `NTP_ERR_SYSTEM` inside a fork handler.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed before this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_sleep_until(clock: *const ntp_clock, unix_ns: i64) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live for this call, by contract.
        let shared = unsafe { Meant::by(clock) }.roused();
        moments::sleep_until(&shared, unix_ns, None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_have_the_same_numbers_in_c_and_in_rust() {
        for relation in [Relation::Before, Relation::Overlap, Relation::After] {
            assert_eq!(ntp_relation::from(relation) as i32, relation as i32);
        }
    }
}
