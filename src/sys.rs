//! The operating system behind safe functions: clocks, sockets with kernel timestamps, wake-ups, threads, fork.

#![expect(unsafe_code, reason = "the one room that calls the C library; each call is wrapped in a safe function")]

pub(crate) mod clocks;
pub(crate) mod counter;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod host;
pub(crate) mod resume;
pub(crate) mod socket;
pub(crate) mod thread;
pub(crate) mod ticks;
pub(crate) mod wake;

use std::io;

/// Turns a C result into a Rust one: negative is an error, told by `errno`.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// 64 random bits from the system; there is no state of ours that a fork could copy.
pub(crate) fn random() -> io::Result<u64> {
    random_bytes().map(u64::from_ne_bytes)
}

/// As [`random`], as many as are wanted.
pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}
