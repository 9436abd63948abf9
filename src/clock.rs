//! The Rust face: a clock of one's own ([`Clock`]), and one for the whole process ([`process`]).

pub mod process;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Config;
use crate::engine::{self, Account, Shared, SharedRef};
use crate::error::Error;
use crate::model::ClockModel;
use crate::reading::Reading;
use crate::status::{Leap, Report, SourceInfo, State};
use crate::sys::counter::{self, Bracket};
use crate::sys::fork;
use crate::sys::thread::Worker;
use crate::units::{Nanos, UnixTime};

/// How often a wait looks again without being told to: deadlines in the page pass silently.
const PACE: Duration = Duration::from_millis(250);

/// UTC minus the system clock, with its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// UTC minus the system clock: add it to the system clock, ns. 0 before the first synchronisation.
    pub offset_ns: i64,
    /// The true offset lies within ± this, ns; `i64::MAX` when unknown.
    pub bound_ns: i64,
}

/// A running clock. Any number of threads may read it; it stops when dropped.
#[derive(Debug)]
pub struct Clock {
    shared: SharedRef,
    engine: Mutex<Option<Worker>>,
}

impl Clock {
    /// Starts a clock; returns at once, before anything was heard from the network.
    ///
    /// # Errors
    ///
    /// [`Error::NoServers`], or [`Error::Io`] if the thread or its descriptors cannot be made.
    pub fn start(config: Config) -> Result<Self, Error> {
        if config.servers.is_empty() {
            return Err(Error::NoServers);
        }
        let shared = SharedRef::Counted(Arc::new(Shared::new()));
        let engine = engine::start(config, shared.clone())?;
        Ok(Self { shared, engine: Mutex::new(Some(engine)) })
    }

    /// Reads the clock: no lock, no allocation, no system call beyond the vDSO; never fails.
    pub fn now(&self) -> Reading {
        read(&self.shared)
    }

    /// UTC minus the system clock at the call.
    pub fn offset(&self) -> Offset {
        offset(&self.shared)
    }

    /// Waits until the clock is SYNCHRONIZED, and its bound at most `max_bound` if given. `timeout` None: for ever.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] (names each source and its last fault), [`Error::NotRunning`], [`Error::Stopped`].
    pub fn wait(&self, max_bound: Option<Duration>, timeout: Option<Duration>) -> Result<(), Error> {
        wait(&self.shared, max_bound, timeout)
    }

    /// The clock's state in numbers.
    pub fn report(&self) -> Report {
        report(&self.shared)
    }

    /// One entry a source.
    pub fn sources(&self) -> Vec<SourceInfo> {
        sources(&self.shared)
    }

    /// Stops the thread (within 100 ms). Reading goes on, in holdover.
    pub fn stop(&self) {
        // Taken out first: the lock is not held while the thread ends.
        let engine = self.engine.lock().take();
        drop(engine);
    }

    pub(crate) fn shared(&self) -> SharedRef {
        self.shared.clone()
    }
}

/// Reads the page of `shared`.
pub(crate) fn read(shared: &Shared) -> Reading {
    let (page, counter) = shared.publication.read(counter::now);
    Reading::new(&page, counter, fork::generation(), counter::system_time)
}

fn offset(shared: &Shared) -> Offset {
    let (page, _) = shared.publication.read(counter::now);
    let bracket = Bracket::read();
    let (counter, uncertainty) = bracket.midpoint();
    let reading = Reading::new(&page, counter, fork::generation(), || bracket.system);
    Offset {
        offset_ns: (UnixTime(reading.unix_ns) - bracket.system).0,
        bound_ns: match reading.error_bound_ns() {
            i64::MAX => i64::MAX,
            bound => bound.saturating_add(uncertainty.0),
        },
    }
}

fn wait(shared: &Shared, max_bound: Option<Duration>, timeout: Option<Duration>) -> Result<(), Error> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let max_bound_ns = max_bound.map_or(i64::MAX, |bound| Nanos::from_duration(bound).0);
    let mut session = None;
    shared.wait_for(|status| {
        let begun = session.replace(status.session);
        if begun.is_some_and(|begun| begun != status.session) || (begun.is_some() && !status.is_running()) {
            return Ok(Err(Error::Stopped));
        }
        if !status.is_running() {
            return Ok(Err(Error::NotRunning));
        }
        let reading = read(shared);
        if reading.state == State::Synchronized && reading.error_bound_ns() <= max_bound_ns {
            return Ok(Ok(()));
        }
        let left = deadline.map_or(PACE, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            let detail = excuse(status.account.as_deref(), status.min_agreeing, &reading);
            return Ok(Err(Error::Timeout { detail }));
        }
        Err(left.min(PACE))
    })
}

/// Why a clock is not synchronised: each source and its last fault.
fn excuse(account: Option<&Account>, min_agreeing: usize, reading: &Reading) -> String {
    let Some(account) = account else { return "nothing was heard yet".to_owned() };
    let told = |source: &SourceInfo| {
        let address = source.address.map(|address| format!(" ({address})")).unwrap_or_default();
        let fault = source.fault.clone().unwrap_or_else(|| source.selection.to_string());
        format!("{}{address}: {fault}", source.name)
    };
    let mut clauses: Vec<String> = account.sources.iter().map(told).collect();
    let report = &account.report;
    if report.agreeing > 0 && (report.agreeing as usize) < min_agreeing {
        clauses
            .push(format!("{} of {} sources agree, {min_agreeing} are asked for", report.agreeing, report.configured));
    }
    if reading.state.is_usable() {
        clauses.push(format!("the clock is {} with a bound of {} ns", reading.state, reading.error_bound_ns()));
    }
    clauses.join("; ")
}

/// What the engine last said of itself, with what the page says now.
pub(crate) fn report(shared: &Shared) -> Report {
    let account = shared.with_status(|status| status.account.clone()).flatten();
    let mut report = account.map_or_else(blank_report, |account| account.report.clone());
    // The page knows better than the account what has come to pass since.
    let reading = read(shared);
    (report.state, report.epoch, report.bound_ns) = (reading.state, reading.epoch, reading.error_bound_ns());
    if reading.state.is_usable() {
        let bound = Nanos(reading.error_bound_ns());
        report.root_dispersion_ns = (bound - Nanos(report.root_delay_ns).half_up()).max(Nanos::ZERO).0;
    }
    report
}

fn blank_report() -> Report {
    let model = ClockModel::UNSYNCHRONIZED;
    Report {
        state: model.state,
        epoch: 0,
        steps: 0,
        configured: 0,
        answering: 0,
        agreeing: 0,
        fault_limit: 0,
        faults_exceeded: false,
        frequency_ppb: 0.0,
        bound_ns: i64::MAX,
        stratum: 16,
        root_delay_ns: 0,
        root_dispersion_ns: 0,
        reference_id: 0,
        reference_time_ns: 0,
        leap: Leap::Unknown,
        exchanges: 0,
        rejected: 0,
    }
}

fn sources(shared: &Shared) -> Vec<SourceInfo> {
    let Some(account) = shared.with_status(|status| status.account.clone()).flatten() else { return Vec::new() };
    let now = counter::now();
    let older = |source: &SourceInfo| {
        let age = if source.age_ns == i64::MAX { i64::MAX } else { (Nanos(source.age_ns) + (now - account.at)).0 };
        SourceInfo { age_ns: age, ..source.clone() }
    };
    account.sources.iter().map(older).collect()
}
