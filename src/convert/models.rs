//! The models that were published: what was known of UTC at which counter values, and what is known by now.

use super::anchors::Window;
use crate::model::ClockModel;
use crate::reading::Reading;
use crate::status::{Flags, Leap, State};
use crate::units::{Counter, Nanos, UnixTime};

/// Models kept at most: half an hour of them at 64 s, and no more memory than the rest of a clock needs.
const MOST: usize = 32;

/// A model and when it took effect.
#[derive(Clone, Copy, Debug)]
struct Entry {
    from: Counter,
    model: ClockModel,
}

impl Entry {
    fn is_usable(&self) -> bool {
        self.model.has_line() && self.model.state.is_usable()
    }
}

/// The models, from old to new; thinner the older they are.
#[derive(Debug)]
pub(crate) struct Models(Vec<Entry>);

impl Models {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What was published last.
    pub(crate) fn last(&self) -> Option<&ClockModel> {
        self.0.last().map(|entry| &entry.model)
    }

    /// `model` holds from `from` on.
    pub(crate) fn add(&mut self, from: Counter, model: ClockModel) {
        if self.last() == Some(&model) {
            return;
        }
        // Before it is taken up, so that the memory never grows beyond.
        if self.0.len() == MOST {
            self.thin(from);
        }
        // All of it at once: a list that doubles leaves holes behind that nobody else fills.
        self.0.reserve_exact(MOST - self.0.len());
        self.0.push(Entry { from, model });
    }

    /// Drops the model that is missed least: the one before it, of the same epoch, then holds a little longer.
    fn thin(&mut self, now: Counter) {
        let least = (1..self.0.len() - 1)
            .filter(|&i| {
                let (before, it) = (&self.0[i - 1], &self.0[i]);
                before.is_usable() && it.is_usable() && before.model.epoch == it.model.epoch
            })
            .map(|i| {
                let gap = self.0[i + 1].from - self.0[i - 1].from;
                (i, gap.as_f64() / (now - self.0[i].from).as_f64().max(1.0))
            })
            .min_by(|a, b| a.1.total_cmp(&b.1));
        self.0.remove(least.map_or(0, |(i, _)| i));
    }

    /// UTC when the counter stood in `window`; `None` if no model knows.
    ///
    /// The time is what readers were shown then, as far as it is possible by what is known now; the interval is the
    /// narrowest that any model of that epoch gives. A stamp from before a synchronisation belongs to the epoch that
    /// began with it. With `alive` a thread keeps the clock.
    pub(crate) fn reading(&self, window: Window, alive: bool) -> Option<Reading> {
        let middle = window.earliest.midpoint(window.latest);
        let began = self.0.partition_point(|entry| entry.from <= middle);
        let shown = self.0[..began].last().filter(|entry| entry.is_usable());
        let usable = || self.0[began..].iter().find(|entry| entry.is_usable());
        let past = || self.0[..began].iter().rev().find(|entry| entry.is_usable());
        let epoch = shown.or_else(usable).or_else(past)?.model.epoch;

        let interval = |entry: &Entry| {
            let earliest = entry.model.span.at(window.earliest).0;
            (earliest, entry.model.span.at(window.latest).1)
        };
        let (narrowest, (earliest, latest)) = (self.0.iter())
            .filter(|entry| entry.is_usable() && entry.model.epoch == epoch)
            .map(|entry| (entry, interval(entry)))
            .min_by_key(|(_, (earliest, latest))| *latest - *earliest)?;
        let utc = match shown {
            Some(entry) => entry.model.line.utc_at(middle),
            None => UnixTime(earliest.0.midpoint(latest.0)),
        };
        let model = shown.map_or(&narrowest.model, |entry| &entry.model);
        let fresh = alive && shown.is_some() && model.state_at(middle) == State::Synchronized;
        let pending = matches!(model.leap, Leap::Insert | Leap::Delete);
        let both = [model.flags, narrowest.model.flags];
        Some(Reading {
            unix_ns: utc.max(earliest).min(latest).0,
            earliest_ns: earliest.0,
            latest_ns: latest.0,
            raw_ns: middle.0,
            age_ns: (middle - model.newest_exchange).max(Nanos::ZERO).0,
            epoch,
            state: if fresh { State::Synchronized } else { State::Holdover },
            flags: Flags::default()
                // The time is of the one, the interval of the other.
                .with(Flags::AUTHENTICATED, both.iter().all(|flags| flags.contains(Flags::AUTHENTICATED)))
                .with(Flags::VETOED, both.iter().all(|flags| flags.contains(Flags::VETOED)))
                .with(Flags::PROVISIONAL, both.iter().any(|flags| flags.contains(Flags::PROVISIONAL)))
                .with(Flags::SLEWING, shown.is_some() && model.line.is_slewing(middle))
                .with(Flags::LEAP_PENDING, pending),
            leap: model.leap,
            tai_minus_utc: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(second: i64, epoch: u32) -> ClockModel {
        let mut model = ClockModel { state: State::Synchronized, epoch, ..ClockModel::UNSYNCHRONIZED };
        model.line.base = Counter(0) + Nanos::from_seconds(second);
        model
    }

    #[test]
    fn memory_is_bounded_and_keeps_the_first_model_of_an_epoch() {
        let mut models = Models::new();
        for second in 0..100_000 {
            let epoch = if second < 5_000 { 1 } else { 2 };
            models.add(Counter(0) + Nanos::from_seconds(second), model(second, epoch));
        }
        assert_eq!((models.0.len(), models.0.capacity()), (MOST, MOST));
        let starts: Vec<i64> = models.0.iter().map(|entry| entry.from.0 / 1_000_000_000).collect();
        assert!(starts.contains(&0) && starts.contains(&5_000) && starts.contains(&99_999), "{starts:?}");
    }

    #[test]
    fn what_is_published_again_unchanged_takes_no_room() {
        let mut models = Models::new();
        for second in 0..10 {
            models.add(Counter(second), model(7, 1));
        }
        assert_eq!(models.0.len(), 1);
    }
}
