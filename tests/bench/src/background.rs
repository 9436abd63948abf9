//! What a clock costs while nobody asks: CPU time, wake-ups and memory of its thread.
//!
//! A clock of one source at poll 64 s runs for some minutes after its opening burst; from what its thread spent on the
//! exchanges of that time an hour's cost is reckoned.

use std::ffi::CString;
use std::fs;
use std::net::UdpSocket;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::library::Library;

pub struct Cost {
    pub cpu_ms_an_hour: f64,
    /// Of a thread that does nothing but ask and take in the answer, as often, at the same time.
    pub bare_ms_an_hour: f64,
    pub wakeups_a_second: f64,
    pub private_dirty_kib: i64,
    pub seconds: f64,
}

/// The opening burst is six requests 2 s apart.
const BURST: Duration = Duration::from_secs(20);

const POLL_EXPONENT: i32 = 6;

pub fn measure(library: &Library, servers: &str, seconds: u64) -> Cost {
    let address = servers.to_owned();
    thread::Builder::new().name("bare".to_owned()).spawn(move || ask_for_ever(&address)).expect("a thread");
    sleep(Duration::from_secs(1));
    // Once for nothing: what looking costs is not the clock's, nor is the stack of the thread that starts it.
    private_dirty_kib();
    use_stack();
    thread_named("ntpclock");
    let before = private_dirty_kib();
    let servers = CString::new(servers).expect("a list without NUL");
    let config = (library.config_new)();
    let mut clock = std::ptr::null_mut();
    // SAFETY: a new configuration, a string, and a place for the handle: all ours.
    unsafe {
        assert_eq!((library.config_add_servers)(config, servers.as_ptr()), 0);
        assert_eq!((library.config_set_poll)(config, POLL_EXPONENT, POLL_EXPONENT), 0);
        assert_eq!((library.clock_start)(config, &raw mut clock), 0);
    }
    sleep(BURST);
    let [thread, bare] = ["ntpclock", "bare"].map(|name| thread_named(name).expect("both threads"));
    let (begun, spent, woken) = (Instant::now(), [cpu_ns(&thread), cpu_ns(&bare)], wakeups(&thread));
    sleep(Duration::from_secs(seconds));
    let elapsed = begun.elapsed().as_secs_f64();
    let an_hour = |ns: i64| ns as f64 * 1e-6 / elapsed * 3600.0;
    let cost = Cost {
        cpu_ms_an_hour: an_hour(cpu_ns(&thread) - spent[0]),
        bare_ms_an_hour: an_hour(cpu_ns(&bare) - spent[1]),
        wakeups_a_second: (wakeups(&thread) - woken) as f64 / elapsed,
        private_dirty_kib: private_dirty_kib() - before,
        seconds: elapsed,
    };
    // SAFETY: started above, freed once.
    unsafe { (library.clock_free)(clock) };
    cost
}

/// What nobody can do without: a socket, a request, an answer, at poll 64 s; nothing is made of them.
fn ask_for_ever(server: &str) {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(server).expect("an address");
        let mut packet = [0; 48];
        packet[0] = 0x23;
        socket.send(&packet).expect("a request");
        socket.recv(&mut packet).expect("an answer");
        drop(socket);
        sleep(Duration::from_secs(1 << POLL_EXPONENT));
    }
}

/// Uses as much of this thread's stack as a call may.
#[inline(never)]
fn use_stack() {
    std::hint::black_box([1_u8; 1 << 15]);
}

fn thread_named(name: &str) -> Option<String> {
    let tasks = fs::read_dir("/proc/self/task").ok()?;
    let paths = tasks.flatten().map(|task| task.path().display().to_string());
    paths.into_iter().find(|path| fs::read_to_string(format!("{path}/comm")).is_ok_and(|comm| comm.trim() == name))
}

/// Time on a processor, by the scheduler's own account.
fn cpu_ns(thread: &str) -> i64 {
    let text = fs::read_to_string(format!("{thread}/schedstat")).expect("schedstat");
    text.split_whitespace().next().and_then(|first| first.parse().ok()).expect("schedstat begins with a number")
}

/// How often it slept, and so was woken.
fn wakeups(thread: &str) -> i64 {
    let text = fs::read_to_string(format!("{thread}/status")).expect("status");
    number_after(&text, "voluntary_ctxt_switches:")
}

/// Of the whole process. What is private and dirty is anonymous, but for pages of programs that were built a moment ago
/// and not yet written back to disk.
fn private_dirty_kib() -> i64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").expect("smaps_rollup");
    number_after(&text, "Anonymous:")
}

fn number_after(text: &str, name: &str) -> i64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    line.split_whitespace().next().and_then(|first| first.parse().ok()).expect("a number")
}
