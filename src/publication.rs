//! Single writer, any readers: how a clock model reaches the threads that read it.

pub(crate) mod latch;
pub(crate) mod page;

use crate::model::ClockModel;
use crate::units::{Counter, Nanos};
use latch::Latch;
use page::{Page, WORDS};

/// How far ahead a new model takes effect: long enough that a writer is rarely late, short enough not to matter.
const LEAD: Nanos = Nanos::from_millis(1);

/// The longest lead a writer that is always late is given.
const LEAD_MAX: Nanos = Nanos::from_seconds(1);

/// Where readers find the page.
#[derive(Debug)]
pub(crate) struct Publication(Latch<WORDS>);

/// The writer's side: what it published last. There is one for each publication.
#[derive(Debug)]
pub(crate) struct Writer {
    current: ClockModel,
    switch: Counter,
}

impl Publication {
    /// Never synchronised.
    pub(crate) const fn new() -> Self {
        Self(Latch::new())
    }

    /// The page, and a counter value read while it was the present one: only so do readers of two successive pages
    /// see one line.
    pub(crate) fn read(&self, counter: impl Fn() -> Counter) -> (Page, Counter) {
        let (words, counter) = self.0.read(counter);
        (Page::from_words(&words), counter)
    }
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { current: ClockModel::UNSYNCHRONIZED, switch: Counter(i64::MIN) }
    }

    /// Before this the last model has not yet taken effect, and no other may be published: the page holds but two.
    pub(crate) fn ready_at(&self) -> Counter {
        self.switch
    }

    /// Publishes the model that `plan` makes for the counter value at which it will take effect.
    ///
    /// `plan` may be called again with a later one; what it returns beside the model that was published is handed back.
    pub(crate) fn publish<P>(
        &mut self,
        publication: &Publication,
        generation: u32,
        counter: impl Fn() -> Counter,
        mut plan: impl FnMut(Counter) -> (ClockModel, P),
    ) -> P {
        let mut lead = LEAD;
        loop {
            let switch = counter() + lead;
            let (current, rest) = plan(switch);
            publication.0.stage(Page { former: self.current, current, switch, generation }.to_words());
            #[cfg(test)]
            stall::here();
            // A writer that comes too late would change what some readers have already read: it plans anew.
            if counter() < switch {
                publication.0.turn();
                (self.current, self.switch) = (current, switch);
                return rest;
            }
            lead = Nanos(lead.0 * 2).min(LEAD_MAX);
        }
    }
}

/// Lets tests hold writers where preemption hurts most: everything is written, nothing is shown.
#[cfg(test)]
pub(crate) mod stall {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::time::Duration;

    /// How long each publication is held at first; halved at every attempt, so that one succeeds.
    pub(crate) static MICROS: AtomicU64 = AtomicU64::new(0);

    pub(super) fn here() {
        match MICROS.load(Relaxed) {
            0 => {}
            micros => std::thread::sleep(Duration::from_micros(micros)),
        }
    }
}
