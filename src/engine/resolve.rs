//! Names to addresses, off the polling path: one helper thread for the whole process, alive only while there is
//! something to look up. It owns its data, so that whoever asked may be gone when the resolver returns.

use std::collections::VecDeque;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

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

/// Questions that wait, and whether the helper is at work.
struct Queue {
    questions: VecDeque<Question>,
    busy: bool,
    generation: u32,
}

/// Locked only under [`fork::exclusive`].
static QUEUE: Mutex<Queue> = Mutex::new(Queue { questions: VecDeque::new(), busy: false, generation: 0 });

/// Looks a name up: answers at once for a literal address, from the helper thread otherwise.
pub(crate) fn lookup(question: Question) {
    let _forks_wait = fork::exclusive();
    let mut queue = QUEUE.lock();
    if queue.generation != fork::generation() {
        // The helper of the parent is not here, and its questions are not ours.
        *queue = Queue { questions: VecDeque::new(), busy: false, generation: fork::generation() };
    }
    queue.questions.push_back(question);
    if queue.busy {
        return;
    }
    match thread::spawn("ntpclock-dns", work) {
        Ok(_) => queue.busy = true,
        Err(error) => {
            for question in queue.questions.drain(..) {
                answer(question, Err(format!("no thread to look names up: {error}")));
            }
        }
    }
}

/// Answers question after question, and ends when there is none.
fn work() {
    loop {
        let question = {
            let _forks_wait = fork::exclusive();
            let mut queue = QUEUE.lock();
            let Some(question) = queue.questions.pop_front() else {
                queue.busy = false;
                return;
            };
            question
        };
        let addresses = resolve(&question.host, question.port);
        answer(question, addresses);
    }
}

fn answer(question: Question, addresses: Addresses) {
    // Nobody waits any more if the clock was stopped meanwhile.
    let _ = question.answers.send((question.tag, addresses));
    question.waker.wake();
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
    fn addresses_that_no_server_can_have_are_left_out() {
        assert!(resolve("0.0.0.0", 123).is_err());
        assert!(resolve("224.0.1.1", 123).is_err());
    }
}
