//! Names to addresses, by the helper thread ([`super::helper`]); what strangers name is looked up apart.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_channel::{Receiver, Sender};

use super::helper::{self, Answer, LOST, Turn};
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

/// The lookup of a name that a stranger chose: it may lead to a name server of his that never answers, so a thread of
/// its own waits for the resolver, and nobody for that thread.
pub(crate) struct Inquiry {
    answer: Receiver<Addresses>,
    waker: Arc<Waker>,
}

/// Strangers' names that are looked up at a time.
const INQUIRIES_MAX: u32 = 8;

/// How many are, and in which fork generation that was counted: a child has none of its parent's threads.
static INQUIRIES: AtomicU64 = AtomicU64::new(0);

/// One of them, as long as it is under way.
struct Place(u32);

impl Place {
    fn take() -> Option<Self> {
        let generation = fork::generation();
        let more = |taken: u64| {
            let count = if taken >> 32 == u64::from(generation) { taken as u32 } else { 0 };
            (count < INQUIRIES_MAX).then_some(u64::from(generation) << 32 | u64::from(count + 1))
        };
        INQUIRIES.fetch_update(Relaxed, Relaxed, more).is_ok().then(|| Self(generation))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let less = |taken: u64| (taken >> 32 == u64::from(self.0)).then(|| taken.saturating_sub(1));
        let _ = INQUIRIES.fetch_update(Relaxed, Relaxed, less);
    }
}

/// Enough for the resolver.
const STACK: usize = 256 * 1024;

impl Inquiry {
    /// Looks up `host`.
    pub(crate) fn begin(host: &str, port: u16) -> Result<Self, String> {
        let place = Place::take().ok_or("too many names are being looked up")?;
        let waker = Arc::new(Waker::new().map_err(|error| error.to_string())?);
        let (told, answer) = crossbeam_channel::bounded(1);
        let (host, theirs) = (host.to_owned(), Arc::clone(&waker));
        let body = move || {
            let _place = place;
            // Who asked may have given up.
            let _ = told.send(resolve(&host, port));
            theirs.wake();
        };
        let thread: io::Result<_> = thread::spawn_with_stack("ntpclock-name", STACK, body);
        thread.map_err(|error| format!("no thread for it: {error}"))?;
        Ok(Self { answer, waker })
    }

    /// What it has come to, if it has.
    pub(crate) fn answer(&self) -> Option<Addresses> {
        use crossbeam_channel::TryRecvError::{Disconnected, Empty};
        match self.answer.try_recv() {
            Ok(addresses) => Some(addresses),
            Err(Empty) => None,
            Err(Disconnected) => Some(Err(LOST.to_owned())),
        }
    }
}

impl AsRawFd for Inquiry {
    /// Readable when there is an answer.
    fn as_raw_fd(&self) -> RawFd {
        self.waker.as_raw_fd()
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
    fn strangers_names_are_looked_up_apart_and_not_any_number_at_a_time() {
        let inquiry = Inquiry::begin("127.0.0.7", 123).unwrap();
        crate::sys::wake::Sleeper::new([inquiry.as_raw_fd()]).wait(Some(std::time::Duration::from_secs(30))).unwrap();
        assert_eq!(inquiry.answer().unwrap().unwrap(), ["127.0.0.7:123".parse().unwrap()]);
        // The thread may be about to end.
        while INQUIRIES.load(Relaxed) as u32 > 0 {
            std::thread::yield_now();
        }
        let places: Vec<_> = (0..INQUIRIES_MAX).map(|_| Place::take().unwrap()).collect();
        assert!(Place::take().is_none() && Inquiry::begin("127.0.0.7", 123).is_err());
        drop(places);
        assert!(Place::take().is_some());
    }

    #[test]
    fn addresses_that_no_server_can_have_are_left_out() {
        assert!(resolve("0.0.0.0", 123).is_err());
        assert!(resolve("224.0.1.1", 123).is_err());
    }
}
