//! How true is the clock, and how does `chronyd` fare beside it?
//!
//! One `chronyd` serves the system clock, untouched. Our clock and a second `chronyd` follow it side by side, both at
//! polls of 2^0 to 2^4 s; the truth both are after is the system clock. A reader samples our clock twice every 10 ms
//! and judges each reading by the system clock just before and just after it (`bracket.rs`); the error of chronyd's
//! clock at the same instants comes from its log (`tracking_log.rs`).
//!
//! * **Asserted**: of all readings, and of those of each minute, 99 in 100 are off by no more than 10 µs beyond half
//!   their bracket; every interval holds the true time, no reading runs backwards, none is unsynchronised, and the
//!   clock does not step. No sample is dropped, however long the reader was kept off the processor.
//! * **Reported**: RMS, p99, largest and mean error of both clocks, and ratios. Here a reading's error is its
//!   distance from the middle of its bracket, and only the narrowest quarter of all brackets counts (the table says how
//!   wide those are at most): in a wide one the middle tells more of the machine than of the clock.
//!
//! The mean is mostly the two directions' difference in travel time, which no clock can know. Our requests are stamped
//! before they enter the kernel, which takes longest in a thread that has just slept, so the way there seems the longer
//! one, and our clock is ahead by half of the difference. chronyd takes the kernel's stamp of its requests but not of
//! its server's replies, and is behind.
//!
//! The first 10 s, and as long as the bound is above 1 ms, are warm-up for errors: either clock has but a handful of
//! exchanges then, and the figures are about the steady run. Intervals, monotony and state are judged from the first
//! synchronised reading on.
//!
//! `NTPCLOCK_LIVE_MINUTES` sets how long it lasts, 20 s unless set; `make live` plays 10 minutes.

use std::env;
use std::fmt;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use ntpclock::{Clock, Config, Reading, State};

use crate::alone;
use crate::bracket::error_ns;
use crate::peers::{Chronyd, ChronydClient, system_clock_ns};
use crate::tracking_log::TrackingLog;

/// What 99 of 100 readings may be wrong by.
const LIMIT_NS: i64 = 10_000;

/// Both clocks ask every 2^0 to 2^4 s.
const POLLS: (i8, i8) = (0, 4);

/// Distance of pairs of readings.
const PACE: Duration = Duration::from_millis(10);

/// Warm-up: at least this long, and until the bound is this small.
const WARM_UP: Duration = Duration::from_secs(10);
const WARM_BOUND: Duration = Duration::from_millis(1);

const SECOND_NS: i64 = 1_000_000_000;
const MINUTE_NS: i64 = 60 * SECOND_NS;

/// One reading that was judged.
struct Sample {
    /// The system clock in the middle of the bracket, ns since 1970.
    at_ns: i64,
    /// What the reading is off by at least.
    excess_ns: i64,
    /// Reading minus the middle of the bracket, and the width of that.
    error_ns: i64,
    width_ns: i64,
    bound_ns: i64,
}

/// A reader that judges what it reads.
struct Watch<'a> {
    clock: &'a Clock,
    last: Reading,
    violations: Vec<String>,
}

impl<'a> Watch<'a> {
    /// Begins once the clock is synchronised.
    fn new(clock: &'a Clock) -> Self {
        crate::synchronize(clock);
        Self { clock, last: clock.now(), violations: Vec::new() }
    }

    fn sample(&mut self) -> Sample {
        let before = system_clock_ns();
        let reading = self.clock.now();
        let after = system_clock_ns();
        let mut violated = |what: &str| {
            let last = self.last;
            self.violations.push(format!("{what}: {reading:?} in [{before}, {after}], after {last:?}"));
        };
        if reading.earliest_ns > after || reading.latest_ns < before {
            violated("the interval misses the true time");
        }
        if reading.unix_ns < self.last.unix_ns {
            violated("ran backwards");
        }
        if reading.epoch != self.last.epoch {
            violated("stepped");
        }
        if reading.state != State::Synchronized {
            violated("not synchronised");
        }
        self.last = reading;
        let at_ns = before.midpoint(after);
        Sample {
            at_ns,
            excess_ns: error_ns(before, reading.unix_ns, after),
            error_ns: reading.unix_ns - at_ns,
            width_ns: after - before,
            bound_ns: reading.error_bound_ns(),
        }
    }

    /// Samples for `duration`, or for longer if `unfinished` says so.
    fn samples(&mut self, duration: Duration, unfinished: impl Fn(&Sample) -> bool) -> Vec<Sample> {
        let end = system_clock_ns() + duration.as_nanos() as i64;
        let mut samples: Vec<Sample> = Vec::new();
        while system_clock_ns() < end || samples.last().is_some_and(&unfinished) {
            // Two in a row: after its sleep the first finds cold caches, which widens its bracket.
            samples.extend([self.sample(), self.sample()]);
            sleep(PACE);
        }
        samples
    }
}

/// Errors, ns.
struct Errors {
    /// Magnitudes in ascending order.
    sorted: Vec<f64>,
    /// With its sign; positive: ahead of the true time.
    mean: f64,
}

impl Errors {
    fn of(errors: impl Iterator<Item = f64>) -> Self {
        let errors: Vec<f64> = errors.collect();
        assert!(!errors.is_empty(), "nothing was sampled");
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        let mut sorted: Vec<f64> = errors.into_iter().map(f64::abs).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Self { sorted, mean }
    }

    fn rms(&self) -> f64 {
        (self.sorted.iter().map(|error| error * error).sum::<f64>() / self.sorted.len() as f64).sqrt()
    }

    fn p99(&self) -> f64 {
        self.sorted[(self.sorted.len() - 1) * 99 / 100]
    }

    fn max(&self) -> f64 {
        self.sorted[self.sorted.len() - 1]
    }
}

/// One line of the table.
struct Stretch {
    name: String,
    samples: usize,
    excess: Errors,
    /// First quartile of the brackets' widths; only up to this they tell of `ours` and `chronyd`.
    narrow_ns: i64,
    ours: Errors,
    chronyd: Errors,
    mean_bound_ns: f64,
}

impl Stretch {
    fn new(name: impl Into<String>, samples: &[Sample], log: &TrackingLog) -> Self {
        let mut widths: Vec<i64> = samples.iter().map(|sample| sample.width_ns).collect();
        widths.sort_unstable();
        let narrow_ns = widths[widths.len() / 4];
        let narrow = || samples.iter().filter(|sample| sample.width_ns <= narrow_ns);
        let of_chronyd = |sample: &Sample| {
            let at_s = sample.at_ns as f64 / SECOND_NS as f64;
            log.error_ns(at_s).expect("chronyd has found its server during the warm-up")
        };
        Self {
            name: name.into(),
            samples: samples.len(),
            excess: Errors::of(samples.iter().map(|sample| sample.excess_ns as f64)),
            narrow_ns,
            ours: Errors::of(narrow().map(|sample| sample.error_ns as f64)),
            chronyd: Errors::of(narrow().map(of_chronyd)),
            mean_bound_ns: samples.iter().map(|sample| sample.bound_ns as f64).sum::<f64>() / samples.len() as f64,
        }
    }

    const TITLES: [&str; 2] = [
        "               | beyond bracket, µs | RMS, µs, in narrow brackets       | p99, µs                 | max, µs         | mean, µs        | bound, µs",
        "minute samples |      p99       max | brackets    ours  chronyd   ratio |    ours  chronyd  ratio |    ours chronyd |    ours chronyd |      mean",
    ];
}

impl fmt::Display for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ours, theirs) = (&self.ours, &self.chronyd);
        let micros = |ns: f64| ns * 1e-3;
        write!(f, "{:>6} {:7} | ", self.name, self.samples)?;
        write!(f, "{:8.3} {:9.3} | ", micros(self.excess.p99()), micros(self.excess.max()))?;
        write!(f, "{:8.3} {:7.3} {:8.3} ", self.narrow_ns as f64 * 1e-3, micros(ours.rms()), micros(theirs.rms()))?;
        write!(f, "{:7.3} | {:7.3} ", ours.rms() / theirs.rms(), micros(ours.p99()))?;
        write!(f, "{:8.3} {:6.3} | ", micros(theirs.p99()), ours.p99() / theirs.p99())?;
        write!(f, "{:7.3} {:7.3} | {:7.3} ", micros(ours.max()), micros(theirs.max()), micros(ours.mean))?;
        write!(f, "{:7.3} | {:9.3}", micros(theirs.mean), micros(self.mean_bound_ns))
    }
}

/// How long the clocks are judged.
fn duration() -> Duration {
    let Ok(text) = env::var("NTPCLOCK_LIVE_MINUTES") else { return Duration::from_secs(20) };
    let minutes = text.parse::<f64>().ok().filter(|minutes| *minutes > 0.0 && *minutes < 1000.0);
    let minutes = minutes.unwrap_or_else(|| panic!("NTPCLOCK_LIVE_MINUTES is `{text}`, not a number of minutes"));
    Duration::from_secs_f64(60.0 * minutes)
}

#[test]
fn beside_chronyd_readings_are_right_within_10_us_and_the_interval_always_holds_the_time() {
    let duration = duration();
    let _alone = alone();
    let server = Chronyd::start();
    let begun_s = system_clock_ns() / SECOND_NS;
    let chronyd = ChronydClient::start(server.address(), POLLS);
    let mut config = Config::with_servers(&server.entry()).expect("an address and a port");
    config.set_poll_exponents(POLLS.0.into(), POLLS.1.into()).expect("polls of 1 s to 16 s can be asked for");
    let clock = Clock::start(config).expect("a clock can be started");

    let mut watch = Watch::new(&clock);
    watch.samples(WARM_UP, |sample| sample.bound_ns > WARM_BOUND.as_nanos() as i64);
    let samples = watch.samples(duration, |_| false);
    let violations = watch.violations;

    let log = TrackingLog::parse(&chronyd.tracking_log(), begun_s);
    assert!(log.len() > 0, "chronyd has not followed {}; it says:\n{}", server.address(), chronyd.said());
    log.assert_consistent();
    let begin = samples.first().expect("the duration is not zero").at_ns;
    // The last minute takes what is left over.
    let last = (duration.as_secs() as i64 / 60 - 1).max(0);
    let minute = |sample: &Sample| ((sample.at_ns - begin) / MINUTE_NS).min(last);
    let minutes = samples.chunk_by(|a, b| minute(a) == minute(b));
    let mut stretches: Vec<Stretch> =
        minutes.map(|chunk| Stretch::new((minute(&chunk[0]) + 1).to_string(), chunk, &log)).collect();
    stretches.push(Stretch::new("all", &samples, &log));

    println!("{}", Stretch::TITLES.join("\n"));
    for stretch in &stretches {
        println!("{stretch}");
    }
    let (exchanges, updates) = (clock.report().exchanges, log.len());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{} violations; {exchanges} exchanges, chronyd {updates} updates; load average {load}", violations.len());

    assert!(violations.is_empty(), "{} violations, the first: {}", violations.len(), violations[0]);
    for stretch in &stretches {
        let p99 = stretch.excess.p99();
        assert!(
            p99 <= LIMIT_NS as f64,
            "minute {}: p99 is {p99} ns, above {LIMIT_NS} ns; load average {load}",
            stretch.name
        );
    }
}

#[test]
fn errors_are_summed_up_by_rms_p99_largest_and_mean() {
    let errors = Errors::of([-4.0, 3.0].into_iter());
    assert_eq!((errors.rms(), errors.p99(), errors.max(), errors.mean), (12.5_f64.sqrt(), 3.0, 4.0, -0.5));
    assert_eq!(Errors::of((0..=100).map(f64::from)).p99(), 99.0);
}
