//! From a start to the last stop, and over forks: the run of a clock, and how a child takes it up.

use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use parking_lot::Mutex;

use crate::config::Config;
use crate::engine::seat::Seat;
use crate::engine::{self, SharedRef, Start, Status, files};
use crate::error::Error;
use crate::sys::fork::{self, Pass};
use crate::sys::thread::Worker;

/// The run of a clock, if there is one.
#[derive(Debug)]
pub(super) struct Life {
    /// Locked only under [`fork::lifecycle`].
    run: Mutex<Option<Run>>,
    /// Whether a forked child takes the run up by itself, and the fork generation that has it; to be asked without a lock.
    by_itself: AtomicBool,
    generation: AtomicU32,
}

#[derive(Debug)]
struct Run {
    config: Config,
    starts: u64,
    generation: u32,
    #[expect(dead_code, reason = "dropping it ends the thread, or lets go of one that is not in this process")]
    engine: Worker,
}

/// Why nothing can be started in the midst of a fork.
fn no_forks() -> Result<Pass, Error> {
    fork::lifecycle()
        .ok_or_else(|| Error::io("starting the clock inside a fork handler", std::io::ErrorKind::Deadlock.into()))
}

impl Life {
    pub(super) const fn new() -> Self {
        Self { run: Mutex::new(None), by_itself: AtomicBool::new(false), generation: AtomicU32::new(0) }
    }

    /// Starts the clock. While one runs, `suits` judges by its configuration and this one whether this is but one more start of it.
    ///
    /// `start` is how it begins, except in a child whose start would have been one more of its parent's: that goes on with the
    /// parent's run, by its configuration.
    pub(super) fn start(
        &self,
        mut config: Config,
        shared: &SharedRef,
        start: Start,
        suits: impl Fn(&Config, &Config) -> bool,
    ) -> Result<(), Error> {
        fork::watch();
        files::locate(&mut config)?;
        let _alone = no_forks()?;
        let mut run = self.run.lock();
        if let Some(run) = &mut *run
            && shared.with_status(Status::is_running)
        {
            if !suits(&run.config, &config) {
                return Err(Error::AlreadyRunning { servers: run.config.servers() });
            }
            run.starts += 1;
            return Ok(());
        }
        let inherited = run.as_ref().filter(|run| run.generation != fork::generation());
        if let Some(inherited) = inherited.filter(|inherited| suits(&inherited.config, &config)) {
            // If this fails, what was inherited stays for another attempt.
            *run = Some(self.begin(inherited.config.clone(), shared, Start::Onward, 1)?);
            return Ok(());
        }
        // A thread that has ended by itself is waited for: the page has one writer at a time.
        drop(run.take());
        *run = Some(self.begin(config, shared, start, 1)?);
        Ok(())
    }

    /// Makes the thread anew where a start is in force and there is none: in a forked child.
    pub(super) fn restart(&self, shared: &SharedRef) -> Result<(), Error> {
        let _alone = no_forks()?;
        let mut run = self.run.lock();
        let run = run.as_mut().ok_or(Error::NotRunning)?;
        if !shared.with_status(Status::is_running) {
            // If this fails, what was inherited stays for another attempt.
            let start = match &run.config.shared_page {
                // It follows first: its parent may well lead.
                Some(path) => Start::Seated(Err(Seat::of(path)?)),
                None => Start::Onward,
            };
            *run = self.begin(run.config.clone(), shared, start, run.starts)?;
        }
        Ok(())
    }

    fn begin(&self, config: Config, shared: &SharedRef, start: Start, starts: u64) -> Result<Run, Error> {
        let engine = engine::start(config.clone(), shared.clone(), start)?;
        let generation = fork::generation();
        self.generation.store(generation, Relaxed);
        // Pairs with the acquire in `awake`.
        self.by_itself.store(config.restart_after_fork, Release);
        Ok(Run { config, starts, generation, engine })
    }

    /// In a child whose clock is to restart by itself, does so; costs two loads elsewhere.
    pub(super) fn awake(&self, shared: &SharedRef) -> Result<(), Error> {
        let inherited = self.by_itself.load(Acquire) && self.generation.load(Relaxed) != fork::generation();
        if inherited { self.restart(shared) } else { Ok(()) }
    }

    /// Undoes one start; the last ends the thread, and waits for it. In the midst of a fork nothing is stopped.
    pub(super) fn stop(&self) {
        let Some(_alone) = fork::lifecycle() else { return };
        let mut run = self.run.lock();
        match &mut *run {
            Some(Run { starts, .. }) if *starts > 1 => *starts -= 1,
            last => {
                self.by_itself.store(false, Relaxed);
                *last = None;
            }
        }
    }
}
