//! The page: two clock models and the tick at which the second takes over, as words.
//!
//! A new model takes effect a little in the future, and the page still carries the former one: a reader picks by its
//! own counter. So a reader with the old page and one with the new page show the same line at the same counter value.
//!
//! In front stand the few words that most readers need ([`super::glance`]); the rest is for whoever is early, late, in
//! a forked child or in the middle of a correction.

use super::gauge::Relation;
use super::glance;
use super::scale::{Factor, Scale};
use super::track::Track;
use crate::model::slew::Line;
use crate::model::{ClockModel, UtcSpan};
use crate::status::{Flags, Leap, State};
use crate::sys::ticks::{Kind, Sight, Tick};
use crate::units::{Counter, Nanos, Rate, UnixTime};

/// Words of one model and its track.
pub(super) const MODEL_WORDS: usize = 22;

pub(super) const RELATION_WORDS: usize = 8;

/// Words of a page.
pub(crate) const WORDS: usize = glance::FRONT + 2 * MODEL_WORDS + RELATION_WORDS + 3;

/// Where [`Page::suspended`] stands: last.
pub(crate) const SUSPENDED: usize = WORDS - 1;

/// Stands for the fork generation on a page whose writer may be in any process, and for that of its readers: whether
/// there still is a writer, its deadlines tell.
pub(crate) const ANY_PROCESS: u32 = u32::MAX;

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// What the page is read by.
    pub(crate) relation: Relation,
    pub(crate) former: Shown,
    pub(crate) current: Shown,
    /// From here on `current` holds.
    pub(crate) switch: Counter,
    /// The fork generation of the writer; [`ANY_PROCESS`] on a page that processes share.
    pub(crate) generation: u32,
    /// The time suspended since boot as the writer knew it, at most: what was suspended since, the page does not know
    /// of.
    pub(crate) suspended: Nanos,
}

/// A model, and its line by ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) model: ClockModel,
    pub(crate) track: Track,
}

/// Marks the tag of a page that has a line.
const HAS_LINE: u8 = 1 << 7;

/// The tag of a page with a line, read by `kind`.
#[inline(always)]
pub(crate) const fn tag(kind: Kind) -> u8 {
    kind as u8 | HAS_LINE
}

/// What a page with that tag is read by. A tag of zero is that of a page that was never written.
pub(crate) const fn kind(tag: u8) -> Kind {
    if tag & !HAS_LINE == Kind::Ticks as u8 { Kind::Ticks } else { Kind::Raw }
}

impl Shown {
    /// Before the first synchronisation.
    pub(crate) fn nothing() -> Self {
        Self { model: ClockModel::UNSYNCHRONIZED, track: Track::default() }
    }

    /// The model as it is at `tick`: its line shows there what readers see.
    pub(crate) fn at(&self, scale: &Scale, tick: Tick) -> ClockModel {
        let base = scale.counter_at(tick);
        let line = Line { base, utc: self.track.utc_at(scale, tick), ..self.model.line };
        ClockModel { line, ..self.model }
    }
}

impl Page {
    /// The model that holds at `tick`.
    pub(crate) fn model_at(&self, tick: Tick) -> ClockModel {
        let shown = if self.counter_at(tick) < self.switch { &self.former } else { &self.current };
        shown.at(&self.relation.scale, tick)
    }

    /// The raw counter at `tick`.
    pub(crate) fn counter_at(&self, tick: Tick) -> Counter {
        self.relation.scale.counter_at(tick)
    }

    /// The first tick at which the raw counter shows `counter`.
    pub(crate) fn tick_at(&self, counter: Counter) -> Tick {
        self.relation.scale.tick_at(counter)
    }

    /// The byte beside the turn at which this page is shown: [`HAS_LINE`] and the kind of what it is read by.
    pub(crate) fn tag(&self) -> u8 {
        tag(self.relation.scale.kind) & if self.current.model.has_line() { u8::MAX } else { !HAS_LINE }
    }

    pub(crate) fn to_words(self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        let mut rest = words.iter_mut();
        let mut put = |values: &[u64]| values.iter().zip(&mut rest).for_each(|(value, word)| *word = *value);
        put(&glance::front(&self));
        put(&shown_words(&self.former));
        put(&shown_words(&self.current));
        put(&relation_words(&self.relation));
        put(&[self.switch.0.cast_unsigned(), self.generation.into(), self.suspended.0.cast_unsigned()]);
        words
    }

    /// Any words are a page: one of zeros is a clock that was never synchronised.
    pub(crate) fn from_words(words: &[u64; WORDS]) -> Self {
        let mut at = words[glance::FRONT..].iter().copied();
        let former = shown(&mut at);
        let current = shown(&mut at);
        let relation = relation(&mut at);
        let mut next = || at.next().unwrap_or(0);
        let switch = Counter(next().cast_signed());
        let generation = next() as u32;
        Self { relation, former, current, switch, generation, suspended: Nanos(next().cast_signed()) }
    }
}

fn shown_words(shown: &Shown) -> [u64; MODEL_WORDS] {
    let Shown { model, track } = *shown;
    let ClockModel { line, span, state, leap, flags, epoch, holdover_at, bound_cap, newest_exchange } = model;
    let marks = u64::from(epoch) << 32 | u64::from(flags.0 & 0xff) << 16 | (leap as u64) << 8 | state as u64;
    let Track { start, utc, slewing, end, settled_utc, settled } = track;
    let by_ticks = [start.0, utc.0, slewing.cast_signed(), end.0, settled_utc.0, settled.cast_signed()];
    let by_counter = [line.base.0, line.utc.0, line.slew.0, line.slew_end.0, line.rate.0];
    let rest = [marks.cast_signed(), holdover_at.0, bound_cap.0, newest_exchange.0];
    let mut all = by_ticks.into_iter().chain(by_counter).chain(span_words(&span)).chain(rest);
    std::array::from_fn(|_| all.next().unwrap_or(0).cast_unsigned())
}

fn shown(words: &mut impl Iterator<Item = u64>) -> Shown {
    let mut next = || words.next().unwrap_or(0).cast_signed();
    let track = Track {
        start: Tick(next()),
        utc: UnixTime(next()),
        slewing: next().cast_unsigned(),
        end: Tick(next()),
        settled_utc: UnixTime(next()),
        settled: next().cast_unsigned(),
    };
    let line = Line {
        base: Counter(next()),
        utc: UnixTime(next()),
        slew: Rate(next()),
        slew_end: Counter(next()),
        rate: Rate(next()),
    };
    let span = span(&mut next);
    let marks = next().cast_unsigned();
    let model = ClockModel {
        line,
        span,
        state: State::from_number(marks & 0xff),
        leap: Leap::from_number(marks >> 8 & 0xff),
        flags: Flags((marks >> 16 & 0xff) as u32),
        epoch: (marks >> 32) as u32,
        holdover_at: Counter(next()),
        bound_cap: Nanos(next()),
        newest_exchange: Counter(next()),
    };
    Shown { model, track }
}

/// The interval's words, in their order.
pub(super) fn span(mut next: impl FnMut() -> i64) -> UtcSpan {
    UtcSpan {
        at: Counter(next()),
        earliest: UnixTime(next()),
        latest: UnixTime(next()),
        slowest: Rate(next()),
        fastest: Rate(next()),
        knee: Nanos(next()),
        drift_long: Rate(next()),
    }
}

pub(super) fn span_words(span: &UtcSpan) -> [i64; 7] {
    let UtcSpan { at, earliest, latest, slowest, fastest, knee, drift_long } = *span;
    [at.0, earliest.0, latest.0, slowest.0, fastest.0, knee.0, drift_long.0]
}

fn relation_words(relation: &Relation) -> [u64; RELATION_WORDS] {
    let Relation { scale, ahead, first } = *relation;
    let kind = (scale.kind as u64) | u64::from(scale.factor.shift) << 8;
    [
        kind.cast_signed(),
        scale.factor.multiplier.cast_signed(),
        scale.tick.0,
        scale.counter.0,
        ahead.0,
        first.before.0,
        first.raw.0,
        first.after.0,
    ]
    .map(i64::cast_unsigned)
}

fn relation(words: &mut impl Iterator<Item = u64>) -> Relation {
    let mut next = || words.next().unwrap_or(0).cast_signed();
    let kind = next().cast_unsigned();
    let scale = Scale {
        kind: Kind::Ticks,
        factor: Factor { multiplier: next().cast_unsigned(), shift: (kind >> 8 & 0x3f) as u32 },
        tick: Tick(next()),
        counter: Counter(next()),
    };
    let ahead = Nanos(next());
    let first = Sight { before: Tick(next()), raw: Counter(next()), after: Tick(next()) };
    match kind & 0xff {
        1 => Relation { scale, ahead, first },
        _ => Relation::RAW,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model and a track in which every word is another number.
    fn numbered(first: u64) -> Shown {
        let mut words = first..;
        let mut counted = shown(&mut words);
        let model = &mut counted.model;
        (model.state, model.leap, model.epoch) = (State::Holdover, Leap::Delete, first as u32);
        model.flags = Flags::AUTHENTICATED;
        counted
    }

    #[test]
    fn a_page_survives_as_words() {
        let ticks = relation(&mut [0x301, 2, 3, 4, 5, 6, 7, 8].into_iter());
        assert_eq!((ticks.scale.factor, ticks.first.after), (Factor { multiplier: 2, shift: 3 }, Tick(8)));
        for relation in [Relation::RAW, ticks] {
            let (former, current) = (numbered(100), numbered(200));
            let suspended = Nanos(99);
            let page = Page { relation, former, current, switch: Counter(-5), generation: 7, suspended };
            assert_eq!(Page::from_words(&page.to_words()), page);
            assert_eq!(page.to_words()[SUSPENDED], 99);
        }
    }

    #[test]
    fn zeros_are_a_clock_that_was_never_synchronised() {
        let page = Page::from_words(&[0; WORDS]);
        assert!(!page.current.model.has_line());
        assert_eq!(page.current.model.state, State::Unsynchronized);
        assert_eq!(page.counter_at(Tick(17)), Counter(17));
    }
}
