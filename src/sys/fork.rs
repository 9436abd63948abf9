//! What a fork does to us: threads are gone in the child, locks may be held by nobody.
//!
//! Two means against it. [`generation`] tells a child from its parent, so that a page or a thread handle knows that
//! it was inherited. And the forking thread itself holds [`lifecycle`] and [`exclusive`] during the fork: what is only
//! locked under one of them is never locked by a thread that the child does not have.
//!
//! These two are locks of our own making, because the child does not unlock but resets them: a lock that remembers who
//! waits for it would be handed to a thread that is not there.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use parking_lot::Mutex;

use super::futex;

static GENERATION: AtomicU32 = AtomicU32::new(0);
static FORKS: AtomicU32 = AtomicU32::new(0);
static LIFECYCLE: Gate = Gate::new();
static EXCLUSIVE: Gate = Gate::new();
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Descriptors that a child must not have. Locked only under [`exclusive`].
static NOT_INHERITED: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// How many forks lie between this process and the one that first loaded us.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

/// How many forks this process and those before it have begun; under [`exclusive`] none begins.
pub(crate) fn count() -> u32 {
    FORKS.load(Relaxed)
}

/// Has the C library call us around forks; costs nothing after the first time. To be called before the first thread
/// of ours is made.
///
/// Nobody is waited for here, who might not be there in a child. So several threads may register the same handlers, or
/// a child those of a parent that was about to note that it has; all but the first of those calls find nothing to do.
pub(crate) fn watch() {
    if !REGISTERED.load(Acquire) {
        // SAFETY: the three functions are static and do nothing a fork handler must not do. If memory is short the
        // registration fails, and a child is not told from its parent; nothing else can be done about it.
        unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
        REGISTERED.store(true, Release);
    }
}

/// Held while a clock is started or restarted, for some milliseconds and what it takes to read its files, and for an
/// instant while one is stopped. Never taken by a thread of ours, nor while [`exclusive`] is held.
///
/// `None` to a fork handler of the host's that runs while this very thread forks: it has the lock already, and what
/// it would do, with threads that wait for the fork or that are not here, cannot be done.
pub(crate) fn lifecycle() -> Option<Pass> {
    watch();
    if is_forking() { None } else { Some(LIFECYCLE.lock()) }
}

/// Held for a few instructions at a time, over every other process-wide lock.
pub(crate) fn exclusive() -> Option<Pass> {
    watch();
    // Who forks holds it already.
    if is_forking() { None } else { Some(EXCLUSIVE.lock()) }
}

/// Has `fd` closed in every forked child. To be called under [`exclusive`], as [`keep_in_children`] is.
pub(crate) fn close_in_children(fd: RawFd) {
    NOT_INHERITED.lock().push(fd);
}

/// Takes that back, before `fd` is closed here: the number will be another file's.
pub(crate) fn keep_in_children(fd: RawFd) {
    NOT_INHERITED.lock().retain(|other| *other != fd);
}

thread_local! {
    /// Whether this thread is between our handlers: the one thread that both sides have. Without a destructor, so that
    /// a thread that is past its thread-locals can still fork.
    static FORKING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a fork handler of the host's has called us, in the midst of this thread's fork.
pub(crate) fn is_forking() -> bool {
    FORKING.get()
}

extern "C" fn before() {
    if FORKING.replace(true) {
        return;
    }
    LIFECYCLE.enter();
    EXCLUSIVE.enter();
    FORKS.fetch_add(1, Relaxed);
}

extern "C" fn in_parent() {
    if !FORKING.replace(false) {
        return;
    }
    EXCLUSIVE.leave();
    LIFECYCLE.leave();
}

extern "C" fn in_child() {
    if !FORKING.replace(false) {
        return;
    }
    GENERATION.fetch_add(1, Relaxed);
    // Not locked: who forks holds `exclusive`. Nothing is allocated or freed.
    if let Some(mut descriptors) = NOT_INHERITED.try_lock() {
        for fd in descriptors.drain(..) {
            // SAFETY: the number of an open file that is this child's own copy, and that nothing here uses any more.
            unsafe { libc::close(fd) };
        }
    }
    EXCLUSIVE.reset();
    LIFECYCLE.reset();
}

/// A lock that can be reset: U. Drepper, "Futexes are tricky", its second mutex.
#[derive(Debug)]
struct Gate(AtomicU32);

/// Nobody has it.
const OPEN: u32 = 0;
/// Somebody has it, and nobody waits.
const TAKEN: u32 = 1;
/// Somebody has it, and others may wait.
const WANTED: u32 = 2;

/// Opens its gate again when dropped.
#[derive(Debug)]
pub(crate) struct Pass(&'static Gate);

impl Gate {
    const fn new() -> Self {
        Self(AtomicU32::new(OPEN))
    }

    fn lock(&'static self) -> Pass {
        self.enter();
        Pass(self)
    }

    fn enter(&self) {
        // Pairs with the release in `leave`: what was done under the gate before is seen.
        if self.0.compare_exchange(OPEN, TAKEN, Acquire, Relaxed).is_ok() {
            return;
        }
        // Who has waited cannot know whether others still do.
        while self.0.swap(WANTED, Acquire) != OPEN {
            futex::wait(&self.0, WANTED, Duration::from_secs(60));
        }
    }

    fn leave(&self) {
        if self.0.swap(OPEN, Release) == WANTED {
            futex::wake_all(&self.0);
        }
    }

    /// In a child: whoever waits is not here.
    fn reset(&self) {
        self.0.store(OPEN, Release);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Children for tests of what they inherit.
#[cfg(test)]
pub(crate) mod trial {
    /// A forked child of this process.
    #[derive(Debug)]
    pub(crate) struct Child(libc::pid_t);

    /// Forks, whatever other threads are at. The child does `act` and ends; it is killed if it hangs. It may not panic,
    /// nor print: what the harness of the tests locks for that may be locked for ever.
    pub(crate) fn fork(act: impl FnOnce() -> Result<(), String>) -> Child {
        // SAFETY: the child does what a child of this process may do with the C library, and comes to its end here.
        let child = unsafe { libc::fork() };
        if child == 0 {
            live(act);
        }
        assert!(child > 0, "{}", std::io::Error::last_os_error());
        Child(child)
    }

    fn live(act: impl FnOnce() -> Result<(), String>) -> ! {
        // What other tests have open is not to outlive them here; our own a child may close, as daemons do.
        // SAFETY: the call takes no pointers. No descriptor of the parent's is closed a second time: nothing is dropped.
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
        // SAFETY: takes a number.
        unsafe { libc::alarm(60) };
        let outcome = act();
        if let Err(told) = &outcome {
            let line = format!("in a forked child: {told}\n");
            // SAFETY: so many bytes stand there.
            unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
        }
        // SAFETY: ends the process, and runs nothing of the parent's.
        unsafe { libc::_exit(i32::from(outcome.is_err())) }
    }

    impl Child {
        /// Waits for its end, which must be a good one.
        pub(crate) fn join(self) {
            let mut status = -1;
            // SAFETY: a child that nobody else waits for; `status` is ours.
            let waited = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
            assert_eq!((waited, status), (self.0, 0), "the child failed, or hung and was killed (14)");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn one_at_a_time_is_let_through_and_nobody_is_forgotten() {
        static GATE: Gate = Gate::new();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let _pass = GATE.lock();
                        // Not one step: two at once would lose some.
                        COUNT.store(COUNT.load(Relaxed) + 1, Relaxed);
                    }
                });
            }
        });
        assert_eq!((COUNT.load(Relaxed), GATE.0.load(Relaxed)), (80_000, OPEN));
    }

    #[test]
    fn handlers_that_are_registered_twice_do_once_what_they_do() {
        let forks = count();
        before();
        before();
        assert!(is_forking() && lifecycle().is_none() && exclusive().is_none());
        in_parent();
        in_parent();
        assert!(!is_forking() && lifecycle().is_some() && exclusive().is_some());
        // Other tests fork, too.
        assert!(count() > forks);
    }

    #[test]
    fn a_gate_that_is_reset_is_open_whoever_had_it_or_waited_for_it() {
        let gate = Gate::new();
        for state in [OPEN, TAKEN, WANTED] {
            gate.0.store(state, Relaxed);
            gate.reset();
            gate.enter();
            assert_eq!(gate.0.load(Relaxed), TAKEN);
        }
    }
}
