//! The few words in front of a page: all that a reader needs while nothing is unusual.
//!
//! Along one piece of a track everything a reading consists of is a straight line over the ticks: UTC, both ends of its interval,
//! the raw counter. So the writer works out these lines, and until when they hold: up to the knee of the drift limit, and to the
//! deadline at which the state becomes another. Within that stretch a reader has one subtraction, one comparison and a
//! few multiplications to do. Outside it, and in a process that was forked off, it judges the whole page.
//!
//! First on the page stands the piece that is settled, for which readers are made; then the one during which a correction is slewed
//! in. The time alone needs four words, in one cache line, and its settled piece holds beyond the stretch.

use super::page::Page;
use super::scale::{Factor, high_product};
use crate::status::{Leap, State};
use crate::sys::ticks::{Kind, Tick};
use crate::units::{Counter, Nanos, UnixTime};

/// Words of a glance.
pub(crate) const WORDS: usize = 14;

/// Words set aside for one glance: whole cache lines.
const ROOM: usize = 16;

/// Words that both glances at the front of a page take up.
pub(crate) const FRONT: usize = 2 * ROOM;

/// Words that the time alone needs.
pub(crate) const TIME_WORDS: usize = 4;

/// Two roundings of the interval at the beginning, one of its growth, one of the counter.
const ROUNDINGS: Nanos = Nanos(4);

/// What is in front of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Glance {
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
    pub(crate) newest_exchange: Counter,
    pub(crate) epoch: u32,
    pub(crate) state: State,
    pub(crate) leap: Leap,
}

impl Marks {
    fn new(shift: u32, state: State, leap: Leap, epoch: u32) -> Self {
        Self(u64::from(shift) | (state as u64) << 8 | (leap as u64) << 16 | u64::from(epoch) << 32)
    }

    /// The shift of the factors of a page that is read by `kind`; most readers know it beforehand.
    #[inline(always)]
    fn shift(self, kind: Kind) -> u32 {
        match kind {
            Kind::Ticks if cfg!(target_arch = "x86_64") => 0,
            Kind::Ticks => (self.0 & 0x3f) as u32,
            Kind::Raw => Factor::RAW.shift,
        }
    }
}

/// UTC at `tick`, of the kind that the page is for, by its first words; `None` before the correction is slewed in.
#[inline(always)]
pub(crate) fn utc_at(words: &[u64; TIME_WORDS], kind: Kind, tick: Tick) -> Option<UnixTime> {
    let [marks, start, utc, per_tick] = *words;
    let since = tick.0.wrapping_sub(start.cast_signed());
    if since < 0 {
        return None;
    }
    let gained = high_product(since.cast_unsigned(), Marks(marks).shift(kind), per_tick);
    Some(UnixTime(utc.cast_signed().wrapping_add(gained)))
}

/// Both glances of `page`, as they stand in front of it.
pub(super) fn front(page: &Page) -> [u64; FRONT] {
    let track = &page.current.track;
    let mut words = [0; FRONT];
    if page.current.model.has_line() {
        let settled = Glance::of(page, track.end, track.settled_utc, track.settled, None);
        let slewing = Glance::of(page, track.start, track.utc, track.slewing, Some(track.end));
        words[..WORDS].copy_from_slice(&settled.to_words());
        words[ROOM..ROOM + WORDS].copy_from_slice(&slewing.to_words());
    }
    words
}

/// The glance during which a correction is slewed in.
#[inline(always)]
pub(crate) fn slewing(words: &[u64; FRONT]) -> Glance {
    Glance::from_words(&std::array::from_fn(|index| words[ROOM + index]))
}

impl Glance {
    /// What can be had of `page` at a glance along the piece of its track that begins with `utc` at `start` and ends at `end`.
    fn of(page: &Page, start: Tick, utc: UnixTime, per_tick: u64, end: Option<Tick>) -> Self {
        let (model, scale) = (&page.current.model, &page.relation.scale);
        let Factor { shift, multiplier: counter_per_tick } = scale.factor;
        let (earliest, latest) = model.span.at(scale.counter_at(start));
        let gaining = |gain| scale.factor.gaining(gain).multiplier;
        Self {
            marks: Marks::new(shift, model.state, model.leap, model.epoch),
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

    /// What it tells at `tick`, of the kind that the page is for, in a process of this fork generation; `None` if that is
    /// for the whole page to say.
    #[inline(always)]
    pub(crate) fn at(&self, kind: Kind, tick: Tick, generation: u32) -> Option<Glimpse> {
        let since = tick.0.wrapping_sub(self.start.0).cast_unsigned();
        if since >= self.length || self.generation != generation {
            return None;
        }
        let Marks(marks) = self.marks;
        let shift = self.marks.shift(kind);
        let of = |base: i64, ticks: u64, multiplier| base.wrapping_add(high_product(ticks, shift, multiplier));
        let utc = UnixTime(of(self.utc.0, since, self.per_tick));
        let since_origin = tick.0.wrapping_sub(self.origin.0).cast_unsigned();
        Some(Glimpse {
            utc,
            earliest: UnixTime(of(self.earliest.0, since, self.earliest_per_tick)).min(utc),
            latest: UnixTime(of(self.latest.0, since, self.latest_per_tick)).max(utc),
            counter: Counter(of(self.counter.0, since_origin, self.counter_per_tick)),
            newest_exchange: self.newest_exchange,
            epoch: (marks >> 32) as u32,
            state: State::from_number(marks >> 8 & 0xff),
            leap: Leap::from_number(marks >> 16 & 0xff),
        })
    }

    fn to_words(self) -> [u64; WORDS] {
        let signed = [self.earliest.0, self.latest.0, self.origin.0, self.counter.0, self.newest_exchange.0];
        let [earliest, latest, origin, counter, newest] = signed.map(i64::cast_unsigned);
        [
            self.marks.0,
            self.start.0.cast_unsigned(),
            self.utc.0.cast_unsigned(),
            self.per_tick,
            self.length,
            earliest,
            self.earliest_per_tick,
            latest,
            self.latest_per_tick,
            origin,
            counter,
            self.counter_per_tick,
            newest,
            self.generation.into(),
        ]
    }

    #[inline(always)]
    pub(crate) fn from_words(words: &[u64; WORDS]) -> Self {
        let signed = |index: usize| words[index].cast_signed();
        Self {
            marks: Marks(words[0]),
            start: Tick(signed(1)),
            utc: UnixTime(signed(2)),
            per_tick: words[3],
            length: words[4],
            earliest: UnixTime(signed(5)),
            earliest_per_tick: words[6],
            latest: UnixTime(signed(7)),
            latest_per_tick: words[8],
            origin: Tick(signed(9)),
            counter: Counter(signed(10)),
            counter_per_tick: words[11],
            newest_exchange: Counter(signed(12)),
            generation: words[13] as u32,
        }
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
