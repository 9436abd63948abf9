//! Servers behind handles.

use std::ffi::c_char;

use super::clock::ntp_clock;
use super::config::duration;
use super::result::ntp_result;
use super::text::{NAME_LIMIT, borrow_text};
use super::{boundary, guarded, not_null};
use crate::error::Error;
use crate::server::{Server, ServerConfig};

/// Where a server listens, and whose time it serves.
pub struct ntp_server_config(ServerConfig);

/// A running server: it answers NTP clients until it is freed.
pub struct ntp_server(Server);

/// Makes a server's configuration: it listens nowhere yet, and serves the clock it is started with. Free it
/// with `ntp_server_config_free`.
///
/// One thread at a time may use it. Never returns NULL, unless a bug in ntpclock keeps it from being made.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_server_config_new() -> *mut ntp_server_config {
    guarded(|| Box::into_raw(Box::new(ntp_server_config(ServerConfig::new())))).unwrap_or(std::ptr::null_mut())
}

/// Frees a server's configuration. Servers started with it go on. NULL is harmless.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_config_free(config: *mut ntp_server_config) {
    let _ = guarded(|| {
        if !config.is_null() {
            // SAFETY: from `Box::into_raw` in `ntp_server_config_new`, and by contract given back only once.
            drop(unsafe { Box::from_raw(config) });
        }
    });
}

/// Adds an address to listen on: `address`, `address:port` or `[v6]:port`. Port 0 picks a free one, which
/// `ntp_server_port` tells.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` if `address` is no literal address, or a pointer is NULL.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
///   meanwhile.
/// - `address` is NULL or a NUL-terminated string that does not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_config_add_listen(
    config: *mut ntp_server_config,
    address: *const c_char,
) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live and ours alone for this call, by contract.
        let config = unsafe { config.as_mut() }.ok_or_else(|| Error::argument("config", "is NULL"))?;
        // SAFETY: NULL or a string by contract, and it is used during this call only.
        let address = unsafe { borrow_text("address", address, NAME_LIMIT) }?;
        config.0.add_listen(address).map(drop)
    })
}

/// Serves the system clock as `stratum` with this root dispersion, in nanoseconds, without any upstream: for
/// islands and demonstrations. The dispersion is the caller's claim.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` unless 1 <= `stratum` <= 15 and 0 <= `root_dispersion_ns` < 16 s.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
///   meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_config_set_local(
    config: *mut ntp_server_config,
    stratum: i32,
    root_dispersion_ns: i64,
) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live and ours alone for this call, by contract.
        let config = unsafe { config.as_mut() }.ok_or_else(|| Error::argument("config", "is NULL"))?;
        config.0.set_local(stratum, duration("root_dispersion_ns", root_dispersion_ns)?).map(drop)
    })
}

/// Starts to answer NTP clients with the time of `clock`; `server` gets the handle.
///
/// A NULL `clock` is the process-wide one. The configuration is copied. Free the server with
/// `ntp_server_free`; its clock may be freed before, and then serves on in holdover.
///
/// Returns `NTP_ERR_SYSTEM` when an address cannot be bound or a thread cannot be made, and
/// `NTP_ERR_INVALID_ARGUMENT` when `config` names no address, or it or `server` is NULL; `server`, where it
/// is not NULL, is then set to NULL.
///
/// # Safety
///
/// - `clock` is NULL, or came from `ntp_clock_start` and is not freed before this returns.
/// - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread changes it
///   meanwhile.
/// - `server` is NULL, or points to a pointer that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_start(
    clock: *const ntp_clock,
    config: *const ntp_server_config,
    server: *mut *mut ntp_server,
) -> ntp_result {
    boundary(|| {
        not_null("server", server)?;
        // SAFETY: not NULL, so by contract writable and ours alone for this call.
        unsafe { server.write(std::ptr::null_mut()) };
        // SAFETY: NULL or live and unchanging for this call, by contract.
        let config = unsafe { config.as_ref() }.ok_or_else(|| Error::argument("config", "is NULL"))?;
        // SAFETY: NULL or live for this call, by contract.
        let clock = unsafe { clock.as_ref() }.map(|clock| &clock.0);
        let started = Box::new(ntp_server(Server::start(clock, &config.0)?));
        // SAFETY: as above.
        unsafe { server.write(Box::into_raw(started)) };
        Ok(())
    })
}

/// Stops a server and frees it; its threads have ended when this returns. NULL is harmless.
///
/// # Safety
///
/// - `server` is NULL, or came from `ntp_server_start`, is not freed, and no thread uses it now or later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_free(server: *mut ntp_server) {
    let _ = guarded(|| {
        if !server.is_null() {
            // SAFETY: from `Box::into_raw` in `ntp_server_start`, and by contract given back only once.
            drop(unsafe { Box::from_raw(server) });
        }
    });
}

/// Tells the port of a server's address number `index`, counted from 0 in the order of
/// `ntp_server_config_add_listen`: for addresses whose port was picked.
///
/// Any number of threads may ask at the same time. Returns `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if
/// a pointer is NULL or there is no such address.
///
/// # Safety
///
/// - `server` is NULL, or came from `ntp_server_start` and is not freed.
/// - `port` is NULL, or points to a number that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_port(server: *const ntp_server, index: usize, port: *mut u16) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live for this call, by contract.
        let server = unsafe { server.as_ref() }.ok_or_else(|| Error::argument("server", "is NULL"))?;
        not_null("port", port)?;
        let addresses = server.0.addresses();
        let address = addresses.get(index).ok_or_else(|| {
            Error::argument("index", format!("is {index}; the server has {} addresses", addresses.len()))
        })?;
        // SAFETY: not NULL, so by contract writable and ours alone for this call.
        unsafe { port.write(address.port()) };
        Ok(())
    })
}
