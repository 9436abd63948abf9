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

use super::page::Page;
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

/// What a glance tells at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Glimpse {
    pub(crate) utc: UnixTime,
    pub(crate) earliest: UnixTime,
    pub(crate) latest: UnixTime,
    pub(crate) counter: Counter,
    /// Since the newest exchange that counted.
    pub(crate) age: Nanos,
    pub(crate) epoch: u32,
    pub(crate) state: State,
    pub(crate) leap: Leap,
    /// As the model has them.
    pub(crate) flags: Flags,
}

impl Marks {
    /// Of a state that is usable: SYNCHRONIZED if this is not set.
    const HOLDOVER: u64 = 1 << 8;

    fn new(shift: u32, model: &ClockModel) -> Self {
        let ClockModel { state, leap, flags, epoch, .. } = *model;
        let state = if state == State::Holdover { Self::HOLDOVER } else { 0 };
        Self(u64::from(shift) | state | (leap as u64) << 16 | u64::from(flags.0 & 0xff) << 24 | u64::from(epoch) << 32)
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

/// What the settled piece tells at `tick`, of the kind that the page is for, and whether it holds there, in a process
/// of this fork generation; if not, it means nothing. (Both at once and not an `Option`: so nothing waits for the
/// comparison.)
#[inline(always)]
pub(crate) fn settled_at(word: impl Fn(usize) -> u64, kind: Kind, tick: Tick, generation: u32) -> (bool, Glimpse) {
    let since = tick.0.wrapping_sub(word(START).cast_signed()).cast_unsigned();
    let holds = since < word(LENGTH) && word(GENERATION) == u64::from(generation);
    let shift = Marks::shift(&word, kind);
    let line = |at: usize, ticks| word(at).cast_signed().wrapping_add(high_product(ticks, shift, word(at + PER_TICK)));
    let utc = UnixTime(line(UTC, since));
    let earliest = UnixTime(line(EARLIEST, since)).min(utc);
    let latest = UnixTime(line(LATEST, since)).max(utc);
    let counter = line(COUNTER, tick.0.wrapping_sub(word(ORIGIN).cast_signed()).cast_unsigned());
    let age = Nanos(counter.wrapping_sub(word(NEWEST_EXCHANGE).cast_signed()).max(0));
    let marks = Marks(word(MARKS));
    let glimpse = Glimpse {
        utc,
        earliest,
        latest,
        counter: Counter(counter),
        age,
        epoch: (marks.0 >> 32) as u32,
        state: if marks.0 & Marks::HOLDOVER == 0 { State::Synchronized } else { State::Holdover },
        leap: Leap::from_number(marks.0 >> 16 & 3),
        flags: Flags((marks.0 >> 24 & 0xff) as u32),
    };
    (holds, glimpse)
}

/// The same of the piece during which a correction is slewed in.
#[inline(always)]
pub(crate) fn slewing_at(word: impl Fn(usize) -> u64, kind: Kind, tick: Tick, generation: u32) -> (bool, Glimpse) {
    settled_at(|index| word(ROOM + index), kind, tick, generation)
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
