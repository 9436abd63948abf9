//! Time as events need it: has it passed, is it certain enough, wake me then.

use std::os::fd::RawFd;
use std::time::Duration;

use super::until::{self, Until};
use super::{Clock, Shared, read};
use crate::convert::{Deadline, Timescale};
use crate::engine::Status;
use crate::error::Error;
use crate::events::Events;
use crate::reading::Reading;
use crate::sys::clocks::Anchor;
use crate::units::{Nanos, UnixTime};

impl Clock {
    /// Reads the clock for a caller that needs a bound of at most `max_bound`.
    ///
    /// # Errors
    ///
    /// [`Error::BoundExceeded`] with the bound there is, [`Error::NotSynchronized`] if there is none.
    pub fn now_within(&self, max_bound: Duration) -> Result<Reading, Error> {
        now_within(&self.shared, max_bound)
    }

    /// Whether UTC is certainly after `unix_ns`; false also when nothing is known.
    pub fn after(&self, unix_ns: i64) -> bool {
        self.now().is_after(unix_ns)
    }

    /// Whether UTC is certainly before `unix_ns`; false also when nothing is known.
    pub fn before(&self, unix_ns: i64) -> bool {
        self.now().is_before(unix_ns)
    }

    /// Commit wait: returns when UTC is certainly after `unix_ns`, that is, when [`Self::after`] has become true.
    /// `timeout` None: for ever.
    ///
    /// Who gives an event the time [`Reading::latest_ns`] and makes it known only after this wait for it knows that no
    /// event that anybody begins afterwards, on whatever host with an honest clock, gets an earlier time.
    ///
    /// The wait goes on through steps, disruptions and losses of synchronisation of a running clock. On a clock without
    /// a thread (after a stop, or in a forked child) it works as long as the interval there means something.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; [`Error::NotSynchronized`] if nothing was known of UTC when the time ran out;
    /// [`Error::Stopped`] if the clock was stopped meanwhile; [`Error::NotRunning`] if there is neither a thread nor an
    /// interval; [`Error::Io`] inside a fork handler.
    pub fn wait_until_past(&self, unix_ns: i64, timeout: Option<Duration>) -> Result<(), Error> {
        wait_until_past(self.roused(), unix_ns, timeout)
    }

    /// Returns when [`Clock::now`] shows `unix_ns` or later. It aims anew whenever the clock is corrected or stepped.
    /// `timeout` None: for ever.
    ///
    /// Before the first synchronisation that is the system clock's time.
    ///
    /// # Errors
    ///
    /// As [`Self::wait_until_past`].
    pub fn sleep_until(&self, unix_ns: i64, timeout: Option<Duration>) -> Result<(), Error> {
        sleep_until(self.roused(), unix_ns, timeout)
    }
}

impl Clock {
    /// Where UTC was when the clock `timescale` of this machine showed `stamp_ns`: as if the clock had been read then,
    /// and with everything that is known by now. `age_ns` and `state` are as of then; `raw_ns` is the middle of where
    /// the counter can have stood. The bound cap does not apply: the interval is what it is.
    ///
    /// Stamps may be older than the first synchronisation. Those of the raw counter, `CLOCK_MONOTONIC` and
    /// `CLOCK_BOOTTIME` may be older than the clock's start, and may lie ahead, as long as the machine is not
    /// suspended. The interval includes what the kernel may have slewed its clocks between the moments at which the
    /// engine looked at them: 0.1 % of the time to the nearest one. That they are slewed faster by nobody is an
    /// assumption; where these moments show that somebody did, 12.5 % are allowed for.
    ///
    /// # Errors
    ///
    /// [`Error::NotSynchronized`] if no model of the time is known; [`Error::Unconvertible`] if nothing honest can be
    /// said: the machine was suspended or the clock disrupted after the stamp, or the system clock was stepped around
    /// it.
    pub fn convert(&self, timescale: Timescale, stamp_ns: i64) -> Result<Reading, Error> {
        convert(&self.shared, timescale, stamp_ns)
    }

    /// When the clock `timescale` of this machine will show that UTC is `unix_ns`; for timers. Holds as long as the
    /// machine is not suspended until then.
    ///
    /// # Errors
    ///
    /// [`Error::NotSynchronized`]; [`Error::InvalidArgument`] for [`Timescale::Realtime`], which may be stepped, and
    /// for times more than a hundred years away; [`Error::Unconvertible`] for a past in which the machine was
    /// suspended.
    pub fn deadline(&self, timescale: Timescale, unix_ns: i64) -> Result<Deadline, Error> {
        deadline(&self.shared, timescale, unix_ns)
    }

    /// A descriptor that is readable while there are events to [take](Self::take_events): for `poll`, `epoll`, and the
    /// event loops that are built on them. One for each clock, which keeps it; do not read or close it.
    ///
    /// Everything that has happened since the start of the clock is pending at first. In a forked child the number is
    /// the child's own after the first call of this or of [`Self::take_events`], which has nothing of the parent's;
    /// this tells another one where the child has closed the number, or `/proc` does not say what it stands for.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there are no descriptors left.
    pub fn event_fd(&self) -> Result<RawFd, Error> {
        self.roused().events.descriptor()
    }

    /// What has happened since it was last asked; the descriptor is unreadable until something happens again. It may be
    /// nothing. An event that comes and goes between two calls is told, its order is not: the state is [`Self::now`]'s.
    pub fn take_events(&self) -> Events {
        self.roused().events.take()
    }

    /// Has `callback` called with whatever happens, from a thread of the library's own in which all signals are
    /// blocked; `None` takes it back. First it is told what happened last to the state, if anything.
    ///
    /// There is one callback for each clock: another one replaces it. When this returns, and when the clock has been
    /// dropped, the former one is not running and is not called again; so do not hold a lock that it waits for. A
    /// callback may block, and call everything here: it may stop the clock, and replace or take back itself; in that
    /// case it is not waited for. In a forked child it is not called until it is given again.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the thread cannot be made; the former callback then stays.
    pub fn on_event(&self, callback: Option<Box<dyn FnMut(Events) + Send>>) -> Result<(), Error> {
        self.roused().events.call(callback)
    }
}

pub(crate) fn convert(shared: &Shared, timescale: Timescale, stamp_ns: i64) -> Result<Reading, Error> {
    let alive = shared.with_status(Status::is_running);
    // Read under the lock, so that no anchor of the engine's is later.
    shared.with_history(|history| history.utc(timescale, stamp_ns, &Anchor::read(), alive))
}

pub(crate) fn deadline(shared: &Shared, timescale: Timescale, unix_ns: i64) -> Result<Deadline, Error> {
    shared.with_history(|history| history.deadline(timescale, UnixTime(unix_ns), &Anchor::read()))
}

pub(crate) fn now_within(shared: &Shared, max_bound: Duration) -> Result<Reading, Error> {
    let reading = read(shared);
    within(&reading, max_bound)?;
    Ok(reading)
}

/// Refuses a reading whose bound is above `max_bound`.
pub(crate) fn within(reading: &Reading, max_bound: Duration) -> Result<(), Error> {
    let (bound_ns, max_bound_ns) = (reading.error_bound_ns(), Nanos::from_duration(max_bound).0);
    if !reading.state.is_usable() {
        return Err(Error::NotSynchronized(reading.state));
    }
    if bound_ns > max_bound_ns { Err(Error::BoundExceeded { bound_ns, max_bound_ns }) } else { Ok(()) }
}

pub(crate) fn wait_until_past(shared: &Shared, unix_ns: i64, timeout: Option<Duration>) -> Result<(), Error> {
    until::wait(shared, Until::Past(UnixTime(unix_ns)), timeout)
}

pub(crate) fn sleep_until(shared: &Shared, unix_ns: i64, timeout: Option<Duration>) -> Result<(), Error> {
    until::wait(shared, Until::Shown(UnixTime(unix_ns)), timeout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::packet::{self, Packet};
    use crate::status::State;
    use crate::sys::counter;
    use crate::sys::wake;
    use crate::units::NtpTime;
    use std::net::UdpSocket;
    use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
    use std::sync::{Arc, mpsc};
    use std::thread::{self, JoinHandle};
    use std::time::Instant;

    const MILLIS: i64 = 1_000_000;
    const AMPLE: Option<Duration> = Some(Duration::from_secs(20));

    /// A server of stratum 1 that shows this machine's clock, as far wrong as it is told to be, unless it is silent.
    struct Scripted {
        address: String,
        ahead: Arc<AtomicI64>,
        silent: Arc<AtomicBool>,
        over: Arc<AtomicBool>,
        thread: Option<JoinHandle<()>>,
    }

    impl Scripted {
        fn start() -> Self {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let address = socket.local_addr().unwrap().to_string();
            let (ahead, silent, over) = <(Arc<AtomicI64>, Arc<AtomicBool>, Arc<AtomicBool>)>::default();
            let script = (Arc::clone(&ahead), Arc::clone(&silent), Arc::clone(&over));
            let thread = thread::spawn(move || Self::answer(&socket, &script.0, &script.1, &script.2));
            Self { address, ahead, silent, over, thread: Some(thread) }
        }

        fn answer(socket: &UdpSocket, ahead: &AtomicI64, silent: &AtomicBool, over: &AtomicBool) {
            let mut buffer = [0; 512];
            while !over.load(Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let shown = || NtpTime::from_unix(counter::system_time() + Nanos(ahead.load(Relaxed)));
                let reply = Packet {
                    stratum: 1,
                    mode: packet::Mode::Server,
                    precision: -25,
                    origin: Packet::parse(&buffer[..length]).unwrap().transmit,
                    reference: shown(),
                    receive: shown(),
                    transmit: shown(),
                    ..Packet::request(NtpTime::ZERO)
                };
                if !silent.load(Relaxed) {
                    socket.send_to(&reply.bytes(), from).unwrap();
                }
            }
        }

        /// A clock that asks it every second.
        fn clock(&self) -> Clock {
            let mut config = Config::with_servers(&self.address).unwrap();
            config.set_poll_exponents(0, 0).unwrap();
            Clock::start(config).unwrap()
        }
    }

    impl Drop for Scripted {
        fn drop(&mut self) {
            self.over.store(true, Relaxed);
            self.thread.take().unwrap().join().unwrap();
        }
    }

    /// A server, and a synchronised clock that follows it.
    fn pair() -> (Scripted, Clock) {
        let server = Scripted::start();
        let clock = server.clock();
        clock.wait(None, AMPLE).unwrap();
        (server, clock)
    }

    /// A clock that never hears anything.
    fn deaf() -> Clock {
        Clock::start(Config::with_servers("127.0.0.1:9").unwrap()).unwrap()
    }

    /// Waits until `event` is told, and returns everything that was told until then.
    fn await_event(clock: &Clock, event: Events) -> Events {
        let (fd, begun, mut told) = (clock.event_fd().unwrap(), Instant::now(), Events::NONE);
        while !told.contains(event) {
            let left = AMPLE.unwrap().checked_sub(begun.elapsed());
            let left = left.unwrap_or_else(|| panic!("{event:?} is not told, only {told:?}"));
            wake::wait(&[fd], Some(left)).unwrap();
            told |= clock.take_events();
        }
        told
    }

    #[test]
    fn after_and_before_are_only_said_when_they_are_certain() {
        let (_server, clock) = pair();
        let now = clock.now();
        let bound = now.error_bound_ns();
        assert!(clock.after(now.earliest_ns - 1) && !clock.after(now.unix_ns + bound));
        assert!(clock.before(now.latest_ns + 60_000 * MILLIS) && !clock.before(now.unix_ns));
        let nothing = deaf();
        assert!(!nothing.after(0) && !nothing.before(i64::MAX));
    }

    #[test]
    fn a_callers_cap_on_the_bound_is_kept() {
        let (_server, clock) = pair();
        let reading = clock.now_within(Duration::from_secs(1)).unwrap();
        assert!(reading.error_bound_ns() <= 1_000 * MILLIS);
        let error = clock.now_within(Duration::from_nanos(1)).unwrap_err();
        assert!(matches!(error, Error::BoundExceeded { bound_ns: 2.., max_bound_ns: 1 }), "{error}");
        assert!(matches!(deaf().now_within(Duration::MAX), Err(Error::NotSynchronized(State::Unsynchronized))));
    }

    #[test]
    fn a_commit_wait_ends_when_the_time_has_certainly_passed_and_not_before() {
        let (_server, clock) = pair();
        for _ in 0..10 {
            let commit = clock.now().latest_ns + 10 * MILLIS;
            clock.wait_until_past(commit, AMPLE).unwrap();
            let after = clock.now();
            assert!(after.earliest_ns > commit);
            // Timers are good to some 50 µs; a machine that stalls may need longer, but not ten times what was waited
            // for.
            assert!(after.earliest_ns - commit < 100 * MILLIS, "{} ns late", after.earliest_ns - commit);
        }
        clock.wait_until_past(i64::MIN, Some(Duration::ZERO)).unwrap();
        let error = clock.wait_until_past(clock.now().unix_ns + 60_000 * MILLIS, Some(Duration::from_millis(20)));
        assert!(matches!(error, Err(Error::Timeout { .. })), "{error:?}");
    }

    #[test]
    fn a_sleeper_wakes_when_the_clock_shows_the_time() {
        let (_server, clock) = pair();
        for _ in 0..10 {
            let target = clock.now().unix_ns + 30 * MILLIS;
            clock.sleep_until(target, None).unwrap();
            let late = clock.now().unix_ns - target;
            assert!((0..100 * MILLIS).contains(&late), "{late} ns late");
        }
        clock.sleep_until(0, Some(Duration::ZERO)).unwrap();
    }

    #[test]
    fn a_sleeper_sleeps_by_the_system_clock_until_there_is_a_better_one() {
        let clock = deaf();
        let target = clock.now().unix_ns + 30 * MILLIS;
        clock.sleep_until(target, None).unwrap();
        assert!(clock.now().unix_ns >= target);
    }

    #[test]
    fn a_stop_ends_every_wait_for_an_instant() {
        let (_server, clock) = pair();
        let far = clock.now().unix_ns + 3_600_000 * MILLIS;
        thread::scope(|scope| {
            let commit = scope.spawn(|| clock.wait_until_past(far, None));
            let sleeper = scope.spawn(|| clock.sleep_until(far, None));
            thread::sleep(Duration::from_millis(50));
            let asked = Instant::now();
            clock.stop();
            assert!(matches!(commit.join().unwrap(), Err(Error::Stopped)));
            assert!(matches!(sleeper.join().unwrap(), Err(Error::Stopped)));
            assert!(asked.elapsed() < Duration::from_secs(5));
        });
        // In holdover the interval still means something, so a wait that begins now works.
        let commit = clock.now().latest_ns;
        clock.wait_until_past(commit, AMPLE).unwrap();
        assert!(clock.after(commit));
    }

    #[test]
    fn a_wait_for_certainty_outlasts_the_time_before_the_first_synchronisation() {
        let server = Scripted::start();
        let clock = server.clock();
        let commit = clock.now().unix_ns;
        clock.wait_until_past(commit, AMPLE).unwrap();
        assert!(clock.after(commit));
        let nothing = deaf();
        let error = nothing.wait_until_past(0, Some(Duration::from_millis(20)));
        assert!(matches!(error, Err(Error::NotSynchronized(State::Unsynchronized))), "{error:?}");
        nothing.stop();
        assert!(matches!(nothing.wait_until_past(0, None), Err(Error::NotRunning)));
    }

    #[test]
    fn a_stepped_clock_wakes_its_sleepers_and_voids_stamps_from_before() {
        let (server, clock) = pair();
        assert_eq!(await_event(&clock, Events::SYNCHRONIZED), Events::SYNCHRONIZED);
        let stamp = clock.now().raw_ns;
        clock.convert(Timescale::Raw, stamp).unwrap();
        let noon = clock.now().unix_ns + 1_800_000 * MILLIS;
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| clock.sleep_until(noon, AMPLE));
            let commit = scope.spawn(|| clock.wait_until_past(noon, AMPLE));
            // An hour ahead at once: a suspend looks the same.
            server.ahead.store(3_600_000 * MILLIS, Relaxed);
            let told = await_event(&clock, Events::DISRUPTED);
            let told = if told.contains(Events::STEPPED) { told } else { await_event(&clock, Events::STEPPED) };
            assert!(told.contains(Events::SYNCHRONIZED), "{told:?}");
            sleeper.join().unwrap().unwrap();
            commit.join().unwrap().unwrap();
        });
        assert!(clock.after(noon) && clock.now().epoch == 2);
        let error = clock.convert(Timescale::Raw, stamp).unwrap_err().to_string();
        assert_eq!(error, "the stamp cannot be converted: the clock was disrupted after it");
        clock.convert(Timescale::Raw, clock.now().raw_ns).unwrap();
    }

    #[test]
    fn stamps_of_every_clock_are_converted_also_from_before_the_first_synchronisation() {
        let mut stamps = vec![Anchor::read()];
        thread::sleep(Duration::from_millis(300));
        let server = Scripted::start();
        server.silent.store(true, Relaxed);
        let clock = server.clock();
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(100));
            stamps.push(Anchor::read());
        }
        assert!(matches!(
            clock.convert(Timescale::Monotonic, stamps[0].monotonic.0),
            Err(Error::NotSynchronized(State::Unsynchronized))
        ));
        server.silent.store(false, Relaxed);
        clock.wait(None, AMPLE).unwrap();
        for _ in 0..10 {
            thread::sleep(Duration::from_millis(150));
            stamps.push(Anchor::read());
        }
        for (index, stamp) in stamps.iter().enumerate() {
            let told = |timescale, stamp: Nanos| clock.convert(timescale, stamp.0);
            let mut all = vec![
                told(Timescale::Raw, Nanos(stamp.before.0)).unwrap(),
                told(Timescale::Monotonic, stamp.monotonic).unwrap(),
                told(Timescale::Boottime, stamp.boottime).unwrap(),
            ];
            match told(Timescale::Realtime, stamp.realtime) {
                Ok(reading) => all.push(reading),
                Err(error) => {
                    assert!(index == 0 && error.to_string().contains("may have been stepped"), "{index}: {error}");
                }
            }
            for reading in all {
                // The server shows this machine's clock, so that is the truth.
                let (truth, width) = (stamp.realtime.0, stamp.width().0);
                assert!(
                    reading.earliest_ns - width <= truth && truth <= reading.latest_ns + width,
                    "{index}: {reading:?}, {truth}"
                );
                assert!(reading.error_bound_ns() < 100 * MILLIS, "{index}: {reading:?}");
                assert_eq!(reading.epoch, 1);
            }
        }
        // In a stopped clock the past stays known.
        clock.stop();
        let before_the_start = clock.convert(Timescale::Boottime, stamps[0].boottime.0).unwrap();
        assert_eq!(before_the_start.state, State::Holdover);
    }

    #[test]
    fn a_monotonic_deadline_holds_the_moment_at_which_utc_comes() {
        let (_server, clock) = pair();
        for _ in 0..10 {
            let target = clock.now().unix_ns + 5 * MILLIS;
            let deadline = clock.deadline(Timescale::Monotonic, target).unwrap();
            assert!(deadline.earliest_ns <= deadline.stamp_ns && deadline.stamp_ns <= deadline.latest_ns);
            loop {
                let now = Anchor::read();
                let (utc, width) = (now.realtime.0, now.width().0);
                assert!(now.monotonic.0 > deadline.earliest_ns || utc - width < target, "{deadline:?} {now:?}");
                if now.monotonic.0 >= deadline.latest_ns {
                    assert!(utc + width >= target, "{deadline:?} {now:?}");
                    break;
                }
            }
        }
        assert!(matches!(deaf().deadline(Timescale::Raw, 0), Err(Error::NotSynchronized(_))));
    }

    #[test]
    fn a_lost_server_is_told_without_anybody_asking() {
        let (server, clock) = pair();
        let (send, told) = mpsc::channel();
        clock.on_event(Some(Box::new(move |events| send.send(events).unwrap()))).unwrap();
        assert_eq!(told.recv_timeout(AMPLE.unwrap()).unwrap(), Events::SYNCHRONIZED);
        server.silent.store(true, Relaxed);
        assert_eq!(told.recv_timeout(AMPLE.unwrap()).unwrap(), Events::LOST);
        assert_eq!(clock.now().state, State::Holdover);
        server.silent.store(false, Relaxed);
        assert_eq!(told.recv_timeout(AMPLE.unwrap()).unwrap(), Events::SYNCHRONIZED);
        assert_eq!(await_event(&clock, Events::LOST), Events::SYNCHRONIZED | Events::LOST);
        clock.stop();
        assert_eq!(told.recv_timeout(AMPLE.unwrap()).unwrap(), Events::LOST);
        drop(clock);
        assert!(told.recv().is_err(), "the callback outlived its clock");
    }

    #[test]
    fn a_callback_may_read_wait_and_stop_the_clock_while_others_stop_it() {
        let server = Scripted::start();
        let clock = Arc::new(server.clock());
        let (send, done) = mpsc::channel();
        let theirs = Arc::downgrade(&clock);
        let callback = move |events: Events| {
            let Some(clock) = theirs.upgrade() else { return };
            assert!(!events.is_empty());
            assert!(clock.now().unix_ns > 0 && !clock.sources().is_empty() && clock.event_fd().is_ok());
            let _ = (clock.wait(None, AMPLE), clock.report(), clock.take_events());
            clock.stop();
            let _ = send.send(clock.on_event(None).is_ok());
        };
        clock.on_event(Some(Box::new(callback))).unwrap();
        assert_eq!(done.recv_timeout(AMPLE.unwrap()), Ok(true));
        clock.stop();
        assert!(matches!(clock.wait(None, None), Err(Error::NotRunning)));
    }
}
