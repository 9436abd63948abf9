//! The Rust face: a clock of one's own ([`Clock`]), and one for the whole process ([`process`]).

pub mod process;

use std::time::Duration;

use crate::config::Config;
use crate::error::Error;
use crate::reading::Reading;
use crate::status::{Report, SourceInfo};

/// UTC minus the system clock, with its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// UTC minus the system clock: add it to the system clock, ns. 0 before the first synchronisation.
    pub offset_ns: i64,
    /// The true offset lies within ± this, ns; `i64::MAX` when unknown.
    pub bound_ns: i64,
}

/// A running clock. Any number of threads may read it; it stops when dropped.
#[derive(Debug)]
pub struct Clock {}

impl Clock {
    /// Starts a clock; returns at once, before anything was heard from the network.
    ///
    /// # Errors
    ///
    /// [`Error::NoServers`], or [`Error::Io`] if the thread or its descriptors cannot be made.
    pub fn start(_config: Config) -> Result<Self, Error> {
        todo!()
    }
    /// Reads the clock: no lock, no allocation, no system call beyond the vDSO; never fails.
    pub fn now(&self) -> Reading {
        todo!()
    }
    /// UTC minus the system clock at the call.
    pub fn offset(&self) -> Offset {
        todo!()
    }
    /// Waits until the clock is SYNCHRONIZED, and its bound at most `max_bound` if given. `timeout` None: for ever.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] (names each source and its last fault), [`Error::NotRunning`], [`Error::Stopped`].
    pub fn wait(&self, _max_bound: Option<Duration>, _timeout: Option<Duration>) -> Result<(), Error> {
        todo!()
    }
    /// The clock's state in numbers.
    pub fn report(&self) -> Report {
        todo!()
    }
    /// One entry a source.
    pub fn sources(&self) -> Vec<SourceInfo> {
        todo!()
    }
    /// Stops the thread (within 100 ms). Reading goes on, in holdover.
    pub fn stop(&self) {
        todo!()
    }
}
