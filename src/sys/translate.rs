//! From the kernel's stamps, which are of the system clock, to the counter: many of them by one look at both.
//!
//! A server's datagrams come at any time, queue under load, and must be placed on the counter to well under a
//! microsecond: never before they came. [`Bracket::arrival`] counts forward from a look that was taken before a request
//! was sent, which a server has no knowledge of; between two of its requests the system clock can have run for a second
//! at a frequency of its own. So a translator keeps looks that are old enough, and what the system clock gained on the
//! counter between them.
//!
//! The system clock is disciplined by others: it is slewed, and stepped. A stamp is counted *back* from the look that
//! was taken after it, which is wrong only if the system clock was stepped in between, some microseconds; and *forward*
//! from an old one at the gain that was seen, which is wrong only if it was stepped, or its frequency changed, before
//! the stamp. What is told is the later of the two for an arrival, the earlier for a departure: right unless both came
//! about within a few [`SPAN`]s. Larger steps are seen, and what was stamped around them goes by when it was read.

use super::counter::{Arrived, Bracket};
use crate::units::{Counter, Nanos, UnixTime};

/// Distance of the looks that are kept, at least. The oldest is at least this old: no stamp that is used is older. A
/// full receive buffer is read within that, down to some 50 000 datagrams a second.
const SPAN: Nanos = Nanos::from_millis(400);

/// How far the system clock may run from what it did before within `span` without having been stepped: 1000 ppm. The
/// kernel changes its frequency by up to 1000 ppm from one end to the other, and slews it by another 500.
fn slack(span: Nanos) -> Nanos {
    Nanos(span.abs().0 / 1000)
}

/// Looks at the system clock and the counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Translator {
    older: Bracket,
    newer: Bracket,
    /// What the system clock gained on the counter before the older look, for each unit of its own.
    gain: f64,
}

/// A translator as of one look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    now: Bracket,
    older: Bracket,
    gain: f64,
    /// The system clock was not visibly stepped.
    is_sound: bool,
}

impl Translator {
    pub(crate) fn new(first: Bracket) -> Self {
        Self { older: first, newer: first, gain: 0.0 }
    }

    /// Translates stamps of before `now`, which is to be told again and again: each [`SPAN`], better more often.
    pub(crate) fn view(&mut self, now: Bracket) -> View {
        let is_sound = is_sound(&self.older, &now, self.gain);
        let view = View { now, older: self.older, gain: self.gain, is_sound };
        if !is_sound {
            *self = Self::new(now);
        } else if now.after - self.newer.after >= SPAN {
            // Of the time before what will be the older look: a step since is not to be mistaken for a frequency.
            self.gain = gain(&self.older, &self.newer);
            (self.older, self.newer) = (self.newer, now);
        }
        view
    }
}

impl View {
    pub(crate) fn now(&self) -> &Bracket {
        &self.now
    }

    /// When a datagram came that had been taken from its socket before the look: not before it did.
    pub(crate) fn arrival(&self, stamp: Option<UnixTime>) -> Arrived {
        let stamped = stamp.and_then(|stamp| {
            let age = self.age(stamp)?;
            let back = self.now.after - age + slack(age);
            Some(back.max(self.older.after + self.since_older(stamp)))
        });
        // Whatever a stamp says, the datagram was there before the look.
        let at = stamped.map_or(self.now.before, |stamped| stamped.min(self.now.before));
        Arrived { at, stamped_by_kernel: stamped.is_some() }
    }

    /// When a datagram left that had been sent before the look: not after it did.
    pub(crate) fn departure(&self, stamp: UnixTime) -> Option<Counter> {
        let age = self.age(stamp)?;
        let back = self.now.before - age - slack(age);
        Some(back.min(self.older.before + self.since_older(stamp)))
    }

    /// How old a stamp is that can be used.
    fn age(&self, stamp: UnixTime) -> Option<Nanos> {
        let age = self.now.system - stamp;
        (self.is_sound && age >= Nanos::ZERO && age <= SPAN && stamp >= self.older.system).then_some(age)
    }

    fn since_older(&self, stamp: UnixTime) -> Nanos {
        let since = stamp - self.older.system;
        since - Nanos((since.as_f64() * self.gain) as i64)
    }
}

/// Whether the system clock ran from `older` to `now` as before, but for what it may be slewed by.
fn is_sound(older: &Bracket, now: &Bracket, expected: f64) -> bool {
    let ((then, then_half), (this, this_half)) = (older.midpoint(), now.midpoint());
    let (counted, system) = (this - then, now.system - older.system);
    let gained = (system - counted) - Nanos((system.as_f64() * expected) as i64);
    gained.abs() <= slack(counted) + then_half + this_half
}

fn gain(older: &Bracket, now: &Bracket) -> f64 {
    let (counted, system) = (now.midpoint().0 - older.midpoint().0, now.system - older.system);
    (system - counted).as_f64() / system.as_f64().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// A look at counter value `at`, 80 ns wide, when the system clock shows `system`.
    fn look(at: i64, system: i64) -> Bracket {
        Bracket { before: Counter(at - 40), system: UnixTime(system), after: Counter(at + 40) }
    }

    /// A system clock that gains `ppm` on the counter, is stepped by `step` at counter value `stepped_at`, and gains
    /// `later_ppm` from there on.
    #[derive(Clone, Copy)]
    struct World {
        ppm: f64,
        step: i64,
        stepped_at: i64,
        later_ppm: f64,
    }

    impl World {
        fn system(&self, counter: i64) -> i64 {
            let (before, after) = (counter.min(self.stepped_at), (counter - self.stepped_at).max(0));
            let step = if counter >= self.stepped_at { self.step } else { 0 };
            let gained = (before as f64 * self.ppm + after as f64 * self.later_ppm) * 1e-6;
            77_000_000 * MS + counter + gained as i64 + step
        }

        /// A translator that was shown looks every `pace`, and a view of `now`.
        fn view(&self, pace: i64, now: i64) -> View {
            let mut at = 0;
            let mut translator = Translator::new(look(at, self.system(at)));
            while at + pace < now {
                at += pace;
                translator.view(look(at, self.system(at)));
            }
            translator.view(look(now, self.system(now)))
        }
    }

    const NOW: i64 = 20_000 * MS;

    #[test]
    fn whatever_one_event_befalls_the_system_clock_no_arrival_is_early_and_no_departure_late() {
        let mut used = 0;
        for pace in [MS, 30 * MS, 100 * MS, 999 * MS] {
            for age in [2_000, MS, 399 * MS] {
                let came = NOW - age;
                for ppm in [0.0, 30.0, -470.0] {
                    for (step, later_ppm) in
                        [(0, ppm), (0, 500.0), (0, -500.0), (900, ppm), (-900, ppm), (-90_000, ppm), (90_000, ppm)]
                    {
                        // Just before the stamp, just after it, and some time ago.
                        for stepped_at in [came - 1_000, came + 1_000, NOW - 600 * MS] {
                            let world = World { ppm, step, stepped_at, later_ppm };
                            let view = world.view(pace, NOW);
                            let stamp = UnixTime(world.system(came));
                            let told = format!("{pace} {age} {ppm} {step} {later_ppm} {}", NOW - stepped_at);
                            let arrived = view.arrival(Some(stamp));
                            used += usize::from(arrived.stamped_by_kernel);
                            assert!(arrived.at >= Counter(came), "{told}: {arrived:?}");
                            assert!(arrived.at <= Counter(NOW), "{told}: {arrived:?}");
                            if let Some(left) = view.departure(stamp) {
                                assert!(left <= Counter(came), "{told}: {left:?}");
                            }
                        }
                    }
                }
            }
        }
        assert!(used > 300, "{used} stamps were used");
    }

    #[test]
    fn a_system_clock_that_runs_at_a_frequency_of_its_own_costs_nothing() {
        for pace in [MS, 100 * MS, 999 * MS] {
            for ppm in [0.0, 50.0, -50.0, 400.0] {
                let world = World { ppm, step: 0, stepped_at: 0, later_ppm: ppm };
                let view = world.view(pace, NOW);
                // 20 µs after it came: 0.1 % of that, half a look, and what two looks leave open of the gain.
                let came = NOW - 20_000;
                let stamp = UnixTime(world.system(came));
                let late = view.arrival(Some(stamp)).at - Counter(came);
                assert!((Nanos::ZERO..=Nanos(100)).contains(&late), "{pace} {ppm}: {late:?}");
                let early = Counter(came) - view.departure(stamp).unwrap();
                assert!((Nanos::ZERO..=Nanos(100)).contains(&early), "{pace} {ppm}: {early:?}");
            }
        }
    }

    #[test]
    fn without_a_stamp_that_can_be_used_a_datagram_came_before_it_was_read() {
        let world = World { ppm: 10.0, step: 0, stepped_at: 0, later_ppm: 10.0 };
        let view = world.view(MS, NOW);
        let read = Arrived { at: Counter(NOW - 40), stamped_by_kernel: false };
        let future = UnixTime(world.system(NOW) + 1);
        let old = UnixTime(world.system(NOW - 401 * MS));
        for stamp in [None, Some(future), Some(old)] {
            assert_eq!(view.arrival(stamp), read, "{stamp:?}");
        }
        assert_eq!((view.departure(future), view.departure(old)), (None, None));
        // A step that is seen: not even a stamp from after it is trusted, the first time.
        let stepped = World { step: 3_600_000 * MS, stepped_at: NOW - 5 * MS, ..world };
        assert_eq!(stepped.view(999 * MS, NOW).arrival(Some(UnixTime(stepped.system(NOW - MS)))), read);
        // A little later all is well again.
        assert!(stepped.view(MS, NOW).arrival(Some(UnixTime(stepped.system(NOW - MS)))).stamped_by_kernel);
    }
}
