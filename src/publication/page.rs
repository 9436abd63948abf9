//! The page: two clock models and the counter value at which the second takes over, as words.
//!
//! A new model takes effect a little in the future, and the page still carries the former one: a reader picks by its
//! own counter. So a reader with the old page and one with the new page show the same line at the same counter value.

use crate::model::slew::Line;
use crate::model::{ClockModel, UtcSpan};
use crate::status::{Leap, State};
use crate::units::{Counter, Nanos, Rate, UnixTime};

/// Words of one model.
const MODEL_WORDS: usize = 16;

/// Words of a page.
pub(crate) const WORDS: usize = 2 * MODEL_WORDS + 2;

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) former: ClockModel,
    pub(crate) current: ClockModel,
    /// From here on `current` holds.
    pub(crate) switch: Counter,
    /// The fork generation of the writer.
    pub(crate) generation: u32,
}

impl Page {
    /// The model that holds at `counter`.
    pub(crate) fn model_at(&self, counter: Counter) -> &ClockModel {
        if counter < self.switch { &self.former } else { &self.current }
    }

    pub(crate) fn to_words(self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        let (models, rest) = words.split_at_mut(2 * MODEL_WORDS);
        let (former, current) = models.split_at_mut(MODEL_WORDS);
        former.copy_from_slice(&model_words(&self.former));
        current.copy_from_slice(&model_words(&self.current));
        rest.copy_from_slice(&[self.switch.0.cast_unsigned(), self.generation.into()]);
        words
    }

    /// Any words are a page: one of zeros is a clock that was never synchronised.
    pub(crate) fn from_words(words: &[u64; WORDS]) -> Self {
        let mut at = words.iter().copied();
        let former = model(&mut at);
        let current = model(&mut at);
        let mut next = || at.next().unwrap_or(0);
        Self { former, current, switch: Counter(next().cast_signed()), generation: next() as u32 }
    }
}

fn model_words(model: &ClockModel) -> [u64; MODEL_WORDS] {
    let ClockModel { line, span, state, leap, epoch, holdover_at, bound_cap, newest_exchange } = *model;
    let marks = u64::from(epoch) << 32 | (leap as u64) << 8 | state as u64;
    [
        line.base.0,
        line.utc.0,
        line.slew.0,
        line.slew_end.0,
        line.rate.0,
        span.at.0,
        span.earliest.0,
        span.latest.0,
        span.slowest.0,
        span.fastest.0,
        span.knee.0,
        span.drift_long.0,
        marks.cast_signed(),
        holdover_at.0,
        bound_cap.0,
        newest_exchange.0,
    ]
    .map(i64::cast_unsigned)
}

fn model(words: &mut impl Iterator<Item = u64>) -> ClockModel {
    let mut next = || words.next().unwrap_or(0).cast_signed();
    let line = Line {
        base: Counter(next()),
        utc: UnixTime(next()),
        slew: Rate(next()),
        slew_end: Counter(next()),
        rate: Rate(next()),
    };
    let span = UtcSpan {
        at: Counter(next()),
        earliest: UnixTime(next()),
        latest: UnixTime(next()),
        slowest: Rate(next()),
        fastest: Rate(next()),
        knee: Nanos(next()),
        drift_long: Rate(next()),
    };
    let marks = next().cast_unsigned();
    ClockModel {
        line,
        span,
        state: State::from_number(marks & 0xff),
        leap: Leap::from_number(marks >> 8 & 0xff),
        epoch: (marks >> 32) as u32,
        holdover_at: Counter(next()),
        bound_cap: Nanos(next()),
        newest_exchange: Counter(next()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model in which every word is another number.
    fn numbered(first: u64) -> ClockModel {
        let mut words = first..;
        let mut counted = model(&mut words);
        (counted.state, counted.leap, counted.epoch) = (State::Holdover, Leap::Delete, first as u32);
        counted
    }

    #[test]
    fn a_page_survives_as_words() {
        let page = Page { former: numbered(100), current: numbered(200), switch: Counter(-5), generation: 7 };
        assert_eq!(Page::from_words(&page.to_words()), page);
    }

    #[test]
    fn zeros_are_a_clock_that_was_never_synchronised() {
        let page = Page::from_words(&[0; WORDS]);
        assert!(!page.current.has_line());
        assert_eq!(page.current.state, State::Unsynchronized);
    }
}
