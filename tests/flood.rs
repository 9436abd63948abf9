//! Junk at our door: as many datagrams as a neighbour can send, to the very port that an answer is awaited at.
//!
//! `NTPCLOCK_FLOOD` says how many, 100 000 a second. Of its own, because it measures what this process costs.

#[path = "common/memory.rs"]
mod memory;
#[path = "hostile/scripted.rs"]
#[expect(dead_code, reason = "a flood needs no other attack")]
mod scripted;

use std::env;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use memory::{without_huge_pages, written_kib};
use ntpclock::{Clock, Config, Reason, State};
use scripted::{HEADER, Scripted};

const PER_SECOND: u64 = 100_000;

/// How long the server keeps an answer to itself: the flood has the door for that long at every poll.
const HELD_BACK: Duration = Duration::from_millis(800);

/// The most that the process may grow, in KiB: it grows by 20, and 1 KiB kept of the 64 that are looked at would be 64 more.
const GROWTH_KIB: u64 = 64;

/// Who is flooded at present.
type Target = Arc<Mutex<Option<SocketAddr>>>;

/// (case 6)
#[test]
fn under_a_flood_of_junk_the_next_good_answer_counts_and_neither_processor_nor_memory_is_spent() {
    without_huge_pages();
    let wanted = env::var("NTPCLOCK_FLOOD").ok().map_or(2 * PER_SECOND, |text| text.parse().expect("it is a number"));
    let target: Target = Arc::default();
    let (aim, flooder) = (Arc::clone(&target), Arc::new(Mutex::new(None::<UdpSocket>)));
    let lent = Arc::clone(&flooder);
    let server = Scripted::start(move |turn| {
        // From the server's own port: no other gets through to a connected socket.
        lent.lock().expect("nothing failed").get_or_insert_with(|| turn.socket.try_clone().expect("it can be shared"));
        *aim.lock().expect("nothing failed") = Some(turn.from);
        thread::sleep(HELD_BACK);
        turn.answer();
    });
    let mut config = Config::with_servers(&server.address().to_string()).expect("an address is a server");
    config.set_poll_exponents(0, 0).expect("one second can be asked for");
    let clock = Clock::start(config).expect("a clock can be started");
    clock.wait(None, Some(Duration::from_secs(10))).expect("it synchronises without a flood");

    let (sent, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let socket = flooder.lock().expect("nothing failed").take().expect("the server was asked");
    let flooding = thread::spawn({
        let (target, sent, over) = (Arc::clone(&target), Arc::clone(&sent), Arc::clone(&over));
        move || flood(&socket, &target, wanted, &sent, &over)
    });
    let (exchanges, used, written) = (clock.report().exchanges, processor_time(), written_kib());
    let begun = Instant::now();
    let mut seen = exchanges;
    let mut last_seen = begun;
    let mut longest = Duration::ZERO;
    let mut most = written;
    while !flooding.is_finished() {
        thread::sleep(Duration::from_millis(50));
        most = most.max(written_kib());
        let now = clock.report().exchanges;
        if now > seen {
            (longest, last_seen, seen) = (longest.max(last_seen.elapsed()), Instant::now(), now);
        }
    }
    let wall = begun.elapsed();
    over.store(true, Ordering::SeqCst);
    flooding.join().expect("the flood has ended");
    let (used, junk) = (processor_time() - used, sent.load(Ordering::SeqCst));
    let source = &clock.sources()[0];
    let looked_at = source.refusals.count(Reason::Malformed) + source.refusals.count(Reason::Origin);
    println!(
        "{junk} datagrams of junk in {wall:.1?}: {looked_at} looked at, the clock's thread used {used:.1?} \
         ({:.2} % of a processor), {} exchanges counted, {longest:.1?} apart at most, {} KiB more memory at most",
        100.0 * used.as_secs_f64() / wall.as_secs_f64(),
        seen - exchanges,
        most - written,
    );
    assert!(junk >= wanted, "{junk}");
    // One a second is asked for, and some polls may be lost; but never all.
    let polls = wall.as_secs();
    assert!(seen - exchanges >= (polls / 2).max(1), "{} exchanges in {wall:?}", seen - exchanges);
    assert_eq!(clock.now().state, State::Synchronized);
    assert!(used < wall / 4, "the clock's thread used {used:?} of {wall:?}");
    assert!(most - written < GROWTH_KIB, "{} KiB", most - written);
    // It is loud nowhere: the library has no log, and its words about the source are the last fault's.
    assert!(looked_at > 0 && source.rejected == looked_at, "{source:#?}");
}

/// Sends `wanted` datagrams, [`PER_SECOND`] of them, to whoever is the target.
fn flood(socket: &UdpSocket, target: &Target, wanted: u64, sent: &AtomicU64, over: &AtomicBool) {
    /// So many in a row, then a look at the clock.
    const BATCH: u64 = 100;
    let begun = Instant::now();
    let mut seed = 1_u64;
    let mut count = 0;
    while count < wanted && !over.load(Ordering::Relaxed) {
        let Some(to) = *target.lock().expect("nothing failed") else { continue };
        for _ in 0..BATCH {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Every fourth looks like an answer but for its origin.
            let mut junk = [seed.to_be_bytes(); HEADER / 8].concat();
            junk[0] = if count % 4 == 0 { 0x24 } else { junk[0] };
            // Refused while the port is closed; that counts as well.
            let _ = socket.send_to(&junk, to);
            count += 1;
        }
        sent.store(count, Ordering::Relaxed);
        let due = Duration::from_secs_f64(count as f64 / PER_SECOND as f64);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
}

/// What the clock's thread has used of a processor so far.
fn processor_time() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is there").flatten().map(|task| task.path());
    let ours = tasks.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "ntpclock"));
    let used = ours.filter_map(|task| fs::read_to_string(task.join("schedstat")).ok());
    let nanos: Vec<u64> = used.filter_map(|text| text.split_whitespace().next()?.parse().ok()).collect();
    assert_eq!(nanos.len(), 1, "there is one clock in this process");
    Duration::from_nanos(nanos[0])
}
