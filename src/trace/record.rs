//! Exchanges of a live run, written as they come: a user's bad day can be replayed.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{HEADER, PRECISION, Recorded};
use crate::error::Error;
use crate::sys::beside_standard;
use crate::units::{Counter, Nanos};

/// A recording under way.
#[derive(Debug)]
pub(crate) struct Recorder {
    file: File,
    path: PathBuf,
    /// What is safely in the file, in bytes.
    length: u64,
    /// Not yet written.
    waiting: Vec<Recorded>,
    last: Counter,
}

impl Recorder {
    /// Begins a recording; what the file held before is gone.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        // A pipe without a reader is an error now, and one that is full later: who records must not hold up who asks.
        options.write(true).create(true).truncate(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open(path).and_then(beside_standard).map_err(|error| Error::io(writing(path), error))?;
        Self::begin(file, path)
    }

    fn begin(file: File, path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        let mut recorder = Self { file, path, length: 0, waiting: Vec::new(), last: Counter(i64::MIN) };
        recorder.append(&format!("{HEADER}\n"))?;
        Ok(recorder)
    }

    /// Takes note of an exchange, to be written when there is time.
    pub(crate) fn add(&mut self, entry: Recorded) {
        self.waiting.push(entry);
    }

    /// Writes what waits, in the order of its ends; what is written stays, whatever becomes of us.
    ///
    /// After an error the recording is over; the file still ends with a whole line.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.waiting.sort_by_key(|entry| entry.exchange.stamps.t4);
        let mut lines = String::new();
        for mut entry in self.waiting.drain(..) {
            // An exchange may end while another that ended after it is already written: by microseconds. `t4` is a time
            // before which the reply has come, so a later one is true as well.
            let t4 = &mut entry.exchange.stamps.t4;
            *t4 = (*t4).max(self.last);
            self.last = *t4;
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "{}", line(&entry));
        }
        self.append(&lines)
    }

    fn append(&mut self, lines: &str) -> Result<(), Error> {
        match self.file.write_all(lines.as_bytes()) {
            Ok(()) => {
                self.length += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a line would make the rest unreadable. What cannot be cut is no file.
                let _ = self.file.set_len(self.length);
                Err(Error::io(writing(&self.path), error))
            }
        }
    }
}

fn writing(path: &Path) -> String {
    format!("recording to {}", path.display())
}

/// One line of a trace.
pub(crate) fn line(entry: &Recorded) -> String {
    let (stamps, server) = (&entry.exchange.stamps, &entry.exchange.server);
    // The format has no precision, and who reads it assumes a fine one: what is missing goes to the dispersion, so that
    // the distance stays.
    let missing = Nanos::from_log2_seconds(server.precision) - Nanos::from_log2_seconds(PRECISION);
    let dispersion = server.root_dispersion + missing.max(Nanos::ZERO);
    format!(
        "{},{},{},{},{},{},{},{},{}",
        entry.source,
        stamps.t1.0,
        stamps.t2.0,
        stamps.t3.0,
        stamps.t4.0,
        server.stratum,
        server.root_delay.0,
        dispersion.0,
        server.leap as u8
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Exchange, ServerState, Stamps};
    use crate::status::Leap;
    use crate::trace::parse;
    use crate::units::UnixTime;

    fn entry(source: u32, t4: i64) -> Recorded {
        let stamps =
            Stamps { t1: Counter(t4 - 100), t2: UnixTime(1 << 60), t3: UnixTime((1 << 60) + 7), t4: Counter(t4) };
        let server = ServerState {
            leap: Leap::Insert,
            version: 4,
            stratum: 3,
            precision: -20,
            root_delay: Nanos(20_000_000_000),
            root_dispersion: Nanos(6),
            reference_id: 9,
            reference_time: None,
        };
        Recorded { source, exchange: Exchange { stamps, server } }
    }

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ntpclock-record-{}-{name}", std::process::id()))
    }

    #[test]
    fn what_is_recorded_is_what_is_read_again() {
        let path = scratch("again");
        let mut recorder = Recorder::create(&path).unwrap();
        for (source, t4) in [(1, 500), (0, 400), (2, 600)] {
            recorder.add(entry(source, t4));
        }
        recorder.flush().unwrap();
        recorder.add(entry(0, 599));
        recorder.flush().unwrap();
        let read = parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let ends: Vec<_> = read.iter().map(|entry| (entry.source, entry.exchange.stamps.t4.0)).collect();
        assert_eq!(ends, [(0, 400), (1, 500), (2, 600), (0, 600)]);
        let (told, live) = (&read[1].exchange, &entry(1, 500).exchange);
        assert_eq!(told.stamps, live.stamps);
        assert_eq!(told.server.distance(), live.server.distance());
        assert_eq!((told.server.leap, told.server.stratum), (Leap::Insert, 3));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error_with_its_path() {
        for path in ["/dev/full", "/nonexistent/trace.csv", "/"] {
            let error = Recorder::create(Path::new(path)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("recording to {path}: ")), "{error}");
        }
    }

    #[test]
    fn a_disk_that_fails_ends_the_recording_after_a_whole_line() {
        let path = scratch("failing");
        let mut recorder = Recorder::create(&path).unwrap();
        recorder.add(entry(0, 400));
        recorder.flush().unwrap();
        // From now on nothing can be written: the descriptor only reads.
        recorder.file = File::open(&path).unwrap();
        recorder.add(entry(0, 500));
        let error = recorder.flush().unwrap_err().to_string();
        let read = parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("failing"), "{error}");
        assert_eq!(read.len(), 1);
    }
}
