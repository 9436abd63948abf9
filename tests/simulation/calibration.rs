//! How far off the reading is, beside how far off the core expects it to be.
//!
//! The bound is a promise and is judged by its violations. The estimated error is an expectation and is judged by its
//! calibration: for a Gaussian error, 68 % of the readings lie within once the estimated error and 95 % within twice.
//!
//! No clock can see a constant asymmetry of the only path it has, so a single source is judged on symmetric paths.
//! Among several sources a difference of asymmetries shows, so there the estimate must own up to it. With `--nocapture`
//! the test tells what it measured; figures beside it of another combination of sources say which of the two is better.

use super::oscillators;
use super::random::Random;
use super::server::{MICROSECOND, MILLISECOND, Server, gamma};
use super::world::World;
use super::{DAYS, Trial};
use crate::config::Settings;

/// The first hours of a world are not counted: then the estimators are still learning.
const SETTLING: f64 = 0.4;

/// Hours that the worlds of a kind are played together, if all scenarios together get [`DAYS`]; with more days more
/// worlds are played, up to ten times as many: the biases of a world hardly change, so it is one throw of the dice for
/// each source.
const HOURS: f64 = 24.0;

/// A kind of world.
struct Kind {
    name: &'static str,
    servers: fn(&mut Random) -> Vec<Server>,
    poll: (i8, i8),
    /// How long one is played.
    hours: f64,
    /// The least share of the readings within once and twice the estimated error, percent.
    least: (f64, f64),
}

/// What is asked for where nothing but queues makes readings wrong. A Gaussian error would give 68 and 95: the rest is
/// what the oscillator wanders, and what readings age, until the next exchange; of that the estimate says nothing.
const QUEUES: (f64, f64) = (60.0, 90.0);

/// What is asked for where sources have biases, of which only their differences can be seen. So it is up to chance how
/// well a few of them give away their common error: of n, as Student's distribution with n - 1 degrees of freedom
/// tells, by 50 % and 70 % for two and by 61 % and 86 % for four. Less a margin for a dozen worlds.
const BIASES: (f64, f64) = (45.0, 70.0);

/// A server with a perfect clock whose path queues alike both ways; `lopsided`: the share of the round trip by which
/// one way may be longer than half of it.
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

fn building(random: &mut Random) -> Server {
    server(random, (20.0 * MICROSECOND, 150.0 * MICROSECOND), (1.0 * MICROSECOND, 50.0 * MICROSECOND), 0.0)
}

/// Servers polled every 64 s.
const fn kind(name: &'static str, servers: fn(&mut Random) -> Vec<Server>, least: (f64, f64)) -> Kind {
    Kind { name, servers, poll: (6, 6), hours: 1.5, least }
}

const KINDS: [Kind; 13] = [
    Kind { poll: (4, 4), ..kind("one in the building", |random| vec![building(random)], QUEUES) },
    kind("one", |random| internet(random, 1, 0.0), QUEUES),
    Kind { poll: (4, 10), hours: 6.0, ..kind("one, polls grow", |random| internet(random, 1, 0.0), QUEUES) },
    kind("two", |random| internet(random, 2, 0.0), QUEUES),
    kind("four", |random| internet(random, 4, 0.0), QUEUES),
    kind("eight", |random| internet(random, 8, 0.0), QUEUES),
    kind("two, lopsided by up to 20 %", |random| internet(random, 2, 0.2), BIASES),
    kind("four, lopsided by up to 2 %", |random| internet(random, 4, 0.02), BIASES),
    kind("four, lopsided by up to 20 %", |random| internet(random, 4, 0.2), BIASES),
    kind("eight, lopsided by up to 20 %", |random| internet(random, 8, 0.2), BIASES),
    kind(
        "three, and one lopsided by up to 90 %",
        |random| [internet(random, 3, 0.03), internet(random, 1, 0.9)].into_iter().flatten().collect(),
        BIASES,
    ),
    kind(
        "four, each off by up to its claim",
        |random| {
            internet(random, 4, 0.05)
                .into_iter()
                .map(|server| server.with_error_below(5.0 * MILLISECOND, random))
                .collect()
        },
        BIASES,
    ),
    kind(
        "one in the building, three lopsided",
        |random| {
            let mut servers = internet(random, 3, 0.2);
            servers.push(building(random));
            servers
        },
        BIASES,
    ),
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
}

#[test]
fn the_estimated_error_is_what_readings_are_off_by() {
    println!("{:38} {:>10} {:>10} {:>6} {:>6}", "servers", "rms µs", "expected", "≤ 1×", "≤ 2×");
    let days: f64 = super::variable("NTPCLOCK_SIMULATED_DAYS").unwrap_or(DAYS);
    let times = (days / DAYS).clamp(1.0, 10.0);
    let mut bad = Vec::new();
    for (number, kind) in KINDS.iter().enumerate() {
        let mut sum = Calibration::default();
        for seed in 0..(HOURS / kind.hours * times) as u64 {
            sum.merge(&calibrated(kind, 1_000 * number as u64 + seed));
        }
        let [once, twice] = sum.within.map(|within| 100.0 * within / sum.readings);
        let rms = |squares: f64| (squares / sum.readings).sqrt() * 1e-3;
        let (error, expected) = (rms(sum.square), rms(sum.expected));
        let line = format!("{:38} {error:10.1} {expected:10.1} {once:5.1}% {twice:5.1}%", kind.name);
        println!("{line}");
        if once < kind.least.0 || twice < kind.least.1 {
            bad.push(line);
        }
    }
    assert!(bad.is_empty(), "the estimated error is too small:\n{}", bad.join("\n"));
}

/// Plays one world.
fn calibrated(kind: &Kind, seed: u64) -> Calibration {
    let trial = Trial { seed, days: kind.hours / 24.0 };
    let mut random = Random::new(seed);
    let settings = Settings { poll_min: kind.poll.0, poll_max: kind.poll.1, ..Settings::default() };
    let servers = (kind.servers)(&mut random);
    let oscillator = oscillators::ordinary(&mut random, &settings);
    let mut world = World::new(&trial, &settings, oscillator, servers);
    world.run(SETTLING);
    world.calibration = Some(Calibration::default());
    world.run(kind.hours - SETTLING);
    world.calibration.unwrap_or_default()
}
