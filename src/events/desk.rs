//! Where events wait to be fetched: behind a descriptor, and for a thread that calls the program's callback.
//!
//! The engine never runs foreign code and never waits for it. A callback has a thread of its own, so that it may block,
//! call anything of this library, stop the clock or be replaced from within itself.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use parking_lot::Mutex;

use super::Events;
use crate::error::Error;
use crate::sys::thread::Worker;
use crate::sys::wake::{self, KnownWaker};
use crate::sys::{fork, futex};

/// Room for whatever a callback does: a language's interpreter, say. Only what is used is ever real.
const STACK: usize = 8 << 20;

/// The events of one clock.
#[derive(Debug)]
pub(crate) struct Desk {
    /// Locked only under [`fork::exclusive`], so that a forked child finds it free.
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The fork generation that all of this belongs to.
    generation: u32,
    /// What was not fetched yet.
    pending: Events,
    /// What was told last of the state, for those who begin to listen.
    state: Events,
    descriptor: Option<KnownWaker>,
    callback: Option<Callback>,
}

/// A program's callback and its thread.
#[derive(Debug)]
struct Callback {
    /// Whose it is, so that nobody takes back another's.
    #[cfg_attr(not(feature = "capi"), expect(dead_code, reason = "only C callbacks are taken back by their owners"))]
    owner: usize,
    pending: Arc<AtomicU32>,
    worker: Worker,
}

impl Callback {
    fn start(owner: usize, mut call: Box<dyn FnMut(Events) + Send>) -> Result<Self, Error> {
        let pending = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&pending);
        let worker = Worker::start_with_stack("ntpclock-event", STACK, move |order| {
            // A call that forks returns in the child, too, where nobody tells anything, and where the descriptor is the
            // parent's.
            while !order.is_over() {
                match theirs.swap(0, Relaxed) {
                    0 => {
                        // An error is lack of memory in the kernel; then it is looked again at a walking pace.
                        if wake::wait(&[order.waker.as_raw_fd()], None).is_err() {
                            futex::pause(std::time::Duration::from_millis(10));
                        }
                        order.waker.clear();
                    }
                    events => call(Events(events)),
                }
            }
        });
        let worker = worker.map_err(|error| Error::io("starting the thread of a callback", error))?;
        Ok(Self { owner, pending, worker })
    }

    fn tell(&self, events: Events) {
        self.pending.fetch_or(events.0, Relaxed);
        self.worker.wake();
    }
}

impl Desk {
    pub(crate) const fn new() -> Self {
        let inner =
            Inner { generation: 0, pending: Events::NONE, state: Events::NONE, descriptor: None, callback: None };
        Self { inner: Mutex::new(inner) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        let _forks_wait = fork::exclusive();
        let mut inner = self.inner.lock();
        if inner.generation != fork::generation() {
            inner.leave_the_parent();
        }
        act(&mut inner)
    }

    /// Tells all who listen.
    pub(crate) fn tell(&self, events: Events) {
        if events.is_empty() {
            return;
        }
        self.with(|inner| {
            inner.pending |= events;
            let state = Events(events.0 & Events::OF_STATES.0);
            inner.state = if state.is_empty() { inner.state } else { state };
            if let Some(descriptor) = &inner.descriptor {
                descriptor.wake();
            }
            if let Some(callback) = &inner.callback {
                callback.tell(events);
            }
        });
    }

    /// A descriptor that is readable while there is something to fetch.
    pub(crate) fn descriptor(&self) -> Result<RawFd, Error> {
        self.with(|inner| match &inner.descriptor {
            Some(descriptor) => Ok(descriptor.as_raw_fd()),
            None => {
                let made = KnownWaker::new().map_err(|error| Error::io("making an event descriptor", error))?;
                if !inner.pending.is_empty() {
                    made.wake();
                }
                Ok(inner.descriptor.insert(made).as_raw_fd())
            }
        })
    }

    /// Everything that was not fetched yet; makes the descriptor unreadable.
    pub(crate) fn take(&self) -> Events {
        self.with(|inner| {
            if let Some(descriptor) = &inner.descriptor {
                descriptor.clear();
            }
            std::mem::take(&mut inner.pending)
        })
    }

    /// Replaces the callback. The former one is not running any more when this returns, and will not be called again;
    /// only if it is the former one itself that asks, it still has to return.
    pub(crate) fn call(&self, call: Option<Box<dyn FnMut(Events) + Send>>) -> Result<(), Error> {
        self.call_for(0, call)
    }

    /// The same with a callback that is `owner`'s, whom [`Self::take_back`] knows.
    pub(crate) fn call_for(&self, owner: usize, call: Option<Box<dyn FnMut(Events) + Send>>) -> Result<(), Error> {
        let next = call.map(|call| Callback::start(owner, call)).transpose()?;
        let former = self.with(|inner| {
            // Not before: it may replace or take back itself as soon as it is called.
            if let Some(next) = &next
                && !inner.state.is_empty()
            {
                next.tell(inner.state);
            }
            std::mem::replace(&mut inner.callback, next)
        });
        // Outside the lock: the callback may be waiting for it.
        drop(former);
        Ok(())
    }

    /// Takes the callback back if it still is `owner`'s, as [`Self::call`] does.
    #[cfg(feature = "capi")]
    pub(crate) fn take_back(&self, owner: usize) {
        drop(self.with(|inner| inner.callback.take_if(|callback| callback.owner == owner)));
    }
}

impl Inner {
    /// A forked child begins anew: what was pending is its parent's, and so are the thread and what the descriptor's
    /// number stands for. The number stays where it can, for a program may have kept it.
    fn leave_the_parent(&mut self) {
        self.generation = fork::generation();
        (self.pending, self.state) = (Events::NONE, Events::NONE);
        // Dropped, the worker lets go of a thread that is not here.
        self.callback = None;
        if let Some(descriptor) = &mut self.descriptor
            && descriptor.renew().is_err()
        {
            // Without descriptors there are no events either.
            self.descriptor = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(20);

    fn is_readable(fd: RawFd) -> bool {
        wake::wait(&[fd], Some(Duration::ZERO)).unwrap() == [true]
    }

    #[test]
    fn the_descriptor_is_readable_while_something_is_pending_and_taking_ends_that() {
        let desk = Desk::new();
        let fd = desk.descriptor().unwrap();
        assert_eq!(desk.descriptor().unwrap(), fd);
        assert!(!is_readable(fd));
        desk.tell(Events::NONE);
        assert!(!is_readable(fd));
        desk.tell(Events::SYNCHRONIZED);
        desk.tell(Events::STEPPED);
        assert!(is_readable(fd));
        assert_eq!(desk.take(), Events::SYNCHRONIZED | Events::STEPPED);
        assert!(!is_readable(fd));
        assert_eq!(desk.take(), Events::NONE);
    }

    #[test]
    fn what_happened_before_the_descriptor_was_asked_for_is_pending() {
        let desk = Desk::new();
        desk.tell(Events::SYNCHRONIZED);
        assert!(is_readable(desk.descriptor().unwrap()));
        assert_eq!(desk.take(), Events::SYNCHRONIZED);
    }

    #[test]
    fn the_descriptor_is_closed_on_exec_and_never_blocks() {
        let desk = Desk::new();
        let fd = desk.descriptor().unwrap();
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = libc::c_int::from_str_radix(flags.trim(), 8).unwrap();
        assert_eq!(flags & (libc::O_CLOEXEC | libc::O_NONBLOCK), libc::O_CLOEXEC | libc::O_NONBLOCK);
    }

    #[test]
    fn a_callback_is_first_told_the_state_at_hand_and_then_what_happens() {
        let desk = Desk::new();
        desk.tell(Events::SYNCHRONIZED | Events::STEPPED);
        let (send, told) = mpsc::channel();
        desk.call(Some(Box::new(move |events| send.send(events).unwrap()))).unwrap();
        assert_eq!(told.recv_timeout(SOON), Ok(Events::SYNCHRONIZED));
        desk.tell(Events::LOST);
        assert_eq!(told.recv_timeout(SOON), Ok(Events::LOST));
        desk.call(None).unwrap();
        desk.tell(Events::SYNCHRONIZED);
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err());
    }

    #[test]
    fn when_a_callback_is_taken_back_it_is_not_running_any_more() {
        let desk = Desk::new();
        let (begun, begins) = mpsc::channel();
        let (ended, ends) = mpsc::channel();
        let slow = move |_| {
            begun.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(100));
            ended.send(()).unwrap();
        };
        desk.call(Some(Box::new(slow))).unwrap();
        desk.tell(Events::LOST);
        begins.recv_timeout(SOON).unwrap();
        desk.call(None).unwrap();
        assert!(ends.try_recv().is_ok());
    }

    #[test]
    fn a_callback_may_take_back_or_replace_itself() {
        let desk = Arc::new(Desk::new());
        let (send, told) = mpsc::channel();
        let (theirs, second) = (Arc::clone(&desk), send.clone());
        let first = move |_| {
            let second = second.clone();
            theirs.call(Some(Box::new(move |events| second.send(("second", events)).unwrap()))).unwrap();
            theirs.take();
            send.send(("first", Events::NONE)).unwrap();
        };
        // It is called at once, since there is something to tell.
        desk.tell(Events::LOST);
        desk.call(Some(Box::new(first))).unwrap();
        let mut names = [told.recv_timeout(SOON).unwrap().0, told.recv_timeout(SOON).unwrap().0];
        names.sort_unstable();
        assert_eq!(names, ["first", "second"]);
        desk.tell(Events::DISRUPTED);
        assert_eq!(told.recv_timeout(SOON), Ok(("second", Events::DISRUPTED)));
        desk.call(None).unwrap();
    }
}
