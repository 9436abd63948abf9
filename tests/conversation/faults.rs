//! Servers that lie, die and come back, while readers never rest.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ntpclock::{Clock, Selection, State};

use crate::bracket::Track;
use crate::peers::Chronyd;
use crate::{LIMIT_NS, await_that, beside_others, fast_clock, synchronize, table};

/// How wrong a reading may be while two readers at full speed take both processors from the servers.
const CROWDED_LIMIT_NS: i64 = 5 * LIMIT_NS;

#[test]
fn a_liar_is_named_and_servers_may_come_and_go_and_no_reading_runs_backwards() {
    let _beside = beside_others();
    let servers = [Chronyd::start(), Chronyd::start(), Chronyd::shifted_by(5)];
    let list = servers.iter().map(Chronyd::entry).collect::<Vec<_>>().join(",");
    let liar = servers[2].address();
    let clock = fast_clock(&list);
    synchronize(&clock);
    let liar_is_named = || {
        let sources = clock.sources();
        sources.iter().all(|source| {
            let expected = if source.address == Some(liar) { Selection::Falseticker } else { Selection::Truechimer };
            source.selection == expected
        })
    };
    await_that("the liar, and only the liar, is a falseticker", 15, liar_is_named, || table(&clock));
    let epoch = clock.now().epoch;

    let readers = Readers::default();
    thread::scope(|scope| {
        // Ended also when an assertion below fails: else the scope would wait for ever.
        let end = EndOnDrop(&readers);
        for _ in 0..2 {
            scope.spawn(|| readers.read_without_rest(&clock));
        }

        watch(&clock, "with a liar among three", 4).assert_right("with a liar among three", CROWDED_LIMIT_NS);
        assert!(liar_is_named(), "the liar got away: {}", table(&clock));
        assert_eq!(clock.now().state, State::Synchronized, "{}", table(&clock));

        let addresses = servers.map(Chronyd::kill);
        await_that("holdover, with every server dead", 15, || clock.now().state == State::Holdover, || table(&clock));
        let early = clock.now().error_bound_ns();
        watch(&clock, "in holdover", 4).assert_right("in holdover", CROWDED_LIMIT_NS);
        let late = clock.now();
        assert_eq!(late.state, State::Holdover, "nobody answers, but: {}", table(&clock));
        assert!(late.error_bound_ns() > early, "the bound stands still: {early} ns, then {late:?}");

        let back = [(addresses[0], 0), (addresses[1], 0), (addresses[2], 5)];
        let servers = back.map(|(address, seconds)| Chronyd::start_at(address, seconds));
        await_that("synchronised again", 30, || clock.now().state == State::Synchronized, || table(&clock));
        await_that("the liar is named again", 30, liar_is_named, || table(&clock));
        watch(&clock, "after the return", 4).assert_right("after the return", CROWDED_LIMIT_NS);
        drop(servers);
        drop(end);
    });
    readers.assert_forwards();
    assert_eq!(clock.now().epoch, epoch, "the servers never changed their mind, so nothing had to step");
}

/// Samples the clock, unshifted, for some seconds, resting a millisecond in between.
fn watch(clock: &Clock, stretch: &str, seconds: u64) -> Track {
    let mut track = Track::default();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        let reading = track.sample(0, || clock.now());
        assert!(reading.state.is_usable(), "{stretch}: {reading:?}");
        thread::sleep(Duration::from_millis(1));
    }
    track
}

/// What all readers together have seen, and the first time that something ran backwards.
#[derive(Default)]
struct Readers {
    ended: AtomicBool,
    epoch: AtomicU64,
    newest_ns: AtomicI64,
    readings: AtomicU64,
    backwards: AtomicU64,
    worst_ns: AtomicI64,
}

struct EndOnDrop<'a>(&'a Readers);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::SeqCst);
    }
}

impl Readers {
    /// Reads until the end; a reading may not lie before one that any thread has finished beforehand.
    fn read_without_rest(&self, clock: &Clock) {
        let first_epoch = clock.now().epoch;
        let (mut last, mut readings) = (i64::MIN, 0_u64);
        while !self.ended.load(Ordering::Relaxed) {
            let floor = last.max(self.newest_ns.load(Ordering::SeqCst));
            let reading = clock.now();
            if reading.epoch != first_epoch {
                self.epoch.store(u64::from(reading.epoch), Ordering::Relaxed);
                break;
            }
            if reading.unix_ns < floor {
                self.backwards.fetch_add(1, Ordering::Relaxed);
                self.worst_ns.fetch_max(floor - reading.unix_ns, Ordering::Relaxed);
            }
            last = reading.unix_ns;
            readings += 1;
            // Told to the other now and then only: else the two would mostly wait for each other.
            if readings.is_multiple_of(8) {
                self.newest_ns.fetch_max(last, Ordering::SeqCst);
            }
        }
        self.readings.fetch_add(readings, Ordering::Relaxed);
    }

    fn assert_forwards(&self) {
        let (epoch, readings) = (self.epoch.load(Ordering::Relaxed), self.readings.load(Ordering::Relaxed));
        assert_eq!(epoch, 0, "an epoch began that nothing called for: {epoch}");
        assert!(readings > 100_000, "only {readings} readings: these readers were not at full speed");
        let (backwards, worst) = (self.backwards.load(Ordering::Relaxed), self.worst_ns.load(Ordering::Relaxed));
        assert_eq!(backwards, 0, "{backwards} of {readings} readings ran backwards, by up to {worst} ns");
    }
}
