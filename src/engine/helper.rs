//! What blocks or takes its time, off the polling path: one helper thread for the whole process, alive only while there
//! is something to do. Work owns its data, so that whoever asked may be gone when a call returns.
//!
//! The system's resolver blocks, and one name waits for another. Key exchanges do not: they are tasks that go on side
//! by side, so that a server that takes its time costs nobody else any.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::sys::wake::{Sleeper, Waker};
use crate::sys::{fork, futex, thread};

/// Enough for a TLS handshake in a build without optimisations.
const STACK: usize = 1024 * 1024;

/// How soon what is asked for meanwhile is begun while tasks are under way.
const PACE: Duration = Duration::from_millis(20);

/// What there is to do, or the beginning of it. It gets `Err` instead of its turn if there can be no thread.
pub(crate) type Work = Box<dyn FnOnce(Result<(), String>) -> Option<Box<dyn Task>> + Send>;

/// Who is told what has come of a piece of work: once, and also if a bug in what we depend on ends it.
pub(crate) struct Answer<T> {
    tell: Option<Box<dyn FnOnce(T) + Send>>,
    lost: fn() -> T,
    generation: u32,
}

/// What is told of work that ended without a word.
pub(crate) const LOST: &str = "a bug in ntpclock; please report it";

impl<T> Answer<T> {
    /// `lost` is what `tell` is told if nobody has anything else to say.
    pub(crate) fn new(lost: fn() -> T, tell: impl FnOnce(T) + Send + 'static) -> Self {
        Self { tell: Some(Box::new(tell)), lost, generation: fork::generation() }
    }

    pub(crate) fn give(mut self, outcome: T) {
        if let Some(tell) = self.tell.take() {
            tell(outcome);
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        // What a forked child drops is the parent's, and still under way there.
        if let Some(tell) = self.tell.take()
            && self.generation == fork::generation()
        {
            tell((self.lost)());
        }
    }
}

/// What goes on step by step.
pub(crate) trait Task {
    /// Goes as far as it can without waiting. `None`: it is over.
    fn advance(&mut self) -> Option<Pause>;
}

/// What a task waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    pub(crate) descriptor: RawFd,
    /// That it can be written to, else that there is something to read.
    pub(crate) writable: bool,
    /// And no longer than until then.
    pub(crate) until: Instant,
}

/// Whose turn comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Names, in their order.
    First,
    #[cfg_attr(not(any(feature = "_nts", test)), expect(dead_code, reason = "only keys can wait"))]
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

/// Has `work` done by the helper thread, and wakes `waker` afterwards. Whoever drops the waker has no use for it, and
/// it may never be done.
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
                waiting.begin(Err(format!("no thread for what takes time: {error}")));
            }
        }
    }
}

/// A task that goes on, and who waits for it.
type UnderWay = (Box<dyn Task>, Weak<Waker>);

/// Begins one thing after another and goes on with those that take several steps; ends when there is none.
fn work_on() {
    let mut under_way: Vec<UnderWay> = Vec::new();
    loop {
        let waiting = {
            let _forks_wait = fork::exclusive();
            let mut queue = QUEUE.lock();
            let waiting = next(&mut queue.waiting);
            if waiting.is_none() && under_way.is_empty() {
                queue.busy = false;
                return;
            }
            waiting
        };
        match waiting {
            Some(waiting) if waiting.is_wanted() => under_way.extend(waiting.begin(Ok(()))),
            Some(_) => {}
            None => go_on(&mut under_way),
        }
    }
}

/// Advances every task that somebody waits for, and sleeps until one of them can go on, or for a moment.
fn go_on(under_way: &mut Vec<UnderWay>) {
    let (mut pauses, mut over) = (Vec::new(), Vec::new());
    under_way.retain_mut(|(task, waker)| {
        let wanted = waker.strong_count() > 0;
        let pause = if wanted { guarded(|| task.advance()) } else { None };
        pauses.extend(pause);
        if pause.is_none() {
            over.push(Weak::clone(waker));
        }
        pause.is_some()
    });
    // Now that they are gone whoever waits for them has been told, whatever has ended them.
    over.iter().for_each(wake);
    if pauses.is_empty() {
        return;
    }
    let now = Instant::now();
    let left = pauses.iter().map(|pause| pause.until.saturating_duration_since(now)).fold(PACE, Duration::min);
    let mut sleeper = Sleeper::for_either(pauses.iter().map(|pause| (pause.descriptor, pause.writable)));
    if sleeper.wait(Some(left)).is_err() {
        // Out of memory in the kernel: do not turn in circles at full speed meanwhile.
        futex::pause(PACE);
    }
}

/// A bug in what we depend on costs one answer, not all that are still to come.
fn guarded<T>(body: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(body)).ok().flatten()
}

fn wake(waker: &Weak<Waker>) {
    if let Some(waker) = waker.upgrade() {
        waker.wake();
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

    /// Does it, or the beginning of it.
    fn begin(self, able: Result<(), String>) -> Option<UnderWay> {
        let Self { work, waker, .. } = self;
        let task = guarded(|| work(able));
        if task.is_none() {
            wake(&waker);
        }
        task.map(|task| (task, waker))
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
            let work = move |_| {
                told.send(name).unwrap();
                None
            };
            Waiting { turn, work: Box::new(work), waker: Arc::downgrade(&waker) }
        };
        let mut queue = VecDeque::from([
            waiting(Turn::Later, "a key"),
            waiting(Turn::First, "a name"),
            waiting(Turn::Later, "another key"),
            waiting(Turn::First, "another name"),
        ]);
        while let Some(waiting) = next(&mut queue) {
            assert!(waiting.begin(Ok(())).is_none());
        }
        assert_eq!(order.try_iter().collect::<Vec<_>>(), ["a name", "another name", "a key", "another key"]);
    }

    #[test]
    fn work_that_nobody_waits_for_any_more_is_not_done_and_keeps_no_descriptor() {
        let waker = Arc::new(Waker::new().unwrap());
        let waiting = Waiting { turn: Turn::First, work: Box::new(|_| None), waker: Arc::downgrade(&waker) };
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
        let tell = move |able| {
            told.send(able).unwrap();
            None
        };
        queue(Turn::First, &waker, Box::new(tell));
        assert_eq!(answer.recv_timeout(Duration::from_secs(30)), Ok(Ok(())));
    }

    /// A task that a bug ends, at its first step or before.
    struct Broken {
        _answer: Answer<&'static str>,
    }

    impl Task for Broken {
        fn advance(&mut self) -> Option<Pause> {
            std::panic::resume_unwind(Box::new("a bug"))
        }
    }

    #[test]
    fn whoever_waits_for_what_a_panic_ends_is_told_so_and_then_woken() {
        let (told, heard) = crossbeam_channel::unbounded();
        let answer = |told: &crossbeam_channel::Sender<&'static str>| {
            let told = told.clone();
            Answer::new(|| LOST, move |outcome| told.send(outcome).unwrap())
        };
        let (in_a_step, at_once) = (answer(&told), answer(&told));
        let step = Box::new(move |_| Some(Box::new(Broken { _answer: in_a_step }) as Box<dyn Task>));
        let beginning = Box::new(move |_| {
            let _answer = at_once;
            std::panic::resume_unwind(Box::new("a bug"))
        });
        for work in [step as Work, beginning] {
            let waker = Arc::new(Waker::new().unwrap());
            queue(Turn::Later, &waker, work);
            let mut sleeper = Sleeper::new([std::os::fd::AsRawFd::as_raw_fd(&*waker)]);
            sleeper.wait(Some(Duration::from_secs(30))).unwrap();
            assert_eq!(heard.try_recv(), Ok(LOST));
        }
        // Who has answered says nothing more.
        answer(&told).give("done");
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["done"]);
    }

    /// A task that waits for nothing but its time, and says when it is over.
    struct Slow {
        left: u32,
        told: crossbeam_channel::Sender<&'static str>,
        waker: Arc<Waker>,
    }

    impl Task for Slow {
        fn advance(&mut self) -> Option<Pause> {
            self.left = self.left.checked_sub(1)?;
            if self.left == 0 {
                self.told.send("slow").unwrap();
                return None;
            }
            let descriptor = std::os::fd::AsRawFd::as_raw_fd(&*self.waker);
            Some(Pause { descriptor, writable: false, until: Instant::now() + Duration::from_secs(9) })
        }
    }

    #[test]
    fn a_task_that_takes_its_time_keeps_nobody_waiting() {
        let (waker, unready) = (Arc::new(Waker::new().unwrap()), Arc::new(Waker::new().unwrap()));
        let (told, heard) = crossbeam_channel::unbounded();
        let slow = Slow { left: 20, told: told.clone(), waker: unready };
        queue(Turn::Later, &waker, Box::new(move |_| Some(Box::new(slow))));
        for name in ["quick", "quick, too"] {
            let told = told.clone();
            let tell = move |_| {
                told.send(name).unwrap();
                None
            };
            queue(Turn::Later, &waker, Box::new(tell));
        }
        let said: Vec<_> = (0..3).map(|_| heard.recv_timeout(Duration::from_secs(30)).unwrap()).collect();
        assert_eq!(said, ["quick", "quick, too", "slow"]);
    }
}
