//! The signals that ask a process to end, waited for instead of being struck by: for the command line, whose process is
//! its own.

use std::mem::MaybeUninit;
use std::time::Duration;

const ASKING: [libc::c_int; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

/// Holds back from the calling thread, and from those that it starts, the signals that ask to end, until it is dropped;
/// but none that the process ignores, as `nohup` has it.
pub(crate) struct Ending {
    asking: libc::sigset_t,
    former: libc::sigset_t,
}

impl Ending {
    pub(crate) fn hold_back() -> Self {
        let (mut asking, mut former) = (empty(), empty());
        for signal in ASKING.into_iter().filter(|&signal| !is_ignored(signal)) {
            // SAFETY: a set of ours, and a signal that there is.
            unsafe { libc::sigaddset(&raw mut asking, signal) };
        }
        // SAFETY: the one set is read, the other filled in; it cannot fail with these arguments.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const asking, &raw mut former) };
        Self { asking, former }
    }

    /// Waits for one of them, for ever or for this time; whether one has come.
    pub(crate) fn comes_within(&self, time: Option<Duration>) -> bool {
        let time = time.map(|time| libc::timespec {
            tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let limit = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the set and the time are read; what a signal tells beside its number is not asked for. Woken early by
        // a handler of another signal it gives a negative number, as when the time is over: the caller looks again.
        unsafe { libc::sigtimedwait(&raw const self.asking, std::ptr::null_mut(), limit) > 0 }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Who has asked more than once, as `timeout` does, has been answered.
        while self.comes_within(Some(Duration::ZERO)) {}
        // SAFETY: the set is what pthread_sigmask itself has told.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.former, std::ptr::null_mut()) };
    }
}

fn empty() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: fills in the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: it was filled in.
    unsafe { set.assume_init() }
}

fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: changes nothing and fills in what is done now; it cannot fail for these signals.
    unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: it was filled in.
    unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_asks_to_end_is_waited_for() {
        // In a thread of its own, which alone gets what is sent to it.
        std::thread::spawn(|| {
            let ending = Ending::hold_back();
            assert!(!ending.comes_within(Some(Duration::ZERO)));
            for signal in ASKING {
                // Whoever runs the tests may have had one of them ignored.
                // SAFETY: the signal is held back from this thread, which is the one that it is raised in, or ignored.
                unsafe { libc::raise(signal) };
                assert_eq!(ending.comes_within(Some(Duration::ZERO)), !is_ignored(signal));
            }
            assert!(!ending.comes_within(Some(Duration::from_millis(1))));
            // One that comes again meanwhile does no harm.
            // SAFETY: as above.
            unsafe { libc::raise(libc::SIGTERM) };
            drop(ending);
        })
        .join()
        .unwrap();
    }
}
