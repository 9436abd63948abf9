//! What the engine's thread and everybody else share: the page, what the engine says of itself beside it, and the past.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;

use super::files::FileFaults;
use super::roster::Roster;
use super::watchdog::Watchdog;
use crate::convert::History;
use crate::events::desk::Desk;
use crate::publication::Place;
use crate::status::{Report, SourceInfo};
use crate::synchronizer::succession::Legacy;
use crate::synchronizer::{SourceId, Synchronizer};
use crate::sys::host::Identity;
use crate::sys::vmclock::Marks;
use crate::sys::{counter, fork, futex};
use crate::units::Counter;

/// What the engine's thread and the readers of a clock share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) place: Place,
    /// Locked only under [`fork::exclusive`], so that a forked child finds it free.
    status: Mutex<Status>,
    /// Locked as `status` is.
    history: Mutex<History>,
    pub(crate) events: Desk,
    /// Counts the changes of `status`; whoever waits for one sleeps on it.
    changes: AtomicU32,
    /// How many do; a forked child may find some counted that it does not have.
    waiting: AtomicU32,
}

/// What the engine says about itself, beside the page.
#[derive(Debug)]
pub(crate) struct Status {
    /// Starts so far; tells a stop and a new start from none.
    pub(crate) session: u64,
    pub(super) running: bool,
    /// The fork generation that the thread belongs to.
    pub(super) generation: u32,
    /// Epochs go on being counted over stops and starts.
    pub(super) last_epoch: u32,
    /// Where the raw counter counts from, if the kernel says so: a child may have been moved to another time namespace.
    pub(super) origin: Option<Identity>,
    pub(crate) min_agreeing: usize,
    pub(crate) account: Option<Arc<Account>>,
    pub(crate) files: FileFaults,
    pub(crate) membership: Membership,
    /// Why disruptions are found late.
    pub(crate) unwatched: Unwatched,
    /// Where servers of this process show this clock to others, once for each of them.
    pub(super) served: Vec<IpAddr>,
}

/// What keeps the thread from finding disruptions as soon as it can, each as the reason that the system gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unwatched {
    /// The thread is not woken when the system clock is set or the machine resumes.
    pub(crate) resume: Option<String>,
    /// What the hypervisor has to tell is there, and cannot be read.
    pub(crate) vmclock: Option<String>,
}

impl Unwatched {
    pub(super) const NONE: Self = Self { resume: None, vmclock: None };
}

/// A clock among those that share its page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) leads: bool,
    /// The leader's process; 0 if there is none, or it is not known.
    pub(crate) leader: u32,
    /// What is wrong with the page.
    pub(crate) fault: Option<String>,
}

/// The core's account of itself at one instant.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) at: Counter,
    /// What a run that goes on from here begins with, and what the hypervisor showed.
    pub(super) legacy: Legacy,
    pub(super) marks: Option<Marks>,
    pub(crate) report: Report,
    pub(crate) sources: Vec<SourceInfo>,
}

impl Account {
    pub(super) fn of(core: &Synchronizer, roster: &Roster, watchdog: &Watchdog) -> Self {
        let at = counter::now();
        let mut sources = core.source_infos(at);
        for (index, source) in sources.iter_mut().enumerate() {
            source.name = roster.name(SourceId(index));
        }
        Self { at, legacy: core.committed_legacy(), marks: watchdog.marks(), report: core.report(at), sources }
    }
}

impl Status {
    /// Whether there is a thread, in this process.
    pub(crate) fn is_running(&self) -> bool {
        self.running && self.generation == fork::generation()
    }

    /// Which run it is of, if there is one.
    pub(crate) fn session(&self) -> Option<u64> {
        self.is_running().then_some(self.session)
    }
}

impl Shared {
    pub(crate) const fn new(place: Place) -> Self {
        Self {
            place,
            status: Mutex::new(Status {
                session: 0,
                running: false,
                generation: 0,
                last_epoch: 0,
                origin: None,
                min_agreeing: 1,
                account: None,
                files: FileFaults::NONE,
                membership: Membership { leads: false, leader: 0, fault: None },
                unwatched: Unwatched::NONE,
                served: Vec::new(),
            }),
            history: Mutex::new(History::new()),
            events: Desk::new(),
            changes: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
        }
    }

    /// A look at the status.
    pub(crate) fn with_status<T>(&self, look: impl FnOnce(&Status) -> T) -> T {
        let _forks_wait = fork::exclusive();
        look(&self.status.lock())
    }

    /// A look at the past.
    pub(crate) fn with_history<T>(&self, look: impl FnOnce(&mut History) -> T) -> T {
        let _forks_wait = fork::exclusive();
        look(&mut self.history.lock())
    }

    /// Waits until `judge` has an answer; it looks again at every change, and after the time it answers instead.
    pub(crate) fn wait_for<T>(&self, mut judge: impl FnMut(&Status) -> Result<T, Duration>) -> T {
        let _counted = Waiting::of(&self.waiting);
        loop {
            let seen = self.changes.load(SeqCst);
            let pause = match self.with_status(&mut judge) {
                Ok(answer) => return answer,
                Err(pause) => pause,
            };
            futex::wait(&self.changes, seen, pause);
        }
    }

    /// Says who leads, if that is news.
    pub(super) fn tell_membership(&self, membership: Membership) {
        if self.with_status(|status| status.membership != membership) {
            self.change(|status| status.membership = membership);
        }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Status)) {
        {
            let _forks_wait = fork::exclusive();
            change(&mut self.status.lock());
        }
        // Whoever has looked but does not sleep yet finds another number than it saw, and will not. In one order for
        // all: who is not counted yet has not looked yet.
        self.changes.fetch_add(1, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            futex::wake_all(&self.changes);
        }
    }
}

/// Addresses at which a server shows a clock, as they were at its start; known to that clock as long as this is there.
#[derive(Debug)]
pub(crate) struct ServedAt {
    shared: SharedRef,
    addresses: Vec<IpAddr>,
}

impl ServedAt {
    pub(crate) fn new(shared: SharedRef, addresses: Vec<IpAddr>) -> Self {
        shared.change(|status| status.served.extend(&addresses));
        Self { shared, addresses }
    }
}

impl Drop for ServedAt {
    fn drop(&mut self) {
        self.shared.change(|status| {
            for address in &self.addresses {
                // Another server may be there, too, at another port.
                if let Some(place) = status.served.iter().position(|one| one == address) {
                    status.served.swap_remove(place);
                }
            }
        });
    }
}

/// One of those who wait.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn of(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// A shared state that lives as long as the process, or as long as somebody needs it.
#[derive(Clone, Debug)]
pub(crate) enum SharedRef {
    Static(&'static Shared),
    Counted(Arc<Shared>),
}

impl std::ops::Deref for SharedRef {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        match self {
            Self::Static(shared) => shared,
            Self::Counted(shared) => shared,
        }
    }
}
