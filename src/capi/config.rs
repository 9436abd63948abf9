//! How a clock is to behave, set by set.

use std::ffi::c_char;
use std::time::Duration;

use super::result::ntp_result;
use super::text::{LIST_LIMIT, PATH_LIMIT, borrow_text};
use super::values::{NTP_SERVER_NTS, NTP_SERVER_PREFER, NTP_SERVER_REQUIRE, NTP_SERVER_TRUST, ntp_authentication};
use super::{boundary, guarded};
use crate::config::{Authentication, Config};
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

/// Adds the servers of a list as `ntp_config_add_servers` does, and says how far they are trusted.
///
/// `options` is 0 or more of `NTP_SERVER_...`, or-ed. With a `key_id` other than 0 requests to them are
/// authenticated by the key of that id, which `ntp_config_load_keys` has read or is about to read, and replies that
/// are not are dropped: AES-CMAC, RFC 8573. A key that was not read makes `ntp_clock_start` fail. With `NTP_SERVER_NTS`
/// there can be none.
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
        let unknown = options & !(NTP_SERVER_REQUIRE | NTP_SERVER_PREFER | NTP_SERVER_TRUST | NTP_SERVER_NTS);
        if unknown != 0 {
            return Err(Error::argument("options", format!("has the bits {unknown:#x}, which mean nothing")));
        }
        let given = |option| options & option != 0;
        let options = ServerOptions {
            key: (key_id != 0).then_some(key_id),
            require: given(NTP_SERVER_REQUIRE),
            prefer: given(NTP_SERVER_PREFER),
            trust: given(NTP_SERVER_TRUST),
            nts: given(NTP_SERVER_NTS),
        };
        config.add_servers_with(servers, options).map(drop)
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

/// Reads the symmetric keys in the file at `path`, now and once. Keys of several files add up.
///
/// Each line has an id from 1 on, a type, AES128 or AES256, and the key: `HEX:` and its digits, or text. Empty lines,
/// and those that begin with `#`, `!`, `;` or `%`, say nothing; keys of other types are passed by.
///
/// Returns `NTP_ERR_SYSTEM` when the file cannot be read or may not be trusted: it must be a regular file, ours or
/// root's, that nobody else may read or write (mode 0600; root's group may read it, as it may what systemd passes on by
/// `LoadCredential`). Returns `NTP_ERR_MALFORMED` when a line makes no sense or has an id that there was before; then no
/// key is taken. Returns `NTP_ERR_INVALID_ARGUMENT` when a pointer is NULL, or `path` is over-long or not UTF-8.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
/// - `path` is NULL or a NUL-terminated string that does not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_load_keys(config: *mut ntp_config, path: *const c_char) -> ntp_result {
    let load = |config: &mut Config| {
        // SAFETY: NULL or a string by contract, and it is used during this call only.
        let path = unsafe { borrow_text("path", path, PATH_LIMIT) }?;
        config.load_keys(path).map(drop)
    };
    // SAFETY: the same contract.
    unsafe { change(config, load) }
}

/// Sets what authenticated servers are to those that are not: `NTP_AUTHENTICATION_...`. Default
/// `NTP_AUTHENTICATION_MIX`.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` for a number that is none of them.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_set_authentication(config: *mut ntp_config, authentication: i32) -> ntp_result {
    let set = |config: &mut Config| {
        let modes = [
            (ntp_authentication::NTP_AUTHENTICATION_IGNORE, Authentication::Ignore),
            (ntp_authentication::NTP_AUTHENTICATION_MIX, Authentication::Mix),
            (ntp_authentication::NTP_AUTHENTICATION_REQUIRE, Authentication::Require),
        ];
        let known = modes.into_iter().find(|(number, _)| *number as i32 == authentication);
        let unknown = || Error::argument("authentication", format!("is {authentication}, which means nothing"));
        config.set_authentication(known.ok_or_else(unknown)?.1);
        Ok(())
    };
    // SAFETY: the same contract.
    unsafe { change(config, set) }
}

/// Sets whether a dozen other servers of the pools, picked at random, are asked once an hour, in the spirit of Khronos
/// (RFC 9523): 1 or 0. Default 0, because they are asked beside those that are polled.
///
/// When they contradict what the polled servers agree on, and others do so again two minutes later, that is not
/// believed any more: the clock is in NTP_STATE_HOLDOVER, with `NTP_FLAG_VETOED`, until it is backed again. Fewer than
/// six others are no opinion. The others are not authenticated: as long as those that say where UTC lies all are,
/// nothing is vetoed.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` for a number that is neither.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_set_khronos(config: *mut ntp_config, enabled: i32) -> ntp_result {
    let set = |config: &mut Config| match enabled {
        0 | 1 => {
            config.set_khronos(enabled == 1);
            Ok(())
        }
        _ => Err(Error::argument("enabled", format!("is {enabled}, neither 0 nor 1"))),
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

/// Asks servers, in interleaved mode (RFC 9769), when their last reply really left, if `is_interleaved` is not 0; off
/// unless set. A server that does not know the mode answers as ever.
///
/// It narrows what a server's own work and queue add to the delay, where the server knows better than when it handed a
/// reply to its system; what is known then is one poll interval old.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` if `config` is NULL.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_set_interleaved(config: *mut ntp_config, is_interleaved: i32) -> ntp_result {
    // SAFETY: the same contract.
    unsafe {
        change(config, |config| {
            config.set_interleaved(is_interleaved != 0);
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
/// tells why. Clocks that follow different servers, or trust them differently, need a file each. A relative `path` is
/// in the directory that is the working directory when a clock starts.
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

/// Makes clocks share the page at `path` with the other processes of this host that name it: all read it, one of them
/// asks the servers. Default: none. Not for the process-wide clock, whose own page is what makes `ntp_now` cheap.
///
/// Whoever holds the lock of the file `path`.lock leads, and writes the page, which is made if it is not there. When it
/// ends, however it does, another takes over within two seconds, in the same epoch and on the same line. All should
/// have the same configuration. The state file is the leader's. The directory should be one that only you may write, in
/// memory, and gone after a boot, as those in /run are. `ntp_clock_start` returns `NTP_ERR_SHARED_PAGE` when the page or
/// its lock file cannot be trusted: it is not ours or root's, others may write it, it is no regular file, of another
/// version or not whole. Who may write or lock it is trusted. A relative `path` is in the directory that is the working
/// directory when a clock starts.
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

/// Has a forked child restart the clock by itself (`restart` 1), as `ntp_clock_restart` does, or not (0). Default: not.
///
/// A reading starts nothing, for it takes no lock; nor does the fork, which may be the beginning of an exec. So "by
/// itself" is at the child's first call that waits for the clock (`ntp_wait`, `ntp_clock_wait` and the like), asks for
/// its report, its sources or its events, or starts it. Until then the child reads on in NTP_STATE_HOLDOVER.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` unless `restart` is 0 or 1.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread uses it meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_config_set_restart_after_fork(config: *mut ntp_config, restart: i32) -> ntp_result {
    let set = |config: &mut Config| match restart {
        0 | 1 => {
            config.set_restart_after_fork(restart == 1);
            Ok(())
        }
        _ => Err(Error::argument("restart", format!("is {restart}, neither 0 nor 1"))),
    };
    // SAFETY: the same contract.
    unsafe { change(config, set) }
}

/// A number of sources, which C passes signed.
fn count(sources: i32) -> Result<usize, Error> {
    usize::try_from(sources).map_err(|_| Error::argument("sources", format!("is {sources}, below zero")))
}
