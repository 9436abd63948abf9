//! `ntpclock record`: a live run, written down for `ntpclock replay`.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::{Failure, Files, Upstream, finish, seconds};
use crate::clock::Clock;
use crate::sys::ending::Ending;

/// How often a failing disk is looked for.
const PACE: Duration = Duration::from_millis(200);

/// What to record, and where.
#[derive(Args)]
pub(super) struct Record {
    /// Where the exchanges go (CSV); what it held before is lost
    file: PathBuf,
    #[command(flatten)]
    upstream: Upstream,
    #[command(flatten)]
    files: Files,
    /// End by itself after this time [default: when a signal asks for it]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
}

impl Record {
    /// Every line is in the file as soon as its exchange has ended, even if the process is killed.
    pub(super) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
        let mut config = self.upstream.with(&self.files)?;
        config.set_recording(&self.file)?;
        let servers = config.servers();
        let ending = Ending::hold_back();
        let clock = Clock::start(config)?;
        writeln!(out, "recording the exchanges with {servers} to {}", self.file.display())?;
        out.flush()?;
        let begun = Instant::now();
        let left = || self.duration.map_or(PACE, |duration| duration.saturating_sub(begun.elapsed()).min(PACE));
        while !left().is_zero() && clock.recording_fault().is_none() && !ending.comes_within(Some(left())) {}
        clock.stop();
        if let Some(fault) = clock.recording_fault() {
            return Err(Failure::Recording(fault));
        }
        writeln!(out, "{} exchanges", clock.report().exchanges)?;
        finish(&clock, err)
    }
}
