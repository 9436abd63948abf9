//! Names to addresses, by the helper thread ([`super::helper`]).

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::helper::{self, Answer, LOST, Turn};
use crate::sys::wake::Waker;

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

/// Looks a name up. The answer comes from the helper thread, unless that cannot be made; names before this one keep it
/// waiting. Whoever drops the waker has no use for the answer, and may never get it.
pub(crate) fn lookup(question: Question) {
    let Question { host, port, tag, answers, waker } = question;
    // The receiver may be gone: the clock was stopped meanwhile.
    let answer = Answer::new(|| Err(LOST.to_owned()), move |addresses| drop(answers.send((tag, addresses))));
    let work = move |able: Result<(), String>| {
        answer.give(able.and_then(|()| resolve(&host, port)));
        None
    };
    helper::queue(Turn::First, &waker, Box::new(work));
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
