//! The engine of a clock that follows: it sleeps, tells its own listeners what the leader publishes, and takes over
//! when the leader ends.

use std::os::fd::AsRawFd;

use super::seat::{Election, Lead, Seat};
use super::{Membership, Shared};
use crate::events::watch::Watch;
use crate::publication::page::Page;
use crate::publication::shared::SharedPage;
use crate::sys::clocks::Anchor;
use crate::sys::process::{Deathwatch, Process};
use crate::sys::thread::Order;
use crate::sys::{counter, futex, wake};
use crate::units::{Counter, Nanos};

/// How often the page and the lock are looked at. The end of a leader whose process goes on, or cannot be watched, is
/// noticed by that alone.
const PACE: Nanos = Nanos::from_millis(250);

/// How soon it is looked again where no leader is known: it may be just about to sign.
const HASTE: Nanos = Nanos::from_millis(10);

/// One who follows.
#[derive(Debug)]
pub(crate) struct Follower {
    seat: Seat,
    /// As [`Succession::onward`].
    onward: bool,
    watch: Watch,
    seen: Option<Page>,
    leader: Option<(Process, Option<Deathwatch>)>,
    /// When to look next, from now.
    pace: Nanos,
}

/// What a new leader begins with.
pub(crate) struct Succession {
    pub(crate) lead: Lead,
    pub(crate) watch: Watch,
    /// The clock was started long ago: there is nobody to return an error to.
    pub(crate) late: bool,
    /// In a forked child, with what it has inherited.
    pub(crate) onward: bool,
}

impl Follower {
    pub(crate) fn new(seat: Seat, onward: bool) -> Self {
        Self { seat, onward, watch: Watch::new(0), seen: None, leader: None, pace: HASTE }
    }

    /// Follows until it leads (and says what it begins with), or until `order` ends it.
    pub(crate) fn run(mut self, shared: &Shared, order: &Order) -> Option<Succession> {
        let page = shared.place.shared()?;
        while !order.is_over() {
            let damaged = self.look(page, shared);
            let fault = match self.stand(page) {
                Ok(Some(lead)) => {
                    return Some(Succession { lead, watch: self.watch, late: true, onward: self.onward });
                }
                Ok(None) => damaged,
                Err(fault) => Some(fault),
            };
            self.find_leader();
            let leader = self.leader.as_ref().map_or(0, |(process, _)| process.pid);
            shared.tell_membership(Membership { leads: false, leader, fault });
            self.sleep(order);
        }
        None
    }

    fn stand(&self, page: &SharedPage) -> Election {
        match self.seat.displaced(page) {
            Some(fault) => Err(fault),
            None => self.seat.stand(page),
        }
    }

    /// Takes note of what was published, as if it had been published here. Says what is wrong with it, if anything is.
    fn look(&mut self, page: &SharedPage, shared: &Shared) -> Option<String> {
        let clocks = Anchor::read();
        shared.with_history(|history| history.note(clocks));
        let whole = page.publication().whole();
        if let Ok(Some((page, _))) = whole
            && self.seen != Some(page)
        {
            self.seen = Some(page);
            let model = &page.current.model;
            shared.with_history(|history| history.publish(page.switch, model));
            self.watch.publish(page.switch, model);
            // Whoever waits for a time may have to aim anew.
            shared.change(|_| ());
        }
        shared.events.tell(self.watch.look(counter::now()));
        whole.is_err().then(|| self.seat.damaged())
    }

    /// Finds out who leads, to be woken by its end.
    fn find_leader(&mut self) {
        let signed = self.seat.leader();
        let known = self.leader.as_ref().map(|(process, _)| *process);
        if signed.is_none() || signed != known {
            self.leader = signed.map(|process| (process, Deathwatch::of(&process)));
        }
        let watched = matches!(self.leader, Some((_, Some(_))));
        self.pace = if watched { PACE } else { Nanos(self.pace.0 * 2).clamp(HASTE, PACE) };
    }

    fn sleep(&mut self, order: &Order) {
        let mut descriptors = vec![order.waker.as_raw_fd()];
        descriptors.extend(self.leader.iter().filter_map(|(_, death)| death.as_ref()).map(AsRawFd::as_raw_fd));
        let now = counter::now();
        let due: Counter = (now + self.pace).min(self.watch.due(now));
        match wake::wait(&descriptors, Some((due - now).to_duration())) {
            Ok(ready) => {
                if ready.first() == Some(&true) {
                    order.waker.clear();
                }
                // It has ended, and stays readable; whoever leads next signs again.
                if ready.get(1) == Some(&true) {
                    self.leader = self.leader.take().map(|(process, _)| (process, None));
                    self.pace = HASTE;
                }
            }
            // Out of memory in the kernel: do not turn in circles at full speed meanwhile.
            Err(_) => futex::pause(std::time::Duration::from_millis(10)),
        }
    }
}
