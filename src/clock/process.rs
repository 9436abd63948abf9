//! The process-wide clock, for programs that need one line. Starts are counted; the last stop ends it.

use std::time::Duration;

use parking_lot::Mutex;

use super::Offset;
use crate::config::Config;
use crate::engine::{self, Shared, SharedRef, Status};
use crate::error::Error;
use crate::reading::Reading;
use crate::status::{Report, SourceInfo};
use crate::sys::fork;
use crate::sys::thread::Worker;
use crate::sys::ticks;

/// The page is static: a reader never finds it gone.
static SHARED: Shared = Shared::new();

/// The run in force, if any. Locked only under [`fork::lifecycle`].
static RUN: Mutex<Option<Run>> = Mutex::new(None);

struct Run {
    servers: String,
    starts: u64,
    generation: u32,
    #[expect(dead_code, reason = "dropping it ends the thread")]
    engine: Worker,
}

/// Starts the process-wide clock with a server list, or with `$NTPCLOCK_SERVERS` if `None`.
///
/// The same list again is harmless: starts are counted, and the last [`stop`] ends the clock.
///
/// # Errors
///
/// [`Error::InvalidServer`], [`Error::NoServers`], [`Error::AlreadyRunning`] with another list, [`Error::Io`].
pub fn start(servers: Option<&str>) -> Result<(), Error> {
    let config = servers.map_or_else(Config::from_environment, Config::with_servers)?;
    let servers = config.servers();
    fork::watch();
    let _alone = fork::lifecycle().ok_or_else(|| Error::Io {
        what: "starting the clock inside a fork handler".to_owned(),
        source: std::io::ErrorKind::Deadlock.into(),
    })?;
    let mut run = RUN.lock();
    if let Some(run) = &mut *run
        && SHARED.with_status(Status::is_running)
    {
        if run.servers != servers {
            return Err(Error::AlreadyRunning { servers: run.servers.clone() });
        }
        run.starts += 1;
        return Ok(());
    }
    match run.take() {
        // What was inherited of a parent's thread is let go of, not ended: it is not here.
        Some(inherited) if inherited.generation != fork::generation() => std::mem::forget(inherited),
        // A thread that has ended by itself is waited for: the page has one writer at a time.
        ended => drop(ended),
    }
    let engine = engine::start(config, SharedRef::Static(&SHARED))?;
    *run = Some(Run { servers, starts: 1, generation: fork::generation(), engine });
    Ok(())
}

/// As [`super::Clock::wait`].
///
/// # Errors
///
/// As [`super::Clock::wait`].
pub fn wait(max_bound: Option<Duration>, timeout: Option<Duration>) -> Result<(), Error> {
    super::wait(&SHARED, max_bound, timeout)
}

/// As [`super::Clock::now`].
#[inline]
pub fn now() -> Reading {
    super::read(&SHARED)
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

/// As [`super::glimpse`].
#[cfg(feature = "capi")]
#[inline(always)]
pub(crate) fn glimpse() -> Option<Reading> {
    super::glimpse(&SHARED)
}

/// As [`super::utc`].
#[inline(always)]
pub(crate) fn utc() -> Option<i64> {
    super::utc(&SHARED, ticks::read)
}

/// As [`super::utc`], but not ordered.
#[inline(always)]
pub(crate) fn utc_relaxed() -> Option<i64> {
    super::utc(&SHARED, ticks::read_relaxed)
}

/// As [`super::utc_otherwise`].
pub(crate) fn utc_otherwise() -> i64 {
    super::utc_otherwise(&SHARED)
}

/// As [`super::Clock::offset`].
pub fn offset() -> Offset {
    super::offset(&SHARED)
}

/// As [`super::Clock::report`].
pub fn report() -> Report {
    super::report(&SHARED)
}

/// As [`super::Clock::sources`].
pub fn sources() -> Vec<SourceInfo> {
    super::sources(&SHARED)
}

/// Undoes one [`start`]; harmless without one.
pub fn stop() {
    // Inside a fork handler there is no stopping.
    let Some(_alone) = fork::lifecycle() else { return };
    let mut run = RUN.lock();
    match &mut *run {
        Some(Run { starts, .. }) if *starts > 1 => *starts -= 1,
        // Ends the thread, and waits for it: the page has one writer at a time.
        last => *last = None,
    }
}

/// Whether a start is in force, in this process.
pub fn is_running() -> bool {
    SHARED.with_status(Status::is_running)
}

pub(crate) fn shared() -> SharedRef {
    SharedRef::Static(&SHARED)
}
