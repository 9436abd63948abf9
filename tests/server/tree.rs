//! Three strata in a network of namespaces: a primary, three secondaries that follow it, twelve clients that follow
//! those, all ours, and a `chronyd` at each level.
//!
//! All of them read one machine's oscillator and the primary serves its system clock, so that the truth is known to
//! everybody who judges and to nobody who is judged. Each node has a network namespace, joined to the others by a
//! bridge. For as long as it lasts, in every few milliseconds, a reading of each of the fifteen clocks is held against
//! the system clock just before and just after it: the interval must hold it, and within an epoch no reading is before
//! the last one. Meanwhile the primary is killed and comes back, is cut off and comes back: the secondaries must go
//! into holdover and recover, without a step, and their clients with them.
//!
//! `NTPCLOCK_TREE_MINUTES` sets how long it lasts, half a minute unless set; `make tree` plays five.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use ntpclock::{Clock, Config, Reading, Server, ServerConfig, State};

use crate::namespace::{inside, ip, loopback_up};
use crate::peers::{ChronydClient, system_clock_ns};
use crate::system::enter_network;

const SECONDARIES: usize = 3;

/// Of each of as many namespaces as there are secondaries.
const CLIENTS: usize = 4;

fn address(host: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(192, 0, 2, host), 123))
}

/// Where the nodes live, by the last byte of their addresses.
const PRIMARY: u8 = 1;
fn secondary(index: usize) -> u8 {
    11 + index as u8
}
fn leaf(index: usize) -> u8 {
    21 + index as u8
}

/// A namespace, joined to the bridge.
fn join(host: u8) {
    ip(&format!("netns add n{host}"));
    ip(&format!("link add v{host} type veth peer name eth0 netns n{host}"));
    ip(&format!("link set v{host} master bridge up"));
    ip(&format!("-n n{host} addr add 192.0.2.{host}/24 dev eth0"));
    ip(&format!("-n n{host} link set eth0 up"));
    ip(&format!("-n n{host} link set lo up"));
}

/// Runs `make` in a thread that lives in the namespace of `host`, with all that it starts; the thread stays until the
/// sender is dropped (what it has started may be killed with it).
fn within<T: Send + 'static>(host: u8, make: impl FnOnce() -> T + Send + 'static) -> (T, mpsc::Sender<()>) {
    let (made, take) = mpsc::channel();
    let (stay, leave) = mpsc::channel::<()>();
    thread::spawn(move || {
        let file = fs::File::open(format!("/run/netns/n{host}")).expect("the namespace was made");
        enter_network(&file);
        made.send(make()).expect("somebody waits");
        // Disconnected: it is over.
        let _ = leave.recv();
    });
    (take.recv().expect("the node was made"), stay)
}

fn primary() -> (Server, mpsc::Sender<()>) {
    within(PRIMARY, || {
        let mut config = ServerConfig::new();
        config.add_listen(&address(PRIMARY).to_string()).unwrap();
        config.set_local(1, Duration::from_micros(10)).unwrap().set_threads(1).unwrap();
        Server::start(None, &config).expect("the primary starts")
    })
}

fn clock(servers: &[u8]) -> Clock {
    let list: Vec<String> = servers.iter().map(|host| address(*host).to_string()).collect();
    let mut config = Config::with_servers(&list.join(",")).unwrap();
    config.set_poll_exponents(0, 0).unwrap();
    Clock::start(config).expect("a clock starts")
}

/// A clock that is watched.
struct Watched {
    name: String,
    clock: Clock,
    last: Option<Reading>,
    violations: Vec<String>,
    errors: Vec<i64>,
    widest_ns: i64,
}

impl Watched {
    fn new(name: String, clock: Clock) -> Self {
        Self { name, clock, last: None, violations: Vec::new(), errors: Vec::new(), widest_ns: 0 }
    }

    fn look(&mut self) {
        let before = system_clock_ns();
        let reading = self.clock.now();
        let after = system_clock_ns();
        let mut violated = |what: &str| {
            self.violations
                .push(format!("{}: {what}: {reading:?} in [{before}, {after}], after {:?}", self.name, self.last));
        };
        if !reading.state.is_usable() {
            violated("the clock is lost");
        }
        if reading.earliest_ns > after || reading.latest_ns < before {
            violated("the interval misses the primary's time");
        }
        if self.last.is_some_and(|last| last.epoch != reading.epoch || last.unix_ns > reading.unix_ns) {
            violated("the reading ran backwards, or stepped");
        }
        self.last = Some(reading);
        self.errors.push((before - reading.unix_ns).max(reading.unix_ns - after).max(0));
        self.widest_ns = self.widest_ns.max(reading.error_bound_ns());
    }
}

/// Looks at every clock for `span`, and on until `holds`, which it must within half a minute more.
fn watch(clocks: &mut [Watched], span: Duration, what: &str, holds: impl Fn(&[Watched]) -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < span || !holds(clocks) {
        let states: Vec<_> = clocks.iter().map(|watched| watched.clock.now().state).collect();
        assert!(begun.elapsed() < span + Duration::from_secs(30), "not {what}: {states:?}");
        clocks.iter_mut().for_each(Watched::look);
        sleep(Duration::from_millis(4));
    }
}

fn span() -> Duration {
    let Ok(text) = std::env::var("NTPCLOCK_TREE_MINUTES") else { return Duration::from_secs(30) };
    let minutes = text.parse::<f64>().ok().filter(|minutes| *minutes > 0.0 && *minutes < 1000.0);
    Duration::from_secs_f64(60.0 * minutes.unwrap_or_else(|| panic!("NTPCLOCK_TREE_MINUTES is `{text}`")))
}

#[test]
fn in_a_tree_every_interval_holds_the_primarys_time_whatever_befalls_the_primary() {
    inside(module_path!(), "in_a_tree_every_interval_holds_the_primarys_time_whatever_befalls_the_primary", || {
        // The names of namespaces are files, and those are to be nobody else's.
        let status = Command::new("mount").args(["-t", "tmpfs", "tree", "/run"]).status().expect("mount");
        assert!(status.success(), "a file tree of its own");
        loopback_up();
        ip("link add bridge type bridge");
        ip("link set bridge up");
        for host in [PRIMARY].into_iter().chain((0..SECONDARIES).flat_map(|index| [secondary(index), leaf(index)])) {
            join(host);
        }
        play(span());
    });
}

fn play(span: Duration) {
    let mut root = primary();
    let mut stays = Vec::new();
    let (mut clocks, mut servers) = (Vec::new(), Vec::new());
    for index in 0..SECONDARIES {
        let ((clock, server), stay) = within(secondary(index), move || {
            let clock = clock(&[PRIMARY]);
            let mut config = ServerConfig::new();
            config.add_listen(&address(secondary(index)).to_string()).unwrap().set_threads(1).unwrap();
            let server = Server::start(Some(&clock), &config).expect("a secondary starts");
            (clock, server)
        });
        servers.push(server);
        stays.push(stay);
        clocks.push(Watched::new(format!("secondary {}", index + 1), clock));
    }
    // A real client at each level.
    let (second, stay) = within(secondary(0), || ChronydClient::start(address(PRIMARY), (0, 0)));
    stays.push(stay);
    let (third, stay) = within(leaf(0), || ChronydClient::start(address(secondary(0)), (0, 0)));
    stays.push(stay);
    for index in 0..SECONDARIES {
        for number in 0..CLIENTS {
            let all: Vec<u8> = (0..SECONDARIES).map(secondary).collect();
            let (clock, stay) = within(leaf(index), move || clock(&all));
            stays.push(stay);
            clocks.push(Watched::new(format!("client {}.{}", index + 1, number + 1), clock));
        }
    }
    for watched in &clocks {
        watched
            .clock
            .wait(None, Some(Duration::from_secs(30)))
            .unwrap_or_else(|error| panic!("{}: {error}", watched.name));
    }

    let in_state =
        |state: State| move |clocks: &[Watched]| clocks[..SECONDARIES].iter().all(|one| one.clock.now().state == state);
    let healthy = in_state(State::Synchronized);
    let degraded = in_state(State::Holdover);
    watch(&mut clocks, span.mul_f64(0.4), "synchronised", healthy);
    root.0.stop();
    watch(&mut clocks, span.mul_f64(0.15), "in holdover without the primary", degraded);
    drop(root);
    root = primary();
    watch(&mut clocks, span.mul_f64(0.15), "synchronised to the primary that came back", healthy);
    ip(&format!("link set v{PRIMARY} down"));
    watch(&mut clocks, span.mul_f64(0.15), "in holdover behind the cut", degraded);
    ip(&format!("link set v{PRIMARY} up"));
    watch(&mut clocks, span.mul_f64(0.15), "synchronised again", |clocks| {
        clocks.iter().all(|watched| watched.clock.now().state == State::Synchronized)
    });

    println!(
        "{:<14}{:>9}{:>16}{:>16}{:>16}{:>12}",
        "clock", "readings", "p99 error, µs", "max error, µs", "max bound, µs", "violations"
    );
    for watched in &mut clocks {
        watched.errors.sort_unstable();
        let p99 = watched.errors[(watched.errors.len() - 1) * 99 / 100];
        let (max, micros) = (watched.errors[watched.errors.len() - 1], |ns: i64| ns as f64 / 1e3);
        println!(
            "{:<14}{:>9}{:>16.1}{:>16.1}{:>16.1}{:>12}",
            watched.name,
            watched.errors.len(),
            micros(p99),
            micros(max),
            micros(watched.widest_ns),
            watched.violations.len()
        );
    }
    let violations: Vec<_> = clocks.iter().flat_map(|watched| &watched.violations).collect();
    assert!(violations.is_empty(), "{} violations, the first: {}", violations.len(), violations[0]);
    for (index, watched) in clocks.iter().enumerate() {
        assert_eq!(watched.clock.report().stratum, if index < SECONDARIES { 2 } else { 3 }, "{}", watched.name);
    }
    for (chronyd, stratum) in [(&second, "2"), (&third, "3")] {
        let log = chronyd.tracking_log();
        // Date, time, address, stratum, two figures of the frequency, offset.
        let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split_whitespace().collect()).collect();
        let last = lines.iter().rfind(|line| line.len() > 6 && line[3] == stratum);
        let last = last
            .unwrap_or_else(|| panic!("chronyd found no server of its own level; it says:\n{}\n{log}", chronyd.said()));
        let offset: f64 = last[6].parse().expect("a number");
        assert!(offset.abs() < 1e-3, "chronyd at stratum {stratum} is off by {offset} s:\n{log}");
    }
    drop((servers, root, stays));
}
