//! What readers have come to see: from the models that are published, and from deadlines in them that pass silently.

use super::Events;
use crate::model::ClockModel;
use crate::status::State;
use crate::units::{Counter, Nanos};

/// Further ahead nobody looks.
const HORIZON: Nanos = Nanos::from_seconds(10 * 366 * 86_400);

/// Compares what readers see now with what was told.
#[derive(Debug)]
pub(crate) struct Watch {
    state: State,
    epoch: u32,
    model: ClockModel,
    /// Published, and in effect from then on.
    next: Option<(Counter, ClockModel)>,
    /// When the state of the last model will fall by itself, once that was worked out.
    falls: Option<Counter>,
}

impl Watch {
    /// Nothing is known yet; readers may have seen `last_epoch` in an earlier run.
    pub(crate) const fn new(last_epoch: u32) -> Self {
        Self {
            state: State::Unsynchronized,
            epoch: last_epoch,
            model: ClockModel::UNSYNCHRONIZED,
            next: None,
            falls: None,
        }
    }

    /// `model` is published, and holds from `switch` on.
    pub(crate) fn publish(&mut self, switch: Counter, model: &ClockModel) {
        if let Some((_, former)) = self.next.replace((switch, *model)) {
            // No model is published before the one before it holds.
            self.model = former;
        }
        self.falls = None;
    }

    /// What has happened since the last look.
    pub(crate) fn look(&mut self, now: Counter) -> Events {
        if let Some((_, model)) = self.next.take_if(|(switch, _)| *switch <= now) {
            self.model = model;
        }
        let (state, epoch) = (self.model.state_at(now), self.model.epoch);
        let mut events = Events::NONE;
        if epoch != self.epoch && self.epoch != 0 && epoch != 0 {
            events |= Events::STEPPED;
        }
        events |= match (self.state, state) {
            (before, after) if before == after => Events::NONE,
            (_, State::Synchronized) => Events::SYNCHRONIZED,
            (_, State::Disrupted) => Events::DISRUPTED,
            (State::Synchronized | State::Holdover, _) => Events::LOST,
            // A warm start, or the end of a disruption without synchronisation: nothing that anybody had is lost.
            (State::Unsynchronized | State::Disrupted, _) => Events::NONE,
        };
        self.state = state;
        // Before the first synchronisation of a new run the last epoch is still what readers have seen.
        self.epoch = if epoch == 0 { self.epoch } else { epoch };
        events
    }

    /// When there may be something to tell next.
    pub(crate) fn due(&mut self, now: Counter) -> Counter {
        let (model, from) = match &self.next {
            Some((switch, model)) if (model.state_at(*switch), model.epoch) != (self.state, self.epoch) => {
                return *switch;
            }
            // Nothing that would have to be told at once: the next deadline in it will do.
            Some((switch, model)) => (model, now.max(*switch)),
            None => (&self.model, now),
        };
        match self.falls {
            Some(falls) if from < falls => falls,
            _ => *self.falls.insert(fall(model, from)),
        }
    }
}

/// When the state of `model` will fall by itself, after `now`.
fn fall(model: &ClockModel, now: Counter) -> Counter {
    let state = model.state_at(now);
    let is_same = |at: i64| model.state_at(Counter(at)) == state;
    let end = (now + HORIZON).0;
    if !state.is_usable() || is_same(end) {
        return Counter(i64::MAX);
    }
    // The first change is nearly always that to HOLDOVER, whose deadline the model carries.
    let deadline = model.holdover_at.0;
    if (now.0 + 1..end).contains(&deadline) && is_same(deadline - 1) && !is_same(deadline) {
        return model.holdover_at;
    }
    // States only fall while a model ages: find the first counter value with another one.
    let (mut same, mut other) = (now.0, end);
    while other - same > 1 {
        let middle = same.midpoint(other);
        if is_same(middle) { same = middle } else { other = middle }
    }
    Counter(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Ppb, Rate};

    fn at(seconds: i64) -> Counter {
        Counter(0) + Nanos::from_seconds(seconds)
    }

    /// A model of `second` that is HOLDOVER after 48 s, and UNSYNCHRONIZED when 200 ppm have made 1 s.
    fn model(second: i64, epoch: u32, state: State) -> ClockModel {
        let mut model = ClockModel::UNSYNCHRONIZED;
        model.line.base = at(second);
        model.line.slew_end = at(second);
        model.span.at = at(second);
        model.span.fastest = Rate::from_ppb(Ppb::from_ppm(200.0));
        model.span.slowest = Rate::from_ppb(Ppb::from_ppm(-200.0));
        model.holdover_at = at(second + 48);
        model.bound_cap = Nanos::from_seconds(1);
        ClockModel { state, epoch, ..model }
    }

    #[test]
    fn each_event_is_told_once_and_when_readers_see_it() {
        let mut watch = Watch::new(0);
        assert_eq!(watch.look(at(0)), Events::NONE);
        watch.publish(at(10), &model(10, 1, State::Synchronized));
        assert_eq!(watch.due(at(9)), at(10));
        assert_eq!(watch.look(at(9)), Events::NONE);
        assert_eq!(watch.look(at(10)), Events::SYNCHRONIZED);
        assert_eq!(watch.look(at(11)), Events::NONE);
        watch.publish(at(20), &model(20, 1, State::Disrupted));
        assert_eq!(watch.look(at(20)), Events::DISRUPTED);
        watch.publish(at(30), &model(30, 2, State::Synchronized));
        assert_eq!(watch.look(at(30)), Events::SYNCHRONIZED | Events::STEPPED);
        watch.publish(at(40), &model(40, 3, State::Synchronized));
        assert_eq!(watch.due(at(35)), at(40));
        assert_eq!(watch.look(at(41)), Events::STEPPED);
        assert_eq!(watch.look(at(42)), Events::NONE);
    }

    #[test]
    fn deadlines_that_pass_silently_are_known_beforehand() {
        let mut watch = Watch::new(0);
        watch.publish(at(10), &model(10, 1, State::Synchronized));
        watch.look(at(10));
        assert_eq!(watch.due(at(10)), at(58));
        assert_eq!(watch.look(at(58)), Events::LOST);
        let gone = watch.due(at(58));
        assert!((gone - at(5010)).abs() < Nanos::from_seconds(5), "{gone:?}");
        assert_eq!(watch.look(gone), Events::LOST);
        assert_eq!(watch.due(gone), Counter(i64::MAX));
    }

    #[test]
    fn a_model_that_changes_nothing_wakes_nobody() {
        let mut watch = Watch::new(0);
        watch.publish(at(10), &model(10, 1, State::Synchronized));
        watch.look(at(10));
        watch.publish(at(20), &model(20, 1, State::Synchronized));
        assert_eq!(watch.due(at(19)), at(68));
        assert_eq!(watch.look(at(67)), Events::NONE);
    }

    #[test]
    fn a_warm_start_and_a_new_run_are_no_loss_and_a_new_run_is_a_step() {
        let mut watch = Watch::new(0);
        watch.publish(at(0), &model(0, 1, State::Holdover));
        assert_eq!(watch.look(at(0)), Events::NONE);
        watch.publish(at(1), &model(1, 1, State::Synchronized));
        assert_eq!(watch.look(at(1)), Events::SYNCHRONIZED);
        watch.publish(at(2), &ClockModel::UNSYNCHRONIZED);
        assert_eq!(watch.look(at(2)), Events::LOST);
        watch.publish(at(3), &model(3, 2, State::Synchronized));
        assert_eq!(watch.look(at(3)), Events::SYNCHRONIZED | Events::STEPPED);
        let mut watch = Watch::new(2);
        watch.publish(at(4), &model(4, 3, State::Synchronized));
        assert_eq!(watch.look(at(4)), Events::SYNCHRONIZED | Events::STEPPED);
    }
}
