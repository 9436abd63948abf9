//! What a reader gets: page × tick → [`Reading`].

use std::time::Duration;

use crate::publication::Publication;
use crate::publication::glance::Glimpse;
use crate::publication::page::Page;
use crate::status::{Flags, Leap, State};
use crate::sys::ticks::{Kind, Tick};
use crate::units::{Counter, UnixTime};

/// One reading of a clock: the time, and the interval that holds UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// UTC, nanoseconds since 1970-01-01T00:00:00Z, POSIX counting (no leap seconds).
    pub unix_ns: i64,
    /// UTC is not before this; `i64::MIN` when unknown. Never above `unix_ns`.
    pub earliest_ns: i64,
    /// UTC is not after this; `i64::MAX` when unknown. Never below `unix_ns`.
    pub latest_ns: i64,
    /// The raw counter at the reading, as nanoseconds at its nominal rate; one origin per boot.
    pub raw_ns: i64,
    /// Nanoseconds since the newest exchange that counted; `i64::MAX` before the first.
    pub age_ns: i64,
    /// The number of the stretch without a step; 0 before the first synchronisation.
    pub epoch: u32,
    /// How far the interval can be trusted.
    pub state: State,
    /// What else is to be known.
    pub flags: Flags,
    /// What the sources announce for the end of the month.
    pub leap: Leap,
    /// TAI minus UTC in seconds, where known.
    pub tai_minus_utc: Option<i16>,
}

impl Reading {
    /// Reads `publication` by `read`, in a process of this fork generation.
    #[inline(always)]
    pub(crate) fn of(
        publication: &Publication,
        generation: u32,
        read: impl Fn(Kind) -> Tick,
        system_time: impl FnOnce() -> UnixTime,
    ) -> Self {
        match Self::glimpse(publication, generation, &read) {
            Some(reading) => reading,
            None => Self::whole(publication, generation, read, system_time),
        }
    }

    /// The reading, if it is to be had at a glance. Cannot panic.
    #[inline(always)]
    pub(crate) fn glimpse(publication: &Publication, generation: u32, read: impl Fn(Kind) -> Tick) -> Option<Self> {
        let (glance, tick) = publication.glance(read)?;
        glance.at(tick, generation).map(|glimpse| Self::glimpsed(&glimpse))
    }

    /// Reads all of the page: before the first synchronisation, in the middle of a correction, in holdover, after a fork.
    #[cold]
    #[inline(never)]
    pub(crate) fn whole(
        publication: &Publication,
        generation: u32,
        read: impl Fn(Kind) -> Tick,
        system_time: impl FnOnce() -> UnixTime,
    ) -> Self {
        let (page, tick) = publication.read(read);
        Self::new(&page, tick, generation, system_time)
    }

    /// What `page` says at `tick`. `generation` is the reader's; `system_time` serves until there is a model.
    pub(crate) fn new(page: &Page, tick: Tick, generation: u32, system_time: impl FnOnce() -> UnixTime) -> Self {
        let (model, counter) = (page.model_at(tick), page.counter_at(tick));
        if !model.has_line() {
            return Self {
                unix_ns: system_time().0,
                earliest_ns: i64::MIN,
                latest_ns: i64::MAX,
                raw_ns: counter.0,
                age_ns: i64::MAX,
                epoch: 0,
                state: State::Unsynchronized,
                flags: Flags::default(),
                leap: Leap::Unknown,
                tai_minus_utc: None,
            };
        }
        let state = match model.state_at(counter) {
            // The thread that kept this page is not in this process.
            State::Synchronized if page.generation != generation => State::Holdover,
            state => state,
        };
        let (earliest, utc, latest) = model.at(counter);
        Self {
            unix_ns: utc.0,
            earliest_ns: if state.is_usable() { earliest.0 } else { i64::MIN },
            latest_ns: if state.is_usable() { latest.0 } else { i64::MAX },
            raw_ns: counter.0,
            age_ns: age(counter, model.newest_exchange),
            epoch: model.epoch,
            state,
            flags: leap_flags(model.leap).with(Flags::SLEWING, model.line.is_slewing(counter)),
            leap: model.leap,
            tai_minus_utc: None,
        }
    }

    /// What a glance at a page told: the same as [`Self::new`] says of the whole page, but for roundings of the interval.
    #[inline(always)]
    fn glimpsed(glimpse: &Glimpse) -> Self {
        Self {
            unix_ns: glimpse.utc.0,
            earliest_ns: glimpse.earliest.0,
            latest_ns: glimpse.latest.0,
            raw_ns: glimpse.counter.0,
            age_ns: age(glimpse.counter, glimpse.newest_exchange),
            epoch: glimpse.epoch,
            state: glimpse.state,
            flags: leap_flags(glimpse.leap),
            leap: glimpse.leap,
            tai_minus_utc: None,
        }
    }

    /// The larger distance from the reading to either end of its interval, ns: UTC lies within ± this.
    /// `i64::MAX` when unknown.
    pub fn error_bound_ns(&self) -> i64 {
        if self.earliest_ns == i64::MIN || self.latest_ns == i64::MAX {
            return i64::MAX;
        }
        let before = self.unix_ns.saturating_sub(self.earliest_ns);
        let after = self.latest_ns.saturating_sub(self.unix_ns);
        before.max(after)
    }

    /// The error bound, or `None` when unknown.
    pub fn error_bound(&self) -> Option<Duration> {
        match self.error_bound_ns() {
            i64::MAX => None,
            bound => Some(Duration::from_nanos(bound.unsigned_abs())),
        }
    }
}

/// A model is published for a counter value a little ahead of its exchange, never behind.
#[inline(always)]
fn age(counter: Counter, newest_exchange: Counter) -> i64 {
    (counter - newest_exchange).0.max(0)
}

#[inline(always)]
fn leap_flags(leap: Leap) -> Flags {
    Flags::default().with(Flags::LEAP_PENDING, matches!(leap, Leap::Insert | Leap::Delete))
}
