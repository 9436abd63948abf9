//! Interleaved measurement: every operation in every round, the order turned from round to round.
//!
//! What disturbs a round disturbs all of its operations, so ratios are taken within a round, and told is their median.

use std::hint::black_box;
use std::sync::Barrier;

pub struct Operation {
    pub name: &'static str,
    pub run: Box<dyn FnMut(u32) + Send>,
}

pub fn operation<T>(name: &'static str, mut once: impl FnMut() -> T + Send + 'static) -> Operation {
    let run = Box::new(move |times| {
        for _ in 0..times {
            black_box(once());
        }
    });
    Operation { name, run }
}

/// Nanoseconds a call and the ratio to the first operation, medians over the rounds.
pub struct Row {
    pub name: &'static str,
    pub ns: f64,
    pub ratio: f64,
}

pub fn raw_ns() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_RAW, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

pub fn pin(cpu: usize) {
    // SAFETY: a set of plain bits, ours; where pinning is forbidden the figures are only less steady.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// Measures `operations` on `cpu`; `together` keeps threads that measure at the same time in step.
pub fn measure(operations: &mut [Operation], cpu: usize, together: Option<&Barrier>, rounds: usize) -> Vec<Row> {
    const CALLS: u32 = 4_000;
    pin(cpu);
    let count = operations.len();
    // By operation, then by round.
    let mut times = vec![Vec::with_capacity(rounds); count];
    for round in 0..rounds {
        for turn in 0..count {
            let index = (turn + round) % count;
            if let Some(barrier) = together {
                barrier.wait();
            }
            let begun = raw_ns();
            (operations[index].run)(CALLS);
            times[index].push((raw_ns() - begun) as f64 / f64::from(CALLS));
        }
    }
    let ratios = |index: usize| times[index].iter().zip(&times[0]).map(|(time, first)| time / first).collect();
    let row = |index: usize| Row {
        name: operations[index].name,
        ns: median(times[index].clone()),
        ratio: median(ratios(index)),
    };
    (0..count).map(row).collect()
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
