//! How long a reply takes inside the server, and how true its stamps are, while all that its threads can answer is asked
//! of it: one more client asks once a millisecond, and writes down what it is told.
//!
//! The server shows this machine's own clock, which the client reads before a request leaves (t1) and after its reply has
//! come (t4). So T2 ≥ t1 and T3 ≤ t4 if nothing is untrue, and T2 is late by no more than T2 - t1. Every other request is of
//! interleaved mode (RFC 9769), in which a reply tells when the one before of that mode really left.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::batch::PACKET;
use crate::load::{Load, Outcome, Run as _};

/// From as many sockets: among the threads the kernel shares datagrams out by sender.
const LOADS: usize = 8;

const LASTING: Duration = Duration::from_secs(5);

/// Seconds from 1900 to 1970.
const UNIX: u64 = 2_208_988_800;

/// What the asking client has seen, ns.
#[derive(Default)]
struct Seen {
    /// T3 - T2 as told with the reply, and as told by the kernel afterwards.
    told: Vec<i64>,
    really: Vec<i64>,
    /// T2 - t1, and t4 - T3.
    there: Vec<i64>,
    back: Vec<i64>,
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn report(ntpclock: &str) {
    println!(
        "| threads | responses a second | T3 - T2, told: p50 | p99 | by the kernel: p50 | p99 | T2 - t1: p50 | p99 | t4 - T3: least | stamps outside |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for threads in [1, 2, 4, 8] {
        let address = crate::free_address();
        let mut command = Command::new(ntpclock);
        command.args(["serve", "--local", "1", "--root-dispersion", "1", "--threads", &threads.to_string()]);
        command.args(["--rate-limit", "1000000", "--burst", "1000000", "--listen", &address.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // SAFETY: what runs between fork and exec is a system call.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            })
        };
        let _server = Killed(command.spawn().expect("the server can be run"));
        let answers = || Load::<PACKET>::new(address, Vec::new()).run(Duration::from_millis(100)).responses > 0;
        assert!((0..100).any(|_| answers()), "no time on {address}");
        let is_over = AtomicBool::new(false);
        let (mut seen, outcomes) = scope(|scope| {
            let asking = scope.spawn(|| ask(address, &is_over));
            let load = || Load::<PACKET>::new(address, Vec::new()).run(LASTING);
            let loads: Vec<_> = (0..LOADS).map(|_| scope.spawn(load)).collect();
            let outcomes: Vec<Outcome> = loads.into_iter().map(|load| load.join().expect("it only asks")).collect();
            is_over.store(true, Relaxed);
            (asking.join().expect("it only asks"), outcomes)
        });
        let rate: f64 = outcomes.iter().map(|outcome| outcome.responses as f64 / outcome.seconds).sum();
        let outside = seen.there.iter().chain(&seen.back).filter(|span| **span < 0).count();
        let count = seen.there.len() + seen.back.len();
        let mut at = |part, which: fn(&mut Seen) -> &mut Vec<i64>| quantile(which(&mut seen), part);
        println!(
            "| {threads} | {:.0} k | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {outside} of {} |",
            rate / 1e3,
            at(0.5, |seen| &mut seen.told),
            at(0.99, |seen| &mut seen.told),
            at(0.5, |seen| &mut seen.really),
            at(0.99, |seen| &mut seen.really),
            at(0.5, |seen| &mut seen.there),
            at(0.99, |seen| &mut seen.there),
            at(0.0, |seen| &mut seen.back),
            count,
        );
    }
    println!("\nAll in µs.");
}

/// µs.
fn quantile(values: &mut [i64], part: f64) -> f64 {
    values.sort_unstable();
    let place = ((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1));
    values.get(place).map_or(f64::NAN, |value| *value as f64 / 1e3)
}

/// Asks again and again, one request at a time.
fn ask(server: SocketAddr, is_over: &AtomicBool) -> Seen {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(server).expect("loopback");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time can be set");
    let mut seen = Seen::default();
    // Of the last reply to a request of interleaved mode: T2, which names it, and how many such there were in a row.
    let (mut last, mut row) = (0_u64, 0);
    let mut number = 1_u64;
    let begun = Instant::now();
    while !is_over.load(Relaxed) {
        number += 1;
        sleep((begun + Duration::from_millis(number)).saturating_duration_since(Instant::now()));
        // Random enough: receive and transmit timestamp differ, and no two requests are alike.
        let (receive, transmit) = ((number << 20) | 1, (number << 20) | 2);
        let mut request = [0; PACKET];
        request[0] = 0b00_100_011;
        let asks_for_more = number.is_multiple_of(2);
        // An origin that names nothing, too, has the server remember this one.
        let fields = if asks_for_more { [(24, last.max(1)), (32, receive)] } else { [(24, 0), (32, 0)] };
        for (at, field) in fields.into_iter().chain([(40, transmit)]) {
            request[at..at + 8].copy_from_slice(&field.to_be_bytes());
        }
        let t1 = now();
        let mut reply = [0; PACKET];
        let came = socket.send(&request).and_then(|_| socket.recv(&mut reply));
        let t4 = now();
        let field = |at: usize| u64::from_be_bytes(reply[at..at + 8].try_into().expect("eight bytes"));
        let (origin, t2, t3) = (field(24), field(32), field(40));
        let is_interleaved = origin == receive;
        if !came.is_ok_and(|length| length == PACKET) || !(is_interleaved || origin == transmit) {
            // Lost, or late.
            row = 0;
            continue;
        }
        seen.there.push(ns(t2, t1));
        if !is_interleaved {
            seen.told.push(ns(t3, t2));
            seen.back.push(ns(t4, t3));
        } else if row > 1 {
            // Of a reply that was of that mode itself the kernel has told.
            seen.really.push(ns(t3, last));
        }
        if asks_for_more {
            row = if is_interleaved { row + 1 } else { 0 };
            last = t2;
        }
    }
    seen
}

/// The system clock as a timestamp of NTP.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    ((since.as_secs() + UNIX) << 32) | ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000)
}

/// `later` - `earlier`, ns.
fn ns(later: u64, earlier: u64) -> i64 {
    ((i128::from(later.wrapping_sub(earlier).cast_signed()) * 1_000_000_000) >> 32) as i64
}
