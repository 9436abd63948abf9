//! Waiting for another thread of this process, without a lock: a word, and who sleeps while it keeps its value.
//!
//! Nothing is held while waiting, so that a forked child finds nothing locked by threads it does not have.

use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

/// Sleeps until [`wake_all`], if `word` still has the value `seen`; or until `timeout` is over, or for no reason.
pub(crate) fn wait(word: &AtomicU32, seen: u32, timeout: Duration) {
    // The kernel's own timespec, whatever the C library's is.
    let seconds = libc::c_long::try_from(timeout.as_secs()).unwrap_or(libc::c_long::MAX);
    let limit = [seconds, timeout.subsec_nanos() as libc::c_long];
    // SAFETY: `word` and `limit` live until the call returns; the kernel only reads them.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, seen, limit.as_ptr())
    };
}

/// Sleeps for `duration`. The standard library's own sleep panics where a host forbids it; who may not wait here may not
/// lock either.
pub(crate) fn pause(duration: Duration) {
    let (begun, nobodys) = (Instant::now(), AtomicU32::new(0));
    while let Some(left) = duration.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        wait(&nobodys, 0, left);
    }
}

/// Wakes all who wait for `word`.
pub(crate) fn wake_all(word: &AtomicU32) {
    // SAFETY: the address is only a name for the kernel, which does not touch the word.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, libc::c_int::MAX)
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::{Acquire, Release};

    #[test]
    fn a_word_that_has_changed_is_not_waited_for() {
        let begun = Instant::now();
        wait(&AtomicU32::new(1), 0, Duration::from_secs(60));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_pause_is_as_long_as_told() {
        let begun = Instant::now();
        pause(Duration::ZERO);
        pause(Duration::from_millis(20));
        assert!(begun.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn who_waits_is_woken_and_else_sleeps_as_long_as_told() {
        let word = AtomicU32::new(0);
        let begun = Instant::now();
        wait(&word, 0, Duration::from_millis(20));
        assert!(begun.elapsed() >= Duration::from_millis(20));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while word.load(Acquire) == 0 {
                    wait(&word, 0, Duration::from_secs(60));
                }
            });
            std::thread::sleep(Duration::from_millis(20));
            word.store(1, Release);
            wake_all(&word);
        });
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
