//! The process-wide clock, for programs that need one line. Starts are counted; the last stop ends it.

use std::time::Duration;

use super::Offset;
use crate::error::Error;
use crate::reading::Reading;
use crate::status::{Report, SourceInfo};

/// Starts the process-wide clock with a server list, or with `$NTPCLOCK_SERVERS` if `None`.
///
/// The same list again is harmless: starts are counted, and the last [`stop`] ends the clock.
///
/// # Errors
///
/// [`Error::InvalidServer`], [`Error::NoServers`], [`Error::AlreadyRunning`] with another list, [`Error::Io`].
pub fn start(_servers: Option<&str>) -> Result<(), Error> {
    todo!()
}
/// As [`super::Clock::wait`].
///
/// # Errors
///
/// As [`super::Clock::wait`].
pub fn wait(_max_bound: Option<Duration>, _timeout: Option<Duration>) -> Result<(), Error> {
    todo!()
}
/// As [`super::Clock::now`].
pub fn now() -> Reading {
    todo!()
}
/// As [`super::Clock::offset`].
pub fn offset() -> Offset {
    todo!()
}
/// As [`super::Clock::report`].
pub fn report() -> Report {
    todo!()
}
/// As [`super::Clock::sources`].
pub fn sources() -> Vec<SourceInfo> {
    todo!()
}
/// Undoes one [`start`]; harmless without one.
pub fn stop() {
    todo!()
}
/// Whether a start is in force.
pub fn is_running() -> bool {
    todo!()
}
