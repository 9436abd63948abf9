//! What a fork does to us: threads are gone in the child, locks may be held by nobody.
//!
//! Two means against it. [`generation`] tells a child from its parent, so that a page or a thread handle knows that
//! it was inherited. And the forking thread itself holds [`lifecycle`] and [`exclusive`] during the fork: what is only
//! locked under one of them is never locked by a thread that the child does not have.

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use parking_lot::{Mutex, MutexGuard};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static LIFECYCLE: Mutex<()> = Mutex::new(());
static EXCLUSIVE: Mutex<()> = Mutex::new(());
static REGISTERED: Once = Once::new();

/// Descriptors that a child must not have. Locked only under [`exclusive`].
static NOT_INHERITED: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// How many forks lie between this process and the one that first loaded us.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

/// Has the C library call us around forks; costs nothing after the first time. To be called before the first thread
/// of ours is made.
pub(crate) fn watch() {
    REGISTERED.call_once(|| {
        // SAFETY: the three functions are static and do nothing a fork handler must not do. If memory is short the
        // registration fails, and a child is not told from its parent; nothing else can be done about it.
        unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    });
}

/// Held while the process-wide clock is started or stopped, for some milliseconds. Never taken by a thread of ours, nor
/// while [`exclusive`] is held.
///
/// `None` to a fork handler of the host's that runs while this very thread forks: it has the lock already, and what
/// it would do, with threads that wait for the fork or that are not here, cannot be done.
pub(crate) fn lifecycle() -> Option<MutexGuard<'static, ()>> {
    if is_forking() { None } else { Some(LIFECYCLE.lock()) }
}

/// Held for a few instructions at a time, over every other process-wide lock.
pub(crate) fn exclusive() -> Option<MutexGuard<'static, ()>> {
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
    /// The guards, while this thread forks: the one thread that both sides have.
    static HELD: RefCell<Option<[MutexGuard<'static, ()>; 2]>> = const { RefCell::new(None) };
}

fn is_forking() -> bool {
    // A thread that is past its thread-locals is past forking with them.
    HELD.try_with(|held| held.borrow().is_some()).unwrap_or(false)
}

extern "C" fn before() {
    let guards = [LIFECYCLE.lock(), EXCLUSIVE.lock()];
    // Where there are no thread-locals any more the locks are let go of again: better unguarded than dead.
    drop(HELD.try_with(|held| held.replace(Some(guards))));
}

extern "C" fn in_parent() {
    drop(HELD.try_with(RefCell::take));
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Relaxed);
    // Not locked: who forks holds `exclusive`. Nothing is allocated or freed.
    if let Some(mut descriptors) = NOT_INHERITED.try_lock() {
        for fd in descriptors.drain(..) {
            // SAFETY: the number of an open file that is this child's own copy, and that nothing here uses any more.
            unsafe { libc::close(fd) };
        }
    }
    drop(HELD.try_with(RefCell::take));
}
