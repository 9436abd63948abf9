//! The few words in front of a page: all that a reader needs while nothing is unusual.
//!
//! Along one piece of a track everything a reading consists of is a straight line over the ticks: UTC, both ends of its
//! interval, the raw counter. So the writer works out these lines, and until when they hold: up to the knee of the
//! drift limit, and to the deadline at which the state becomes another. Within that stretch a reader has one
//! subtraction, one comparison and a few multiplications to do. Outside it, and in a process that was forked off, it
//! judges the whole page.
//!
//! First on the page stands the piece that is settled, for which readers are made; then the one during which a
//! correction is slewed in. The time alone needs four words, in one cache line, and its settled piece holds beyond the
//! stretch.

use super::Slot;
use super::page::{Page, SUSPENDED};
use super::scale::{Factor, high_product};
use crate::model::ClockModel;
use crate::status::{Flags, Leap, State};
use crate::sys::ticks::{Kind, Tick};
use crate::units::{Counter, Nanos, UnixTime};

// Where what stands in a glance: what the time alone needs comes first. After the beginning of a line comes its
// multiplier.
const MARKS: usize = 0;
const START: usize = 1;
const UTC: usize = 2;
const LENGTH: usize = 4;
const EARLIEST: usize = 5;
const LATEST: usize = 7;
const ORIGIN: usize = 9;
const COUNTER: usize = 10;
const NEWEST_EXCHANGE: usize = 12;
const GENERATION: usize = 13;
const PER_TICK: usize = 1;

/// Words set aside for one glance: whole cache lines.
const ROOM: usize = 16;

/// Words that both glances at the front of a page take up.
pub(crate) const FRONT: usize = 2 * ROOM;

/// Two roundings of the interval at the beginning, one of its growth, one of the counter.
const ROUNDINGS: Nanos = Nanos(4);

/// What is in front of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Glance {
    marks: Marks,
    start: Tick,
    utc: UnixTime,
    per_tick: u64,
    /// Ticks from `start` on for which all below holds; 0 if there is nothing to be had at a glance but the time.
    length: u64,
    earliest: UnixTime,
    earliest_per_tick: u64,
    latest: UnixTime,
    latest_per_tick: u64,
    origin: Tick,
    counter: Counter,
    counter_per_tick: u64,
    newest_exchange: Counter,
    generation: u32,
}

/// One word: the shift of the factors, and the small numbers of a reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks(u64);

/// What a glance tells at a tick, worked out when it is asked for: who puts it somewhere, number by number, keeps none.
///
/// It means something only where [`Self::holds`].
pub(crate) struct Glimpse<'a> {
    words: &'a Slot<'a>,
    /// Where its glance begins.
    begins: usize,
    shift: u32,
    tick: Tick,
    /// Ticks since the beginning of the lines.
    since: u64,
}

impl Marks {
    /// Where what begins; the shift comes first.
    const HOLDOVER: u32 = 8;
    const LEAP: u32 = 16;
    const FLAGS: u32 = 24;
    const EPOCH: u32 = 32;

    fn new(shift: u32, model: &ClockModel) -> Self {
        let ClockModel { state, leap, epoch, .. } = *model;
        let flags = u64::from(model.told_flags().0 & 0xff);
        let holdover = u64::from(state == State::Holdover);
        let small = u64::from(shift) | holdover << Self::HOLDOVER | (leap as u64) << Self::LEAP;
        Self(small | flags << Self::FLAGS | u64::from(epoch) << Self::EPOCH)
    }

    /// The shift of the factors of a page that is read by `kind`; most readers know it beforehand.
    #[inline(always)]
    fn shift(word: impl Fn(usize) -> u64, kind: Kind) -> u32 {
        match kind {
            Kind::Ticks if cfg!(target_arch = "x86_64") => 0,
            Kind::Ticks => (word(MARKS) & 0x3f) as u32,
            Kind::Raw => Factor::RAW.shift,
        }
    }
}

/// UTC at `tick`, of the kind that the page is for, by its first words; `None` before the correction is slewed in.
#[inline(always)]
pub(crate) fn utc_at(word: impl Fn(usize) -> u64, kind: Kind, tick: Tick) -> Option<UnixTime> {
    let since = tick.0.wrapping_sub(word(START).cast_signed());
    if since < 0 {
        return None;
    }
    let gained = high_product(since.cast_unsigned(), Marks::shift(&word, kind), word(UTC + PER_TICK));
    Some(UnixTime(word(UTC).cast_signed().wrapping_add(gained)))
}

/// Which piece of a track is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece {
    Settled,
    /// During which a correction is slewed in.
    Slewing,
}

impl<'a> Glimpse<'a> {
    /// What `piece` tells at `tick`, of the kind that the page is for.
    #[inline(always)]
    pub(super) fn at(words: &'a Slot<'a>, piece: Piece, kind: Kind, tick: Tick) -> Self {
        let begins = match piece {
            Piece::Settled => 0,
            Piece::Slewing => ROOM,
        };
        let since = tick.0.wrapping_sub(words.at(begins + START).cast_signed()).cast_unsigned();
        let shift = Marks::shift(|index| words.at(begins + index), kind);
        Self { words, begins, shift, tick, since }
    }

    /// Whether it means anything, in a process of this fork generation.
    #[inline(always)]
    pub(crate) fn holds(&self, generation: u32) -> bool {
        self.since < self.word(LENGTH) && self.word(GENERATION) == u64::from(generation)
    }

    #[inline(always)]
    pub(crate) fn utc(&self) -> UnixTime {
        UnixTime(self.line(UTC, self.since))
    }

    /// The beginning of the interval that holds UTC, where UTC is shown to be `utc`.
    #[inline(always)]
    pub(crate) fn earliest(&self, utc: UnixTime) -> UnixTime {
        UnixTime(self.line(EARLIEST, self.since)).min(utc)
    }

    /// The end of that interval.
    #[inline(always)]
    pub(crate) fn latest(&self, utc: UnixTime) -> UnixTime {
        UnixTime(self.line(LATEST, self.since)).max(utc)
    }

    #[inline(always)]
    pub(crate) fn counter(&self) -> Counter {
        let since = self.tick.0.wrapping_sub(self.word(ORIGIN).cast_signed());
        Counter(self.line(COUNTER, since.cast_unsigned()))
    }

    /// Since the newest exchange that counted, where the counter shows `counter`.
    #[inline(always)]
    pub(crate) fn age(&self, counter: Counter) -> Nanos {
        Nanos(counter.0.wrapping_sub(self.word(NEWEST_EXCHANGE).cast_signed()).max(0))
    }

    /// The time the machine was suspended since boot, as the page's writer knew it.
    pub(crate) fn suspended(&self) -> Nanos {
        Nanos(self.words.at(SUSPENDED).cast_signed())
    }

    #[inline(always)]
    pub(crate) fn epoch(&self) -> u32 {
        (self.marks() >> Marks::EPOCH) as u32
    }

    #[inline(always)]
    pub(crate) fn state(&self) -> State {
        // One of two, whatever stands there.
        State::from_number(1 + (self.marks() >> Marks::HOLDOVER & 1))
    }

    #[inline(always)]
    pub(crate) fn leap(&self) -> Leap {
        Leap::from_number(self.marks() >> Marks::LEAP & 3)
    }

    #[inline(always)]
    pub(crate) fn flags(&self) -> Flags {
        Flags((self.marks() >> Marks::FLAGS & 0xff) as u32)
    }

    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        self.words.at(self.begins + index)
    }

    #[inline(always)]
    fn marks(&self) -> u64 {
        self.word(MARKS)
    }

    /// A straight line whose beginning stands at `at`, so many ticks after it.
    #[inline(always)]
    fn line(&self, at: usize, ticks: u64) -> i64 {
        let gained = high_product(ticks, self.shift, self.word(at + PER_TICK));
        self.word(at).cast_signed().wrapping_add(gained)
    }
}

/// Both glances of `page`, as they stand in front of it.
pub(super) fn front(page: &Page) -> [u64; FRONT] {
    let track = &page.current.track;
    let mut words = [0; FRONT];
    if page.current.model.has_line() {
        let settled = Glance::of(page, track.end, track.settled_utc, track.settled, None);
        let slewing = Glance::of(page, track.start, track.utc, track.slewing, Some(track.end));
        words[..ROOM].copy_from_slice(&settled.to_words());
        words[ROOM..].copy_from_slice(&slewing.to_words());
    }
    words
}

impl Glance {
    /// What can be had of `page` at a glance along the piece of its track that begins with `utc` at `start` and ends at
    /// `end`.
    fn of(page: &Page, start: Tick, utc: UnixTime, per_tick: u64, end: Option<Tick>) -> Self {
        let (model, scale) = (&page.current.model, &page.relation.scale);
        let Factor { shift, multiplier: counter_per_tick } = scale.factor;
        let (earliest, latest) = model.span.at(scale.counter_at(start));
        let gaining = |gain| scale.factor.gaining(gain).multiplier;
        Self {
            marks: Marks::new(shift, model),
            start,
            utc,
            per_tick,
            length: length(page, start, end),
            earliest: earliest - ROUNDINGS,
            earliest_per_tick: gaining(model.span.slowest),
            latest: latest + ROUNDINGS,
            latest_per_tick: gaining(model.span.fastest),
            origin: scale.tick,
            counter: scale.counter,
            counter_per_tick,
            newest_exchange: model.newest_exchange,
            generation: page.generation,
        }
    }

    #[expect(clippy::indexing_slicing, reason = "all places are constants below ROOM")]
    fn to_words(self) -> [u64; ROOM] {
        let mut words = [0; ROOM];
        let line = [(UTC, self.utc.0, self.per_tick), (EARLIEST, self.earliest.0, self.earliest_per_tick)];
        let lines = line
            .into_iter()
            .chain([(LATEST, self.latest.0, self.latest_per_tick), (COUNTER, self.counter.0, self.counter_per_tick)]);
        for (at, begins, per_tick) in lines {
            (words[at], words[at + PER_TICK]) = (begins.cast_unsigned(), per_tick);
        }
        words[MARKS] = self.marks.0;
        words[START] = self.start.0.cast_unsigned();
        words[LENGTH] = self.length;
        words[ORIGIN] = self.origin.0.cast_unsigned();
        words[NEWEST_EXCHANGE] = self.newest_exchange.0.cast_unsigned();
        words[GENERATION] = self.generation.into();
        words
    }
}

/// For how many ticks from `start` on the reading is the same straight lines, and the state the one published.
fn length(page: &Page, start: Tick, end: Option<Tick>) -> u64 {
    let (model, scale) = (&page.current.model, &page.relation.scale);
    let (span, begun) = (&model.span, scale.counter_at(start));
    let mut until = span.at + span.knee;
    if model.state == State::Synchronized {
        until = until.min(model.holdover_at);
    }
    // Lest a saturated sum overflow: no page is read for 30 years.
    until = until.min(begun + Nanos::from_seconds(30 * 365 * 86_400));
    let end = end.unwrap_or(Tick(i64::MAX)).min(scale.tick_at(until));
    if !model.state.is_usable() || begun < span.at || end <= start {
        return 0;
    }
    // The interval's width is convex: a bound that is within its cap at both ends is so in between.
    let as_published = |tick| {
        let model = page.current.at(scale, tick);
        model.state_at(model.line.base) == model.state
    };
    if as_published(start) && as_published(Tick(end.0 - 1)) { end.0.abs_diff(start.0) } else { 0 }
}
