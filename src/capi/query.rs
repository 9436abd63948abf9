//! One exchange with one server.

use std::ffi::c_char;
use std::time::Duration;

use super::clock::timeout;
use super::config::ntp_config;
use super::result::ntp_result;
use super::text::{NAME_LIMIT, borrow_text};
use super::values::{check_size, hand_over, ntp_query_result};
use super::{boundary, not_null};

/// How long "for ever" is for a single exchange: beyond any program's life, and small enough to be added
/// to any clock.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Asks one server once: no clock, nothing kept. Pass `sizeof(ntp_query_result)` as `size`.
///
/// A name, unlike a literal address, is looked up by the one helper thread of the process, which ends when
/// there is nothing more to look up.
///
/// `server` is one entry of a list as in `ntp_start`; of a pool the first address is asked. Blocks up to
/// `timeout_ms` milliseconds, for ever if that is negative: an answer may get lost. Any number of threads
/// may ask at the same time. Sizes are understood as in `ntp_clock_report`.
///
/// With ` nts` behind the server keys are exchanged first, by the helper thread too.
///
/// Returns `NTP_ERR_INVALID_SERVER`, `NTP_ERR_RESOLVE`, `NTP_ERR_KEY_EXCHANGE`, `NTP_ERR_TIMEOUT`, `NTP_ERR_BAD_REPLY`
/// or `NTP_ERR_SYSTEM` for what the names say; and `NTP_ERR_INVALID_ARGUMENT` if a pointer is NULL, `server` is
/// over-long or not UTF-8, or `size` makes no sense. `result` is written on success only.
///
/// # Safety
///
/// - `server` is NULL or a NUL-terminated string that does not change during the call.
/// - `result` is NULL, or points to `size` bytes that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_query(
    server: *const c_char,
    timeout_ms: i64,
    result: *mut ntp_query_result,
    size: usize,
) -> ntp_result {
    // SAFETY: the same contract; and a NULL configuration is none.
    unsafe { ntp_query_with(std::ptr::null(), server, timeout_ms, result, size) }
}

/// As `ntp_query`, with the certificates that `config` trusts to vouch for a server with Network Time Security. Nothing
/// else of `config` matters; NULL stands for the defaults.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_config_new`, is not freed, and no other thread changes it meanwhile.
/// - `server` is NULL or a NUL-terminated string that does not change during the call.
/// - `result` is NULL, or points to `size` bytes that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_query_with(
    config: *const ntp_config,
    server: *const c_char,
    timeout_ms: i64,
    result: *mut ntp_query_result,
    size: usize,
) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or a string by contract, and it is used during this call only.
        let server = unsafe { borrow_text("server", server, NAME_LIMIT) }?;
        not_null("result", result)?;
        check_size::<ntp_query_result>("size", size)?;
        let patience = timeout(timeout_ms).map_or(FOR_EVER, |timeout| timeout.min(FOR_EVER));
        // SAFETY: NULL or live and unchanged for this call, by contract.
        let answer = match unsafe { config.as_ref() } {
            Some(config) => crate::query_with(&config.0, server, patience)?,
            None => crate::query(server, patience)?,
        };
        // SAFETY: not NULL, so by contract `size` bytes that are ours alone for this call.
        unsafe { hand_over(&ntp_query_result::from(&answer), result, size) };
        Ok(())
    })
}
