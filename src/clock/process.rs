//! The process-wide clock, for programs that need one line. Starts are counted; the last stop ends it.

use std::os::fd::RawFd;
use std::time::Duration;

use super::life::Life;
use super::{Offset, moments};
use crate::config::Config;
use crate::convert::{Deadline, Timescale};
use crate::engine::{Shared, SharedRef, Start, Status};
use crate::error::Error;
use crate::events::Events;
use crate::publication::{Place, Publication};
use crate::reading::Reading;
use crate::status::{Report, SourceInfo};
use crate::sys::{fork, ticks};

/// Static: a reader never finds it gone, and need not look for it.
static PAGE: Publication = Publication::new();

static SHARED: Shared = Shared::new(Place::Static(&PAGE));

static LIFE: Life = Life::new();

/// Starts the process-wide clock with a server list, or with `$NTPCLOCK_SERVERS` if `None`.
///
/// The same list again is harmless: starts are counted, and the last [`stop`] ends the clock. In a forked child it goes
/// on with the parent's clock, by the parent's configuration.
///
/// # Errors
///
/// [`Error::InvalidServer`], [`Error::NoServers`], [`Error::AlreadyRunning`] with another list, [`Error::Io`].
pub fn start(servers: Option<&str>) -> Result<(), Error> {
    let config = servers.map_or_else(Config::from_environment, Config::with_servers)?;
    launch(config, |running, wanted| running.servers() == wanted.servers())
}

/// As [`start`], with all that can be configured. The same configuration again is harmless; of a clock that runs,
/// [`start`] compares the servers alone.
///
/// # Errors
///
/// As [`start`]; and [`Error::InvalidArgument`] if it names a shared page: that is for clocks of one's own.
pub fn start_with(config: &Config) -> Result<(), Error> {
    config.check()?;
    // Its page is static, which is what makes it cheap.
    if config.shared_page.is_some() {
        return Err(Error::argument("config", "names a shared page, which the process-wide clock cannot have"));
    }
    launch(config.clone(), |running, wanted| running == wanted)
}

fn launch(config: Config, suits: impl Fn(&Config, &Config) -> bool) -> Result<(), Error> {
    // A child that is to restart by itself adds this start to those of its parent.
    LIFE.awake(&shared())?;
    LIFE.start(config, &shared(), Start::Anew, suits)
}

/// As [`super::Clock::restart`].
///
/// # Errors
///
/// As [`super::Clock::restart`].
pub fn restart() -> Result<(), Error> {
    LIFE.restart(&shared())
}

/// As [`super::Clock::awake`].
fn awake() -> Result<&'static Shared, Error> {
    LIFE.awake(&shared())?;
    Ok(&SHARED)
}

/// As [`super::Clock::roused`].
pub(crate) fn roused() -> &'static Shared {
    let _ = LIFE.awake(&shared());
    &SHARED
}

/// As [`super::Clock::wait`].
///
/// # Errors
///
/// As [`super::Clock::wait`].
pub fn wait(max_bound: Option<Duration>, timeout: Option<Duration>) -> Result<(), Error> {
    super::wait(awake()?, max_bound, timeout)
}

/// As [`super::Clock::now`].
#[inline]
pub fn now() -> Reading {
    super::read_page(&PAGE, fork::generation())
}

/// As [`super::Clock::now_checked`].
pub fn now_checked() -> Reading {
    super::read_checked(&SHARED)
}

/// As [`super::Clock::unix_ns`].
#[inline]
pub fn unix_ns() -> i64 {
    utc().unwrap_or_else(utc_otherwise)
}

/// As [`super::Clock::unix_ns_relaxed`].
#[inline]
pub fn unix_ns_relaxed() -> i64 {
    utc_relaxed().unwrap_or_else(utc_otherwise)
}

/// As [`super::Clock::page`].
#[cfg(feature = "capi")]
#[inline(always)]
pub(crate) fn page() -> (&'static Publication, u32) {
    (&PAGE, fork::generation())
}

/// As [`super::utc`].
#[inline(always)]
pub(crate) fn utc() -> Option<i64> {
    super::utc(&PAGE, ticks::read)
}

/// As [`super::utc`], but not ordered.
#[inline(always)]
pub(crate) fn utc_relaxed() -> Option<i64> {
    super::utc(&PAGE, ticks::read_relaxed)
}

/// As [`super::utc_otherwise`].
pub(crate) fn utc_otherwise() -> i64 {
    super::utc_otherwise(&PAGE, fork::generation())
}

/// As [`super::Clock::offset`].
pub fn offset() -> Offset {
    super::offset(&SHARED)
}

/// As [`super::Clock::session`].
pub fn session() -> Option<u64> {
    SHARED.with_status(Status::session)
}

/// As [`super::Clock::report`].
pub fn report() -> Report {
    super::report(roused())
}

/// As [`super::Clock::sources`].
pub fn sources() -> Vec<SourceInfo> {
    super::sources(roused())
}

/// As [`super::Clock::state_file_fault`].
pub fn state_file_fault() -> Option<String> {
    super::state_file_fault(&SHARED)
}

/// As [`super::Clock::resume_watch_fault`].
pub fn resume_watch_fault() -> Option<String> {
    super::resume_watch_error(&SHARED).map(|error| error.to_string())
}

/// As [`super::Clock::now_within`].
///
/// # Errors
///
/// As [`super::Clock::now_within`].
pub fn now_within(max_bound: Duration) -> Result<Reading, Error> {
    moments::now_within(&SHARED, max_bound)
}

/// As [`super::Clock::after`].
pub fn after(unix_ns: i64) -> bool {
    now().is_after(unix_ns)
}

/// As [`super::Clock::before`].
pub fn before(unix_ns: i64) -> bool {
    now().is_before(unix_ns)
}

/// As [`super::Clock::wait_until_past`].
///
/// # Errors
///
/// As [`super::Clock::wait_until_past`].
pub fn wait_until_past(unix_ns: i64, timeout: Option<Duration>) -> Result<(), Error> {
    moments::wait_until_past(roused(), unix_ns, timeout)
}

/// As [`super::Clock::sleep_until`].
///
/// # Errors
///
/// As [`super::Clock::sleep_until`].
pub fn sleep_until(unix_ns: i64, timeout: Option<Duration>) -> Result<(), Error> {
    moments::sleep_until(roused(), unix_ns, timeout)
}

/// As [`super::Clock::convert`].
///
/// # Errors
///
/// As [`super::Clock::convert`].
pub fn convert(timescale: Timescale, stamp_ns: i64) -> Result<Reading, Error> {
    moments::convert(&SHARED, timescale, stamp_ns)
}

/// As [`super::Clock::deadline`].
///
/// # Errors
///
/// As [`super::Clock::deadline`].
pub fn deadline(timescale: Timescale, unix_ns: i64) -> Result<Deadline, Error> {
    moments::deadline(&SHARED, timescale, unix_ns)
}

/// As [`super::Clock::event_fd`]; it stays the same over stops and starts, which are told too.
///
/// # Errors
///
/// As [`super::Clock::event_fd`].
pub fn event_fd() -> Result<RawFd, Error> {
    roused().events.descriptor()
}

/// As [`super::Clock::take_events`].
pub fn take_events() -> Events {
    roused().events.take()
}

/// As [`super::Clock::on_event`]; it stays over stops and starts.
///
/// # Errors
///
/// As [`super::Clock::on_event`].
pub fn on_event(callback: Option<Box<dyn FnMut(Events) + Send>>) -> Result<(), Error> {
    roused().events.call(callback)
}

/// Undoes one [`start`]; harmless without one.
pub fn stop() {
    LIFE.stop();
}

/// Whether a start is in force, in this process.
pub fn is_running() -> bool {
    SHARED.with_status(Status::is_running)
}

pub(crate) fn shared() -> SharedRef {
    SharedRef::Static(&SHARED)
}
