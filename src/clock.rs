//! The Rust face: a clock of one's own ([`Clock`]), and one for the whole process ([`process`]).

#[cfg(feature = "_bench")]
pub(crate) mod held;
mod life;
pub(crate) mod moments;
pub(crate) mod process;
mod until;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::engine::seat::Seat;
use crate::engine::{Membership, Shared, SharedRef, Start, Status, Unwatched};
use crate::error::Error;
use crate::exchange::root_dispersion;
use crate::model::ClockModel;
use crate::publication::{Place, Publication};
use crate::reading::Reading;
use crate::status::{Leap, Report, Role, SourceInfo, State};
use crate::sys::clocks;
use crate::sys::counter::{self, Bracket};
use crate::sys::fork;
use crate::sys::ticks::{self, Kind, Tick};
use crate::sys::vmclock;
use crate::units::{Nanos, UnixTime};
use life::Life;

/// How often a wait looks again without being told to: deadlines in the page pass silently.
const PACE: Duration = Duration::from_millis(250);

/// Where the server list comes from when the program names none.
const SERVERS_VARIABLE: &str = "NTPCLOCK_SERVERS";

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
    life: Life,
}

impl Config {
    /// The defaults, with the servers of the environment variable `NTPCLOCK_SERVERS`, the only one that is ever read.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidServer`], or [`Error::NoServers`] if it is not set.
    pub fn from_environment() -> Result<Self, Error> {
        match std::env::var(SERVERS_VARIABLE) {
            Ok(list) => Self::with_servers(&list),
            Err(std::env::VarError::NotPresent) => Err(Error::NoServers),
            Err(std::env::VarError::NotUnicode(_)) => Err(Error::argument(SERVERS_VARIABLE, "is not valid UTF-8")),
        }
    }
}

impl Clock {
    /// What a start would say of `config` before it has made anything: the wishes that contradict each other, and the
    /// certificates that are to be trusted.
    #[cfg(feature = "cli")]
    pub(crate) fn check(config: &Config) -> Result<(), Error> {
        config.check()?;
        #[cfg(feature = "_nts")]
        crate::engine::handshake::Trust::load(&config.trust)?;
        Ok(())
    }

    /// Starts a clock; returns at once, before anything was heard from the network. Only where another process is about
    /// to make the page that is to be shared it is waited for, some milliseconds, and 2 s at most.
    ///
    /// # Errors
    ///
    /// [`Error::NoServers`]; [`Error::InvalidArgument`] for a server's key that was not read, or where authentication
    /// is required and offered by none; [`Error::Io`] if the thread or its descriptors cannot be made, or a recording
    /// not be written; [`Error::SharedPage`] if the page or its lock file cannot be used.
    pub fn start(config: Config) -> Result<Self, Error> {
        config.check()?;
        let (place, start) = match &config.shared_page {
            Some(path) => {
                let opened = Seat::open(path)?;
                (Place::Shared(opened.page), Start::Seated(opened.seat))
            }
            None => (Place::own(), Start::Anew),
        };
        let shared = SharedRef::Counted(Arc::new(Shared::new(place)));
        let clock = Self { shared, life: Life::new() };
        clock.life.start(config, &clock.shared, start, |_, _| false)?;
        Ok(clock)
    }

    /// Reads the clock: no lock, no allocation, no system call beyond the vDSO; never fails, and may be called in a
    /// signal handler.
    ///
    /// When the machine resumes from a suspend, the clock's thread is woken and makes the clock DISRUPTED. A reading
    /// cannot see the suspend before that thread has run, usually for a millisecond or two: until then it is wrong, as
    /// a rule late by the time suspended, and its interval does not hold UTC. Where the thread cannot be woken
    /// ([`Self::resume_watch_fault`]), that lasts until it has something to do, a poll interval at most. Where there is
    /// no thread to be woken it has no end: after [`Self::stop`], in a forked child until [`Self::restart`], and on a
    /// shared page as long as the leader's process is stopped (SIGSTOP). [`Self::now_checked`] has no such window.
    pub fn now(&self) -> Reading {
        read(&self.shared)
    }

    /// As [`Self::now`], but DISRUPTED if the machine was suspended and the clock's thread has not run since, at the
    /// price of two readings of the system's clocks. It finds every suspend that is longer than the time this very call
    /// was held up for.
    pub fn now_checked(&self) -> Reading {
        read_checked(&self.shared)
    }

    /// The time alone, ns since 1970: [`Reading::unix_ns`] of [`Self::now`], for less.
    #[inline]
    pub fn unix_ns(&self) -> i64 {
        utc(&self.shared.place, ticks::read).unwrap_or_else(|| self.utc_otherwise())
    }

    /// As [`Self::unix_ns`], for about half the price where the processor's own counter can be read: but the processor
    /// may take the reading some microseconds earlier than it stands in the program. Good for one thread's intervals;
    /// not to be compared with what another thread has read, nor with [`Self::now`].
    #[inline]
    pub fn unix_ns_relaxed(&self) -> i64 {
        utc(&self.shared.place, ticks::read_relaxed).unwrap_or_else(|| self.utc_otherwise())
    }

    /// UTC minus the system clock at the call.
    pub fn offset(&self) -> Offset {
        offset(&self.shared)
    }

    /// Waits until the clock is SYNCHRONIZED, and its bound at most `max_bound` if given. `timeout` None: for ever.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] (names each source and its last fault), [`Error::NotRunning`], [`Error::Stopped`];
    /// [`Error::Io`] inside a fork handler.
    pub fn wait(&self, max_bound: Option<Duration>, timeout: Option<Duration>) -> Result<(), Error> {
        wait(self.awake()?, max_bound, timeout)
    }

    /// Which run of the clock's thread this is; `None` while there is none in this process. Who waits in parts, to do
    /// something else meanwhile, knows by another answer that the clock was stopped in between.
    pub fn session(&self) -> Option<u64> {
        self.shared.with_status(Status::session)
    }

    /// The clock's state in numbers.
    pub fn report(&self) -> Report {
        report(self.roused())
    }

    /// One entry a source; none of a clock that follows another on a shared page. What makes a clock SYNCHRONIZED is
    /// told here a millisecond, and 64 ms at most, before readers see it.
    pub fn sources(&self) -> Vec<SourceInfo> {
        sources(self.roused())
    }

    /// Why the state file ([`Config::set_state_file`]) was refused at the start, or could not be written last; it names
    /// the file. `None` if all is well, also where there was no file yet.
    pub fn state_file_fault(&self) -> Option<String> {
        state_file_fault(&self.shared)
    }

    /// Why the state could not be saved last; it names the file.
    #[cfg(feature = "cli")]
    pub(crate) fn unsaved_state(&self) -> Option<String> {
        self.shared.with_status(|status| status.files.unsaved.clone())
    }

    /// Why the recording ([`Config::set_recording`]) has ended before the clock; it names the file.
    pub fn recording_fault(&self) -> Option<String> {
        self.shared.with_status(|status| status.files.recording.clone())
    }

    /// Why the clock's thread is not woken when the machine resumes from a suspend or the system clock is set; it then
    /// notices when it runs next. `None` if all is well.
    pub fn resume_watch_fault(&self) -> Option<String> {
        resume_watch_error(&self.shared).map(|error| error.to_string())
    }

    /// Stops the thread (within 100 ms, and what a disk takes to save the state file). Reading goes on, in holdover;
    /// on a page that processes share, as long and as well as anybody else keeps it.
    pub fn stop(&self) {
        self.life.stop();
    }

    /// In a forked child: makes the clock's thread anew, with the same configuration. Reading goes on meanwhile, on the
    /// same line and in the same epoch, in HOLDOVER until the child has heard its servers itself; the parent notices
    /// nothing.
    ///
    /// Where the thread runs, this does nothing. What the child does not take over: the recording and the callback of
    /// the parent; servers have to be started anew.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] after a stop; [`Error::Io`] if the thread or its descriptors cannot be made, or inside a
    /// fork handler; the clock then reads on in holdover, and may be restarted later.
    pub fn restart(&self) -> Result<(), Error> {
        self.life.restart(&self.shared)
    }

    /// What others share with the clock's thread, which is restarted first in a forked child that is to do so by
    /// itself.
    fn awake(&self) -> Result<&SharedRef, Error> {
        self.life.awake(&self.shared)?;
        Ok(&self.shared)
    }

    /// As [`Self::awake`], for what works without a thread too.
    pub(crate) fn roused(&self) -> &SharedRef {
        // The clock still is without a thread then, and its report says so.
        let _ = self.life.awake(&self.shared);
        &self.shared
    }

    /// Why the page that processes share ([`Config::set_shared_page`]) cannot be used, or is not where it was: the
    /// clock goes on with what it has, and those that are started later share another. It names the file. `None` if all
    /// is well. Once the clock is stopped, it is what was found last.
    pub fn shared_page_fault(&self) -> Option<String> {
        shared_page_fault(&self.shared)
    }

    /// What its readers look at, and of which fork generation its writer is to be.
    #[cfg(feature = "capi")]
    #[inline(always)]
    pub(crate) fn page(&self) -> (&Publication, u32) {
        (&self.shared.place, self.shared.place.generation())
    }

    #[inline(never)]
    fn utc_otherwise(&self) -> i64 {
        utc_otherwise(&self.shared.place, self.shared.place.generation())
    }

    pub(crate) fn shared(&self) -> SharedRef {
        self.shared.clone()
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop();
        // A callback that drops its own clock is not waited for. Nothing can fail without a new one.
        let _ = self.shared.events.call(None);
    }
}

/// Reads the page of `shared`.
#[inline(always)]
pub(crate) fn read(shared: &Shared) -> Reading {
    read_page(&shared.place, shared.place.generation())
}

/// Reads a page whose writer is to be of that fork generation, as its reader.
#[inline(always)]
pub(crate) fn read_page(page: &Publication, generation: u32) -> Reading {
    Reading::of(page, generation, ticks::read, counter::system_time)
}

/// As [`read`], but not fooled by a suspend that the thread has not seen.
pub(crate) fn read_checked(shared: &Shared) -> Reading {
    let (suspended, generation) = (clocks::suspended_at_least, shared.place.generation());
    Reading::checked(&shared.place, generation, ticks::read, counter::system_time, suspended)
}

/// UTC, if it is to be had by ticks and at a glance, ns since 1970. Cannot panic, so needs no guard.
#[inline(always)]
pub(crate) fn utc(page: &Publication, read: impl Fn(Kind) -> Tick) -> Option<i64> {
    page.utc(Kind::Ticks, read).map(|utc| utc.0)
}

/// UTC where that cannot be had, ns since 1970. Apart, so that the quick way is short.
#[inline(never)]
pub(crate) fn utc_otherwise(page: &Publication, generation: u32) -> i64 {
    let raw = page.utc(Kind::Raw, ticks::read);
    let whole = || Reading::otherwise(page, generation, ticks::read, counter::system_time).unix_ns;
    raw.map_or_else(whole, |utc| utc.0)
}

fn offset(shared: &Shared) -> Offset {
    let (page, _) = shared.place.read(ticks::read);
    let bracket = Bracket::read();
    let (counter, uncertainty) = bracket.midpoint();
    let reading = Reading::new(&page, page.tick_at(counter), shared.place.generation(), || bracket.system);
    Offset {
        offset_ns: (UnixTime(reading.unix_ns) - bracket.system).0,
        bound_ns: match reading.error_bound_ns() {
            i64::MAX => i64::MAX,
            bound => bound.saturating_add(uncertainty.0),
        },
    }
}

/// Refuses to wait in the midst of a fork: for threads that wait for the fork themselves.
fn check_no_fork() -> Result<(), Error> {
    let deadlock = || Error::io("waiting for the clock inside a fork handler", std::io::ErrorKind::Deadlock.into());
    if fork::is_forking() { Err(deadlock()) } else { Ok(()) }
}

fn wait(shared: &Shared, max_bound: Option<Duration>, timeout: Option<Duration>) -> Result<(), Error> {
    check_no_fork()?;
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
        let (page, tick) = shared.place.read(ticks::read);
        let reading = Reading::new(&page, tick, shared.place.generation(), counter::system_time);
        if reading.state == State::Synchronized && reading.error_bound_ns() <= max_bound_ns {
            return Ok(Ok(()));
        }
        let left = deadline.map_or(PACE, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            let detail = excuse(status, &reading);
            return Ok(Err(Error::Timeout { detail }));
        }
        // What was just published takes effect a moment later, and nobody tells of that.
        let pending = (page.switch - page.counter_at(tick)).to_duration();
        let pace = if pending.is_zero() { PACE } else { pending.min(PACE) };
        Err(left.min(pace))
    })
}

/// Why a clock is not synchronised: what is wrong with a shared page, and each source with its last fault.
fn excuse(status: &Status, reading: &Reading) -> String {
    let min_agreeing = status.min_agreeing;
    let mut clauses: Vec<String> = status.membership.fault.iter().cloned().collect();
    let Some(account) = status.account.as_deref() else {
        clauses.push(match status.membership.leader {
            0 => "nothing was heard yet".to_owned(),
            pid => format!("process {pid}, which leads, shows nothing better"),
        });
        return clauses.join("; ");
    };
    let told = |source: &SourceInfo| {
        let address = source.address.map(|address| format!(" ({address})")).unwrap_or_default();
        let fault = source.fault.clone().unwrap_or_else(|| source.selection.to_string());
        format!("{}{address}: {fault}", source.name)
    };
    clauses.extend(account.sources.iter().map(told));
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

/// What the engine last said of itself, with what the page says now. One that follows says what its leader does.
pub(crate) fn report(shared: &Shared) -> Report {
    let (account, membership) = shared.with_status(|status| {
        // Without a thread nobody here knows who leads now.
        let membership = if status.is_running() { status.membership.clone() } else { Membership::default() };
        (status.account.clone(), membership)
    });
    let account = account.map_or_else(blank_report, |account| account.report.clone());
    let mut report = match shared.place.shared() {
        None => account,
        Some(_) if membership.leads => Report { role: Role::Leader, ..account },
        Some(page) => {
            let whole = page.publication().whole().unwrap_or_default();
            Report { role: Role::Follower, ..whole.map_or_else(blank_report, |(_, note)| note.report) }
        }
    };
    report.leader_pid = membership.leader;
    // The page knows better than the account what has come to pass since.
    let reading = read(shared);
    (report.state, report.epoch, report.bound_ns) = (reading.state, reading.epoch, reading.error_bound_ns());
    if reading.state.is_usable() {
        let bound = Nanos(reading.error_bound_ns());
        report.root_dispersion_ns = root_dispersion(bound, Nanos(report.root_delay_ns)).0;
    }
    report
}

pub(crate) fn resume_watch_error(shared: &Shared) -> Option<Error> {
    let Unwatched { resume, vmclock } = shared.with_status(|status| status.unwatched.clone());
    let told = |what: &str, why: Option<String>| why.map(|why| Error::io(what, std::io::Error::other(why)));
    told("watching for a resume of the machine", resume).or_else(|| told(vmclock::DEVICE, vmclock))
}

pub(crate) fn shared_page_fault(shared: &Shared) -> Option<String> {
    shared.with_status(|status| status.membership.fault.clone())
}

pub(crate) fn state_file_fault(shared: &Shared) -> Option<String> {
    shared.with_status(|status| {
        let faults: Vec<&str> =
            [&status.files.refused, &status.files.unsaved].into_iter().flatten().map(String::as_str).collect();
        if faults.is_empty() { None } else { Some(faults.join("; ")) }
    })
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
        estimated_error_ns: i64::MAX,
        bound_ns: i64::MAX,
        stratum: 16,
        root_delay_ns: 0,
        root_dispersion_ns: 0,
        reference_id: 0,
        reference_time_ns: 0,
        leap: Leap::Unknown,
        exchanges: 0,
        rejected: 0,
        flags: model.flags,
        role: Role::Alone,
        leader_pid: 0,
    }
}

fn sources(shared: &Shared) -> Vec<SourceInfo> {
    // Those of a clock that leads no more were the leader's.
    let own = |status: &Status| {
        if shared.place.shared().is_none() || status.membership.leads { status.account.clone() } else { None }
    };
    let Some(account) = shared.with_status(own) else { return Vec::new() };
    let now = counter::now();
    let older = |source: &SourceInfo| {
        let age = if source.age_ns == i64::MAX { i64::MAX } else { (Nanos(source.age_ns) + (now - account.at)).0 };
        SourceInfo { age_ns: age, ..source.clone() }
    };
    account.sources.iter().map(older).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publication::page::Page;
    use crate::publication::{gate, stall};
    use crate::server::{Server, ServerConfig};
    use crate::sys::fork::trial;
    use crate::sys::thread::pin;
    use std::sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Relaxed, Release},
    };
    use std::thread;

    /// A server of this machine's clock, and a clock that asks it every second.
    fn pair() -> (Server, Clock) {
        let server = local_server();
        let clock = follow(&server, |_| ());
        (server, clock)
    }

    /// Reads until `over`; within an epoch nothing may run backwards. Returns the number of readings.
    fn read_on(clock: &Clock, over: &AtomicBool) -> u64 {
        let mut last = clock.now();
        let mut count = 0;
        while !over.load(Relaxed) {
            let next = clock.now();
            assert!(next.earliest_ns <= next.unix_ns && next.unix_ns <= next.latest_ns, "{next:?}");
            if next.epoch == last.epoch {
                assert!(next.unix_ns >= last.unix_ns, "{next:?} after {last:?}");
                assert!(next.raw_ns >= last.raw_ns);
            }
            last = next;
            count += 1;
        }
        count
    }

    #[test]
    fn no_reading_runs_backwards_while_the_writer_stalls_in_mid_update() {
        let (_server, clock) = pair();
        clock.wait(None, Some(Duration::from_secs(10))).unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let readers = [scope.spawn(|| read_on(&clock, &over)), scope.spawn(|| read_on(&clock, &over))];
            for micros in [0, 700, 3_000, 20_000] {
                stall::MICROS.store(micros, Relaxed);
                thread::sleep(Duration::from_millis(1500));
            }
            stall::MICROS.store(0, Relaxed);
            over.store(true, Relaxed);
            let counts = readers.map(|reader| reader.join().unwrap());
            assert!(counts.iter().all(|&count| count > 10_000), "readers were kept waiting: {counts:?}");
        });
        assert_eq!(clock.now().state, State::Synchronized, "{:?}", clock.sources());
        assert!(clock.report().exchanges >= 4);
    }

    /// What a child reads until it is `over`, from `first` on, which was read just before the fork. In a child nothing
    /// may panic.
    fn reads_on_in_a_child(clock: &Clock, first: &Reading, over: &AtomicBool) -> Result<Reading, String> {
        let mut last = *first;
        loop {
            let next = clock.now();
            if next.epoch != first.epoch || next.unix_ns < last.unix_ns {
                return Err(format!("{next:?} after {last:?}"));
            }
            last = next;
            if over.load(Relaxed) {
                return Ok(last);
            }
        }
    }

    /// What a child must find whose parent's writer stands between writing a piece and showing it; `first` was read just
    /// before the fork, and `shown` is the page that the piece was to follow.
    fn goes_on_in_a_child(clock: &Clock, first: &Reading, shown: &Page) -> Result<(), String> {
        let check = |holds: bool, what: &dyn Fn() -> String| if holds { Ok(()) } else { Err(what()) };
        // Here nobody stands there any more; and if it did not stand there at the fork, nothing is shown by all this.
        check(gate::open(), &|| "the writer was not held".to_owned())?;
        let once = || reads_on_in_a_child(clock, first, &AtomicBool::new(true));
        for _ in 0..10_000 {
            let read = once()?;
            let kept = read.state == State::Holdover && read.error_bound_ns() < i64::MAX;
            check(kept, &|| format!("not in holdover: {read:?}"))?;
        }
        // While a correction is slewed in, what is shown may be the very end of the interval: that comes nearer then.
        let is_within = |reading: &Reading| (reading.earliest_ns + 1..reading.latest_ns).contains(&reading.unix_ns);
        let (earlier, later) = loop {
            let earlier = once()?;
            thread::sleep(Duration::from_millis(20));
            let later = once()?;
            if is_within(&earlier) && is_within(&later) {
                break (earlier, later);
            }
        };
        let width = |reading: &Reading| reading.latest_ns - reading.earliest_ns;
        check(width(&later) > width(&earlier), &|| format!("{later:?} is as good as {earlier:?}"))?;
        let (page, _) = clock.shared.place.read(ticks::read);
        check(page == *shown, &|| format!("{page:?} instead of {shown:?}"))?;
        let refused = clock.wait(None, Some(Duration::ZERO));
        check(matches!(refused, Err(Error::NotRunning)), &|| format!("a wait came to {refused:?}"))?;

        clock.restart().map_err(|error| error.to_string())?;
        clock.wait(None, Some(Duration::from_secs(10))).map_err(|error| error.to_string())?;
        let (page, _) = clock.shared.place.read(ticks::read);
        let anew = page.generation == fork::generation() && page.switch > shown.switch;
        check(anew, &|| format!("{page:?} was not published here"))
    }

    /// The same, beside a thread of the child's that reads all the while.
    fn lives_on_in_a_child(clock: &Clock, first: &Reading, shown: &Page) -> Result<(), String> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let reader = scope.spawn(|| reads_on_in_a_child(clock, first, &over));
            let outcome = goes_on_in_a_child(clock, first, shown);
            over.store(true, Relaxed);
            let read = reader.join().unwrap_or_else(|_| Err("a reader panicked".to_owned()));
            outcome.and(read.map(drop))
        })
    }

    /// Ends what would go on for ever if a test failed beside it: readers, and a writer that is held.
    struct AtEnd<'a>(&'a AtomicBool);

    impl Drop for AtEnd<'_> {
        fn drop(&mut self) {
            gate::open();
            self.0.store(true, Relaxed);
        }
    }

    #[test]
    fn a_child_forked_in_mid_publication_reads_on_and_publishes_and_the_parent_does_as_well() {
        let (_server, clock) = pair();
        clock.wait(None, Some(Duration::from_secs(10))).unwrap();
        let (session, epoch) = (clock.session(), clock.now().epoch);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let reader = scope.spawn(|| read_on(&clock, &over));
            let at_end = AtEnd(&over);
            for _ in 0..3 {
                let switch = gate::close(&clock.shared.place);
                let fork = || {
                    let (shown, first) = (clock.shared.place.read(ticks::read).0, clock.now());
                    (shown, trial::fork(|| lives_on_in_a_child(&clock, &first, &shown)))
                };
                let (shown, child) = scope.spawn(fork).join().unwrap();
                assert_eq!(shown.switch, switch, "what is only written is shown");
                assert_eq!(clock.shared.place.read(ticks::read).0, shown);
                assert!(gate::open());
                // Here the writer goes on.
                let begun = Instant::now();
                while clock.shared.place.read(ticks::read).0.switch == shown.switch {
                    assert!(begun.elapsed() < Duration::from_secs(10), "nothing is published any more");
                    thread::sleep(Duration::from_millis(1));
                }
                child.join();
            }
            drop(at_end);
            assert!(reader.join().unwrap() > 10_000);
        });
        clock.wait(None, Some(Duration::from_secs(10))).unwrap();
        assert_eq!((clock.session(), clock.now().epoch), (session, epoch));
    }

    #[test]
    fn on_two_processors_no_thread_reads_earlier_than_a_value_it_has_seen_from_another() {
        let (_server, clock) = pair();
        clock.wait(None, Some(Duration::from_secs(10))).unwrap();
        let epoch = clock.now().epoch;
        let newest = std::sync::atomic::AtomicI64::new(clock.unix_ns());
        let over = AtomicBool::new(false);
        // Whatever one thread has read, by either way and from whichever page, is nothing that the other comes before.
        let read_on = |turn: u64| {
            assert!(pin(turn as usize), "two processors are needed to see one counter from");
            let mut count = turn;
            while !over.load(Relaxed) {
                let seen = newest.load(Acquire);
                let read = if count.is_multiple_of(3) { clock.now().unix_ns } else { clock.unix_ns() };
                assert!(read >= seen, "{} ns earlier than what was seen, at reading {count}", seen - read);
                newest.fetch_max(read, Release);
                count += 1;
            }
            count
        };
        thread::scope(|scope| {
            let readers = [scope.spawn(|| read_on(0)), scope.spawn(|| read_on(1))];
            // Long enough for pages of both kinds, and for some turns.
            thread::sleep(Duration::from_secs(4));
            over.store(true, Relaxed);
            let counts = readers.map(|reader| reader.join().unwrap());
            assert!(counts.iter().all(|&count| count > 100_000), "{counts:?}");
        });
        assert_eq!(clock.now().epoch, epoch);
        let (page, _) = clock.shared.place.read(ticks::read);
        let expected = if ticks::kernel_sight().is_some() { Kind::Ticks } else { Kind::Raw };
        assert_eq!(page.relation.scale.kind, expected, "after 4 s readers read what is best");
    }

    #[test]
    fn before_the_first_answer_the_system_clock_is_read_and_nothing_is_claimed() {
        let clock = Clock::start(Config::with_servers("127.0.0.1:9").unwrap()).unwrap();
        let (before, reading, after) = (counter::system_time(), clock.now(), counter::system_time());
        assert!((before.0..=after.0).contains(&reading.unix_ns));
        assert_eq!((reading.state, reading.epoch), (State::Unsynchronized, 0));
        assert_eq!((reading.earliest_ns, reading.latest_ns), (i64::MIN, i64::MAX));
        assert_eq!(reading.error_bound(), None);
        assert_eq!(clock.offset(), Offset { offset_ns: 0, bound_ns: i64::MAX });
    }

    #[test]
    fn a_timeout_names_each_source_and_its_fault() {
        let clock = Clock::start(Config::with_servers("127.0.0.1:9,[::1]:9").unwrap()).unwrap();
        let error = clock.wait(None, Some(Duration::from_millis(300))).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Timeout { .. }), "{text}");
        assert!(text.contains("127.0.0.1:9") && text.contains("[::1]:9") && text.contains("refused"), "{text}");
    }

    #[test]
    fn a_stop_ends_waits_and_leaves_the_time_readable_in_holdover() {
        let (_server, clock) = pair();
        clock.wait(None, Some(Duration::from_secs(10))).unwrap();
        let synchronized = clock.now();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| clock.wait(Some(Duration::from_nanos(1)), None));
            thread::sleep(Duration::from_millis(50));
            let asked = Instant::now();
            clock.stop();
            assert!(asked.elapsed() < Duration::from_millis(100), "{:?}", asked.elapsed());
            assert!(matches!(waiter.join().unwrap(), Err(Error::Stopped)));
        });
        assert!(matches!(clock.wait(None, None), Err(Error::NotRunning)));
        thread::sleep(Duration::from_millis(5));
        let after = clock.now();
        assert_eq!((after.state, after.epoch), (State::Holdover, synchronized.epoch));
        assert!(after.unix_ns > synchronized.unix_ns && after.error_bound_ns() < i64::MAX);
        clock.stop();
    }

    /// A path in the directory for scratch files that no other test uses.
    fn scratch(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("ntpclock-clock-{}-{name}", std::process::id()))
    }

    /// A clock that asks `server` every second, with further wishes.
    fn follow(server: &Server, wish: impl FnOnce(&mut Config)) -> Clock {
        let mut config = Config::with_servers(&server.addresses()[0].to_string()).unwrap();
        config.set_poll_exponents(0, 0).unwrap();
        wish(&mut config);
        Clock::start(config).unwrap()
    }

    fn local_server() -> Server {
        let mut config = ServerConfig::new();
        config.add_listen("127.0.0.1:0").unwrap().set_local(1, Duration::from_micros(10)).unwrap();
        Server::start(None, &config).unwrap()
    }

    #[test]
    fn where_too_few_sources_agree_the_wait_says_how_many_are_asked_for() {
        let server = local_server();
        let clock = follow(&server, |config| {
            config.set_min_agreeing(2).unwrap();
        });
        let error = clock.wait(None, Some(Duration::from_secs(2))).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(error.to_string().contains("1 of 1 sources agree, 2 are asked for"), "{error}");
    }

    #[test]
    fn a_recorded_run_is_replayed_as_it_was() {
        let (server, path) = (local_server(), scratch("trace.csv"));
        // Before the start: an answer may come while this thread has not gone on yet.
        let first = Reading::of(&Publication::new(), 0, ticks::read, counter::system_time);
        let clock = follow(&server, |config| {
            config.set_recording(&path).unwrap();
        });
        clock.wait(None, Some(Duration::from_secs(10))).unwrap();
        let mut seen = vec![first];
        for _ in 0..50 {
            thread::sleep(Duration::from_millis(100));
            seen.push(clock.now());
        }
        let exchanges = clock.report().exchanges;
        clock.stop();
        assert_eq!(clock.recording_fault(), None);

        let queries = scratch("queries.csv");
        let asked: String = seen.iter().map(|reading| format!("{}\n", reading.raw_ns)).collect();
        std::fs::write(&queries, format!("raw_ns\n{asked}")).unwrap();
        let mut replay = crate::Replay::new();
        replay.set_poll(Duration::from_secs(1)).unwrap();
        let told = replay.run(&path, &queries).unwrap();
        let recorded = std::fs::read_to_string(&path).unwrap();
        let lines = recorded.lines().count() as u64;
        // Live, a model takes effect a little after its exchange: a reading in between still is without.
        let began: i64 = recorded.lines().nth(1).unwrap().split(',').nth(4).unwrap().parse().unwrap();
        let between = began..began + Nanos::from_millis(128).0;
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(&queries).unwrap();
        assert!(exchanges >= 4 && lines > exchanges, "{exchanges} exchanges, {lines} lines");
        for (reading, line) in seen.iter().zip(told.lines().skip(1)) {
            let fields: Vec<&str> = line.split(',').collect();
            if between.contains(&reading.raw_ns) && reading.epoch == 0 {
                continue;
            }
            assert_eq!(fields[4], reading.state.to_string(), "{line}");
            if let Ok(utc) = fields[1].parse::<i64>() {
                assert!((utc - reading.unix_ns).abs() <= reading.error_bound_ns(), "{line}: {reading:?}");
            } else {
                assert_eq!(reading.epoch, 0);
            }
        }
    }

    #[test]
    fn a_recording_that_cannot_be_written_fails_the_start() {
        let mut config = Config::with_servers("127.0.0.1:9").unwrap();
        config.set_recording("/dev/full").unwrap();
        let error = Clock::start(config).unwrap_err().to_string();
        assert!(error.starts_with("recording to /dev/full: "), "{error}");
    }

    #[test]
    fn a_clock_with_a_state_file_starts_where_it_stopped() {
        let (server, path) = (local_server(), scratch("state"));
        let warm = |config: &mut Config| {
            config.set_state_file(&path).unwrap();
        };
        let clock = follow(&server, warm);
        assert_eq!((clock.state_file_fault(), clock.now().state), (None, State::Unsynchronized));
        clock.wait(None, Some(Duration::from_secs(10))).unwrap();
        clock.stop();
        let before = clock.now();
        assert_eq!((before.state, clock.state_file_fault()), (State::Holdover, None));

        // The very first reading has a bound, and one that is not better than what it came from.
        let mut config = Config::with_servers("127.0.0.1:9").unwrap();
        warm(&mut config);
        let again = Clock::start(config).unwrap();
        let (earliest, first, latest) = (counter::system_time(), again.now(), counter::system_time());
        assert_eq!((first.state, first.epoch, again.state_file_fault()), (State::Holdover, 1, None));
        assert!(first.earliest_ns <= latest.0 && earliest.0 <= first.latest_ns, "{first:?}");
        assert!(first.error_bound_ns() >= before.error_bound_ns() && first.unix_ns > before.unix_ns);
        assert!(first.age_ns < 30_000_000_000);
        drop(again);

        // It goes on in the same epoch when its server answers.
        let again = follow(&server, warm);
        again.wait(None, Some(Duration::from_secs(10))).unwrap();
        assert_eq!((again.now().epoch, again.report().steps), (1, 0));
        drop(again);

        // A broken file is a cold start, with the reason; at the stop a good one takes its place.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[80] ^= 4;
        std::fs::write(&path, &bytes).unwrap();
        let cold = follow(&server, warm);
        let fault = cold.state_file_fault().unwrap();
        assert!(fault.contains("state: its checksum is wrong"), "{fault}");
        cold.wait(None, Some(Duration::from_secs(10))).unwrap();
        drop(cold);
        assert_eq!(follow(&server, warm).state_file_fault(), None);

        // A place that cannot be written is told when it was tried, and is no failure.
        let nowhere = |config: &mut Config| {
            config.set_state_file("/nonexistent/state").unwrap();
        };
        let clock = follow(&server, nowhere);
        clock.wait(None, Some(Duration::from_secs(10))).unwrap();
        assert_eq!(clock.state_file_fault(), None);
        clock.stop();
        let fault = clock.state_file_fault().unwrap();
        assert!(fault.starts_with("writing state file /nonexistent/state: "), "{fault}");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_checked_reading_of_a_machine_that_is_awake_is_as_good_as_any() {
        let (_server, clock) = pair();
        assert_eq!(clock.now_checked().state, State::Unsynchronized);
        clock.wait(None, Some(Duration::from_secs(10))).unwrap();
        assert_eq!(clock.resume_watch_fault(), None);
        for _ in 0..10_000 {
            let (before, checked, after) = (clock.now(), clock.now_checked(), clock.now());
            assert_eq!((checked.state, checked.epoch), (State::Synchronized, before.epoch));
            assert!(before.unix_ns <= checked.unix_ns && checked.unix_ns <= after.unix_ns);
        }
        clock.stop();
        thread::sleep(Duration::from_millis(5));
        assert_eq!(clock.now_checked().state, State::Holdover);
    }

    #[test]
    fn the_offset_is_what_brings_the_system_clock_to_utc() {
        let (_server, clock) = pair();
        clock.wait(None, Some(Duration::from_secs(10))).unwrap();
        let offset = clock.offset();
        assert!(offset.offset_ns.abs() <= offset.bound_ns, "{offset:?}");
        assert!(offset.bound_ns < 20_000_000, "{offset:?}");
    }
}
