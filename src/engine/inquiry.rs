//! Names that strangers choose, to addresses. One may lead to a name server of his that never answers: so a thread of
//! its own waits for the resolver, and nobody for that thread.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_channel::Receiver;

use super::helper::LOST;
use super::resolve::{Addresses, resolve};
use crate::sys::wake::Waker;
use crate::sys::{fork, thread};

/// The lookup of one name.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
