//! The operating system behind safe functions: clocks, sockets with kernel timestamps, wake-ups, threads, fork,
//! files and memory that processes share.

#![expect(unsafe_code, reason = "the one room that calls the C library; each call is wrapped in a safe function")]

#[expect(clippy::indexing_slicing, reason = "arrays of BATCH places, and what the kernel filled of them")]
pub(crate) mod batch;
pub(crate) mod clocks;
pub(crate) mod counter;
pub(crate) mod file;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod host;
pub(crate) mod listen;
pub(crate) mod lock;
pub(crate) mod mapping;
pub(crate) mod process;
pub(crate) mod resume;
pub(crate) mod socket;
pub(crate) mod thread;
pub(crate) mod ticks;
pub(crate) mod translate;
#[cfg(feature = "cli")]
pub(crate) mod user;
pub(crate) mod vmclock;
pub(crate) mod wake;

use std::io;

/// Turns a C result into a Rust one: negative is an error, told by `errno`.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Whether the system has too little of something now, which may pass, rather than forbidding it.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let shortages = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN, libc::ENOBUFS];
    error.raw_os_error().is_some_and(|code| shortages.contains(&code))
}

/// Random words from the system, by one call; there is no state of ours that a fork could copy.
pub(crate) fn random<const N: usize>() -> io::Result<[u64; N]> {
    let mut words = [[0; 8]; N];
    getrandom::fill(words.as_flattened_mut()).map_err(io::Error::other)?;
    Ok(words.map(u64::from_ne_bytes))
}
