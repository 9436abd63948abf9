//! How fast an interval grows: the declared drift limit D.

use crate::units::{Nanos, Ppb};

/// D(τ): the worst change of the oscillator's frequency within a time τ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DriftLimit {
    /// Worst change within `knee`.
    pub(crate) short: Ppb,
    /// Up to here `short` holds.
    pub(crate) knee: Nanos,
    /// Worst change over any longer time.
    pub(crate) long: Ppb,
}

impl Default for DriftLimit {
    fn default() -> Self {
        Self { short: Ppb::from_ppm(2.0), knee: Nanos::from_seconds(1000), long: Ppb::from_ppm(15.0) }
    }
}
