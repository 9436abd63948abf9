//! Time as events need it: has it passed, is it certain enough, wake me then.

use std::time::Duration;

use super::until::{self, Until};
use super::{Clock, Shared, read};
use crate::error::Error;
use crate::reading::Reading;
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

    /// Commit wait: returns when UTC is certainly after `unix_ns`, that is, when [`Self::after`] has become true. `timeout`
    /// None: for ever.
    ///
    /// Who gives an event the time [`Reading::latest_ns`] and makes it known only after this wait for it knows that no event
    /// that anybody begins afterwards, on whatever host with an honest clock, gets an earlier time.
    ///
    /// The wait goes on through steps, disruptions and losses of synchronisation of a running clock. On a clock without a
    /// thread (after a stop, or in a forked child) it works as long as the interval there means something.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; [`Error::NotSynchronized`] if nothing was known of UTC when the time ran out;
    /// [`Error::Stopped`] if the clock was stopped meanwhile; [`Error::NotRunning`] if there is neither a thread nor an interval.
    pub fn wait_until_past(&self, unix_ns: i64, timeout: Option<Duration>) -> Result<(), Error> {
        wait_until_past(&self.shared, unix_ns, timeout)
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
        sleep_until(&self.shared, unix_ns, timeout)
    }
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
    use crate::server::{Server, ServerConfig};
    use crate::status::State;
    use std::thread;
    use std::time::Instant;

    const MILLIS: i64 = 1_000_000;
    const AMPLE: Option<Duration> = Some(Duration::from_secs(10));

    /// A server of this machine's clock, and a synchronised clock that asks it every second.
    fn pair() -> (Server, Clock) {
        let mut config = ServerConfig::new();
        config.add_listen("127.0.0.1:0").unwrap().set_local(1, Duration::from_millis(5)).unwrap();
        let server = Server::start(None, &config).unwrap();
        let mut config = Config::with_servers(&server.addresses()[0].to_string()).unwrap();
        config.set_poll_exponents(0, 0).unwrap();
        let clock = Clock::start(config).unwrap();
        clock.wait(None, AMPLE).unwrap();
        (server, clock)
    }

    /// A clock that never hears anything.
    fn deaf() -> Clock {
        Clock::start(Config::with_servers("127.0.0.1:9").unwrap()).unwrap()
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
        let error = clock.now_within(Duration::from_micros(1)).unwrap_err();
        assert!(
            matches!(error, Error::BoundExceeded { bound_ns, max_bound_ns: 1_000 } if bound_ns > 5 * MILLIS),
            "{error}"
        );
        assert!(matches!(deaf().now_within(Duration::MAX), Err(Error::NotSynchronized(State::Unsynchronized))));
    }

    #[test]
    fn a_commit_wait_ends_when_the_time_has_certainly_passed_and_not_before() {
        let (_server, clock) = pair();
        for _ in 0..10 {
            let commit = clock.now().latest_ns;
            clock.wait_until_past(commit, AMPLE).unwrap();
            let after = clock.now();
            assert!(after.earliest_ns > commit);
            // The bound is above 5 ms, so it took above 10; a machine that stalls may need longer, but hardly ten times.
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
        let mut config = ServerConfig::new();
        config.add_listen("127.0.0.1:0").unwrap().set_local(1, Duration::from_millis(1)).unwrap();
        let server = Server::start(None, &config).unwrap();
        let clock = Clock::start(Config::with_servers(&server.addresses()[0].to_string()).unwrap()).unwrap();
        let commit = clock.now().unix_ns;
        clock.wait_until_past(commit, AMPLE).unwrap();
        assert!(clock.after(commit));
        let nothing = deaf();
        let error = nothing.wait_until_past(0, Some(Duration::from_millis(20)));
        assert!(matches!(error, Err(Error::NotSynchronized(State::Unsynchronized))), "{error:?}");
        nothing.stop();
        assert!(matches!(nothing.wait_until_past(0, None), Err(Error::NotRunning)));
    }
}
