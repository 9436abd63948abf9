//! Waiting for an instant of UTC: until it has certainly passed (commit wait), or until the clock shows it.
//!
//! A waiter sleeps a little less than the time that seems to be left, looks again, and so comes as near as the kernel
//! wakes threads after a handful of looks, however long it waits. It is woken in between by whatever the engine
//! publishes, so that corrections, steps, disruptions and the stop are seen at once.

use std::time::{Duration, Instant};

use super::{PACE, Shared};
use crate::error::Error;
use crate::reading::Reading;
use crate::status::State;
use crate::sys::{counter, ticks};
use crate::units::{Nanos, UnixTime};

/// How long a waiter sleeps that only a change can help.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Of what seems to be left, this part is not slept at once: slewing, drift and the kernel's own clock, which ends the
/// sleep, make less of a difference together.
const RESERVE: i64 = 64;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// UTC is certainly later than this.
    Past(UnixTime),
    /// The clock shows this or later.
    Shown(UnixTime),
}

/// A clock as a waiter sees it at one look.
#[derive(Clone, Copy, Debug)]
struct Look {
    session: u64,
    running: bool,
    reading: Reading,
    /// What was published last takes effect only after this; zero or less: it has.
    pending: Nanos,
    /// Of the caller's time; `None`: it waits for ever.
    left: Option<Duration>,
}

/// One waiter.
#[derive(Debug)]
struct Waiter {
    until: Until,
    /// The session in which the clock was seen running.
    running_in: Option<u64>,
}

impl Until {
    /// How long it seems to take, by `reading`; zero or less: it has come. `None` if that cannot be said.
    fn left(self, reading: &Reading) -> Option<Nanos> {
        match self {
            Self::Past(_) if reading.earliest_ns == i64::MIN => None,
            // Later than, so one nanosecond more.
            Self::Past(time) => Some(time - UnixTime(reading.earliest_ns) + Nanos(1)),
            Self::Shown(time) => Some(time - UnixTime(reading.unix_ns)),
        }
    }
}

impl Waiter {
    fn new(until: Until) -> Self {
        Self { until, running_in: None }
    }

    /// Whether the waiting is over, and else for how long to sleep unless something changes.
    fn judge(&mut self, look: &Look) -> Result<Result<(), Error>, Duration> {
        if self.running_in.is_some_and(|session| !look.running || session != look.session) {
            return Ok(Err(Error::Stopped));
        }
        if look.running {
            self.running_in = Some(look.session);
        }
        let usable = look.reading.state.is_usable();
        let to_go = self.until.left(&look.reading);
        match to_go {
            Some(Nanos(..=0)) => return Ok(Ok(())),
            // Nobody will ever know better.
            _ if !look.running && !usable => return Ok(Err(Error::NotRunning)),
            _ => {}
        }
        if look.left.is_some_and(|left| left.is_zero()) {
            return Ok(Err(match to_go {
                Some(Nanos(ns)) if usable => Error::Timeout { detail: format!("{ns} ns too early") },
                _ => Error::NotSynchronized(look.reading.state),
            }));
        }
        let aim = to_go.map_or(PATIENCE, |left| (left - Nanos(left.0 / RESERVE)).to_duration());
        // Nobody tells of steps of the system clock, by which an unsynchronised clock goes.
        let aim = if look.reading.state == State::Unsynchronized { aim.min(PACE) } else { aim };
        let aim = if look.pending > Nanos::ZERO { aim.min(look.pending.to_duration()) } else { aim };
        Err(look.left.map_or(aim, |left| aim.min(left)))
    }
}

/// Waits for `until`, at most for `timeout`.
pub(crate) fn wait(shared: &Shared, until: Until, timeout: Option<Duration>) -> Result<(), Error> {
    super::check_no_fork()?;
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut waiter = Waiter::new(until);
    shared.wait_for(|status| {
        let (page, tick) = shared.place.read(ticks::read);
        let running = status.is_running();
        let judged = waiter.judge(&Look {
            session: status.session,
            running,
            reading: Reading::new(&page, tick, shared.place.generation(), counter::system_time),
            pending: page.switch - page.counter_at(tick),
            left: deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())),
        });
        // Another process may go on publishing, of which nobody tells us.
        let untold = !running && shared.place.shared().is_some();
        judged.map_err(|pause| if untold { pause.min(PACE) } else { pause })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publication::page::{Page, WORDS};
    use crate::sys::ticks::Tick;

    const SECOND: i64 = 1_000_000_000;

    fn look(state: State, unix_ns: i64, bound_ns: i64) -> Look {
        let blank = Reading::new(&Page::from_words(&[0; WORDS]), Tick(0), 0, || UnixTime(0));
        let (earliest_ns, latest_ns) =
            if state.is_usable() { (unix_ns - bound_ns, unix_ns + bound_ns) } else { (i64::MIN, i64::MAX) };
        let reading = Reading { unix_ns, earliest_ns, latest_ns, state, epoch: 1, ..blank };
        Look { session: 1, running: true, reading, pending: Nanos(-1), left: None }
    }

    /// Looks that a waiter takes until it is done on a clock of this rate, seen from the clock that ends its sleeps.
    fn looks_needed(until: Until, begin: i64, bound: i64, rate: f64) -> (usize, i64) {
        let (mut waiter, mut slept) = (Waiter::new(until), 0.0);
        for looks in 1.. {
            let now = begin + (slept * rate) as i64;
            match waiter.judge(&look(State::Synchronized, now, bound)) {
                Ok(result) => {
                    result.unwrap();
                    return (looks, now);
                }
                Err(pause) => slept += pause.as_nanos() as f64,
            }
        }
        unreachable!("a range without end")
    }

    #[test]
    fn a_wait_of_an_hour_is_exact_and_takes_a_dozen_looks_whatever_the_rates() {
        for rate in [0.985, 0.999, 1.0, 1.0005, 1.01] {
            let target = 1_000 * SECOND + 3_600 * SECOND;
            let (looks, now) = looks_needed(Until::Shown(UnixTime(target)), 1_000 * SECOND, 5_000, rate);
            assert!(looks <= 12 && (0..50).contains(&(now - target)), "{rate}: {looks} looks, {} late", now - target);
            let (looks, now) = looks_needed(Until::Past(UnixTime(target)), 1_000 * SECOND, 5_000, rate);
            let late = now - 5_000 - target;
            assert!(looks <= 12 && (1..50).contains(&late), "{rate}: {looks} looks, {late} late");
        }
    }

    #[test]
    fn an_instant_is_past_when_the_whole_interval_is() {
        let judge = |unix| Waiter::new(Until::Past(UnixTime(100))).judge(&look(State::Holdover, unix, 10));
        assert!(matches!(judge(111), Ok(Ok(()))));
        assert!(judge(110).is_err());
    }

    #[test]
    fn a_step_either_way_is_aimed_at_anew() {
        let mut waiter = Waiter::new(Until::Shown(UnixTime(100 * SECOND)));
        let pause = waiter.judge(&look(State::Synchronized, 90 * SECOND, 10)).unwrap_err();
        assert!(pause < Duration::from_secs(10) && pause > Duration::from_secs(9));
        let pause = waiter.judge(&look(State::Synchronized, 50 * SECOND, 10)).unwrap_err();
        assert!(pause < Duration::from_secs(50) && pause > Duration::from_secs(49));
        assert!(matches!(waiter.judge(&look(State::Synchronized, 120 * SECOND, 10)), Ok(Ok(()))));
    }

    #[test]
    fn a_model_that_is_about_to_take_effect_is_waited_for() {
        let mut waiter = Waiter::new(Until::Shown(UnixTime(100 * SECOND)));
        let soon = Look { pending: Nanos(700_000), ..look(State::Synchronized, 0, 10) };
        assert_eq!(waiter.judge(&soon).unwrap_err(), Duration::from_micros(700));
    }

    #[test]
    fn a_disruption_is_sat_out_and_a_timeout_in_it_says_so() {
        let mut waiter = Waiter::new(Until::Past(UnixTime(100)));
        assert_eq!(waiter.judge(&look(State::Disrupted, 5_000, 0)).unwrap_err(), PATIENCE);
        let over = Look { left: Some(Duration::ZERO), ..look(State::Disrupted, 5_000, 0) };
        assert!(matches!(waiter.judge(&over), Ok(Err(Error::NotSynchronized(State::Disrupted)))));
        let early = Look { left: Some(Duration::ZERO), ..look(State::Synchronized, 50, 10) };
        let Ok(Err(error)) = waiter.judge(&early) else { panic!("no timeout") };
        assert_eq!(error.to_string(), "the time ran out: 61 ns too early");
        assert!(matches!(waiter.judge(&look(State::Synchronized, 5_000, 10)), Ok(Ok(()))));
    }

    #[test]
    fn a_stop_ends_the_wait_also_if_another_start_follows_at_once() {
        for (session, running) in [(1, false), (2, true), (2, false)] {
            let mut waiter = Waiter::new(Until::Past(UnixTime(100)));
            assert!(waiter.judge(&look(State::Synchronized, 0, 10)).is_err());
            let stopped = Look { session, running, ..look(State::Holdover, 5_000, 10) };
            assert!(matches!(waiter.judge(&stopped), Ok(Err(Error::Stopped))));
        }
    }

    #[test]
    fn without_a_thread_the_interval_in_holdover_still_serves_and_nothing_else_does() {
        let idle = |state| Look { running: false, ..look(state, 0, 10) };
        let mut waiter = Waiter::new(Until::Past(UnixTime(100)));
        assert!(waiter.judge(&idle(State::Holdover)).is_err());
        assert!(matches!(waiter.judge(&idle(State::Unsynchronized)), Ok(Err(Error::NotRunning))));
        // A start meanwhile is no stop.
        let mut waiter = Waiter::new(Until::Past(UnixTime(100)));
        assert!(waiter.judge(&idle(State::Holdover)).is_err());
        assert!(waiter.judge(&Look { session: 2, ..look(State::Synchronized, 0, 10) }).is_err());
    }

    #[test]
    fn an_unsynchronised_clock_is_looked_at_often_for_it_goes_by_the_system_clock() {
        let mut waiter = Waiter::new(Until::Shown(UnixTime(100 * SECOND)));
        assert_eq!(waiter.judge(&look(State::Unsynchronized, 0, 0)).unwrap_err(), PACE);
    }
}
