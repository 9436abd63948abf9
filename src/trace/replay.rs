//! Recorded exchanges through the live core: what a reader of the published clock would have seen.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::{Malformed, Recorded};
use crate::config::{SOURCES_MAX, Settings};
use crate::error::Error;
use crate::synchronizer::{SourceId, Synchronizer};
use crate::sys::file;
use crate::units::{Counter, Nanos, UnixTime};

/// Silences in a row from which on a further one tells nothing new, neither of reach nor of anything else: a recording
/// may have holes of years.
const SILENCES_MAX: u32 = 64;

/// A longer file is no recording that fits into memory: these are some five million exchanges.
const SIZE_MAX: u64 = 1 << 29;

/// How a trace is replayed.
#[derive(Clone, Debug)]
pub struct Replay {
    poll: Nanos,
    sources: Option<usize>,
}

impl Default for Replay {
    fn default() -> Self {
        Self { poll: Nanos::from_seconds(64), sources: None }
    }
}

impl Replay {
    /// A poll interval of 64 s, as many sources as the file has.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the poll interval of the recording, from which the deadlines of readings follow.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] unless it is from 1 s to 2^17 s.
    pub fn set_poll(&mut self, poll: Duration) -> Result<&mut Self, Error> {
        if !(Duration::from_secs(1)..=Duration::from_secs(1 << 17)).contains(&poll) {
            return Err(Error::argument("poll", format!("is {poll:?}; 1 s to 131072 s is possible")));
        }
        self.poll = Nanos::from_duration(poll);
        Ok(self)
    }

    /// Sets the number of configured sources; those the file does not have never answered.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it is 0 or above 64.
    pub fn set_sources(&mut self, sources: usize) -> Result<&mut Self, Error> {
        if !(1..=SOURCES_MAX).contains(&sources) {
            return Err(Error::argument("sources", format!("is {sources}; 1 to {SOURCES_MAX} is possible")));
        }
        self.sources = Some(sources);
        Ok(self)
    }

    /// Replays `trace` and reads the clock at every counter value of `queries`.
    ///
    /// Returns CSV, one line a query under a header: `raw_ns,utc_ns,earliest_ns,latest_ns,state,epoch`; before the
    /// first synchronisation the times are empty.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file cannot be read, [`Error::Malformed`] with path, line and reason.
    pub fn run(&self, trace: &Path, queries: &Path) -> Result<String, Error> {
        let read = |path: &Path| {
            let bytes = file::read_any(path, SIZE_MAX);
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
            text.map_err(|error| Error::io(format!("reading {}", path.display()), error))
        };
        let malformed = |path: &Path| {
            let path = path.to_owned();
            move |Malformed { line, why }| Error::Malformed { path, line, why }
        };
        let recorded = super::parse(&read(trace)?).map_err(malformed(trace))?;
        let asked = super::parse_queries(&read(queries)?).map_err(malformed(queries))?;
        Ok(self.answer(&recorded, &asked))
    }

    pub(crate) fn answer(&self, recorded: &[Recorded], asked: &[Counter]) -> String {
        let mut numbers: Vec<u32> = recorded.iter().map(|entry| entry.source).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let sources = self.sources.unwrap_or(numbers.len()).max(numbers.len()).max(1);
        let mut player = Player::new(sources, self.poll, recorded, numbers);
        let mut rows = String::from("raw_ns,utc_ns,earliest_ns,latest_ns,state,epoch\n");
        for &counter in asked {
            player.run_until(counter);
            let model = player.core.model();
            // Writing to a String cannot fail.
            let _ = if model.has_line() {
                let (earliest, utc, latest) = model.at(counter);
                writeln!(
                    rows,
                    "{},{},{},{},{},{}",
                    counter.0,
                    utc.0,
                    earliest.0,
                    latest.0,
                    model.state_at(counter),
                    model.epoch
                )
            } else {
                writeln!(rows, "{},,,,{},0", counter.0, model.state)
            };
        }
        rows
    }
}

/// The core, and where in the recording it is.
struct Player<'a> {
    core: Synchronizer,
    left: &'a [Recorded],
    /// The file's number of each source, in ascending order.
    numbers: Vec<u32>,
    poll: Nanos,
    /// When each source will have failed to answer once more, and how often it has failed in a row.
    overdue: Vec<(Counter, u32)>,
}

impl<'a> Player<'a> {
    fn new(sources: usize, poll: Nanos, recorded: &'a [Recorded], numbers: Vec<u32>) -> Self {
        let settings = Settings { fixed_poll: Some(poll), ..Settings::default() };
        let mut core = Synchronizer::new(settings, UnixTime(0), 0);
        let begin = recorded.first().map_or(Counter(0), |entry| entry.exchange.stamps.t1);
        for _ in 0..sources {
            core.add_source(begin);
        }
        Self { core, left: recorded, numbers, poll, overdue: vec![(begin + poll, 0); sources] }
    }

    /// Plays everything up to and including `counter`.
    fn run_until(&mut self, counter: Counter) {
        loop {
            let arrival = self.left.first().map_or(Counter(i64::MAX), |entry| entry.exchange.stamps.t4);
            let silence = self.overdue.iter().map(|(due, _)| *due).min().unwrap_or(Counter(i64::MAX));
            let settle = self.core.settles_at().unwrap_or(Counter(i64::MAX));
            let next = arrival.min(silence).min(settle);
            if next > counter || next == Counter(i64::MAX) && self.left.is_empty() {
                return;
            }
            if arrival == next {
                self.play();
            } else if let Some(index) = self.overdue.iter().position(|(due, _)| *due == next) {
                self.core.handle_silence(SourceId(index), next);
                self.expect(index, next + self.poll, true);
            }
            if self.core.wants_plan(next) {
                let plan = self.core.plan(next);
                self.core.commit(plan, next);
            }
        }
    }

    fn play(&mut self) {
        let Some((entry, left)) = self.left.split_first() else { return };
        self.left = left;
        let index = self.numbers.binary_search(&entry.source).unwrap_or(0);
        self.core.handle_recorded(SourceId(index), &entry.exchange);
        // Half a poll of grace: recorded polls are dithered.
        self.expect(index, entry.exchange.stamps.t4 + self.poll + self.poll.half_up(), false);
    }

    /// The next answer is to come before `due`; the last one did not, or did.
    fn expect(&mut self, index: usize, due: Counter, silent: bool) {
        let Some((overdue, silences)) = self.overdue.get_mut(index) else { return };
        *silences = if silent { *silences + 1 } else { 0 };
        *overdue = if *silences < SILENCES_MAX { due } else { Counter(i64::MAX) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Exchange, ServerState, Stamps};

    /// An exchange of a server that is right, which ends at `t4`.
    fn answered(t4: i64) -> Recorded {
        let stamps = Stamps { t1: Counter(t4 - 2), t2: UnixTime(t4 - 1), t3: UnixTime(t4 - 1), t4: Counter(t4) };
        Recorded { source: 0, exchange: Exchange { stamps, server: ServerState::primary() } }
    }

    #[test]
    fn a_hole_of_centuries_takes_no_longer_than_one_of_hours() {
        let recorded = [answered(1_000_000_000), answered(i64::MAX / 2), answered(i64::MAX)];
        let asked = [2_000_000_000, i64::MAX / 4, i64::MAX / 2, i64::MAX - 1, i64::MAX].map(Counter);
        let rows = Replay::new().answer(&recorded, &asked);
        let states: Vec<&str> = rows.lines().skip(1).filter_map(|row| row.split(',').nth(4)).collect();
        // At the end of time every deadline is over.
        assert_eq!(states, ["SYNCHRONIZED", "UNSYNCHRONIZED", "SYNCHRONIZED", "UNSYNCHRONIZED", "HOLDOVER"], "{rows}");
    }
}
