//! What must be true at every simulated second, whatever the world does.

use super::world::PIVOT;
use crate::packet::Packet;
use crate::reading::Reading;
use crate::status::{Leap, State};
use crate::units::{Counter, NANOS_PER_SECOND, NtpShort, NtpTime, UnixTime};

/// Violations told in full; the rest is counted.
const TOLD: usize = 5;

/// A correction of 500 ppm, an oscillator at 200 ppm and as much again for a wrong estimate of it: no second of ours
/// may be more wrong than that.
const RATE_MAX: f64 = 1e-3;

/// What is promised about the interval at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// UTC lies in it.
    HoldsUtc,
    /// Nothing: an assumption of the contract is broken on purpose. Everything else is still to be kept.
    Nothing,
}

/// Watches the readings of one world.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    last: Option<Reading>,
    pub(super) readings: u64,
    /// Readings whose state was SYNCHRONIZED; and HOLDOVER.
    pub(super) synchronized: u64,
    pub(super) holdover: u64,
    /// Replies with a time that a server would have given.
    pub(super) served: u64,
    pub(super) violations: u64,
    /// The first of them, as sentences.
    pub(super) told: Vec<String>,
    /// The largest error so far as a share of its bound.
    pub(super) worst: f64,
    /// Sum of all bounds, ns.
    pub(super) bounds: f64,
    /// Of the last usable reading: its distance from UTC and its bound, ns.
    pub(super) error: i64,
    pub(super) bound: i64,
}

impl Oracle {
    /// Judges a reading, taken not before the last one, at `second` of the simulation.
    pub(super) fn judge(&mut self, reading: &Reading, utc: UnixTime, second: f64, promise: Promise) {
        self.readings += 1;
        self.synchronized += u64::from(reading.state == State::Synchronized);
        self.holdover += u64::from(reading.state == State::Holdover);
        let told = |what: &str| {
            format!(
                "at second {second:.3} {what}: {} in [{}, {}] (UTC {:+}: [{:+}, {:+}]), {}, epoch {}, age {} s",
                reading.unix_ns,
                reading.earliest_ns,
                reading.latest_ns,
                reading.unix_ns.saturating_sub(utc.0),
                reading.earliest_ns.saturating_sub(utc.0),
                reading.latest_ns.saturating_sub(utc.0),
                reading.state,
                reading.epoch,
                reading.age_ns as f64 * 1e-9,
            )
        };
        let usable = reading.state.is_usable();
        let (low, high) = (reading.earliest_ns, reading.latest_ns);
        let mut wrong: Vec<&str> = Vec::new();
        if usable && promise == Promise::HoldsUtc && !(low..=high).contains(&utc.0) {
            wrong.push("UTC is not in the interval");
        }
        if !(low..=high).contains(&reading.unix_ns) {
            wrong.push("the reading is not in its interval");
        }
        if usable == (low == i64::MIN || high == i64::MAX) {
            wrong.push("the ends of the interval do not fit the state");
        }
        if usable && reading.epoch == 0 {
            wrong.push("it is synchronised without ever having been");
        }
        if let Some(last) = &self.last {
            if reading.epoch < last.epoch {
                wrong.push("the epoch was counted down");
            }
            if reading.epoch == last.epoch && usable && last.state.is_usable() {
                if reading.unix_ns < last.unix_ns {
                    wrong.push("the reading ran backwards");
                }
                let passed = reading.raw_ns - last.raw_ns;
                let gained = (reading.unix_ns - last.unix_ns - passed).abs();
                if gained as f64 > passed as f64 * RATE_MAX + 5.0 {
                    wrong.push("the clock's rate is impossible");
                }
            }
        }
        for what in &wrong {
            self.violations += 1;
            if self.told.len() < TOLD {
                self.told.push(told(what));
            }
        }
        if usable {
            // Whatever is promised: scenarios ask for it where nothing is.
            (self.error, self.bound) = (reading.unix_ns - utc.0, reading.error_bound_ns());
        }
        if usable && promise == Promise::HoldsUtc {
            self.worst = self.worst.max(self.error.abs() as f64 / self.bound.max(1) as f64);
            self.bounds += self.bound as f64;
        }
        self.last = Some(*reading);
    }

    /// Judges what a server of this clock says on the wire: whoever believes it must not be misled.
    pub(super) fn judge_served(&mut self, reply: &Packet, utc: UnixTime, second: f64) {
        let gives_time = reply.leap != Leap::Unknown && reply.stratum < 16;
        if !gives_time {
            let silent = (reply.receive, reply.transmit) == (NtpTime::ZERO, NtpTime::ZERO) && reply.stratum == 16;
            return self.expect("a server without time gives none", silent, second);
        }
        self.served += 1;
        let told = reply.transmit.resolve(PIVOT);
        // The wire's own values, in exact nanoseconds: not rounded up once more, as a client of ours would.
        let wire = |short: NtpShort| (i64::from(short.0) * 1_000_000_000) >> 16;
        let distance = wire(reply.root_delay) / 2 + wire(reply.root_dispersion) + 61;
        let error = (told - utc).abs();
        self.expect("what is served is as true as it says", error.0 <= distance, second);
    }

    /// What a scenario expects at its end.
    pub(super) fn expect(&mut self, what: &str, holds: bool, second: f64) {
        if !holds {
            self.violations += 1;
            self.told.push(format!("at second {second:.0} it is not true that {what}; last reading: {:?}", self.last));
        }
    }

    pub(super) fn last(&self) -> Option<&Reading> {
        self.last.as_ref()
    }
}

/// Whole seconds from `origin` on.
pub(super) fn second(origin: Counter, number: i64) -> Counter {
    Counter(origin.0 + number * NANOS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Flags, Leap};
    use crate::units::Nanos;

    fn reading(seconds: i64) -> Reading {
        let unix_ns = seconds * NANOS_PER_SECOND;
        Reading {
            unix_ns,
            earliest_ns: unix_ns - 10,
            latest_ns: unix_ns + 20,
            raw_ns: unix_ns,
            age_ns: 0,
            epoch: 1,
            state: State::Synchronized,
            flags: Flags::default(),
            leap: Leap::None,
            tai_minus_utc: None,
        }
    }

    /// What the oracle says of `second`, read when UTC is `utc` ns later than it shows, after a good first second.
    fn judged(second: Reading, utc: i64) -> Vec<String> {
        let mut oracle = Oracle::default();
        oracle.judge(&reading(1), UnixTime(NANOS_PER_SECOND), 1.0, Promise::HoldsUtc);
        oracle.judge(&second, UnixTime(2 * NANOS_PER_SECOND + utc), 2.0, Promise::HoldsUtc);
        assert_eq!(oracle.violations, oracle.told.len() as u64);
        oracle.told
    }

    #[test]
    fn a_good_clock_passes() {
        for utc in [-10, 0, 20] {
            assert_eq!(judged(reading(2), utc), [""; 0]);
        }
    }

    #[test]
    fn every_rule_can_be_broken() {
        let good = reading(2);
        let unsure = |state| Reading { earliest_ns: i64::MIN, latest_ns: i64::MAX, state, ..good };
        for (what, second, utc) in [
            ("UTC is not", good, -11),
            ("UTC is not", good, 21),
            ("not in its interval", Reading { unix_ns: good.latest_ns + 1, ..good }, 5),
            ("ends of the interval", unsure(State::Holdover), 0),
            ("ends of the interval", Reading { state: State::Unsynchronized, ..good }, 0),
            ("without ever", Reading { epoch: 0, ..good }, 0),
            ("counted down", Reading { epoch: 0, ..unsure(State::Unsynchronized) }, 0),
            ("ran backwards", Reading { unix_ns: NANOS_PER_SECOND - 1, earliest_ns: 0, ..good }, 0),
            ("rate", Reading { unix_ns: good.unix_ns + 2_000_000, latest_ns: good.latest_ns + 2_000_000, ..good }, 0),
        ] {
            let told = judged(second, utc);
            assert!(told.iter().any(|told| told.contains(what)), "{what}: {told:?}");
        }
    }

    #[test]
    fn what_is_served_must_be_as_true_as_it_says_and_nothing_unless_there_is_time() {
        let utc = crate::units::unix_seconds(1_795_000_000);
        // 1 ms and 100 µs, in units of 15.3 µs.
        let (root_delay, root_dispersion) = (NtpShort(66), NtpShort(7));
        let good = Packet { stratum: 2, root_delay, root_dispersion, ..Packet::request(NtpTime::from_unix(utc)) };
        let violations = |packet: Packet, off: i64| {
            let mut oracle = Oracle::default();
            oracle.judge_served(&packet, utc + Nanos(off), 1.0);
            oracle.violations
        };
        assert_eq!([0, 600_000, -600_000, 620_000, -620_000].map(|off| violations(good, off)), [0, 0, 0, 1, 1]);
        let none = Packet { leap: Leap::Unknown, stratum: 16, ..Packet::request(NtpTime::ZERO) };
        assert_eq!([none, Packet { transmit: NtpTime(1), ..none }].map(|packet| violations(packet, 0)), [0, 1]);
    }
}
