//! How a clock is to behave, set by set.

use std::ffi::c_char;
use std::time::Duration;

use super::result::ntp_result;
use super::text::{LIST_LIMIT, PATH_LIMIT, borrow_text};
use super::values::NTP_SERVER_NTS;
use super::{boundary, guarded};
use crate::config::Config;
use crate::error::Error;
use crate::status::ServerOptions;

/// How a clock behaves: its servers, and what is assumed of them and of the oscillator.
pub struct ntp_config(pub(super) Config);

/// A duration from nanoseconds, which C passes signed.
pub(super) fn duration(name: &'static str, ns: i64) -> Result<Duration, Error> {
    let ns = u64::try_from(ns).map_err(|_| Error::argument(name, format!("is {ns}, below zero")))?;
    Ok(Duration::from_nanos(ns))
}

/// Lends the configuration behind `config` to `change`.
///
/// # Safety
///
/// `config` is NULL or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
unsafe fn change(config: *mut ntp_config, change: impl FnOnce(&mut Config) -> Result<(), Error>) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live and ours alone for this call, by contract.
        let config = unsafe { config.as_mut() }.ok_or_else(|| Error::argument("config", "is NULL"))?;
        change(&mut config.0)
    })
}

/// Makes a configuration: no servers yet, and the documented defaults. Free it with `ntp_config_free`.
///
/// One thread at a time may use it. Never returns NULL, unless a bug in ntpclock keeps it from being made.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_config_new() -> *mut ntp_config {
    guarded(|| Box::into_raw(Box::new(ntp_config(Config::new())))).unwrap_or(std::ptr::null_mut())
}

/// Frees a configuration. Clocks started with it go on. NULL is harmless.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_free(config: *mut ntp_config) {
    let _ = guarded(|| {
        if !config.is_null() {
            // SAFETY: from `Box::into_raw` in `ntp_config_new`, and by contract given back only once.
            drop(unsafe { Box::from_raw(config) });
        }
    });
}

/// Adds the servers of a comma-separated list, as in `ntp_start`; all of them or, on failure, none.
///
/// Returns `NTP_ERR_INVALID_SERVER` when an entry does not follow the grammar, `NTP_ERR_UNSUPPORTED` when
/// it asks for what this build lacks, and `NTP_ERR_INVALID_ARGUMENT` when a pointer is NULL, the text is
/// over-long or not UTF-8, or there are more than 64 servers.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
/// - `servers` is NULL or a NUL-terminated string that does not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_add_servers(config: *mut ntp_config, servers: *const c_char) -> ntp_result {
    let add = |config: &mut Config| {
        // SAFETY: NULL or a string by contract, and it is used during this call only.
        let servers = unsafe { borrow_text("servers", servers, LIST_LIMIT) }?;
        config.add_servers(servers).map(drop)
    };
    // SAFETY: the same contract.
    unsafe { change(config, add) }
}

/// Adds the servers of a list as `ntp_config_add_servers` does, and gives each of them `options`: 0 or more of
/// `NTP_SERVER_...`, or-ed. `key_id` must be 0.
///
/// Returns what `ntp_config_add_servers` does, and `NTP_ERR_INVALID_ARGUMENT` for an option that this version does not
/// know.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
/// - `servers` is NULL or a NUL-terminated string that does not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_add_servers_with(
    config: *mut ntp_config,
    servers: *const c_char,
    options: u32,
    key_id: u32,
) -> ntp_result {
    let add = |config: &mut Config| {
        // SAFETY: NULL or a string by contract, and it is used during this call only.
        let servers = unsafe { borrow_text("servers", servers, LIST_LIMIT) }?;
        let unknown = options & !NTP_SERVER_NTS;
        if unknown != 0 {
            return Err(Error::argument("options", format!("has the bits {unknown:#x}, which mean nothing")));
        }
        if key_id != 0 {
            return Err(Error::Unsupported("keys of servers"));
        }
        config.add_servers_with(servers, ServerOptions { nts: options & NTP_SERVER_NTS != 0 }).map(drop)
    };
    // SAFETY: the same contract.
    unsafe { change(config, add) }
}

/// Trusts the certificates in the file at `path` (PEM) to vouch for servers with Network Time Security, beside those of
/// the platform. Further files add to them.
///
/// The file is read when a clock starts: `ntp_clock_start` fails with `NTP_ERR_SYSTEM` if it cannot be read, and with
/// `NTP_ERR_INVALID_ARGUMENT` if it holds no certificate.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` when a pointer is NULL, or `path` is over-long, not UTF-8 or names no file, and
/// `NTP_ERR_UNSUPPORTED` in a build without Network Time Security.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
/// - `path` is NULL or a NUL-terminated string that does not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_add_trusted_certificates(
    config: *mut ntp_config,
    path: *const c_char,
) -> ntp_result {
    let add = |config: &mut Config| {
        // SAFETY: NULL or a string by contract, and it is used during this call only.
        let path = unsafe { borrow_text("path", path, PATH_LIMIT) }?;
        config.add_trusted_certificates(path).map(drop)
    };
    // SAFETY: the same contract.
    unsafe { change(config, add) }
}

/// Sets whether the certificates that the platform trusts vouch for servers with Network Time Security: those in
/// /etc/ssl/certs/ca-certificates.crt, or where else distributions keep theirs. Default: yes (not 0).
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` if `config` is NULL.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_set_platform_trust(config: *mut ntp_config, trusted: i32) -> ntp_result {
    let set = |config: &mut Config| {
        config.set_platform_trust(trusted != 0);
        Ok(())
    };
    // SAFETY: the same contract.
    unsafe { change(config, set) }
}

/// Sets the shortest and longest poll interval, as exponents of 2 in seconds. Default 4 and 10 (16 s, 17 min).
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` unless 0 <= `min_exponent` <= `max_exponent` <= 17.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_set_poll(
    config: *mut ntp_config,
    min_exponent: i32,
    max_exponent: i32,
) -> ntp_result {
    // SAFETY: the same contract.
    unsafe { change(config, |config| config.set_poll_exponents(min_exponent, max_exponent).map(drop)) }
}

/// Sets how many sources may lie about the time. Default: (n-1)/3 of n, rounded down.
///
/// Never more than (n-1)/2 is assumed, whatever is set. Returns `NTP_ERR_INVALID_ARGUMENT` if `sources` is
/// negative.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_set_fault_limit(config: *mut ntp_config, sources: i32) -> ntp_result {
    // SAFETY: the same contract.
    unsafe {
        change(config, |config| {
            config.set_fault_limit(count(sources)?);
            Ok(())
        })
    }
}

/// Sets the fewest sources that must agree before the clock counts as synchronised. Default 1.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` unless 1 <= `sources` <= 64.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_set_min_agreeing(config: *mut ntp_config, sources: i32) -> ntp_result {
    // SAFETY: the same contract.
    unsafe { change(config, |config| config.set_min_agreeing(count(sources)?).map(drop)) }
}

/// Sets the largest correction that is slewed; larger ones step and start a new epoch. Default 100 ms.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` unless `threshold_ns` is from 0 to one hour.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_set_step_threshold(config: *mut ntp_config, threshold_ns: i64) -> ntp_result {
    // SAFETY: the same contract.
    unsafe { change(config, |config| config.set_step_threshold(duration("threshold_ns", threshold_ns)?).map(drop)) }
}

/// Sets the error bound above which the clock counts as unsynchronised. Default 1 s.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` unless `cap_ns` is above 0 and up to one day.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_set_bound_cap(config: *mut ntp_config, cap_ns: i64) -> ntp_result {
    // SAFETY: the same contract.
    unsafe { change(config, |config| config.set_bound_cap(duration("cap_ns", cap_ns)?).map(drop)) }
}

/// Sets the largest frequency error of the raw counter against UTC, in parts per million. Default 200.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` unless 0 < `ppm` <= 1000.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_set_frequency_limit(config: *mut ntp_config, ppm: f64) -> ntp_result {
    // SAFETY: the same contract.
    unsafe { change(config, |config| config.set_frequency_limit_ppm(ppm).map(drop)) }
}

/// Sets the drift limit: the oscillator's frequency changes by `short_ppm` at most within `knee_ns`, and by `long_ppm`
/// over any time. Default 2 ppm within 1000 s, and 15 ppm. The error bound rests on it.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` unless 0 <= `short_ppm` <= `long_ppm` <= 1000 and `knee_ns` is from 0 to 30 days.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_set_drift_limit(
    config: *mut ntp_config,
    short_ppm: f64,
    knee_ns: i64,
    long_ppm: f64,
) -> ntp_result {
    // SAFETY: the same contract.
    unsafe {
        change(config, |config| config.set_drift_limit(short_ppm, duration("knee_ns", knee_ns)?, long_ppm).map(drop))
    }
}

/// Makes clocks start warm from the state file at `path`, and save their state there: when they stop, and every
/// 10 minutes. Default: none.
///
/// In the same boot a clock then reads with a bound from the first moment, in NTP_STATE_HOLDOVER; after any
/// boot it expects the frequency that it had. A file that is not whole, not ours or not from the past is
/// refused: `ntp_clock_start` succeeds all the same, the clock starts cold, and `ntp_clock_check_state_file`
/// tells why. Clocks that follow different servers, or trust them differently, need a file each.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` when a pointer is NULL, or `path` is over-long, not UTF-8 or names no file.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
/// - `path` is NULL or a NUL-terminated string that does not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_set_state_file(config: *mut ntp_config, path: *const c_char) -> ntp_result {
    let set = |config: &mut Config| {
        // SAFETY: NULL or a string by contract, and it is used during this call only.
        let path = unsafe { borrow_text("path", path, PATH_LIMIT) }?;
        config.set_state_file(path).map(drop)
    };
    // SAFETY: the same contract.
    unsafe { change(config, set) }
}

/// Makes clocks share the page at `path` with the other processes of this host that name it: all read it, one of them asks
/// the servers. Default: none.
///
/// Whoever holds the lock of the file `path`.lock leads, and writes the page, which is made if it is not there. When it
/// ends, however it does, another takes over within two seconds, in the same epoch and on the same line. All should have the
/// same configuration. State file and recording are the leader's. The directory should be one that only you may
/// write, in memory, and gone after a boot, as those in /run are. `ntp_clock_start` returns `NTP_ERR_SHARED_PAGE` when the page or its lock file cannot be
/// trusted: it is not ours or root's, others may write it, it is no regular file, of another version or not whole. Who may
/// write or lock it is trusted.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` when a pointer is NULL, or `path` is over-long, not UTF-8 or names no file.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
/// - `path` is NULL or a NUL-terminated string that does not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_set_shared_page(config: *mut ntp_config, path: *const c_char) -> ntp_result {
    let set = |config: &mut Config| {
        // SAFETY: NULL or a string by contract, and it is used during this call only.
        let path = unsafe { borrow_text("path", path, PATH_LIMIT) }?;
        config.set_shared_page(path).map(drop)
    };
    // SAFETY: the same contract.
    unsafe { change(config, set) }
}

/// A number of sources, which C passes signed.
fn count(sources: i32) -> Result<usize, Error> {
    usize::try_from(sources).map_err(|_| Error::argument("sources", format!("is {sources}, below zero")))
}
