//! The process-wide clock, for programs that need one line. Starts are counted; the last stop ends it.

use std::time::Duration;

use parking_lot::Mutex;

use super::Offset;
use crate::config::Config;
use crate::engine::{self, Shared, SharedRef};
use crate::error::Error;
use crate::reading::Reading;
use crate::status::{Report, SourceInfo};
use crate::sys::fork;
use crate::sys::thread::Worker;

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
    let _alone = fork::lifecycle();
    match &mut *RUN.lock() {
        Some(run) if run.generation == fork::generation() => {
            if run.servers != servers {
                return Err(Error::AlreadyRunning { servers: run.servers.clone() });
            }
            run.starts += 1;
        }
        other => {
            // What was inherited of a parent's thread is let go of, not ended: it is not here.
            std::mem::forget(other.take());
            let engine = engine::start(config, SharedRef::Static(&SHARED))?;
            *other = Some(Run { servers, starts: 1, generation: fork::generation(), engine });
        }
    }
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
pub fn now() -> Reading {
    super::read(&SHARED)
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
    let _alone = fork::lifecycle();
    let mut run = RUN.lock();
    match &mut *run {
        Some(Run { starts, .. }) if *starts > 1 => *starts -= 1,
        // Ends the thread, and waits for it: the page has one writer at a time.
        last => *last = None,
    }
}

/// Whether a start is in force.
pub fn is_running() -> bool {
    let _alone = fork::lifecycle();
    RUN.lock().as_ref().is_some_and(|run| run.generation == fork::generation())
}

pub(crate) fn shared() -> SharedRef {
    SharedRef::Static(&SHARED)
}
