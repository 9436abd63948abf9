//! The process-wide clock: the functions of a program that needs one line.

use std::ffi::c_char;
use std::time::{SystemTime, UNIX_EPOCH};

use super::clock::timeout;
use super::config::ntp_config;
use super::result::ntp_result;
use super::text::{LIST_LIMIT, borrow_text};
use super::values::ntp_state;
use super::{boundary, caught, guarded};
use crate::clock::process;
use crate::error::Error;

/// Starts the process-wide clock with a comma-separated list of servers: `host`, `host:port`,
/// `[v6]:port`, `pool:host` (up to 4 sources from one name), each optionally followed by ` nts`.
///
/// NULL takes the list from the environment variable NTPCLOCK_SERVERS. Returns before anything was heard
/// from the network, and blocks on none: `ntp_wait` waits for the time. Starts are counted: the same list
/// again is harmless, and the last `ntp_stop` ends the clock. In a forked child it goes on with the parent's clock, by
/// the parent's configuration. Any thread may call this at any time.
///
/// Returns `NTP_ERR_INVALID_SERVER` or `NTP_ERR_INVALID_ARGUMENT` when the list does not follow the
/// grammar, `NTP_ERR_NO_SERVERS` when there is none, `NTP_ERR_ALREADY_RUNNING` while the clock runs with
/// another list, and `NTP_ERR_SYSTEM` when the thread cannot be made.
///
/// # Safety
///
/// - `servers` is NULL or a NUL-terminated string that does not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_start(servers: *const c_char) -> ntp_result {
    boundary(|| {
        if servers.is_null() {
            return process::start(None);
        }
        // SAFETY: a string by contract, and it is used during this call only.
        let servers = unsafe { borrow_text("servers", servers, LIST_LIMIT) }?;
        process::start(Some(servers))
    })
}

/// As `ntp_start`, with all that can be configured. The configuration is copied.
///
/// The same configuration again is harmless and counted, as is `ntp_start` with the same servers while the clock runs.
///
/// Returns `NTP_ERR_NO_SERVERS` when `config` names none, `NTP_ERR_ALREADY_RUNNING` while the clock runs with another
/// configuration, `NTP_ERR_SYSTEM` when the thread cannot be made, and `NTP_ERR_INVALID_ARGUMENT` when `config` is
/// NULL, or names a shared page: that is for clocks of one's own (`ntp_clock_start`).
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread changes it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_start_with(config: *const ntp_config) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live and unchanging for this call, by contract.
        let config = unsafe { config.as_ref() }.ok_or_else(|| Error::argument("config", "is NULL"))?;
        process::start_with(&config.0)
    })
}

/// Waits until the process-wide clock is synchronised: up to `timeout_ms` milliseconds, for ever if that
/// is negative. What it shows then may be provisional (`NTP_FLAG_PROVISIONAL`): look at the reading if that matters.
///
/// Any number of threads may wait. Returns `NTP_ERR_TIMEOUT` when the time ran out (`ntp_last_error` then
/// names each source and its last fault), `NTP_ERR_NOT_RUNNING` when the clock is not started, `NTP_ERR_STOPPED` when
/// it was stopped meanwhile, and `NTP_ERR_SYSTEM` inside a fork handler.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_wait(timeout_ms: i64) -> ntp_result {
    boundary(|| process::wait(None, timeout(timeout_ms)))
}

/// Reads the process-wide clock: UTC in nanoseconds since 1970-01-01T00:00:00Z, POSIX counting.
///
/// Before the first synchronisation this is the system clock's time, afterwards the model's, also after
/// `ntp_stop`. Any number of threads may call this at the same time. Takes no lock, makes no system call,
/// and never fails; async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_now() -> i64 {
    process::utc().unwrap_or_else(|| other_time())
}

/// As `ntp_now`, for about half the price where the processor's own counter can be read: but the processor may take the
/// reading some microseconds earlier than it stands in the program.
///
/// Good for the intervals of one thread. Not to be compared with what another thread has read, nor with `ntp_now`: it
/// may be earlier than a value already seen. Any number of threads may call this at the same time; it never fails, and
/// is async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_now_relaxed() -> i64 {
    process::utc_relaxed().unwrap_or_else(|| other_time())
}

/// UTC minus the system clock at the call, in nanoseconds: add it to the system clock to get UTC.
///
/// 0 before the first synchronisation. Any number of threads may call this at the same time; it never
/// fails, and is async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_offset() -> i64 {
    caught(|| process::offset().offset_ns).unwrap_or(0)
}

/// How far `ntp_now` can be off, in nanoseconds: UTC lies in now ± this. INT64_MAX when unknown.
///
/// Any number of threads may call this at the same time; it takes no lock, never fails, and is async-signal-safe. Time
/// and bound of one moment together come from `ntp_clock_now`.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_error_bound() -> i64 {
    caught(|| process::now().error_bound_ns()).unwrap_or(i64::MAX)
}

/// How far the process-wide clock can be trusted now.
///
/// Any number of threads may call this at the same time; it takes no lock, never fails, and is async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_status() -> ntp_state {
    caught(|| process::now().state.into()).unwrap_or(ntp_state::NTP_STATE_UNSYNCHRONIZED)
}

/// Undoes one `ntp_start`; the last one stops the thread. Harmless without a start.
///
/// Any thread may call this at any time. Threads that wait get `NTP_ERR_STOPPED`; reading goes on, in
/// holdover.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_stop() {
    // A panic has nobody to be told: the function returns nothing.
    let _ = guarded(process::stop);
}

/// The time where it takes more than a glance. C's calling convention, since who calls that need not be ready for a
/// panic.
#[inline(never)]
extern "C" fn other_time() -> i64 {
    caught(process::utc_otherwise).unwrap_or_else(system_time)
}

/// The best that is left after a panic in `ntp_now`.
fn system_time() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
}
