//! The slowest readings beside a writer: the library's own, of a page like any clock's, against a plain sequence lock.
//!
//! The writer can be held in mid-update, as preemption would hold it: a sequence lock's readers wait for it, those of
//! the library do not. On the library's side all is its own: the readings, the page, the writer and the place where that
//! is held. What is read by the sequence lock is what one of its readings needs at a glance: fourteen words, a counter,
//! four high products.

use std::array;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};
use std::thread;

use ntpclock::HeldPage;

use crate::measure::{median, pin, raw_ns};

const WORDS: usize = 14;
const SAMPLES: usize = 200_000;
const RUNS: usize = 5;

/// From one reading to the next, ns. A held update comes every 10 ms: so more than one reading in ten thousand meets one.
const PACE: i64 = 2_000;

/// What the writer does: how long it rests between updates, and how long it is held in each, ns.
#[derive(Clone, Copy)]
struct Writer {
    rest: i64,
    stall: i64,
}

/// What the library has published takes effect 1 ms later, and it publishes nothing before: that is as often as it can.
const OFTEN: Writer = Writer { rest: 1_000_000, stall: 0 };

const HELD: Writer = Writer { rest: 10_000_000, stall: 50_000 };

trait Page: Sync {
    fn read(&self) -> i64;
    fn write(&self, stall: i64);
}

/// The full reading.
struct Whole<'a>(&'a HeldPage);

impl Page for Whole<'_> {
    #[inline(always)]
    fn read(&self) -> i64 {
        black_box(self.0.now()).unix_ns
    }

    fn write(&self, stall: i64) {
        publish(self.0, stall);
    }
}

/// The time alone.
struct Time<'a>(&'a HeldPage);

impl Page for Time<'_> {
    #[inline(always)]
    fn read(&self) -> i64 {
        self.0.unix_ns()
    }

    fn write(&self, stall: i64) {
        publish(self.0, stall);
    }
}

fn publish(page: &HeldPage, stall: i64) {
    assert!(page.publish(move || hold(stall)), "the writer came too late again and again");
}

/// A plain sequence lock (Boehm, "Can seqlocks get along with programming language memory models?", MSPC 2012).
struct SequenceLock {
    sequence: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Page for SequenceLock {
    #[inline(always)]
    fn read(&self) -> i64 {
        loop {
            let sequence = self.sequence.load(Acquire);
            let words = array::from_fn(|index| self.words[index].load(Relaxed));
            let tick = raw_ns();
            fence(Acquire);
            if sequence.is_multiple_of(2) && self.sequence.load(Relaxed) == sequence {
                return reckon(&words, tick);
            }
            spin_loop();
        }
    }

    fn write(&self, stall: i64) {
        let sequence = self.sequence.load(Relaxed);
        self.sequence.store(sequence + 1, Relaxed);
        fence(Release);
        for (index, slot) in self.words.iter().enumerate() {
            if index == WORDS / 2 {
                hold(stall);
            }
            slot.store(sequence, Relaxed);
        }
        self.sequence.store(sequence + 2, Release);
    }
}

#[inline(always)]
fn reckon(words: &[u64; WORDS], tick: i64) -> i64 {
    let since = tick.cast_unsigned().wrapping_sub(words[0]);
    let high = |factor: u64| ((u128::from(since) * u128::from(factor)) >> 64) as u64;
    let ends = high(words[1]).max(high(words[2]).wrapping_add(words[3]));
    ends.min(high(words[4])).wrapping_add(high(words[5]) ^ words[13]).cast_signed()
}

fn hold(stall: i64) {
    let begun = raw_ns();
    while raw_ns() - begun < stall {
        spin_loop();
    }
}

/// The middle, and two high quantiles of the time of a reading; ns, medians of all runs.
pub struct Tail {
    pub name: &'static str,
    pub p50: f64,
    pub p999: f64,
    pub p9999: f64,
}

/// Tails without a writer, with one at 1 kHz, and with one that is held; and by how much the library's full reading
/// leads in the last.
pub fn measure() -> (Vec<Tail>, f64) {
    let page = HeldPage::new();
    // Long enough for the writer to find what the processor's counter is in nanoseconds.
    for _ in 0..200 {
        hold(HELD.rest);
        publish(&page, 0);
    }
    let (whole, time) = (Whole(&page), Time(&page));
    let lock = SequenceLock { sequence: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; WORDS] };
    let tails = vec![
        tail("full reading, no writer", &whole, None),
        tail("time alone, no writer", &time, None),
        tail("sequence lock, no writer", &lock, None),
        tail("full reading, writer at 1 kHz", &whole, Some(OFTEN)),
        tail("time alone, writer at 1 kHz", &time, Some(OFTEN)),
        tail("sequence lock, writer at 1 kHz", &lock, Some(OFTEN)),
        tail("full reading, writer held 50 µs in each update", &whole, Some(HELD)),
        tail("time alone, writer held 50 µs in each update", &time, Some(HELD)),
        tail("sequence lock, writer held 50 µs in each update", &lock, Some(HELD)),
    ];
    let lead = tails[8].p9999 / tails[6].p9999;
    (tails, lead)
}

fn tail(name: &'static str, page: &impl Page, writer: Option<Writer>) -> Tail {
    let runs: Vec<Vec<f64>> = (0..RUNS).map(|_| run(page, writer)).collect();
    let quantile = |q: f64| median(runs.iter().map(|times| times[(times.len() as f64 * q) as usize]).collect());
    Tail { name, p50: quantile(0.5), p999: quantile(0.999), p9999: quantile(0.9999) }
}

/// All reading times, ascending, with what an empty measurement takes taken off.
fn run(page: &impl Page, writer: Option<Writer>) -> Vec<f64> {
    let over = AtomicBool::new(false);
    let mut times = Vec::with_capacity(SAMPLES);
    thread::scope(|scope| {
        if let Some(Writer { rest, stall }) = writer {
            let over = &over;
            scope.spawn(move || {
                pin(1);
                while !over.load(Relaxed) {
                    hold(rest);
                    page.write(stall);
                }
            });
        }
        pin(0);
        let empty = median((0..1001).map(|_| -(raw_ns() - raw_ns()) as f64).collect());
        let mut due = raw_ns();
        for _ in 0..SAMPLES {
            while raw_ns() < due {
                spin_loop();
            }
            let begun = raw_ns();
            black_box(page.read());
            times.push((raw_ns() - begun) as f64 - empty);
            due = begun + PACE;
        }
        over.store(true, Relaxed);
    });
    times.sort_by(f64::total_cmp);
    times
}
