//! The slowest readings beside a writer: the library's own latch against a plain sequence lock over the same words.
//!
//! The writer can be held in mid-update, as preemption would hold it: a sequence lock's readers wait for it, those of
//! the latch do not. A reading here is what one of the library's is: fourteen words, a counter, four high products.

use std::array;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};
use std::thread;

use crate::latch::Latch;
use crate::measure::{median, pin, raw_ns};

const WORDS: usize = 14;
const SAMPLES: usize = 400_000;
const RUNS: usize = 5;

/// How long the writer is held, ns.
const STALL: i64 = 50_000;

trait Page: Sync {
    fn read(&self) -> u64;
    fn write(&self, words: [u64; WORDS], stall: i64);
}

impl Page for Latch<WORDS> {
    #[inline(always)]
    fn read(&self) -> u64 {
        self.read_if(0, |words| reckon(&array::from_fn(|index| words.at(index)), raw_ns())).unwrap_or(0)
    }

    fn write(&self, words: [u64; WORDS], stall: i64) {
        self.stage(&words);
        hold(stall);
        self.turn(0);
    }
}

/// A plain sequence lock (Boehm, "Can seqlocks get along with programming language memory models?", MSPC 2012).
struct SequenceLock {
    sequence: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Page for SequenceLock {
    #[inline(always)]
    fn read(&self) -> u64 {
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

    fn write(&self, words: [u64; WORDS], stall: i64) {
        let sequence = self.sequence.load(Relaxed);
        self.sequence.store(sequence + 1, Relaxed);
        fence(Release);
        for (index, (slot, word)) in self.words.iter().zip(words).enumerate() {
            if index == WORDS / 2 {
                hold(stall);
            }
            slot.store(word, Relaxed);
        }
        self.sequence.store(sequence + 2, Release);
    }
}

#[inline(always)]
fn reckon(words: &[u64; WORDS], tick: i64) -> u64 {
    let since = (tick as u64).wrapping_sub(words[0]);
    let high = |factor: u64| ((u128::from(since) * u128::from(factor)) >> 64) as u64;
    let ends = high(words[1]).max(high(words[2]).wrapping_add(words[3]));
    ends.min(high(words[4])).wrapping_add(high(words[5]) ^ words[13])
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

/// What the writer does: how long it rests between updates, and how long it is held in each.
struct Writer {
    rest: i64,
    stall: i64,
}

/// Tails without a writer, with one at 1 kHz, and with one that is held; and by how much the latch leads in the last.
pub fn measure() -> (Vec<Tail>, f64) {
    let latch = Latch::new();
    let lock = SequenceLock { sequence: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; WORDS] };
    let often = Writer { rest: 1_000_000, stall: 0 };
    // Held updates come every 350 µs, so that more than one reading in ten thousand meets one.
    let held = Writer { rest: 300_000, stall: STALL };
    let tails = vec![
        tail("latch, no writer", &latch, None),
        tail("sequence lock, no writer", &lock, None),
        tail("latch, writer at 1 kHz", &latch, Some(&often)),
        tail("sequence lock, writer at 1 kHz", &lock, Some(&often)),
        tail("latch, writer held 50 µs in each update", &latch, Some(&held)),
        tail("sequence lock, writer held 50 µs in each update", &lock, Some(&held)),
    ];
    let lead = tails[5].p9999 / tails[4].p9999;
    (tails, lead)
}

fn tail(name: &'static str, page: &impl Page, writer: Option<&Writer>) -> Tail {
    let runs: Vec<Vec<f64>> = (0..RUNS).map(|_| run(page, writer)).collect();
    let quantile = |q: f64| median(runs.iter().map(|times| times[(times.len() as f64 * q) as usize]).collect());
    Tail { name, p50: quantile(0.5), p999: quantile(0.999), p9999: quantile(0.9999) }
}

/// All reading times, ascending, with what an empty measurement takes taken off.
fn run(page: &impl Page, writer: Option<&Writer>) -> Vec<f64> {
    let over = AtomicBool::new(false);
    let mut times = Vec::with_capacity(SAMPLES);
    thread::scope(|scope| {
        if let Some(writer) = writer {
            scope.spawn(|| {
                pin(1);
                let mut count = 0;
                while !over.load(Relaxed) {
                    count += 1;
                    page.write([count; WORDS], writer.stall);
                    hold(writer.rest);
                }
            });
        }
        pin(0);
        let empty = median((0..1001).map(|_| -(raw_ns() - raw_ns()) as f64).collect());
        for _ in 0..SAMPLES {
            let begun = raw_ns();
            black_box(page.read());
            times.push((raw_ns() - begun) as f64 - empty);
        }
        over.store(true, Relaxed);
    });
    times.sort_by(f64::total_cmp);
    times
}
