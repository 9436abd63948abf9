//! From a start to the last stop, and over forks: the run of a clock, and how a child takes it up.

use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use parking_lot::Mutex;

use crate::config::Config;
use crate::engine::seat::Seat;
use crate::engine::{self, SharedRef, Start, Status, files};
use crate::error::Error;
use crate::sys::fork::{self, Pass};
use crate::sys::futex;
use crate::sys::thread::Worker;

/// The run of a clock, if there is one.
#[derive(Debug)]
pub(super) struct Life {
    /// Locked only under [`fork::lifecycle`].
    run: Mutex<Option<Run>>,
    ending: Ending,
    /// Whether a forked child takes the run up by itself, and the fork generation that has it; to be asked without a
    /// lock.
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

/// Whether a thread that was told to end is waited for. Forks go on meanwhile, for a disk may take its time; whoever
/// would start another thread does not.
#[derive(Debug)]
struct Ending(AtomicU32);

/// Nobody waits, or nobody who is in this process.
const NOBODY: u32 = 0;

impl Ending {
    const fn new() -> Self {
        Self(AtomicU32::new(NOBODY))
    }

    /// The mark of one who waits in this process: in a forked child it means nothing.
    fn mark() -> u32 {
        fork::generation().wrapping_add(1).max(1)
    }

    /// Waits until the thread has ended. Called under `alone`, which is let go of.
    fn wait_for(&self, run: Run, alone: Pass) {
        self.0.store(Self::mark(), Relaxed);
        drop(alone);
        drop(run);
        // Pairs with the acquire in `over`: what the thread did is seen by whoever starts the next.
        self.0.store(NOBODY, Release);
        futex::wake_all(&self.0);
    }

    /// [`fork::lifecycle`], when nobody waits any more.
    fn over(&self) -> Option<Pass> {
        loop {
            let alone = fork::lifecycle()?;
            let mark = self.0.load(Acquire);
            if mark != Self::mark() {
                return Some(alone);
            }
            drop(alone);
            futex::wait(&self.0, mark, Duration::from_secs(60));
        }
    }
}

impl Life {
    pub(super) const fn new() -> Self {
        Self {
            run: Mutex::new(None),
            ending: Ending::new(),
            by_itself: AtomicBool::new(false),
            generation: AtomicU32::new(0),
        }
    }

    /// Starts the clock. While one runs, `suits` judges by its configuration and this one whether this is but one more
    /// start of it.
    ///
    /// `start` is how it begins, except in a child whose start would have been one more of its parent's: that goes on
    /// with the parent's run, by its configuration.
    pub(super) fn start(
        &self,
        mut config: Config,
        shared: &SharedRef,
        start: Start,
        suits: impl Fn(&Config, &Config) -> bool,
    ) -> Result<(), Error> {
        fork::watch();
        files::locate(&mut config)?;
        let _alone = self.alone()?;
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
        let _alone = self.alone()?;
        let mut run = self.run.lock();
        let run = run.as_mut().ok_or(Error::NotRunning)?;
        if !shared.with_status(Status::is_running) {
            // If this fails, what was inherited stays for another attempt.
            let start = match &run.config.shared_page {
                Some(path) => Start::SeatedOnward(Seat::of(path)?),
                None => Start::Onward,
            };
            *run = self.begin(run.config.clone(), shared, start, run.starts)?;
        }
        Ok(())
    }

    fn alone(&self) -> Result<Pass, Error> {
        let deadlock = || Error::io("starting the clock inside a fork handler", std::io::ErrorKind::Deadlock.into());
        self.ending.over().ok_or_else(deadlock)
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
        let Some(alone) = self.ending.over() else { return };
        let last = match &mut *self.run.lock() {
            Some(Run { starts, .. }) if *starts > 1 => {
                *starts -= 1;
                None
            }
            last => {
                self.by_itself.store(false, Relaxed);
                last.take()
            }
        };
        if let Some(last) = last {
            self.ending.wait_for(last, alone);
        }
    }
}
