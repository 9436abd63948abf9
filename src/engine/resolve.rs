//! Names to addresses, off the polling path: one helper thread for the whole process, alive only while there is
//! something to look up. It owns its data, so that whoever asked may be gone when the resolver returns.

use std::collections::VecDeque;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Weak};

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use crate::sys::wake::Waker;
use crate::sys::{fork, thread};

/// A name's addresses, in the resolver's order of preference, or its reason.
pub(crate) type Addresses = Result<Vec<SocketAddr>, String>;

/// One question.
pub(crate) struct Question {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Comes back with the answer.
    pub(crate) tag: usize,
    pub(crate) answers: Sender<(usize, Addresses)>,
    pub(crate) waker: Arc<Waker>,
}

/// A question that waits. It keeps nobody's descriptor: whoever asked may be stopped long before its turn comes.
struct Waiting {
    host: String,
    port: u16,
    tag: usize,
    answers: Sender<(usize, Addresses)>,
    /// Gone when nobody waits for the answer any more.
    waker: Weak<Waker>,
}

/// Questions that wait, and whether the helper is at work.
struct Queue {
    questions: VecDeque<Waiting>,
    busy: bool,
    generation: u32,
}

/// Locked only under [`fork::exclusive`].
static QUEUE: Mutex<Queue> = Mutex::new(Queue { questions: VecDeque::new(), busy: false, generation: 0 });

/// Looks a name up. The answer comes from the helper thread, unless that cannot be made; names before this one keep it
/// waiting. Whoever drops the waker has no use for the answer, and may never get it.
pub(crate) fn lookup(question: Question) {
    fork::watch();
    let _forks_wait = fork::exclusive();
    let mut queue = QUEUE.lock();
    if queue.generation != fork::generation() {
        // The helper of the parent is not here, and its questions are not ours.
        *queue = Queue { questions: VecDeque::new(), busy: false, generation: fork::generation() };
    }
    // While the resolver hangs, clocks that come and go must not fill the memory.
    queue.questions.retain(Waiting::is_wanted);
    queue.questions.push_back(question.into());
    if queue.busy {
        return;
    }
    match thread::spawn("ntpclock-dns", work) {
        Ok(_) => queue.busy = true,
        Err(error) => {
            for waiting in queue.questions.drain(..) {
                waiting.answer(Err(format!("no thread to look names up: {error}")));
            }
        }
    }
}

/// Answers question after question, and ends when there is none.
fn work() {
    loop {
        let waiting = {
            let _forks_wait = fork::exclusive();
            let mut queue = QUEUE.lock();
            let Some(waiting) = queue.questions.pop_front() else {
                queue.busy = false;
                return;
            };
            waiting
        };
        if waiting.is_wanted() {
            let addresses = resolve(&waiting.host, waiting.port);
            waiting.answer(addresses);
        }
    }
}

impl From<Question> for Waiting {
    fn from(question: Question) -> Self {
        let Question { host, port, tag, answers, waker } = question;
        Self { host, port, tag, answers, waker: Arc::downgrade(&waker) }
    }
}

impl Waiting {
    fn is_wanted(&self) -> bool {
        self.waker.strong_count() > 0
    }

    fn answer(self, addresses: Addresses) {
        let Some(waker) = self.waker.upgrade() else { return };
        // The receiver may be gone all the same: the clock was stopped meanwhile.
        let _ = self.answers.send((self.tag, addresses));
        waker.wake();
    }
}

/// Blocks for as long as the system's resolver does.
pub(crate) fn resolve(host: &str, port: u16) -> Addresses {
    let found = (host, port).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut addresses = Vec::new();
    for address in found {
        let usable = !address.ip().is_unspecified() && !address.ip().is_multicast();
        if usable && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err("the name has no usable address".to_owned()) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_with_its_tag_and_wakes_who_asked() {
        let (answers, receiver) = crossbeam_channel::unbounded();
        let waker = Arc::new(Waker::new().unwrap());
        for (tag, host) in ["127.0.0.7", "localhost", "a..b"].into_iter().enumerate() {
            lookup(Question { host: host.into(), port: 123, tag, answers: answers.clone(), waker: Arc::clone(&waker) });
        }
        let mut got: Vec<_> =
            (0..3).map(|_| receiver.recv_timeout(std::time::Duration::from_secs(30)).unwrap()).collect();
        got.sort_by_key(|(tag, _)| *tag);
        assert_eq!(got[0].1.as_deref().unwrap(), ["127.0.0.7:123".parse().unwrap()]);
        assert!(got[1].1.as_ref().unwrap().iter().all(|address| address.ip().is_loopback()));
        assert!(got[2].1.is_err());
    }

    #[test]
    fn a_question_keeps_no_descriptor_and_nobody_answers_it_for_its_own_sake() {
        let (answers, receiver) = crossbeam_channel::unbounded();
        let waker = Arc::new(Waker::new().unwrap());
        let question = |tag| Question {
            host: "127.0.0.7".into(),
            port: 123,
            tag,
            answers: answers.clone(),
            waker: Arc::clone(&waker),
        };
        let (early, late): (Waiting, Waiting) = (question(0).into(), question(1).into());
        assert_eq!(Arc::strong_count(&waker), 1);
        assert!(early.is_wanted());
        early.answer(resolve("127.0.0.7", 123));
        assert_eq!(receiver.try_recv().unwrap().0, 0);
        drop(waker);
        assert!(!late.is_wanted());
        late.answer(resolve("127.0.0.7", 123));
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn addresses_that_no_server_can_have_are_left_out() {
        assert!(resolve("0.0.0.0", 123).is_err());
        assert!(resolve("224.0.1.1", 123).is_err());
    }
}
