//! The operating system behind safe functions: clocks, sockets with kernel timestamps, wake-ups, threads, fork,
//! files and memory that processes share.

#![expect(unsafe_code, reason = "the one room that calls the C library; each call is wrapped in a safe function")]

#[expect(clippy::indexing_slicing, reason = "arrays of BATCH places, and what the kernel filled of them")]
pub(crate) mod batch;
#[cfg(feature = "capi")]
pub(crate) mod cancel;
pub(crate) mod clocks;
pub(crate) mod counter;
#[cfg(feature = "cli")]
pub(crate) mod ending;
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
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Turns a C result into a Rust one: negative is an error, told by `errno`.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// `opened` under a number that nobody takes for standard input, output or error: a host that has closed those may
/// print all the same, or put other files there. What stays open for longer than a call goes through here.
pub(crate) fn beside_standard<T: From<OwnedFd> + Into<OwnedFd>>(opened: T) -> io::Result<T> {
    let opened: OwnedFd = opened.into();
    if opened.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(opened.into());
    }
    // SAFETY: the call takes no pointers.
    let fd = checked(unsafe { libc::fcntl(opened.as_raw_fd(), libc::F_DUPFD_CLOEXEC, libc::STDERR_FILENO + 1) })?;
    // SAFETY: `fd` was just opened and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}

/// Descriptors that strangers shall not take from the host, and the part of all that it may have, if that is less.
#[cfg(feature = "_nts")]
const RESERVE: u64 = 64;
#[cfg(feature = "_nts")]
const RESERVED_PART: u64 = 8;

/// Whether `opened`, just opened, is among the last descriptors that this process may have: the kernel gives the lowest
/// number that is free.
#[cfg(feature = "_nts")]
pub(crate) fn is_among_the_last(opened: &impl AsRawFd) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the place is ours.
    if checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }).is_err() {
        return false;
    }
    let allowed = limit.rlim_cur;
    let free = allowed - RESERVE.min(allowed / RESERVED_PART);
    u64::try_from(opened.as_raw_fd()).is_ok_and(|number| number >= free)
}

/// Whether the system has too little of something now, which may pass, rather than forbidding it.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let shortages = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN, libc::ENOBUFS];
    error.raw_os_error().is_some_and(|code| shortages.contains(&code))
}

/// Whether a file or socket was refused because this process, or the system, has too many.
pub(crate) fn is_short_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Random words from the system, by one call; there is no state of ours that a fork could copy.
pub(crate) fn random<const N: usize>() -> io::Result<[u64; N]> {
    let mut words = [[0; 8]; N];
    getrandom::fill(words.as_flattened_mut()).map_err(io::Error::other)?;
    Ok(words.map(u64::from_ne_bytes))
}
