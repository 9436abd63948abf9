//! Being woken when somebody sets the system clock, or the machine resumes from a suspend, without looking again and
//! again.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

use super::{beside_standard, checked};

/// A descriptor that becomes readable when `CLOCK_REALTIME` is set, as the kernel itself does at every resume: a
/// `timerfd` that is cancelled then (`TFD_TIMER_CANCEL_ON_SET`).
#[derive(Debug)]
pub(crate) struct ResumeWatch(File);

/// When the timer would expire by itself: in the year 2255, near the last second of the kernel's own clocks.
const NEVER: libc::time_t = 9_000_000_000u64 as libc::time_t;

impl ResumeWatch {
    /// Fails where there are no descriptors left, or where the host forbids timers to its process.
    pub(crate) fn new() -> io::Result<Self> {
        Self::until(NEVER)
    }

    pub(crate) fn until(second: libc::time_t) -> io::Result<Self> {
        // SAFETY: the call takes no pointers.
        let fd =
            checked(unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) })?;
        // SAFETY: `fd` was just opened and belongs to nobody else.
        let timer = beside_standard(unsafe { File::from_raw_fd(fd) })?;
        let expiry = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec { tv_sec: second, tv_nsec: 0 },
        };
        let how = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
        // SAFETY: `expiry` lives until the call returns; no former value is asked for.
        let set =
            checked(unsafe { libc::timerfd_settime(timer.as_raw_fd(), how, &raw const expiry, std::ptr::null_mut()) });
        match set {
            // The clock was set at this very moment; the timer is, too.
            Err(error) if error.raw_os_error() != Some(libc::ECANCELED) => Err(error),
            _ => Ok(Self(timer)),
        }
    }

    /// Makes it unreadable until the clock is set once more.
    pub(crate) fn clear(&self) {
        // It says by an error (ECANCELED) that the clock was set, and goes on watching.
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

impl AsRawFd for ResumeWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::wake;
    use std::time::Duration;

    fn is_readable(watch: &ResumeWatch) -> bool {
        wake::wait(&[watch.as_raw_fd()], Some(Duration::ZERO)).unwrap()[0]
    }

    #[test]
    fn a_watch_is_silent_while_nobody_sets_the_clock_and_is_not_handed_on() {
        let watch = ResumeWatch::new().unwrap();
        assert!(!is_readable(&watch));
        watch.clear();
        assert!(!is_readable(&watch));
        // SAFETY: the call takes no pointers.
        let flags = unsafe { libc::fcntl(watch.as_raw_fd(), libc::F_GETFD) };
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }

    #[test]
    fn the_timer_is_cancelled_when_the_clock_is_set() {
        let watch = ResumeWatch::new().unwrap();
        let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", watch.as_raw_fd())).unwrap();
        // No test sets the clock; the kernel says, in octal, for what the timer was set: absolute, cancelled on set.
        let flags = about.lines().find_map(|line| line.strip_prefix("settime flags:")).map(str::trim);
        assert_eq!(flags, Some("03"), "{about}");
        let clock = about.lines().find_map(|line| line.strip_prefix("clockid:")).map(str::trim);
        assert_eq!(clock, Some("0"), "{about}");
    }

    #[test]
    fn a_watch_that_has_something_to_tell_is_silent_once_it_is_cleared() {
        // No test sets the clock: the timer expires instead, at a time that has passed.
        let watch = ResumeWatch::until(1).unwrap();
        assert!(wake::wait(&[watch.as_raw_fd()], Some(Duration::from_secs(20))).unwrap()[0]);
        watch.clear();
        assert!(!is_readable(&watch));
    }
}
