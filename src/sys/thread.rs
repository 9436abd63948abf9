//! Threads that live in somebody else's process: named, small, deaf to signals, and ended when told to.

use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::thread::{Builder, JoinHandle};

use super::fork;
use super::wake::Waker;

/// Enough for the deepest of our calls (the resolver's), far less than the default.
const STACK: usize = 256 * 1024;

/// Starts a thread in which every signal is blocked: the host's handlers run on the host's threads.
pub(crate) fn spawn_with_stack(
    name: &str,
    stack: usize,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    // A new thread inherits the mask of the one that makes it: block, spawn, restore.
    let mask = Mask::block_all();
    let spawned = Builder::new().name(name.to_owned()).stack_size(stack).spawn(body);
    drop(mask);
    spawned
}

/// Binds this thread to one of the processors that it may run on, by its place among them; `false`: there are not so
/// many.
#[cfg(test)]
pub(crate) fn pin(place: usize) -> bool {
    // SAFETY: a set is plain bits, of which all may be 0.
    let (mut allowed, mut one): (libc::cpu_set_t, libc::cpu_set_t) = unsafe { std::mem::zeroed() };
    // SAFETY: 0 is this thread; the set is ours, and of that size.
    let told = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut allowed) };
    // SAFETY: the number is below that of bits.
    let is_allowed = |number: &usize| unsafe { libc::CPU_ISSET(*number, &allowed) };
    let Some(number) = (0..libc::CPU_SETSIZE as usize).filter(is_allowed).nth(place) else { return false };
    // SAFETY: as above.
    unsafe { libc::CPU_SET(number, &mut one) };
    // SAFETY: as above.
    let bound = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one) };
    told == 0 && bound == 0
}

/// What `work` gives; nothing if it panicked, which is then the end of this piece of work and not of the thread.
pub(crate) fn attempt<T>(work: impl FnOnce() -> T) -> Option<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).ok()
}

/// A thread that works until it is told to stop; its owner's side.
#[derive(Debug)]
pub(crate) struct Worker {
    thread: Option<JoinHandle<()>>,
    /// Without a lock of its own, which a forked child might find locked.
    over: Arc<AtomicBool>,
    waker: Arc<Waker>,
    generation: u32,
}

/// The working thread's side.
#[derive(Debug)]
pub(crate) struct Order {
    over: Arc<AtomicBool>,
    generation: u32,
    /// Becomes readable when there is something to look at.
    pub(crate) waker: Arc<Waker>,
}

impl Order {
    /// Whether the work is to end; it is over, too, for a forked child that has this very thread and no part in the
    /// work.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Acquire) || self.generation != fork::generation()
    }
}

impl Worker {
    pub(crate) fn start(name: &str, work: impl FnOnce(Order) + Send + 'static) -> io::Result<Self> {
        Self::start_with_stack(name, STACK, work)
    }

    pub(crate) fn start_with_stack(
        name: &str,
        stack: usize,
        work: impl FnOnce(Order) + Send + 'static,
    ) -> io::Result<Self> {
        fork::watch();
        let waker = Arc::new(Waker::new()?);
        let over = Arc::new(AtomicBool::new(false));
        let generation = fork::generation();
        let order = Order { over: Arc::clone(&over), generation, waker: Arc::clone(&waker) };
        let thread = spawn_with_stack(name, stack, move || work(order))?;
        Ok(Self { thread: Some(thread), over, waker, generation })
    }

    /// Has the thread look at what there is to do.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Ends the thread and waits for it; called by that very thread, or in the midst of a fork, it is left to end when
    /// its work returns.
    pub(crate) fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if self.generation != fork::generation() {
            // The thread is the parent's; there is none of this handle here.
            std::mem::forget(thread);
            return;
        }
        self.over.store(true, Release);
        self.waker.wake();
        // A fork handler of the host's that waited here would wait for a thread that waits for the fork.
        if fork::is_forking() {
            return;
        }
        // Not `std::thread::current`, which would leave a handle of its own behind in a thread of the host's.
        // SAFETY: takes nothing and cannot fail.
        let this = unsafe { libc::pthread_self() };
        // SAFETY: both are threads that are not joined: ours, and this one.
        if unsafe { libc::pthread_equal(thread.as_pthread_t(), this) } != 0 {
            return;
        }
        // If it panicked, what it published has deadlines of its own.
        let _ = thread.join();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The calling thread's signal mask, put back on drop.
struct Mask(libc::sigset_t);

impl Mask {
    fn block_all() -> Self {
        // SAFETY: a `sigset_t` is plain memory; all-zero is the empty set on every libc.
        let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
        let mut former = all;
        // SAFETY: `all` is writable.
        unsafe { libc::sigfillset(&raw mut all) };
        // SAFETY: both sets are ours for the call.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut former) };
        Self(former)
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        // SAFETY: the set is the one `block_all` was given by the system.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_blocked(signal: libc::c_int) -> bool {
        // SAFETY: as in `block_all`.
        let mut mask: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: a null new set only asks.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut mask) };
        // SAFETY: `mask` is initialised.
        unsafe { libc::sigismember(&raw const mask, signal) == 1 }
    }

    #[test]
    fn a_worker_that_stops_itself_is_not_waited_for() {
        let (send, own) = crossbeam_channel::bounded::<Worker>(1);
        let (done, ended) = crossbeam_channel::bounded(1);
        let worker = Worker::start("test", move |order| {
            let mut this = own.recv().unwrap();
            this.stop();
            done.send(order.is_over()).unwrap();
        });
        send.send(worker.unwrap()).unwrap();
        assert_eq!(ended.recv_timeout(std::time::Duration::from_secs(20)), Ok(true));
    }

    #[test]
    fn our_threads_block_signals_and_the_callers_mask_stays() {
        assert!(!is_blocked(libc::SIGTERM));
        spawn_with_stack("test", STACK, || assert!(is_blocked(libc::SIGTERM) && is_blocked(libc::SIGALRM)))
            .unwrap()
            .join()
            .unwrap();
        assert!(!is_blocked(libc::SIGTERM));
    }
}
