//! A new leader of a page that processes share goes on where the one before it ended: in the same epoch, on the same line.
//!
//! Why that is sound, where a [warm start](super::memory) begins a new epoch: the line is no claim about UTC but a promise to
//! readers, who have seen it and go on seeing it. It is whole on the page, and so is what takes it up in mid-slew; nobody else
//! writes meanwhile. To continue it breaks no promise, whatever UTC is; to begin another would break one for nothing.
//!
//! The interval is a claim, and rests on assumption (a) *of the former leader*, of whose sources this one may know nothing. It
//! stands, and the state with it, as the former leader published both: with deadlines that readers judge. From the first
//! agreement of our own sources on it is one more witness, with the reservations of a warm start: refuted, it is dropped and a
//! new epoch begins, which is counted as a step; not refuted, it falls silent after the knee of the drift limit; and what is
//! handed on to the leader after us is what our own sources said, so no chain of leaders carries a lie along.
//!
//! - A page that is UNSYNCHRONIZED because its bound has passed the cap still has a line that readers see: a correction
//!   within the threshold is slewed, a larger one steps.
//! - One that is DISRUPTED stays so until our sources agree, and then begins a new epoch.
//! - If the machine was suspended since the page was written, or the counter is no longer what the page is read by, the
//!   caller says so with [`Synchronizer::handle_disruption`] before it publishes anything.

use super::memory::Remembered;
use super::{Plan, Primary, Synchronizer};
use crate::exchange::ServerState;
use crate::model::estimator::Prior;
use crate::model::{ClockModel, UtcSpan};
use crate::status::{Report, State};
use crate::units::{Counter, Nanos};

/// What a leader leaves to the next, beside the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Legacy {
    /// Where UTC lies by what its own sources said.
    pub(crate) heard: UtcSpan,
    pub(crate) frequency: Prior,
}

impl Synchronizer {
    /// Goes on with what another published last. To be called before sources are added.
    pub(crate) fn succeed(&mut self, model: ClockModel, report: &Report, legacy: &Legacy, now: Counter) {
        self.expect(&legacy.frequency);
        self.verdict.primary = inherited(report);
        self.last_epoch = self.last_epoch.max(model.epoch);
        if model.state == State::Disrupted {
            self.disrupt(now);
        } else if model.has_line() {
            self.remembered = Some(Remembered::new(legacy.heard));
            self.heard = Some(legacy.heard);
        }
        self.model = model;
        self.dirty = true;
    }

    /// What the next leader should know if `plan` is what was published last.
    pub(crate) fn legacy(&self, plan: &Plan) -> Legacy {
        Legacy {
            heard: plan.heard.or(self.heard).unwrap_or(plan.model.span),
            frequency: Prior { mean: plan.verdict.frequency, deviation: self.frequency_deviation() },
        }
    }
}

/// Whom the former leader followed most: what a server of ours says of itself until our sources agree.
fn inherited(report: &Report) -> Option<Primary> {
    let stratum = report.stratum.checked_sub(1).filter(|stratum| (1..15).contains(stratum))?;
    let server = ServerState {
        leap: report.leap,
        version: 4,
        stratum,
        precision: 0,
        root_delay: Nanos(report.root_delay_ns),
        root_dispersion: Nanos::ZERO,
        reference_id: 0,
        reference_time: None,
    };
    // It has no place in our list, and the delay to it is in the root delay already.
    Some(Primary { source: usize::MAX, server, delay: Nanos::ZERO, reference_id: report.reference_id })
}
