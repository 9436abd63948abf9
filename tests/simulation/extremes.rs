//! From the bytes of a reply to a reading, at the extremes of what a machine can count: 30 years of uptime, counters of
//! 24 MHz and 5 GHz and what lies between, and eras of NTP that end in the middle.

use std::cell::Cell;

use super::random::Random;
use crate::config::Settings;
use crate::packet::{Mode, Packet};
use crate::publication::{Publication, Writer};
use crate::reading::Reading;
use crate::status::{Leap, State};
use crate::synchronizer::Synchronizer;
use crate::sys::ticks::{Kind, Sight, Tick};
use crate::units::{Counter, NANOS_PER_SECOND, Nanos, NtpTime, UnixTime, unix_seconds};

/// The first second of era 1, 2036-02-07T06:28:16Z.
const ERA: i64 = 2_085_978_496;

/// UTC is resolved from here on, for 2^32 s.
const BUILT: i64 = 1_790_000_000;

const YEAR: i64 = 365 * 86_400;

/// A kernel that counts by a counter: both of the same oscillator, `ppm` away from UTC.
struct Machine {
    tick: Cell<i64>,
    hertz: f64,
    mult: i128,
    shift: u32,
    /// UTC at raw counter 0, and what it gains on the raw counter.
    origin: i128,
    ppb: i128,
}

impl Machine {
    /// By Linux's own choice of multiplier and shift: as large as 600 s of ticks allow in 64 bits.
    fn new(hertz: f64, uptime: i64, utc: i64, ppb: i64) -> Self {
        let ratio = 1e9 / hertz;
        let spare = ((600.0 * hertz) as u64 >> 32).checked_ilog2().map_or(0, |log| log + 1);
        let fits = |shift: &u32| ratio * f64::from(*shift).exp2() < f64::from(32 - spare).exp2();
        let shift = (1..=32).rev().find(fits).expect("a counter between 1 MHz and 1 THz");
        let mult = (ratio * f64::from(shift).exp2()).floor() as i128;
        let tick = Cell::new((uptime as f64 * hertz) as i64);
        let mut machine = Self { tick, hertz, mult, shift, origin: 0, ppb: i128::from(ppb) };
        machine.origin = i128::from(utc) * i128::from(NANOS_PER_SECOND) - i128::from(machine.utc(machine.raw()).0);
        machine
    }

    fn raw(&self) -> Counter {
        Counter(((i128::from(self.tick.get()) * self.mult) >> self.shift) as i64)
    }

    fn utc(&self, raw: Counter) -> UnixTime {
        let raw = i128::from(raw.0);
        UnixTime((self.origin + raw + raw * self.ppb / 1_000_000_000) as i64)
    }

    fn pass(&self, seconds: f64) {
        self.tick.set(self.tick.get() + (seconds * self.hertz) as i64);
    }

    fn read(&self, kind: Kind) -> Tick {
        match kind {
            Kind::Raw => Tick(self.raw().0),
            Kind::Ticks => Tick(self.tick.get()),
        }
    }

    fn sight(&self) -> Sight {
        let tick = self.tick.get();
        let width = (self.hertz * 20e-9) as i64 + 1;
        Sight { before: Tick(tick - width), raw: self.raw(), after: Tick(tick + width) }
    }
}

/// What a truthful server answers to `request`, which came to it at `t2`.
fn answer(request: &[u8], t2: UnixTime, t3: UnixTime) -> [u8; 48] {
    let stamp = NtpTime::from_unix(t2);
    let reply = Packet {
        mode: Mode::Server,
        leap: Leap::None,
        precision: -25,
        stratum: 1,
        origin: Packet::parse(request).expect("we have made it").transmit,
        reference: stamp,
        receive: stamp,
        transmit: NtpTime::from_unix(t3),
        ..Packet::request(NtpTime::ZERO)
    };
    reply.bytes()
}

/// Follows a server for `polls` polls; reads all the while. The number of readings by ticks.
fn follow(machine: &Machine, random: &mut Random, polls: usize) -> usize {
    let publication = Publication::new();
    let mut writer = Writer::new(&publication, Some(machine.sight()));
    let mut core = Synchronizer::new(Settings::default(), unix_seconds(BUILT), 0);
    let source = core.add_source(machine.raw());
    assert_eq!(core.take_address_wish(machine.raw()), Some(source));
    core.assign(source, "192.0.2.1:123".parse().expect("an address"), machine.raw());
    let (mut last, mut by_ticks, mut synchronised) = (None::<Reading>, 0, false);
    for _ in 0..polls {
        // What is due may also be a plan alone.
        let (request, t1) = loop {
            let wait = (core.next_due(machine.raw()) - machine.raw()).as_f64() / 1e9;
            machine.pass(wait.max(0.0) + 1e-6);
            let t1 = machine.raw();
            if let Some(request) = core.poll_transmit(t1, random.next(), random.next()) {
                break (request, t1);
            }
        };
        core.handle_sent(source, t1, None, &[]);
        machine.pass(random.between(1e-5, 0.02));
        let t2 = machine.utc(machine.raw());
        machine.pass(random.between(1e-6, 1e-3));
        let t3 = machine.utc(machine.raw());
        machine.pass(random.between(1e-5, 0.02));
        core.handle_datagram(source, &answer(&request.datagram, t2, t3), machine.raw());
        writer.cross_check(Some(machine.sight()));
        let plan = writer
            .publish(
                &publication,
                0,
                || machine.raw(),
                |switch| {
                    let plan = core.plan(switch);
                    (plan.model, plan)
                },
            )
            .expect("this writer is never late");
        core.commit(plan, machine.raw());
        for _ in 0..20 {
            // Up to what is left until the next poll, so that no deadline passes.
            let rest = (core.next_due(machine.raw()) - machine.raw()).as_f64() / 1e9;
            machine.pass(random.between(0.0, rest.max(0.0) / 30.0));
            let (before, raw) = (machine.utc(machine.raw()), machine.raw());
            let reading = Reading::of(&publication, 0, |kind| machine.read(kind), || UnixTime(0));
            by_ticks += usize::from(publication.utc(Kind::Ticks, |kind| machine.read(kind)).is_some());
            if reading.state == State::Unsynchronized {
                assert!(!synchronised, "{reading:?}");
                continue;
            }
            synchronised = true;
            assert!(reading.earliest_ns <= reading.unix_ns && reading.unix_ns <= reading.latest_ns, "{reading:?}");
            assert!(reading.earliest_ns <= before.0 && before.0 <= reading.latest_ns, "{before:?} {reading:?}");
            assert!(reading.error_bound_ns() < 60_000_000, "{reading:?}");
            assert!((Counter(reading.raw_ns) - raw).abs() < Nanos(100), "{raw:?} {reading:?}");
            if let Some(last) = last.filter(|last| last.epoch == reading.epoch) {
                assert!(reading.unix_ns >= last.unix_ns && reading.raw_ns >= last.raw_ns, "{reading:?} {last:?}");
            }
            assert_eq!(reading.epoch, 1, "{reading:?}");
            last = Some(reading);
        }
    }
    assert!(synchronised, "{:?}", core.source_infos(machine.raw()));
    by_ticks
}

#[test]
fn readings_hold_at_any_uptime_by_any_counter_and_across_the_ends_of_eras() {
    let mut random = Random::new(30);
    let mut by_ticks = 0;
    for hertz in [24e6, 5e9] {
        for uptime in [1, 86_400, YEAR, 30 * YEAR] {
            // The present, the last seconds of an era, and the last day on which this build can tell eras.
            for utc in [BUILT + 1, ERA - 3, ERA - 300, BUILT + (1 << 32) - 86_400] {
                for ppb in [-150_000, 0, 150_000] {
                    by_ticks += follow(&Machine::new(hertz, uptime, utc, ppb), &mut random, 12);
                }
            }
        }
    }
    for _ in 0..200 {
        let hertz = random.between(24e6, 5e9);
        let uptime = random.between(1.0, 30.0 * YEAR as f64) as i64;
        let utc = random.between(BUILT as f64, (BUILT + (1 << 32) - YEAR) as f64) as i64;
        let ppb = random.between(-150_000.0, 150_000.0) as i64;
        by_ticks += follow(&Machine::new(hertz, uptime, utc, ppb), &mut random, 8);
    }
    assert!(by_ticks > 10_000, "only {by_ticks} readings were by ticks");
}
