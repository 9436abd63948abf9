//! The tick counter of the machines: a TSC of 2 445 422 kHz, with the numbers by which Linux makes nanoseconds of it.

use crate::sys::ticks::{Kind, Sight, Tick};
use crate::units::Counter;

const MULT: i64 = 6_860_664;
const SHIFT: u32 = 24;

/// What a reader reads when the raw counter shows `at`.
pub(super) fn read(kind: Kind, at: Counter) -> Tick {
    match kind {
        Kind::Raw => Tick(at.0),
        Kind::Ticks => ticks(at),
    }
}

/// Both counters, seen when the raw one shows `at`.
pub(super) fn sight(at: Counter) -> Sight {
    let Tick(tick) = ticks(at);
    Sight { before: Tick(tick - 70), raw: at, after: Tick(tick + 90) }
}

/// The first tick at which the raw counter shows `at`.
fn ticks(at: Counter) -> Tick {
    let unit = i128::from(at.0) << SHIFT;
    Tick(((unit + i128::from(MULT) - 1) / i128::from(MULT)) as i64)
}
