//! What blocks, off the polling path: one helper thread for the whole process, alive only while there is something to
//! do. A task owns its data, so that whoever asked may be gone when a call returns.
//!
//! Names are looked up before keys are exchanged: a lookup may keep a key exchange waiting for as long as the system's
//! resolver does, a key exchange keeps a lookup waiting for some seconds at most ([`super::handshake`]).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::sys::wake::Waker;
use crate::sys::{fork, thread};

/// Enough for a TLS handshake in a build without optimisations.
const STACK: usize = 1024 * 1024;

/// What there is to do. It gets `Err` instead of its turn if there can be no thread.
pub(crate) type Work = Box<dyn FnOnce(Result<(), String>) + Send>;

/// Whose turn comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Names, in their order.
    First,
    #[cfg_attr(not(feature = "_nts"), expect(dead_code, reason = "only keys can wait"))]
    Later,
}

/// Work that waits. It keeps nobody's descriptor: whoever asked may be stopped long before its turn comes.
struct Waiting {
    turn: Turn,
    work: Work,
    /// Gone when nobody waits for the answer any more.
    waker: Weak<Waker>,
}

/// What waits, and whether the helper is at work.
struct Queue {
    waiting: VecDeque<Waiting>,
    busy: bool,
    generation: u32,
}

/// Locked only under [`fork::exclusive`].
static QUEUE: Mutex<Queue> = Mutex::new(Queue { waiting: VecDeque::new(), busy: false, generation: 0 });

/// Has `work` done by the helper thread, and wakes `waker` afterwards. Whoever drops the waker has no use for it, and it
/// may never be done.
pub(crate) fn queue(turn: Turn, waker: &Arc<Waker>, work: Work) {
    fork::watch();
    let _forks_wait = fork::exclusive();
    let mut queue = QUEUE.lock();
    if queue.generation != fork::generation() {
        // The helper of the parent is not here, and what it had to do is not ours.
        *queue = Queue { waiting: VecDeque::new(), busy: false, generation: fork::generation() };
    }
    // While the resolver hangs, clocks that come and go must not fill the memory.
    queue.waiting.retain(Waiting::is_wanted);
    queue.waiting.push_back(Waiting { turn, work, waker: Arc::downgrade(waker) });
    if queue.busy {
        return;
    }
    match thread::spawn_with_stack("ntpclock-help", STACK, work_on) {
        Ok(_) => queue.busy = true,
        Err(error) => {
            for waiting in queue.waiting.drain(..) {
                waiting.end(Err(format!("no thread for what takes time: {error}")));
            }
        }
    }
}

/// Does one thing after another, and ends when there is none.
fn work_on() {
    loop {
        let waiting = {
            let _forks_wait = fork::exclusive();
            let mut queue = QUEUE.lock();
            let Some(waiting) = next(&mut queue.waiting) else {
                queue.busy = false;
                return;
            };
            waiting
        };
        if waiting.is_wanted() {
            waiting.end(Ok(()));
        }
    }
}

fn next(waiting: &mut VecDeque<Waiting>) -> Option<Waiting> {
    let first = waiting.iter().position(|waiting| waiting.turn == Turn::First).unwrap_or(0);
    waiting.remove(first)
}

impl Waiting {
    fn is_wanted(&self) -> bool {
        self.waker.strong_count() > 0
    }

    fn end(self, able: Result<(), String>) {
        let Self { work, waker, .. } = self;
        // A bug in what we depend on costs one answer, not all that are still to come.
        let _ = catch_unwind(AssertUnwindSafe(|| work(able)));
        if let Some(waker) = waker.upgrade() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn names_come_before_keys_and_each_in_their_order() {
        let waker = Arc::new(Waker::new().unwrap());
        let (told, order) = crossbeam_channel::unbounded();
        let waiting = |turn, name: &'static str| {
            let told = told.clone();
            Waiting { turn, work: Box::new(move |_| told.send(name).unwrap()), waker: Arc::downgrade(&waker) }
        };
        let mut queue = VecDeque::from([
            waiting(Turn::Later, "a key"),
            waiting(Turn::First, "a name"),
            waiting(Turn::Later, "another key"),
            waiting(Turn::First, "another name"),
        ]);
        while let Some(waiting) = next(&mut queue) {
            waiting.end(Ok(()));
        }
        assert_eq!(order.try_iter().collect::<Vec<_>>(), ["a name", "another name", "a key", "another key"]);
    }

    #[test]
    fn work_that_nobody_waits_for_any_more_is_not_done_and_keeps_no_descriptor() {
        let waker = Arc::new(Waker::new().unwrap());
        let waiting = Waiting { turn: Turn::First, work: Box::new(|_| ()), waker: Arc::downgrade(&waker) };
        assert_eq!(Arc::strong_count(&waker), 1);
        assert!(waiting.is_wanted());
        drop(waker);
        assert!(!waiting.is_wanted());
    }

    #[test]
    fn a_panic_costs_one_answer_only() {
        let waker = Arc::new(Waker::new().unwrap());
        let (told, answer) = crossbeam_channel::unbounded();
        queue(Turn::First, &waker, Box::new(|_| std::panic::resume_unwind(Box::new("a bug"))));
        queue(Turn::First, &waker, Box::new(move |able| told.send(able).unwrap()));
        assert_eq!(answer.recv_timeout(Duration::from_secs(30)), Ok(Ok(())));
    }
}
