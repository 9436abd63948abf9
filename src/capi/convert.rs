//! Stamps that were taken already, and deadlines on the system's clocks.

use super::clock::{Meant, ntp_clock};
use super::result::ntp_result;
use super::values::{Growing, check_size, hand_over, ntp_reading};
use super::{boundary, not_null};
use crate::clock::moments;
use crate::convert::{Deadline, Timescale};
use crate::error::Error;

/// The clocks of a machine that stamps are taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum ntp_timescale {
    /// The raw counter, as in `ntp_reading.raw_ns`.
    NTP_TIMESCALE_RAW = 0,
    /// `CLOCK_MONOTONIC`.
    NTP_TIMESCALE_MONOTONIC = 1,
    /// `CLOCK_BOOTTIME`.
    NTP_TIMESCALE_BOOTTIME = 2,
    /// `CLOCK_REALTIME`, the system clock: what the kernel stamps datagrams and files with.
    NTP_TIMESCALE_REALTIME = 3,
}

/// When a clock of the machine will show that some point of UTC has come. Grows at its end: pass its size.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ntp_deadline {
    /// The best guess: about when `ntp_clock_now` will show that UTC, ns.
    pub stamp_ns: i64,
    /// Before this UTC has certainly not come there, ns.
    pub earliest_ns: i64,
    /// From this on it certainly has, ns.
    pub latest_ns: i64,
}

impl Growing for ntp_deadline {
    const LEAST: usize = size_of::<i64>();
}

impl From<Deadline> for ntp_deadline {
    fn from(deadline: Deadline) -> Self {
        Self { stamp_ns: deadline.stamp_ns, earliest_ns: deadline.earliest_ns, latest_ns: deadline.latest_ns }
    }
}

/// The timescale with this number.
fn timescale(number: i32) -> Result<Timescale, Error> {
    let all = [Timescale::Raw, Timescale::Monotonic, Timescale::Boottime, Timescale::Realtime];
    let known = all.into_iter().find(|scale| *scale as i32 == number);
    known.ok_or_else(|| Error::argument("timescale", format!("is {number}, which is none")))
}

/// Tells where UTC was when the clock `timescale` (`NTP_TIMESCALE_...`) of this machine showed `stamp_ns` nanoseconds:
/// as if `clock` had been read then, and with everything that is known by now.
///
/// Members that tell an age or a state do so as of then; `raw_ns` is the middle of where the counter can have stood.
/// Of a stamp from before the first synchronisation only later knowledge tells: `state` is HOLDOVER, `epoch` the one of
/// that knowledge, and `age_ns` 0, since the exchanges that it is told by came later.
/// The bound cap does not apply: the interval is what it is, and `ntp_reading_compare` compares it. Stamps may be older
/// than the first synchronisation. Those of the raw counter, `CLOCK_MONOTONIC` and `CLOCK_BOOTTIME` may be older than
/// the clock's start, and may lie ahead, as long as the machine is not suspended. The interval includes what the kernel
/// may have slewed its clocks between the moments at which the clock's thread looked at them: 0.1 % of the time to the
/// nearest one. The clock remembers a bounded number of such moments, the fewer the older they are. That the system
/// clock is slewed faster by nobody is an assumption; where these moments show that somebody did, 12.5 % are allowed
/// for.
///
/// A NULL `clock` is the process-wide one. Any number of threads may call this at the same time.
///
/// Returns `NTP_ERR_NOT_SYNCHRONIZED` when no time is known yet; `NTP_ERR_UNCONVERTIBLE` when nothing honest can be
/// said, because the machine was suspended or the clock disrupted after the stamp, or the system clock was stepped
/// around it; and `NTP_ERR_INVALID_ARGUMENT` when `reading` is NULL or there is no such timescale. A failure writes
/// nothing.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
/// - `reading` is NULL, or points to an `ntp_reading` that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_convert(
    clock: *const ntp_clock,
    timescale: i32,
    stamp_ns: i64,
    reading: *mut ntp_reading,
) -> ntp_result {
    boundary(|| {
        not_null("reading", reading)?;
        let scale = self::timescale(timescale)?;
        // SAFETY: NULL or live for this call, by contract.
        let shared = unsafe { Meant::by(clock) }.shared();
        let converted = moments::convert(&shared, scale, stamp_ns)?;
        // SAFETY: not NULL, so by contract aligned, writable and ours alone for this call.
        unsafe { reading.write(converted.into()) };
        Ok(())
    })
}

/// Tells when the clock `timescale` (`NTP_TIMESCALE_...`) of this machine will show that UTC is `unix_ns`: for timers.
/// Pass `sizeof(ntp_deadline)` as `size`.
///
/// Holds as long as the machine is not suspended until then. The farther ahead, the wider: by 0.1 %, which the kernel
/// may slew its clocks, so ask again on the way, or use `ntp_clock_sleep_until`. A NULL `clock` is the process-wide
/// one. Any number of threads may call this at the same time. Sizes are understood as in `ntp_clock_report`.
///
/// Returns `NTP_ERR_NOT_SYNCHRONIZED`; `NTP_ERR_UNCONVERTIBLE` for a past after which the machine was suspended; and
/// `NTP_ERR_INVALID_ARGUMENT` when `deadline` is NULL, a size makes no sense, the time is more than a hundred years
/// away, or the timescale is none or `NTP_TIMESCALE_REALTIME`, which may be stepped on the way. A failure writes
/// nothing.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed.
/// - `deadline` is NULL, or points to `size` bytes that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_clock_deadline(
    clock: *const ntp_clock,
    timescale: i32,
    unix_ns: i64,
    deadline: *mut ntp_deadline,
    size: usize,
) -> ntp_result {
    boundary(|| {
        not_null("deadline", deadline)?;
        check_size::<ntp_deadline>("size", size)?;
        let scale = self::timescale(timescale)?;
        // SAFETY: NULL or live for this call, by contract.
        let shared = unsafe { Meant::by(clock) }.shared();
        let told = moments::deadline(&shared, scale, unix_ns)?;
        // SAFETY: not NULL, so by contract `size` bytes that are ours alone for this call.
        unsafe { hand_over(&ntp_deadline::from(told), deadline, size) };
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timescales_have_the_same_numbers_in_c_and_in_rust() {
        use ntp_timescale::*;
        let numbers = [NTP_TIMESCALE_RAW, NTP_TIMESCALE_MONOTONIC, NTP_TIMESCALE_BOOTTIME, NTP_TIMESCALE_REALTIME];
        let scales = [Timescale::Raw, Timescale::Monotonic, Timescale::Boottime, Timescale::Realtime];
        for (number, scale) in numbers.into_iter().zip(scales) {
            assert_eq!(timescale(number as i32).unwrap(), scale);
        }
        assert!(timescale(-1).is_err() && timescale(4).is_err());
    }
}
