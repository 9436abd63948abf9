//! How far off the reading is, beside how far off the core expects it to be.
//!
//! The bound is a promise and is judged by its violations. The estimated error is an expectation and is judged by
//! its calibration: for a Gaussian error, 68 % of the readings lie within once the estimated error and 95 % within twice.
//!
//! No clock can see a constant asymmetry of the only path it has, so a single source is judged on symmetric paths. Among
//! several sources a difference of asymmetries shows, so there the estimate must own up to it.

use super::Trial;
use super::oscillators;
use super::random::Random;
use super::server::{MICROSECOND, MILLISECOND, Server, exponential, gamma};
use super::world::World;
use crate::config::Settings;

/// Hours that each world is played, and of these the first that are not counted: then the estimators are still learning.
const HOURS: f64 = 3.0;
const SETTLING: f64 = 0.5;

/// Worlds of each kind.
const WORLDS: u64 = 10;

/// A kind of world: its servers, and what its estimated error must be worth.
struct Kind {
    name: &'static str,
    servers: fn(&mut Random) -> Vec<Server>,
    poll: (i8, i8),
    /// The least share of the readings within once and twice the estimated error.
    least: [f64; 2],
}

/// A server with a perfect clock whose path queues alike both ways; `lopsided`: the share of the round trip by which one
/// way may be longer than half of it.
fn server(random: &mut Random, base: (f64, f64), jitter: (f64, f64), lopsided: f64) -> Server {
    let one_way = random.between(base.0, base.1);
    let more = one_way * random.between(-lopsided, lopsided);
    let mean = random.between(jitter.0, jitter.1);
    let shape = random.pick(&[1, 1, 2, 4]);
    Server::behind(gamma(one_way + more, shape, mean), gamma(one_way - more, shape, mean))
}

fn internet(random: &mut Random, count: usize, lopsided: f64) -> Vec<Server> {
    let (base, jitter) = ((2.0 * MILLISECOND, 30.0 * MILLISECOND), (0.1 * MILLISECOND, 3.0 * MILLISECOND));
    (0..count).map(|_| server(random, base, jitter, lopsided)).collect()
}

const KINDS: [Kind; 13] = [
    Kind {
        name: "one, same building, symmetric",
        servers: |random| {
            vec![server(
                random,
                (20.0 * MICROSECOND, 150.0 * MICROSECOND),
                (1.0 * MICROSECOND, 50.0 * MICROSECOND),
                0.0,
            )]
        },
        poll: (4, 4),
        least: [0.0, 0.0],
    },
    Kind {
        name: "one, internet, symmetric",
        servers: |random| internet(random, 1, 0.0),
        poll: (6, 6),
        least: [0.0, 0.0],
    },
    Kind {
        name: "one, internet, symmetric, polls grow",
        servers: |random| internet(random, 1, 0.0),
        poll: (4, 10),
        least: [0.0, 0.0],
    },
    Kind {
        name: "two, internet, symmetric",
        servers: |random| internet(random, 2, 0.0),
        poll: (6, 6),
        least: [0.0, 0.0],
    },
    Kind {
        name: "four, internet, symmetric",
        servers: |random| internet(random, 4, 0.0),
        poll: (6, 6),
        least: [0.0, 0.0],
    },
    Kind {
        name: "eight, internet, symmetric",
        servers: |random| internet(random, 8, 0.0),
        poll: (6, 6),
        least: [0.0, 0.0],
    },
    Kind {
        name: "two, internet, lopsided by 20 %",
        servers: |random| internet(random, 2, 0.2),
        poll: (6, 6),
        least: [0.0, 0.0],
    },
    Kind {
        name: "four, internet, lopsided by 2 %",
        servers: |random| internet(random, 4, 0.02),
        poll: (6, 6),
        least: [0.0, 0.0],
    },
    Kind {
        name: "four, internet, lopsided by 20 %",
        servers: |random| internet(random, 4, 0.2),
        poll: (6, 6),
        least: [0.0, 0.0],
    },
    Kind {
        name: "eight, internet, lopsided by 20 %",
        servers: |random| internet(random, 8, 0.2),
        poll: (6, 6),
        least: [0.0, 0.0],
    },
    Kind {
        name: "four, one far more lopsided",
        servers: |random| {
            let mut servers = internet(random, 3, 0.03);
            servers.extend(internet(random, 1, 0.9));
            servers
        },
        poll: (6, 6),
        least: [0.0, 0.0],
    },
    Kind {
        name: "four, each off by its own claim",
        servers: |random| {
            let servers = internet(random, 4, 0.05).into_iter();
            servers.map(|server| server.with_error_below(5.0 * MILLISECOND, random)).collect()
        },
        poll: (6, 6),
        least: [0.0, 0.0],
    },
    Kind {
        name: "one near and three far",
        servers: |random| {
            let mut servers = internet(random, 3, 0.2);
            servers.push(Server::behind(
                exponential(100.0 * MICROSECOND, 10.0 * MICROSECOND),
                exponential(100.0 * MICROSECOND, 10.0 * MICROSECOND),
            ));
            servers
        },
        poll: (4, 6),
        least: [0.0, 0.0],
    },
];

/// What was measured of one kind of world.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calibration {
    readings: f64,
    within: [f64; 2],
    square: f64,
    expected: f64,
}

impl Calibration {
    /// One reading: how far off it was, and how far off it was expected to be, ns.
    pub(super) fn add(&mut self, error: f64, expected: f64) {
        self.readings += 1.0;
        self.square += error * error;
        self.expected += expected * expected;
        for (within, times) in self.within.iter_mut().zip([1.0, 2.0]) {
            *within += f64::from(u8::from(error.abs() <= times * expected));
        }
    }

    fn merge(&mut self, other: &Self) {
        self.readings += other.readings;
        self.square += other.square;
        self.expected += other.expected;
        self.within[0] += other.within[0];
        self.within[1] += other.within[1];
    }

    fn shares(&self) -> [f64; 2] {
        self.within.map(|within| within / self.readings)
    }
}

#[test]
fn the_estimated_error_is_what_readings_are_off_by() {
    println!("{:38} {:>10} {:>10} {:>6} {:>6}", "kind of world", "rms µs", "expected", "≤ 1×", "≤ 2×");
    let mut bad = Vec::new();
    for (number, kind) in KINDS.iter().enumerate() {
        let mut sum = Calibration::default();
        for seed in 0..WORLDS {
            let trial = Trial { seed: 1_000 * number as u64 + seed, days: 0.25 };
            let mut random = Random::new(trial.seed);
            let settings = Settings { poll_min: kind.poll.0, poll_max: kind.poll.1, ..Settings::default() };
            let servers = (kind.servers)(&mut random);
            let oscillator = oscillators::ordinary(&mut random, &settings);
            let mut world = World::new(&trial, &settings, oscillator, servers);
            world.run(SETTLING);
            world.calibration = Some(Calibration::default());
            world.run(HOURS - SETTLING);
            sum.merge(&world.calibration.unwrap_or_default());
        }
        let shares = sum.shares();
        let rms = |squares: f64| (squares / sum.readings).sqrt() * 1e-3;
        let line = format!(
            "{:38} {:10.1} {:10.1} {:5.1}% {:5.1}%",
            kind.name,
            rms(sum.square),
            rms(sum.expected),
            100.0 * shares[0],
            100.0 * shares[1]
        );
        println!("{line}");
        if shares[0] < kind.least[0] || shares[1] < kind.least[1] {
            bad.push(line);
        }
    }
    assert!(bad.is_empty(), "the estimated error is too small:\n{}", bad.join("\n"));
}
