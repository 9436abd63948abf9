//! Key exchange as a server of ours sees it: visitors that say nothing, ask for what there is not, or may not ask.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ntpclock::ServerConfig;

use crate::authority::{Authority, Identity};
use crate::client::{PATIENCE, Session, connect, exchange, record};
use crate::library::{command, run};
use crate::memory::{without_huge_pages, written_kib};
use crate::namespace::{inside, loopback_up};
use crate::programs::python;
use crate::serving::{Ours, ours, ours_with};

#[test]
fn case_15_idle_visitors_take_their_places_for_two_seconds_and_nothing_from_anybody_else() {
    crate::together::live_through("idle_visitors");
}

/// `ntpclock serve` with NTS in a process of its own; killed when dropped.
struct Child {
    child: std::process::Child,
    ntp: SocketAddr,
    exchanger: SocketAddr,
}

impl Child {
    /// `program`, which becomes the server.
    fn command(mut program: Command, identity: &Identity) -> Command {
        program.args(["serve", "--listen", "127.0.0.1:0", "--local", "3", "--root-dispersion", "2", "--threads", "1"]);
        program.arg("--nts-certificate").arg(identity.certificate());
        program.arg("--nts-private-key").arg(identity.key()).args(["--nts-port", "0"]);
        program
    }

    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the command can be run");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("a pipe")));
        let mut address = || -> SocketAddr {
            let line = lines.next().expect("a line").expect("text");
            line.rsplit(' ').next().expect("an address").parse().expect("an address")
        };
        let (ntp, exchanger) = (address(), address());
        Self { child, ntp, exchanger }
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("procfs").count()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects so often from each of the addresses, says how many there are, waits for the end of each, and says when the
/// last of those ended that were not hung up on at once.
const IDLE: &str = "import socket, sys, time\n\
    port, each = int(sys.argv[1]), int(sys.argv[2])\n\
    begun, idle = time.monotonic(), []\n\
    for host in sys.argv[3:]:\n\
    \x20   for _ in range(each):\n\
    \x20       idle.append(socket.create_connection(('127.0.0.1', port), 20, (host, 0)))\n\
    print(time.monotonic() - begun, flush=True)\n\
    def end(one):\n\
    \x20   try:\n\
    \x20       one.recv(1)\n\
    \x20   except ConnectionResetError:\n\
    \x20       pass\n\
    \x20   return time.monotonic() - begun\n\
    print(max(end(one) for one in idle))\n";

pub(crate) fn idle_visitors() {
    let authority = Authority::new();
    let identity = authority.identity("127.0.0.1");
    let server = Child::start(Child::command(Command::new(env!("CARGO_BIN_EXE_ntpclock")), &identity));
    let base = server.descriptors();
    let hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];
    // Of 500 from one address 32 have a place, and of 200 from five 128.
    for (hosts, each, places) in [(&hosts[..1], "500", 32), (&hosts[..], "40", 128)] {
        let mut idle = Command::new(python())
            .args(["-c", IDLE, &server.exchanger.port().to_string(), each])
            .args(hosts)
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python can be run");
        let mut said = std::io::BufRead::lines(std::io::BufReader::new(idle.stdout.take().expect("a pipe")));
        let mut seconds = || said.next().expect("a line").expect("text").parse::<f64>().expect("a number");
        // While they come, too: one more may be about to be hung up on.
        let (mut most, ended) = (0, std::sync::atomic::AtomicBool::new(false));
        let (opened, over) = std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut most = 0;
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                    most = most.max(server.descriptors());
                    std::thread::sleep(Duration::from_millis(1));
                }
                most
            });
            let opened = seconds();
            let begun = Instant::now();
            assert_eq!(ntpclock::query(&server.ntp.to_string(), PATIENCE).expect("UDP is not touched").stratum, 3);
            assert!(begun.elapsed() < Duration::from_secs(1));
            let over = seconds();
            ended.store(true, std::sync::atomic::Ordering::Relaxed);
            most = watch.join().expect("it only looks");
            (opened, over)
        });
        assert!((base + places - 8..=base + places + 1).contains(&most), "{base} became {most} of {places}");
        // Those that had to wait for a place had one after 2 s.
        let longest = if places == 32 { 3.0 } else { 5.0 };
        assert!(over > 1.9 && over < opened + longest, "from {opened} s to {over} s");
        idle.wait().expect("it ends");
    }
    // Keys are given again, and nothing is left of them.
    assert_eq!(Session::begin(server.exchanger, &authority.file(), 15).cookies.len(), 8);
    let begun = Instant::now();
    while server.descriptors() > base {
        assert!(begun.elapsed() < Duration::from_secs(5), "{base} became {}", server.descriptors());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Keys are given again.
fn await_keys(exchanger: SocketAddr, authority: &Path) {
    let begun = Instant::now();
    while std::panic::catch_unwind(|| Session::begin(exchanger, authority, 30)).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "no keys are given any more");
    }
}

/// `ntpclock serve` with so few descriptors that not every visitor gets one.
#[test]
fn case_15_without_descriptors_the_server_goes_on_answering_and_lets_visitors_in_later() {
    crate::together::live_through("few_descriptors");
}

pub(crate) fn few_descriptors() {
    let authority = Authority::new();
    let identity = authority.identity("127.0.0.1");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 24; exec \"$0\" \"$@\""]).arg(env!("CARGO_BIN_EXE_ntpclock"));
    let mut server = Child::start(Child::command(command, &identity));
    let (ntp, exchanger) = (server.ntp, server.exchanger);
    let idle: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(exchanger).expect("the kernel takes it")).collect();
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..20 {
        assert_eq!(ntpclock::query(&ntp.to_string(), PATIENCE).expect("UDP is not touched").stratum, 3);
    }
    drop(idle);
    await_keys(exchanger, &authority.file());
    assert!(server.child.try_wait().expect("it is our child").is_none());
}

/// Told to, connects so often from so many addresses; waits for each connection to come up (anew where the kernel's queue was full:
/// it would try again only after a second), or for none. Says when that is done, and keeps them all until its input
/// ends.
const CROWD: &str = "import resource, socket, sys\n\
    port, count, hosts, waits = map(int, sys.argv[1:])\n\
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n\
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))\n\
    kept = []\n\
    sys.stdin.readline()\n\
    while len(kept) < count:\n\
    \x20   one, number = socket.socket(), len(kept) % hosts\n\
    \x20   one.settimeout(0.1 * waits)\n\
    \x20   one.bind((f'127.7.{number // 250}.{number % 250 + 1}', 0))\n\
    \x20   try:\n\
    \x20       one.connect(('127.0.0.1', port))\n\
    \x20   except TimeoutError:\n\
    \x20       continue\n\
    \x20   except BlockingIOError:\n\
    \x20       pass\n\
    \x20   kept.append(one)\n\
    print(len(kept), flush=True)\n\
    sys.stdin.read()\n";

/// Ten of them, each with a thousand visitors: no process need be allowed more descriptors than is usual.
struct Crowd(Vec<std::process::Child>);

impl Crowd {
    fn gather(exchanger: SocketAddr, hosts: u32, waits: bool) -> Self {
        let numbers = [u32::from(exchanger.port()), 1_000, hosts, u32::from(waits)].map(|number| number.to_string());
        let one = |_| {
            let mut command = Command::new(python());
            command.args(["-c", CROWD]).args(&numbers).stdin(Stdio::piped()).stdout(Stdio::piped());
            command.spawn().expect("Python can be run")
        };
        Self((0..10).map(one).collect())
    }

    /// Has them come, and meanwhile does `what` again and again; how many there are.
    fn await_all(&mut self, mut what: impl FnMut()) -> u32 {
        for child in &mut self.0 {
            child.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("it waits");
        }
        let mut coming: Vec<_> = self.0.iter_mut().map(|child| child.stdout.take().expect("a pipe")).collect();
        let come = std::thread::spawn(move || {
            let said = |out: &mut std::process::ChildStdout| {
                let mut line = String::new();
                std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("it can be read");
                line.trim().parse::<u32>().expect("a number")
            };
            coming.iter_mut().map(said).sum()
        });
        while !come.is_finished() {
            what();
        }
        come.join().expect("all have come")
    }

    /// They all leave.
    fn leave(self) {
        for mut child in self.0 {
            drop(child.stdin.take());
            child.wait().expect("it ends");
        }
    }
}

fn own_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

#[test]
fn case_15_of_ten_thousand_idle_visitors_few_have_a_place_and_everybody_else_is_served() {
    // It may have to be built, where there is a network.
    python();
    inside(
        module_path!(),
        "case_15_of_ten_thousand_idle_visitors_few_have_a_place_and_everybody_else_is_served",
        || {
            loopback_up();
            let ours = ours();
            without_huge_pages();
            assert_eq!(ours.session(15).cookies.len(), 8);
            // From three addresses: 96 have a place for as long as they may, and who comes beyond is hung up on.
            let mut crowd = Crowd::gather(ours.exchanger(), 3, true);
            let (memory, descriptors) = (written_kib(), own_descriptors());
            let (mut most, mut granted, mut unanswered) = (0, 0, 0);
            let come = crowd.await_all(|| {
                let begun = Instant::now();
                // Of what comes while ten thousand knock the kernel may lose some itself.
                match ntpclock::query(&ours.ntp().to_string(), PATIENCE) {
                    Ok(answer) => {
                        assert!(answer.stratum == 3 && begun.elapsed() < Duration::from_secs(1), "{answer:?}")
                    }
                    Err(_) => unanswered += 1,
                }
                assert_eq!(ours.session(15).cookies.len(), 8);
                granted += 1;
                assert!(unanswered * 20 <= granted.max(20), "UDP is not touched: {unanswered} of {granted}");
                most = most.max(own_descriptors());
                std::thread::sleep(Duration::from_millis(50));
            });
            ours.eventually("all were hung up on", |told| told.key_exchange_failures >= 10_000);
            // Beside the visitors' there are a client's and its server's end, and one who is about to be hung up on.
            assert!(come == 10_000 && granted >= 1 && most <= descriptors + 96 + 4, "{granted}, {descriptors} {most}");
            // The allocator keeps some 640 KiB that 96 places took; 40 bytes kept of each of ten thousand would be 400 more.
            let after = written_kib();
            assert!(after < memory + 1024, "{memory} KiB became {after}");
            crowd.leave();
        },
    );
}

#[test]
fn case_15_ten_thousand_idle_visitors_leave_the_last_descriptors_to_the_host() {
    // It may have to be built, where there is a network.
    python();
    inside(module_path!(), "case_15_ten_thousand_idle_visitors_leave_the_last_descriptors_to_the_host", || {
        loopback_up();
        let ours = ours();
        // From so many addresses that all places would be taken, and the kernel's queue is full.
        let mut crowd = Crowd::gather(ours.exchanger(), 2_000, false);
        // Not enough for all places; and of these, one in eight is the host's.
        run(command("prlimit").args(["--pid", &std::process::id().to_string(), "--nofile=96:"]));
        assert!(own_descriptors() < 48, "{}", own_descriptors());
        // Of so many who knock at once some of what the loopback carries is lost by the kernel itself.
        let (mut most, mut asked, mut answered) = (0, 0, 0);
        let mut look = || {
            let own: Vec<_> = (0..8).map(|_| std::fs::File::open("/dev/null").expect("the host's own")).collect();
            let answer = ntpclock::query(&ours.ntp().to_string(), Duration::from_millis(500));
            asked += 1;
            answered += i32::from(answer.is_ok_and(|answer| answer.stratum == 3));
            most = most.max(own_descriptors() - own.len());
        };
        assert_eq!(crowd.await_all(&mut look), 10_000);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(2_500) {
            look();
        }
        // With the eight above, or without.
        assert!((75..=87).contains(&most), "{most} of 96");
        assert!(answered > 50 && (asked - answered) * 20 < asked, "{answered} of {asked}: UDP is not touched");
        crowd.leave();
        await_keys(ours.exchanger(), &ours.authority.file());
    });
}

#[test]
fn case_16_who_asks_for_what_there_is_not_is_told_so_or_hung_up_on() {
    let ours = ours();
    let (authority, exchanger) = (ours.authority.file(), ours.exchanger());
    let good = [record(0x8001, &[0, 0]), record(0x8004, &[0, 15])].concat();
    let end = record(0x8000, &[]);
    let told = |message: Vec<u8>| exchange(exchanger, &authority, &message);
    // No cipher in common: that is what is said.
    assert_eq!(
        told([record(0x8001, &[0, 0]), record(0x8004, &[0, 1, 0, 2]), end.clone()].concat()),
        [(0x8001, vec![0, 0]), (0x8004, vec![]), (0x8000, vec![])]
    );
    assert_eq!(
        told([record(0x8001, &[0x12, 0x34]), record(0x8004, &[0, 15]), end.clone()].concat())[0],
        (0x8001, vec![])
    );
    let error = |code| vec![(0x8002, vec![0, code]), (0x8000, vec![])];
    assert_eq!(told([good.clone(), record(0x8123, b"what"), end.clone()].concat()), error(0));
    assert_eq!(told(end.clone()), error(1));
    // 17 KiB, in records that say nothing, or in one.
    assert_eq!(told([good.clone(), record(0x123, &[0; 1000]).repeat(17)].concat()), error(1));
    assert_eq!(told(record(0x123, &[0; 17 * 1024])), error(1));
    // Another protocol, or none.
    for alpn in [&b"http/1.1"[..], b""] {
        let mut stream = connect(exchanger, &authority, alpn);
        let _ = stream.write_all(&[good.clone(), end.clone()].concat()).and_then(|()| stream.flush());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{answer:?}");
    }
    // TLS 1.2, and none at all.
    let script = "import socket, ssl, sys\n\
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n\
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE\n\
        context.maximum_version = ssl.TLSVersion.TLSv1_2\n\
        context.set_alpn_protocols(['ntske/1'])\n\
        try:\n\
        \x20   context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1]))))\n\
        except ssl.SSLError as error:\n\
        \x20   print(error.reason)\n";
    let port = exchanger.port().to_string();
    let said = run(command(python().to_str().expect("a path")).args(["-W", "ignore", "-c", script, &port]));
    assert!(said.contains("PROTOCOL_VERSION"), "{said}");
    let mut stream = TcpStream::connect(exchanger).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time can be set");
    let _ = stream.write_all(&[b'x'; 40_000]);
    let _ = stream.read_to_end(&mut Vec::new());
    ours.eventually("they have failed", |told| told.key_exchange_failures == 10 && told.key_exchanges == 0);
    assert_eq!(ours.session(15).cookies.len(), 8);
}

#[test]
fn who_may_not_ask_gets_no_keys_and_who_may_does_by_its_own_address() {
    let at = |ours: &Ours, place: usize| ours.server.key_exchange_addresses()[place];
    let both = |config: &mut ServerConfig| _ = config.add_listen("[::1]:0").expect("an address");
    let message = [record(0x8001, &[0, 0]), record(0x8004, &[0, 15]), record(0x8000, &[])].concat();
    // Its network of 64 bits begins at `::`, which is not it.
    let allowing = ours_with(|config| {
        both(config);
        config.allow("::1").expect("a prefix");
    });
    assert_eq!(Session::begin(at(&allowing, 1), &allowing.authority.file(), 15).cookies.len(), 8);
    assert!(exchange_refused(at(&allowing, 0), &allowing.authority.file(), &message));
    let denying = ours_with(|config| {
        both(config);
        config.deny("::1").expect("a prefix");
    });
    assert!(exchange_refused(at(&denying, 1), &denying.authority.file(), &message));
    assert_eq!(Session::begin(at(&denying, 0), &denying.authority.file(), 15).cookies.len(), 8);
    denying.eventually("it is counted", |told| told.key_exchange_failures == 1);
}

/// Whether nothing is said there, not even who answers.
fn exchange_refused(exchanger: SocketAddr, authority: &Path, message: &[u8]) -> bool {
    exchange(exchanger, authority, message).is_empty()
}

#[test]
fn who_hangs_up_its_own_end_with_the_request_is_answered() {
    let ours = ours();
    let mut stream = connect(ours.exchanger(), &ours.authority.file(), b"ntske/1");
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).expect("TLS comes up");
    }
    let message = [record(0x8001, &[0, 0]), record(0x8004, &[0, 15]), record(0x8000, &[])].concat();
    stream.conn.writer().write_all(&message).expect("there is room");
    stream.conn.send_close_notify();
    // In one piece, so that it comes in one.
    let mut piece = Vec::new();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut piece).expect("memory takes it");
    }
    stream.sock.write_all(&piece).and_then(|()| stream.sock.shutdown(std::net::Shutdown::Write)).expect("it is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server says goodbye");
    assert!(answer.starts_with(&record(0x8001, &[0, 0])) && answer.len() > 800, "{answer:?}");
    ours.eventually("it is counted", |told| (told.key_exchanges, told.key_exchange_failures) == (1, 0));
}

#[test]
fn who_gives_up_root_reads_its_cookie_keys_and_reads_them_again_when_root_renews_them() {
    let authority = Authority::new();
    let identity = authority.identity("127.0.0.1");
    // Where nobody may go.
    let directory = std::env::temp_dir().join(format!("ntpclock-nobodys-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("it is writable");
    let keys = directory.join("cookie-keys");
    let renew = || drop(run(command(env!("CARGO_BIN_EXE_ntpclock")).arg("cookie-keys").arg(&keys)));
    let serve = || {
        let mut command = Child::command(Command::new(env!("CARGO_BIN_EXE_ntpclock")), &identity);
        command.args(["--user", "nobody", "--nts-cookie-keys"]).arg(&keys);
        command
    };
    renew();
    // Root's own file could be read now and never again: that is said at once, and by `--check`.
    for more in [&["--duration", "0"][..], &["--check"]] {
        let output = serve().args(more).output().expect("it can be run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("reading cookie keys from"), "{said}");
    }
    std::os::unix::fs::chown(&keys, Some(65_534), Some(65_534)).expect("we are root");
    assert!(serve().arg("--check").output().expect("it can be run").status.success());
    let server = Child::start(serve());
    // The key's id is in front.
    let id = || Session::begin(server.exchanger, &authority.file(), 30).cookies[0][3];
    assert_eq!(id(), 1);
    renew();
    renew();
    let begun = Instant::now();
    while id() != 2 {
        assert!(begun.elapsed() < Duration::from_secs(10), "the file is not read again");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::fs::remove_dir_all(&directory).expect("it is ours");
}
