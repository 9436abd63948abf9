//! The files of a run: the recording, and the state file that makes the next start a warm one.
//!
//! Both are written by the engine's thread when nothing else is due. A fault ends neither the clock nor the host: it is
//! told to whoever asks.

use std::path::absolute;

use crate::config::Config;
use crate::error::Error;
use crate::exchange::Exchange;
use crate::state::{Recollection, StateFile};
use crate::synchronizer::{SourceId, Synchronizer};
use crate::sys::counter;
use crate::sys::host::Host;
use crate::trace::Recorded;
use crate::trace::record::Recorder;
use crate::units::{Counter, Nanos};

/// How often the state is saved while the clock runs: what a crash costs, against wear of the disk.
const SAVE_INTERVAL: Nanos = Nanos::from_seconds(600);

/// What went wrong with the files.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileFaults {
    /// Why the recording ended.
    pub(crate) recording: Option<String>,
    /// Why the state file, or the time in it, was not used at the start.
    pub(crate) refused: Option<String>,
    /// Why the state could not be saved last.
    pub(crate) unsaved: Option<String>,
}

impl FileFaults {
    pub(crate) const NONE: Self = Self { recording: None, refused: None, unsaved: None };
}

/// What one run reads and writes.
#[derive(Debug)]
pub(crate) struct Files {
    recorder: Option<Recorder>,
    state: Option<StateFile>,
    save_due: Counter,
    /// Time spent suspended as of the newest exchange: what was suspended since makes the time wrong that is saved.
    suspended: Nanos,
    pub(crate) faults: FileFaults,
}

/// Names the files of `config` by where they are now, wherever our host's working directory may be later.
pub(crate) fn locate(config: &mut Config) -> Result<(), Error> {
    let Config { recording, state_file, shared_page, trust, .. } = config;
    let named = [recording, state_file, shared_page].into_iter().flatten();
    for path in named.chain(&mut trust.files) {
        *path = absolute(&*path).map_err(|error| Error::io(format!("locating {}", path.display()), error))?;
    }
    Ok(())
}

impl Files {
    /// Opens what `config` names, and reads what an earlier run has left.
    pub(crate) fn open(config: &Config) -> Result<(Self, Recollection), Error> {
        let recorder = config.recording.as_deref().map(Recorder::create).transpose()?;
        Ok(Self::with(recorder, config))
    }

    /// The same where nobody is left to hear of an error: a recording that cannot be begun is told of as one that has
    /// ended.
    pub(crate) fn open_unheard(config: &Config) -> (Self, Recollection) {
        Self::open(config).unwrap_or_else(|error| {
            let (mut files, recollection) = Self::with(None, config);
            files.faults.recording = Some(error.to_string());
            (files, recollection)
        })
    }

    /// The same of a run that is taken up, in a forked child: the recording is its parent's.
    pub(crate) fn open_onward(config: &Config) -> (Self, Recollection) {
        let (mut files, recollection) = Self::with(None, config);
        let recording = config.recording.as_deref();
        files.faults.recording =
            recording.map(|path| format!("recording to {}: does not go on after a restart", path.display()));
        (files, recollection)
    }

    fn with(recorder: Option<Recorder>, config: &Config) -> (Self, Recollection) {
        let mut state = config.state_file.clone().map(StateFile::at);
        let found = state.as_mut().map(|file| file.load(&Host::observe())).unwrap_or_default();
        let faults = FileFaults { refused: found.refusal.clone(), ..FileFaults::default() };
        let (save_due, suspended) = (counter::now() + SAVE_INTERVAL, counter::suspended());
        (Self { recorder, state, save_due, suspended, faults }, found)
    }

    /// When something is to be done without any exchange.
    pub(crate) fn due(&self) -> Counter {
        if self.state.is_some() { self.save_due } else { Counter(i64::MAX) }
    }

    /// Takes note of an exchange that counted. Sources are numbered as in the server list, further members of pools
    /// after it.
    pub(crate) fn record(&mut self, source: SourceId, exchange: Option<Exchange>) {
        if self.state.is_some() {
            self.suspended = counter::suspended();
        }
        if let (Some(recorder), Some(exchange)) = (&mut self.recorder, exchange) {
            // There are 64 sources at most.
            recorder.add(Recorded { source: source.0 as u32, exchange });
        }
    }

    /// Writes what is due; says whether the faults have changed.
    pub(crate) fn tend(&mut self, core: &Synchronizer) -> bool {
        let ended = self.flush();
        if self.due() > counter::now() {
            return ended;
        }
        self.save(core) | ended
    }

    /// Writes everything: the run is over.
    pub(crate) fn close(&mut self, core: &Synchronizer) -> bool {
        let ended = self.flush();
        self.save(core) | ended
    }

    fn flush(&mut self) -> bool {
        let Some(Err(error)) = self.recorder.as_mut().map(Recorder::flush) else { return false };
        self.recorder = None;
        self.faults.recording = Some(error.to_string());
        true
    }

    fn save(&mut self, core: &Synchronizer) -> bool {
        let Some(state) = &self.state else { return false };
        let host = Host { suspended: self.suspended, ..Host::observe() };
        self.save_due = host.counter + SAVE_INTERVAL;
        // Who has learnt nothing leaves what is there.
        let Some(memory) = core.memory(host.counter) else { return false };
        let former = self.faults.unsaved.take();
        self.faults.unsaved = state.save(&memory, &host).err().map(|error| error.to_string());
        self.faults.unsaved != former
    }
}
