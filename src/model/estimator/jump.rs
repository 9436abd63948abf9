//! A server whose clock jumps by less than it says that it may be off: its intervals do not contradict each other, but its
//! exchanges do.
//!
//! However long the two ways take, an exchange's offset is off by half the round trip at most. What lies further from the
//! line is due to the oscillator, whose wander has its limits, or to the server's clock. If so much so that only the
//! server's clock can be it, and if it is no single exchange, then what was heard before the jump says nothing of the
//! offset any more. What the oscillator may have done grows with the time between polls: some microseconds at 16 s, 0.2 ms
//! in four polls of 64 s, 12 ms in four of 1024 s. A jump by less is followed as a wander, by the filters of a fast one, as soon.

use super::{Estimate, Prior, Sample};
use crate::units::{Nanos, Ppb};

/// Exchanges in a row that only a jump explains, until it is believed.
const ENOUGH: usize = 4;

/// Deviations that count as possible.
const FAR: f64 = 4.0;

/// What a timestamp is off by on a busy machine, beside what shows in the round trip.
const GRAIN: Nanos = Nanos(1_000);

/// Exchanges that are not believed yet, all of them on one side of the line.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspects {
    held: Vec<Sample>,
    ahead: bool,
}

/// What is to be done with the exchanges at hand.
#[derive(Debug)]
pub(super) enum Finding {
    /// It may be taken in, and these, which were held, before it.
    Believable(Vec<Sample>),
    /// Another one may tell.
    Undecided,
    /// The server's clock has jumped: only these count from now on.
    Jump(Vec<Sample>),
}

impl Suspects {
    /// Judges `sample` by the line that all believed ones make, of a frequency that walks by up to `wander` ppb per √s.
    pub(super) fn handle(&mut self, sample: &Sample, line: &Estimate, frequency: Prior, wander: f64) -> Finding {
        let distance = sample.offset - line.offset_at(sample.at);
        let is_strange = distance.abs() > reach(sample, line, frequency, wander);
        let ahead = distance > Nanos::ZERO;
        if self.held.is_empty() {
            self.ahead = ahead;
        }
        if !is_strange || ahead != self.ahead {
            return Finding::Believable(std::mem::take(&mut self.held));
        }
        self.held.push(*sample);
        if self.held.len() < ENOUGH { Finding::Undecided } else { Finding::Jump(std::mem::take(&mut self.held)) }
    }
}

/// How far from the line an exchange may lie while nothing has jumped.
fn reach(sample: &Sample, line: &Estimate, frequency: Prior, wander: f64) -> Nanos {
    let dt = ((sample.at - line.at).as_f64() * 1e-9).max(0.0);
    let variance = line.deviation.as_f64().powi(2)
        + (frequency.deviation.0 * dt).powi(2)
        // A frequency that walks at random for `dt`, integrated: its variance is a third of its rate times the cube.
        + (wander * wander / 3.0) * dt.powi(3);
    half_width(sample) + Nanos::from_f64_outward(FAR * variance.sqrt())
}

/// How far an exchange's offset may be off by itself.
fn half_width(sample: &Sample) -> Nanos {
    sample.delay.half_up() + sample.grain + GRAIN
}

/// What is to be expected of the frequency after a jump: what was believed of it before, unless the exchanges after it
/// tell of another one.
pub(super) fn frequency_after(jumped: &[Sample], before: Prior) -> Prior {
    let (Some(first), Some(last)) = (jumped.first(), jumped.last()) else { return before };
    let dt = (last.at - first.at).as_f64() * 1e-9;
    let seen = (last.offset - first.offset).as_f64() / dt;
    let doubt = (half_width(first) + half_width(last)).as_f64() / dt + FAR * before.deviation.0;
    if dt <= 0.0 || (seen - before.mean.0).abs() <= doubt {
        before
    } else {
        Prior { mean: Ppb(seen), ..Prior::default() }
    }
}
