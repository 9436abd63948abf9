//! Threads of C that are cancelled while they are in a call of ours.

use std::marker::PhantomData;

unsafe extern "C" {
    /// Of POSIX, in glibc and musl; the crate for the C library leaves it out.
    fn pthread_setcancelstate(state: libc::c_int, former: *mut libc::c_int) -> libc::c_int;
}

/// Their number for the state in which a request to cancel the thread waits.
const PTHREAD_CANCEL_DISABLE: libc::c_int = 1;

/// As long as this lives the calling thread is not cancelled: glibc does that by unwinding the stack, which must not
/// meet a frame that catches panics (it ends the process), and musl by leaving it, with every lock that is held.
pub(crate) struct Uncancelled {
    former: libc::c_int,
    /// Of this thread: it stays here.
    _here: PhantomData<*const ()>,
}

impl Uncancelled {
    pub(crate) fn begin() -> Self {
        let mut former = 0;
        // SAFETY: the place is ours, and the state is one that there is; so it does not fail.
        unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &raw mut former) };
        Self { former, _here: PhantomData }
    }
}

impl Drop for Uncancelled {
    fn drop(&mut self) {
        // SAFETY: the state is what the same call gave. It is no cancellation point: a request waits for the next one.
        unsafe { pthread_setcancelstate(self.former, &raw mut self.former) };
    }
}
