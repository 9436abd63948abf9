//! Servers behind handles.

use std::ffi::c_char;

use super::clock::ntp_clock;
use super::config::duration;
use super::result::ntp_result;
use super::text::{NAME_LIMIT, PATH_LIMIT, borrow_text};
use super::values::{Growing, check_size, hand_over};
use super::{boundary, guarded, not_null};
use crate::error::Error;
use crate::server::{Server, ServerConfig, ServerStatistics};

/// Where a server listens, and whose time it serves.
pub struct ntp_server_config(ServerConfig);

/// A running server: it answers NTP clients until it is freed.
pub struct ntp_server(Server);

/// What a server has done since its start. Grows at its end: pass its size.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ntp_server_counters {
    /// Datagrams received, whatever they were.
    pub requests: u64,
    /// Replies sent, kisses included.
    pub replies: u64,
    /// Replies in interleaved mode (RFC 9769).
    pub interleaved: u64,
    /// Clients that were told to ask less (the kiss code `RATE`).
    pub kisses: u64,
    /// Requests beyond the rate limit that were answered all the same.
    pub leaked: u64,
    /// Dropped: no NTP header, or no sender.
    pub malformed: u64,
    /// Dropped: of another version than 1 to 4.
    pub wrong_version: u64,
    /// Dropped: no request of a client.
    pub wrong_mode: u64,
    /// Dropped: of a client that is denied, or sent to a broadcast or multicast address.
    pub denied: u64,
    /// Dropped: beyond the rate limit.
    pub limited: u64,
    /// Dropped: there was no time to give.
    pub unsynchronized: u64,
    /// Replies that the system would not send.
    pub unsent: u64,
    /// Requests answered that had no receive stamp of the kernel that could be used: their times are a little late.
    pub unstamped: u64,
    /// Datagrams that the kernel dropped since the receive buffer was full.
    pub overflowed: u64,
    /// The smallest receive buffer of a socket, in bytes as the kernel counts them: less than 16 MiB where the system's
    /// limit (`net.core.rmem_max`) allows no more and the process is not root.
    pub receive_buffer_bytes: u64,
    /// Datagrams received in a second, lately.
    pub requests_per_second: f64,
    /// Replies sent in a second, lately.
    pub replies_per_second: f64,
    /// Threads that serve.
    pub threads: u32,
    /// Zero.
    pub reserved: u32,
    /// Requests with NTS whose fields made sense.
    pub nts_requests: u64,
    /// Replies that were authenticated.
    pub nts_replies: u64,
    /// Clients that were told to exchange keys anew: their cookies were too old, or nobody's.
    pub nts_naks: u64,
    /// Dropped: of NTS, with fields that made no sense, or left no room for a reply.
    pub nts_malformed: u64,
    /// Key exchanges that gave keys.
    pub key_exchanges: u64,
    /// Key exchanges that gave none: too slow, too long, refused, or no TLS at all.
    pub key_exchange_failures: u64,
    /// How often the file of cookie keys had changed and was of no use.
    pub cookie_key_faults: u64,
}

impl Growing for ntp_server_counters {
    const LEAST: usize = size_of::<u64>();
}

impl From<&ServerStatistics> for ntp_server_counters {
    fn from(told: &ServerStatistics) -> Self {
        // Every member by name: a new one must find its place here.
        let &ServerStatistics {
            requests,
            replies,
            interleaved,
            kisses,
            leaked,
            malformed,
            wrong_version,
            wrong_mode,
            denied,
            limited,
            unsynchronized,
            unsent,
            unstamped,
            overflowed,
            requests_per_second,
            replies_per_second,
            threads,
            receive_buffer_bytes,
            nts_requests,
            nts_replies,
            nts_naks,
            nts_malformed,
            key_exchanges,
            key_exchange_failures,
            cookie_key_faults,
        } = told;
        Self {
            requests,
            replies,
            interleaved,
            kisses,
            leaked,
            malformed,
            wrong_version,
            wrong_mode,
            denied,
            limited,
            unsynchronized,
            unsent,
            unstamped,
            overflowed,
            receive_buffer_bytes,
            requests_per_second,
            replies_per_second,
            threads,
            reserved: 0,
            nts_requests,
            nts_replies,
            nts_naks,
            nts_malformed,
            key_exchanges,
            key_exchange_failures,
            cookie_key_faults,
        }
    }
}

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
/// An address of IPv4 that is mapped into IPv6 (`::ffff:192.0.2.1`) is that of IPv4. A link-local one names its
/// interface: `[fe80::1%eth0]:123`.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` if `address` is no literal address, is a multicast address or 255.255.255.255, at
/// which nobody is answered (a network's own broadcast address is refused by `ntp_server_start`), is a link-local one
/// that names no interface of this host, if what is sent there would come to another one
/// that was added, too (the same with the same port, or all addresses beside one of them), or a pointer is NULL.
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

/// Answers clients of `prefix`: `address/length`, or one address. Where one prefix lies in another the longer one
/// counts. No client of IPv4 is in a prefix of IPv6, nor the other way round; `::ffff:10.0.0.0/104` is one of IPv4.
/// Whoever is in none is answered, unless anything at all, of either protocol, is allowed in this way.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` if `prefix` is none, if it is denied already, if it is one too many (1024
/// in all), or if a pointer is NULL.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
///   meanwhile.
/// - `prefix` is NULL or a NUL-terminated string that does not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_config_allow(config: *mut ntp_server_config, prefix: *const c_char) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live and ours alone for this call, by contract.
        let config = unsafe { config.as_mut() }.ok_or_else(|| Error::argument("config", "is NULL"))?;
        // SAFETY: NULL or a string by contract, and it is used during this call only.
        let prefix = unsafe { borrow_text("prefix", prefix, NAME_LIMIT) }?;
        config.0.allow(prefix).map(drop)
    })
}

/// Ignores clients of `prefix`; see `ntp_server_config_allow`.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` if `prefix` is none, if it is allowed already, if it is one too many (1024
/// in all), or if a pointer is NULL.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
///   meanwhile.
/// - `prefix` is NULL or a NUL-terminated string that does not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_config_deny(config: *mut ntp_server_config, prefix: *const c_char) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live and ours alone for this call, by contract.
        let config = unsafe { config.as_mut() }.ok_or_else(|| Error::argument("config", "is NULL"))?;
        // SAFETY: NULL or a string by contract, and it is used during this call only.
        let prefix = unsafe { borrow_text("prefix", prefix, NAME_LIMIT) }?;
        config.0.deny(prefix).map(drop)
    })
}

/// Answers each address (of IPv6: each network of 64 bits) at most `per_second` times a second over time, and
/// `burst` times at once; 16 and 64 unless set, and then not the loopback addresses of this host. A `per_second` of 0
/// answers everything.
///
/// Of what is beyond, a random quarter is answered all the same, so that nobody can silence the server to somebody
/// by asking in that one's name, and some are told to ask less (the kiss code `RATE`).
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` unless 0 <= `per_second` <= 1000000 and 1 <= `burst` <= 1000000, or if so
/// many take over an hour, or if `config` is NULL.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
///   meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_config_set_rate_limit(
    config: *mut ntp_server_config,
    per_second: i64,
    burst: i64,
) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live and ours alone for this call, by contract.
        let config = unsafe { config.as_mut() }.ok_or_else(|| Error::argument("config", "is NULL"))?;
        config.0.set_rate_limit(per_second, burst).map(drop)
    })
}

/// Serves with so many threads, each with a socket of its own for each address; unless set, with one for each
/// processor that the process may use.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` unless 1 <= `threads` <= 64, or if `config` is NULL.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
///   meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_config_set_threads(config: *mut ntp_server_config, threads: i32) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live and ours alone for this call, by contract.
        let config = unsafe { config.as_mut() }.ok_or_else(|| Error::argument("config", "is NULL"))?;
        // Below zero is as wrong as zero.
        config.0.set_threads(usize::try_from(threads).unwrap_or(0)).map(drop)
    })
}

/// Says nothing while the clock is not synchronised if `is_silent` is not 0; else, and unless set, clients are told
/// that it is not (leap indicator 3, stratum 16, no time).
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` if `config` is NULL.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
///   meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_config_set_silent_unless_synchronized(
    config: *mut ntp_server_config,
    is_silent: i32,
) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live and ours alone for this call, by contract.
        let config = unsafe { config.as_mut() }.ok_or_else(|| Error::argument("config", "is NULL"))?;
        config.0.set_silent_unless_synchronized(is_silent != 0);
        Ok(())
    })
}

/// Serves Network Time Security (RFC 8915) beside plain NTP, to whoever asks for it: as the server whose certificates
/// (PEM, its own first) and private key (PEM) are in these files. They are read when the server starts and never again:
/// when they are renewed, a new server has to be started. Both must be this process's user's or root's, and nobody else
/// may write them; the key nobody beyond its group may read (mode 0640).
///
/// Keys are exchanged over TLS at every address that is listened on, port 4460 unless set
/// (`ntp_server_config_set_nts_port`).
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` if a path names no file or a pointer is NULL, `NTP_ERR_UNSUPPORTED` in a build
/// without NTS.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
///   meanwhile.
/// - `certificate` and `private_key` are NULL or NUL-terminated strings that do not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_config_set_nts(
    config: *mut ntp_server_config,
    certificate: *const c_char,
    private_key: *const c_char,
) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live and ours alone for this call, by contract.
        let config = unsafe { config.as_mut() }.ok_or_else(|| Error::argument("config", "is NULL"))?;
        // SAFETY: NULL or a string by contract, and it is used during this call only.
        let certificate = unsafe { borrow_text("certificate", certificate, PATH_LIMIT) }?;
        // SAFETY: as above.
        let private_key = unsafe { borrow_text("private_key", private_key, PATH_LIMIT) }?;
        config.0.set_nts(certificate, private_key).map(drop)
    })
}

/// Exchanges keys at this port; 0 picks a free one, which `ntp_server_nts_port` tells.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` unless 0 <= `port` <= 65535, if NTS is not served, or if `config` is NULL.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
///   meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_config_set_nts_port(config: *mut ntp_server_config, port: i32) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live and ours alone for this call, by contract.
        let config = unsafe { config.as_mut() }.ok_or_else(|| Error::argument("config", "is NULL"))?;
        let wrong = |_| Error::argument("port", format!("is {port}; 0 to 65535 is possible"));
        config.0.set_nts_port(u16::try_from(port).map_err(wrong)?).map(drop)
    })
}

/// Seals cookies with the keys in the file at `path`, which several servers may share, so that each of them understands
/// the clients of the others. Unless set, they are a server's own, made anew every day, and gone when it stops.
///
/// A line has an id and `HEX:` with 64 digits; the newest key comes first, for others to know, the second seals, and
/// all of them open. The file must be this process's user's or root's, for nobody else to read or write (mode 0600);
/// it is made, with a first key, if the server finds none when it starts, and read again when it changes. Nothing renews
/// its keys but the command `ntpclock cookie-keys FILE`: have that done once a day.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT` if NTS is not served, if `path` names no file, or if a pointer is NULL.
///
/// # Safety
///
/// - `config` is NULL, or came from `ntp_server_config_new`, is not freed, and no other thread uses it
///   meanwhile.
/// - `path` is NULL or a NUL-terminated string that does not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_config_set_nts_cookie_keys(
    config: *mut ntp_server_config,
    path: *const c_char,
) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live and ours alone for this call, by contract.
        let config = unsafe { config.as_mut() }.ok_or_else(|| Error::argument("config", "is NULL"))?;
        // SAFETY: NULL or a string by contract, and it is used during this call only.
        let path = unsafe { borrow_text("path", path, PATH_LIMIT) }?;
        config.0.set_nts_cookie_keys(path).map(drop)
    })
}

/// Starts to answer NTP clients with the time of `clock`; `server` gets the handle.
///
/// A NULL `clock` is the process-wide one. The configuration is copied. Free the server with
/// `ntp_server_free`; its clock may be freed before, and then serves on in holdover.
///
/// Returns `NTP_ERR_SYSTEM` when an address cannot be bound, a file that NTS needs cannot be read or a thread cannot be
/// made, `NTP_ERR_MALFORMED` when the file of cookie keys makes no sense, and `NTP_ERR_INVALID_ARGUMENT` when `config`
/// names no address, its certificates or their key are of no use, or it or `server` is NULL; `server`, where it is not
/// NULL, is then set to NULL.
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

/// Tells the port at which keys are exchanged, of address number `index`; addresses that differ in their port alone
/// count once.
///
/// Any number of threads may ask at the same time. Returns `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if
/// a pointer is NULL or there is no such address, as where NTS is not served.
///
/// # Safety
///
/// - `server` is NULL, or came from `ntp_server_start` and is not freed.
/// - `port` is NULL, or points to a number that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_nts_port(server: *const ntp_server, index: usize, port: *mut u16) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live for this call, by contract.
        let server = unsafe { server.as_ref() }.ok_or_else(|| Error::argument("server", "is NULL"))?;
        not_null("port", port)?;
        let addresses = server.0.key_exchange_addresses();
        let address = addresses.get(index).ok_or_else(|| {
            Error::argument("index", format!("is {index}; keys are exchanged at {} addresses", addresses.len()))
        })?;
        // SAFETY: not NULL, so by contract writable and ours alone for this call.
        unsafe { port.write(address.port()) };
        Ok(())
    })
}

/// Tells what a server has done since its start. Pass `sizeof(ntp_server_counters)` as `size`, which is understood as
/// in `ntp_clock_report`.
///
/// Any number of threads may ask at the same time. What its threads have not told yet, for a second at most, is
/// missing.
///
/// Returns `NTP_ERR_INVALID_ARGUMENT`, and writes nothing, if a pointer is NULL or `size` makes no sense.
///
/// # Safety
///
/// - `server` is NULL, or came from `ntp_server_start` and is not freed.
/// - `counters` is NULL, or points to `size` bytes that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntp_server_statistics(
    server: *const ntp_server,
    counters: *mut ntp_server_counters,
    size: usize,
) -> ntp_result {
    boundary(|| {
        // SAFETY: NULL or live for this call, by contract.
        let server = unsafe { server.as_ref() }.ok_or_else(|| Error::argument("server", "is NULL"))?;
        not_null("counters", counters)?;
        check_size::<ntp_server_counters>("size", size)?;
        let told = ntp_server_counters::from(&server.0.statistics());
        // SAFETY: not NULL, so by contract `size` bytes that are ours alone for this call.
        unsafe { hand_over(&told, counters, size) };
        Ok(())
    })
}
