//! `ntpclock-bench LIBRARY SERVER SECONDS`: measures the library beside what others offer, prints tables and holds
//! them against the floors. `make bench` runs it.
//!
//! Floors are ratios within one run; no absolute time is judged. Exits with 1 if a floor is missed.

mod background;
mod clockbound;
mod library;
mod measure;
mod tail;

use std::ffi::CString;
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread::{self, sleep};
use std::time::{Duration, Instant, SystemTime};

use library::{Library, Reading, SLEWING};
use measure::{Operation, Row, operation};

const ORDERED: &str = "ntp_now";
const RELAXED: &str = "ntp_now_relaxed";
const READING: &str = "ntp_clock_now (64 bytes)";
const CHECKED: &str = "ntp_clock_now_checked (64 bytes)";
const CLOCKBOUND: &str = "ClockBound 3.0.0-rc.0 client, now()";

/// At most this times `clock_gettime(CLOCK_REALTIME)`.
const FLOORS: [(&str, f64); 3] = [(ORDERED, 1.00), (RELAXED, 0.65), (READING, 1.30)];

/// ClockBound's client takes at least this times as long as our full reading.
const CLOCKBOUND_FLOOR: f64 = 3.0;

/// With the writer held, a sequence lock's p99.99 is at least this times our full reading's.
const TAIL_FLOOR: f64 = 10.0;

const ROUNDS: usize = 301;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().unwrap_or_else(|| panic!("ntpclock-bench: {what} is missing"));
    let (path, server, seconds) = (next("LIBRARY"), next("SERVER"), next("SECONDS"));
    let seconds: u64 = seconds.parse().expect("SECONDS is a number");
    let library = Library::load(&path);

    // First, while the process is small: its memory is compared.
    let cost = background::measure(&library, &server, seconds);
    follow(&library, &server);

    let mut faults = Vec::new();
    let alone = measure::measure(&mut operations(library), 0, None, ROUNDS);
    print("One thread", &[alone.as_slice()]);
    judge(&alone, &mut faults);
    print("Two threads on two processors, at the same time", &together(library));

    let (tails, lead) = tail::measure();
    println!("\n| One reading, ns, medians of 5 runs | p50 | p99.9 | p99.99 |\n|---|---|---|---|");
    for tail in tails {
        println!("| {} | {:.0} | {:.0} | {:.0} |", tail.name, tail.p50, tail.p999, tail.p9999);
    }
    println!(
        "\nBeside the held writer our full reading's p99.99 is {lead:.0} × below the sequence lock's (floor {TAIL_FLOOR})."
    );
    if lead < TAIL_FLOOR {
        faults.push(format!("beside a held writer our full reading's p99.99 is only {lead:.1} × below"));
    }

    println!("\n| one source at poll 64 s, watched for {:.0} s | | floor |\n|---|---|---|", cost.seconds);
    let mut told = |what: &str, value: f64, floor: f64, digits: usize| {
        println!("| {what} | {value:.digits$} | {floor} |");
        if value > floor {
            faults.push(format!("{what}: {value:.digits$}, at most {floor} is allowed"));
        }
    };
    told("CPU time, ms an hour", cost.cpu_ms_an_hour, 10.0, 1);
    println!("| CPU time of a thread that only asks, ms an hour | {:.1} | |", cost.bare_ms_an_hour);
    told("wake-ups a second", cost.wakeups_a_second, 0.1, 3);
    told("private dirty memory, KiB", cost.private_dirty_kib as f64, 64.0, 0);
    for fault in &faults {
        println!("\nMISSED: {fault}");
    }
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Has the process-wide clock follow `server` until nothing is unusual any more: synchronised, no correction under way.
fn follow(library: &Library, server: &str) {
    let server = CString::new(server).expect("an address without NUL");
    // SAFETY: a string that lives.
    assert_eq!(unsafe { (library.start)(server.as_ptr()) }, 0, "the clock does not start");
    assert_eq!((library.wait)(10_000), 0, "the clock is not synchronised in 10 s");
    let begun = Instant::now();
    // The burst is over, and so are its corrections.
    while begun.elapsed().as_secs() < 13 || library.read().flags & SLEWING != 0 {
        assert!(begun.elapsed().as_secs() < 60, "corrections without end");
        sleep(Duration::from_millis(50));
    }
}

fn operations(library: Library) -> Vec<Operation> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let mut other = time;
    let mut reading = Reading::default();
    let mut checked = Reading::default();
    let segment = std::env::temp_dir().join(format!("ntpclock-bench-{}", std::process::id()));
    let mut client = clockbound::client(&segment);
    std::fs::remove_file(&segment).expect("what was written can be removed");
    let anchor = minstant::Anchor::new();
    vec![
        // SAFETY: the time is ours.
        operation("clock_gettime(CLOCK_REALTIME)", move || unsafe {
            libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time)
        }),
        operation(ORDERED, move || (library.now)()),
        operation(RELAXED, move || (library.now_relaxed)()),
        // SAFETY: the process-wide clock; the reading is ours.
        operation(READING, move || unsafe { (library.clock_now)(std::ptr::null(), &raw mut reading) }),
        // SAFETY: as above.
        operation(CHECKED, move || unsafe { (library.clock_now_checked)(std::ptr::null(), &raw mut checked) }),
        operation(CLOCKBOUND, move || client.now().expect("a reading")),
        // SAFETY: as above.
        operation("clock_gettime(CLOCK_MONOTONIC_RAW)", move || unsafe {
            libc::clock_gettime(libc::CLOCK_MONOTONIC_RAW, &raw mut other)
        }),
        operation("quanta Instant::now (no UTC)", quanta::Instant::now),
        operation("minstant Instant::now (no UTC)", minstant::Instant::now),
        operation("minstant as_unix_nanos (no bound)", move || minstant::Instant::now().as_unix_nanos(&anchor)),
        operation("Rust SystemTime::now", SystemTime::now),
    ]
}

fn together(library: Library) -> Vec<Vec<Row>> {
    let barrier = Barrier::new(2);
    let run = |cpu| measure::measure(&mut operations(library), cpu, Some(&barrier), ROUNDS / 3);
    thread::scope(|scope| {
        let threads = [scope.spawn(|| run(0)), scope.spawn(|| run(1))];
        threads.into_iter().map(|thread| thread.join().expect("a measurement")).collect()
    })
}

fn print(title: &str, threads: &[impl AsRef<[Row]>]) {
    let columns = threads.len();
    println!("\n| {title} |{}\n|---|{}", " ns | × clock_gettime |".repeat(columns), "---|---|".repeat(columns));
    for index in 0..threads[0].as_ref().len() {
        let figures = |row: &Row| format!(" {:.1} | {:.2} |", row.ns, row.ratio);
        let cells: String = threads.iter().map(|rows| figures(&rows.as_ref()[index])).collect();
        println!("| {} |{cells}", threads[0].as_ref()[index].name);
    }
}

fn judge(rows: &[Row], faults: &mut Vec<String>) {
    let ratio = |name: &str| rows.iter().find(|row| row.name == name).expect("it was measured").ratio;
    for (name, floor) in FLOORS {
        if ratio(name) > floor {
            faults.push(format!("{name}: {:.3} × clock_gettime, at most {floor} is allowed", ratio(name)));
        }
    }
    println!("\nA checked reading takes {:.2} × as long as one that is not.", ratio(CHECKED) / ratio(READING));
    let lead = ratio(CLOCKBOUND) / ratio(READING);
    println!("\nClockBound's client takes {lead:.2} × as long as our full reading (floor {CLOCKBOUND_FLOOR}).");
    if lead < CLOCKBOUND_FLOOR {
        faults.push(format!("ClockBound's client takes only {lead:.2} × as long as our full reading"));
    }
}
