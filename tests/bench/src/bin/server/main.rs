//! `ntpclock-bench-server NTPCLOCK CHRONYD NEWER ROUNDS`: what a reply costs our server, beside a bare responder and
//! `chronyd`; NEWER is the folder of one that has AES-128-GCM-SIV, and its libraries. `make bench-server` runs it.
//!
//! Servers have processor 1 to themselves, the generator has processor 0. Every server has its turn in every round, the
//! order is turned from round to round, and a ratio is the median over the rounds. What counts is processor time a
//! response, of all the server's threads, by the scheduler's account. Exits with 1 if a floor is missed.
//!
//! `ntpclock-bench-server threads NTPCLOCK` measures how long a reply takes under load instead, for 1 to 8 threads.

mod batch;
mod load;
mod responder;
mod secure;
mod threads;

#[path = "../../../../nts/authority.rs"]
mod authority;
#[path = "../../../../nts/client.rs"]
#[expect(dead_code, reason = "what a test does wrong is of no use here")]
mod client;
mod peers;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::Duration;

use authority::{Authority, Identity};
use batch::PACKET;
use load::{Load, Outcome, Run};

/// At most this times the bare responder's.
const FLOOR: f64 = 1.10;

/// `chronyd`'s is at least this times ours.
const LEAD: f64 = 1.15;

/// `chronyd`'s response with NTS costs at least this times ours.
const SECURE_LEAD: f64 = 1.5;

const ROUND: Duration = Duration::from_secs(1);

const OURS: usize = 1;
const CHRONYD: usize = 2;
/// With NTS, by AES-SIV-CMAC-256 and by AES-128-GCM-SIV.
const SECURE_OURS: [usize; 2] = [4, 6];
const SECURE_CHRONYD: [usize; 2] = [5, 7];

/// A server of its own process, killed when dropped.
struct Server {
    name: &'static str,
    child: Child,
    load: Box<dyn Run>,
    rounds: Vec<Round>,
}

struct Round {
    outcome: Outcome,
    cpu_s: f64,
}

impl Round {
    /// µs a response.
    fn cost(&self) -> f64 {
        self.cpu_s * 1e6 / self.outcome.responses.max(1) as f64
    }

    fn share(&self) -> f64 {
        self.cpu_s / self.outcome.seconds
    }

    fn rate(&self) -> f64 {
        self.outcome.responses as f64 / self.outcome.seconds
    }
}

impl Server {
    fn start(name: &'static str, address: SocketAddr, command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // SAFETY: what runs between fork and exec is system calls only.
        unsafe {
            command.pre_exec(|| {
                pin(1);
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            })
        };
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let load = Box::new(Load::<PACKET>::new(address, Vec::new()));
        let mut server = Self { name, child, load, rounds: Vec::new() };
        for _ in 0..100 {
            let outcome = server.load.run(Duration::from_millis(100));
            if outcome.responses > 0 {
                return server;
            }
            sleep(Duration::from_millis(100));
        }
        panic!("{name} gives no time on {address}");
    }

    /// Asked with NTS from now on.
    fn secured(mut self, address: SocketAddr, exchanger: SocketAddr, authority: &Authority, algorithm: u16) -> Self {
        self.load = secure::load(address, exchanger, &authority.file(), algorithm);
        self
    }

    fn play(&mut self) {
        let before = cpu_s(self.child.id());
        let outcome = self.load.run(ROUND);
        let cpu_s = cpu_s(self.child.id()) - before;
        self.rounds.push(Round { outcome, cpu_s });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (ntpclock, chronyd, newer, rounds) = match arguments[..] {
        ["respond", address] => responder::run(&bare(address)),
        ["threads", ntpclock] => {
            threads::report(ntpclock);
            return ExitCode::SUCCESS;
        }
        // For a look at one server alone.
        ["load", address, seconds] => {
            pin(0);
            let seconds = Duration::from_secs(seconds.parse().expect("SECONDS is a number"));
            println!(
                "{:?}",
                Load::<PACKET>::new(address.parse().expect("an address and a port"), Vec::new()).run(seconds)
            );
            return ExitCode::SUCCESS;
        }
        [ntpclock, chronyd, newer, rounds] => {
            (ntpclock, chronyd, Path::new(newer), rounds.parse().expect("ROUNDS is a number"))
        }
        _ => panic!("usage: ntpclock-bench-server NTPCLOCK CHRONYD NEWER ROUNDS"),
    };
    pin(0);
    let work = std::env::temp_dir().join(format!("ntpclock-bench-server-{}", std::process::id()));
    fs::create_dir_all(&work).expect("a directory for temporary files");
    let mut servers = start(ntpclock, chronyd, newer, &work);
    for round in 0..rounds {
        for turn in 0..servers.len() {
            let count = servers.len();
            servers[(turn + round) % count].play();
        }
    }
    let code = report(&servers);
    drop(servers);
    fs::remove_dir_all(&work).expect("what was written can be removed");
    code
}

/// The bare responder, ours, and `chronyd` in two ways; ours and `chronyd` with NTS, by either cipher. Ours follows one
/// of them, so that what it serves is the page.
fn start(ntpclock: &str, chronyd: &str, newer: &Path, work: &Path) -> Vec<Server> {
    let [first, second, third, fourth] = [0; 4].map(|_| free_address());
    let myself = std::env::current_exe().expect("a program knows its path");
    let bare =
        Server::start("bare recvmmsg/sendmmsg", first, Command::new(myself).args(["respond", &first.to_string()]));
    let plain = start_chronyd("chronyd 4.3", third, Command::new(chronyd), work, "");
    let unlogged = start_chronyd("chronyd 4.3, noclientlog", fourth, Command::new(chronyd), work, "noclientlog\n");
    let ours = Server::start("ntpclock", second, &mut serve(ntpclock, second, third));
    let mut servers = vec![bare, ours, plain, unlogged];
    let authority = Authority::new();
    let identity = authority.identity("127.0.0.1");
    let ways = [
        ("ntpclock, NTS 15", "chronyd 4.3, NTS 15", secure::SIV),
        ("ntpclock, NTS 30", "chronyd 4.6, NTS 30", secure::GCM_SIV),
    ];
    for (our_name, their_name, algorithm) in ways {
        let [ours, theirs] = [0; 2].map(|_| free_address());
        let [our_exchanger, their_exchanger] = [0; 2].map(|_| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("it has one")
        });
        let mut command = serve(ntpclock, ours, third);
        command.arg("--nts-certificate").arg(identity.certificate()).arg("--nts-private-key").arg(identity.key());
        command.args(["--nts-port", &our_exchanger.port().to_string()]);
        let server = Server::start(our_name, ours, &mut command);
        servers.push(server.secured(ours, our_exchanger, &authority, algorithm));
        let program = if algorithm == secure::SIV { Command::new(chronyd) } else { newer_chronyd(newer) };
        let server = start_chronyd(their_name, theirs, program, work, &chronyds_nts(&identity, their_exchanger));
        servers.push(server.secured(theirs, their_exchanger, &authority, algorithm));
    }
    servers
}

fn serve(ntpclock: &str, address: SocketAddr, followed: SocketAddr) -> Command {
    let mut command = Command::new(ntpclock);
    command.args(["serve", "--threads", "1", "--listen", &address.to_string(), "--servers", &followed.to_string()]);
    // One address asks here for thousands: it is counted as any other, and not refused.
    command.args(["--rate-limit", "1000000", "--burst", "1000000"]);
    command
}

/// With its own libraries, which are newer than the system's.
fn newer_chronyd(folder: &Path) -> Command {
    // Both folders are named after the kind of machine.
    let named = |within: &str, part: &str| {
        let entries = fs::read_dir(folder.join(within)).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let is_it = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(part));
        entries.flatten().map(|entry| entry.path()).find(is_it).unwrap_or_else(|| panic!("no {part} in {within}"))
    };
    let mut command = Command::new(named("lib64", "ld-linux-"));
    command.arg("--library-path").arg(named("lib", "-linux-gnu")).arg(folder.join("sbin/chronyd"));
    command
}

fn chronyds_nts(identity: &Identity, exchanger: SocketAddr) -> String {
    format!(
        "ntsserverkey {}\nntsservercert {}\nntsport {}\nntsprocesses 0\n",
        identity.key().display(),
        identity.certificate().display(),
        exchanger.port()
    )
}

fn start_chronyd(name: &'static str, address: SocketAddr, mut command: Command, work: &Path, more: &str) -> Server {
    let file = work.join(format!("chronyd-{}", address.port()));
    let text = format!(
        "port {}\nbindaddress 127.0.0.1\nallow 127.0.0.0/8\nlocal stratum 1\ncmdport 0\nbindcmdaddress /\npidfile {}.pid\n{more}",
        address.port(),
        file.display()
    );
    fs::write(&file, text).expect("the directory is writable");
    command.args(["-x", "-d", "-u", "root", "-f"]).arg(&file).stderr(Stdio::null());
    Server::start(name, address, &mut command)
}

/// A socket as the floor has it: the buffer is as deep as ours.
fn bare(address: &str) -> UdpSocket {
    use std::os::fd::AsRawFd;
    let socket = UdpSocket::bind(address).expect("the address is free");
    let size: libc::c_int = 8 << 20;
    // SAFETY: the option's value is a number of ours.
    unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const size).cast(), 4);
    }
    socket
}

fn free_address() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port")
}

fn pin(cpu: usize) {
    // SAFETY: a set of plain bits, ours.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// Processor time of all threads of a process.
fn cpu_s(process: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("the server lives");
    let spent = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    spent.sum::<f64>() * 1e-9
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn report(servers: &[Server]) -> ExitCode {
    let ratio = |this: &Server, other: &Server| {
        median(this.rounds.iter().zip(&other.rounds).map(|(this, other)| this.cost() / other.cost()))
    };
    let bare = &servers[0];
    println!(
        "| server | CPU µs a response, median | least | × bare | × ntpclock | responses a second where it had its processor | bad | lost |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for server in servers {
        let costs = || server.rounds.iter().map(Round::cost);
        let full = || server.rounds.iter().filter(|round| round.share() > 0.95);
        println!(
            "| {} | {:.3} | {:.3} | {:.2} | {:.2} | {:.0} k ({} of {} rounds) | {} | {} |",
            server.name,
            median(costs()),
            costs().fold(f64::INFINITY, f64::min),
            ratio(server, bare),
            ratio(server, &servers[OURS]),
            median(full().map(Round::rate)) / 1e3,
            full().count(),
            server.rounds.len(),
            server.rounds.iter().map(|round| round.outcome.bad).sum::<u64>(),
            server.rounds.iter().map(|round| round.outcome.lost).sum::<u64>(),
        );
    }
    let (above, lead) = (ratio(&servers[OURS], bare), ratio(&servers[CHRONYD], &servers[OURS]));
    println!(
        "\nOurs is {above:.3} × the bare responder's (at most {FLOOR}); chronyd's is {lead:.3} × ours (at least {LEAD})."
    );
    let [siv, gcm_siv] = [0, 1].map(|way| ratio(&servers[SECURE_CHRONYD[way]], &servers[SECURE_OURS[way]]));
    println!(
        "With NTS chronyd's is {siv:.3} × ours by AES-SIV-CMAC-256, {gcm_siv:.3} × by AES-128-GCM-SIV (at least {SECURE_LEAD})."
    );
    let mut code = ExitCode::SUCCESS;
    let good = above <= FLOOR && lead >= LEAD && siv.min(gcm_siv) >= SECURE_LEAD;
    if !good {
        println!("\nMISSED");
        code = ExitCode::FAILURE;
    }
    code
}
