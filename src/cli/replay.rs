//! `ntpclock replay`: recorded exchanges through the core.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Failure, seconds};

/// A recording, and when to read the clock.
#[derive(Args)]
pub(super) struct Replay {
    /// Recorded exchanges (CSV)
    trace: PathBuf,
    /// When to read the clock: raw counter values in increasing order (first column of a CSV file)
    #[arg(long, value_name = "FILE")]
    queries: PathBuf,
    /// The poll interval of the recording
    #[arg(long, value_name = "SECONDS", default_value = "64", value_parser = seconds)]
    poll: Duration,
    /// Configured sources [default: those in the recording]
    #[arg(long, value_name = "N")]
    sources: Option<usize>,
}

impl Replay {
    /// Prints what a reader would have seen: one CSV line a query.
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut replay = crate::Replay::new();
        replay.set_poll(self.poll)?;
        if let Some(sources) = self.sources {
            replay.set_sources(sources)?;
        }
        Ok(out.write_all(replay.run(&self.trace, &self.queries)?.as_bytes())?)
    }
}
