//! Real NTP servers to talk to: Debian's `chronyd`, on loopback, never near the system clock.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Once};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// The first of 12000 ports below those that the kernel hands out for nothing: no client's socket is ever in
/// the way of a server that comes back to its port.
const FIRST_PORT: u16 = 20_000;
const PORTS: u32 = 12_000;

/// How long a server may take from its start to its first answer, on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Whose `chronyd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// This Debian's.
    Present,
    /// A later Debian's.
    Newer,
}

/// A running `chronyd` that serves this machine's clock, shifted if so asked. Killed when dropped.
pub(crate) struct Chronyd {
    child: Child,
    address: SocketAddr,
    directory: Directory,
    /// Tells it the time, if it is to have another than the system clock.
    _teller: Option<Teller>,
}

impl Chronyd {
    /// Serves the system clock on a free port of 127.0.0.1.
    pub(crate) fn start() -> Self {
        Self::shifted_by(0)
    }

    /// As [`Chronyd::start`], `seconds` ahead of the system clock.
    pub(crate) fn shifted_by(seconds: i64) -> Self {
        Self::start_at(free_address(Ipv4Addr::LOCALHOST.into()), seconds)
    }

    /// Serves at `address`, `seconds` ahead of the system clock, and answers when this returns.
    pub(crate) fn start_at(address: SocketAddr, seconds: i64) -> Self {
        Self::start_with(Release::Present, address, seconds, "")
    }

    /// As [`Chronyd::start_at`], with these further lines of configuration.
    pub(crate) fn start_with(release: Release, address: SocketAddr, seconds: i64, further: &str) -> Self {
        Self::start_in(release, Directory::new(), address, seconds, further)
    }

    /// As [`Chronyd::start`], and knows the `keys`, a key file's text.
    pub(crate) fn with_keys(keys: &str) -> Self {
        let directory = Directory::new();
        let file = directory.path().join("keys");
        fs::write(&file, keys).expect("the temporary directory is writable");
        let more = format!("keyfile {}\n", file.display());
        Self::start_in(Release::Present, directory, free_address(Ipv4Addr::LOCALHOST.into()), 0, &more)
    }

    /// With files in `directory`, and `more` in its configuration.
    fn start_in(release: Release, directory: Directory, address: SocketAddr, seconds: i64, more: &str) -> Self {
        // Else it would also take the port of the other family's wildcard address, from its neighbours.
        let family = if address.is_ipv4() { "-4" } else { "-6" };
        let told = directory.path().join("time");
        // By the one it believes itself, by the other whoever tells it the time.
        let source = match seconds {
            0 => "local stratum 3".to_owned(),
            _ => format!("refclock SOCK {} poll -2 precision 1e-9 stratum 2", told.display()),
        };
        let config = config_text(address, directory.path()) + &source + "\n" + more;
        let child = spawn(release, &directory, &config, |command| _ = command.arg(family));
        let teller = (seconds != 0).then(|| Teller::start(told, seconds));
        let mut server = Self { child, address, directory, _teller: teller };
        server.wait_for_answer(seconds);
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// As it stands in a server list.
    pub(crate) fn entry(&self) -> String {
        self.address.to_string()
    }

    /// Kills the server, as a crash would; returns the address it had, for another to come back to.
    pub(crate) fn kill(self) -> SocketAddr {
        self.address
    }

    fn wait_for_answer(&mut self, seconds: i64) {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            // A shift that has not taken would make every judgement about this server meaningless.
            if ask(self.address).is_some_and(|ahead| (ahead - seconds as f64).abs() < 0.5) {
                return;
            }
            let ended = self.child.try_wait().expect("a child can be asked for its status");
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                panic!("chronyd at {} does not tell its time (status {ended:?}); it says:\n{log}", self.address);
            }
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Chronyd {
    fn drop(&mut self) {
        // It may be dead already; then there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells a `chronyd` all the time how far the true time is ahead of the system clock, as a reference clock's driver does
/// (`refclock SOCK` in its manual): it keeps a clock of its own by that, as it does with `-x`, and its timestamps are
/// still the kernel's. (A program that is shown another time by its C library takes no stamp of the kernel's for true,
/// and its own are as late as it is woken.)
struct Teller {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Teller {
    fn start(to: PathBuf, seconds: i64) -> Self {
        const MAGIC: i32 = 0x534f_434b;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let tell = move || {
            let socket = UnixDatagram::unbound().expect("there are sockets");
            while !over.load(Ordering::Relaxed) {
                let now = system_clock_ns();
                // The system clock, in seconds and microseconds; how far it is behind; no pulse, no leap, padding.
                let mut sample = Vec::new();
                sample.extend((now / 1_000_000_000).to_ne_bytes());
                sample.extend((now % 1_000_000_000 / 1_000).to_ne_bytes());
                sample.extend((seconds as f64).to_ne_bytes());
                sample.extend([0, 0, 0, MAGIC].map(i32::to_ne_bytes).as_flattened());
                // It may not listen yet, or no more.
                let _ = socket.send_to(&sample, &to);
                sleep(Duration::from_millis(50));
            }
        };
        Self { is_over, thread: Some(std::thread::spawn(tell)) }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// A running `chronyd` that follows one server, serves nobody and keeps `tracking.log`. Killed when dropped.
///
/// It follows with a clock of its own and leaves the system clock alone (`-x`).
pub(crate) struct ChronydClient {
    child: Child,
    directory: Directory,
}

impl ChronydClient {
    /// Asks `server` every 2^`polls.0` to 2^`polls.1` seconds.
    pub(crate) fn start(server: SocketAddr, polls: (i8, i8)) -> Self {
        Self::asking(server, polls, "")
    }

    /// The same with more `options` of its own; it keeps `measurements.log`, too.
    pub(crate) fn asking(server: SocketAddr, polls: (i8, i8), options: &str) -> Self {
        Self::with(Release::Present, server, polls, options, "")
    }

    /// The same of a release, with further lines of configuration.
    pub(crate) fn with(release: Release, server: SocketAddr, polls: (i8, i8), options: &str, further: &str) -> Self {
        let directory = Directory::new();
        let own = directory.path().display();
        let text = format!(
            "server {} port {} minpoll {} maxpoll {} {options}\nport 0\ncmdport 0\npidfile {own}/pid\nlogdir {own}\n\
             log tracking measurements\n{further}",
            server.ip(),
            server.port(),
            polls.0,
            polls.1
        );
        let child = spawn(release, &directory, &text, |_| ());
        Self { child, directory }
    }

    /// What it has logged of its clock so far; empty before the first update.
    pub(crate) fn tracking_log(&self) -> String {
        fs::read_to_string(self.directory.path().join("tracking.log")).unwrap_or_default()
    }

    /// What it has logged of its server's replies so far.
    pub(crate) fn measurements_log(&self) -> String {
        fs::read_to_string(self.directory.path().join("measurements.log")).unwrap_or_default()
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for ChronydClient {
    fn drop(&mut self) {
        // As above.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts `chronyd` in the foreground with this configuration, as `prepare` wants it; it writes what it says to `log`
/// in `directory`.
fn spawn(release: Release, directory: &Directory, config: &str, prepare: impl FnOnce(&mut Command)) -> Child {
    let (log, file) = (directory.path().join("log"), directory.path().join("conf"));
    fs::write(&file, config).expect("the temporary directory is writable");
    let output = fs::File::create(&log).expect("the temporary directory is writable");
    // The kernel kills it with the thread that started it: a test that is interrupted leaves nothing.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .args(chronyd_of(release))
        .args(["-d", "-x", "-u", "root", "-f"])
        .arg(&file);
    prepare(&mut command);
    command.stdin(Stdio::null()).stderr(output.try_clone().expect("a file handle can be copied")).stdout(output);
    command.spawn().expect("setpriv (package util-linux) can be run")
}

/// `chronyd -Q`: a real client measures `server`; what it prints, or what it prints as it fails.
pub(crate) fn chronyd_query(server: SocketAddr) -> Result<String, String> {
    let directory = Directory::new();
    let config = directory.path().join("conf");
    let text = format!(
        "server {} port {} iburst maxsamples 4\ncmdport 0\npidfile {}\n",
        server.ip(),
        server.port(),
        directory.path().join("pid").display()
    );
    fs::write(&config, text).expect("the temporary directory is writable");
    let mut command = Command::new(chronyd());
    command.args(["-Q", "-t", "20", "-u", "root", "-f"]).arg(&config);
    let output = command.stdin(Stdio::null()).output().expect("chronyd can be run");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(text) } else { Err(text) }
}

/// `ntpdig -j`, which always asks port 123: one line of JSON.
pub(crate) fn ntpdig(server: IpAddr) -> Result<String, String> {
    let peers = peers();
    let mut command = Command::new("/usr/bin/python3");
    command.env("PYTHONPATH", peers.join("usr/lib/python3/dist-packages"));
    command.arg(peers.join("usr/bin/ntpdig")).args(["-j", "-t", "5", &server.to_string()]);
    let output = command.stdin(Stdio::null()).output().expect("/usr/bin/python3 can be run");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(text) } else { Err(text) }
}

/// An address whose UDP port is free now and is given to nobody else in this process.
pub(crate) fn free_address(ip: IpAddr) -> SocketAddr {
    static TURN: AtomicU16 = AtomicU16::new(0);
    for _ in 0..PORTS {
        // Processes begin at different ports, so that test programs at work side by side rarely meet.
        let turn = u32::from(TURN.fetch_add(1, Ordering::Relaxed));
        let place = (std::process::id().wrapping_mul(97).wrapping_add(turn)) % PORTS;
        let address = SocketAddr::new(ip, FIRST_PORT + place as u16);
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no UDP port of {ip} is free");
}

/// The system clock, nanoseconds since 1970.
pub(crate) fn system_clock_ns() -> i64 {
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
    age.as_nanos() as i64
}

/// A directory below cargo's own for tests, removed when dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static TURN: AtomicU16 = AtomicU16::new(0);
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{turn}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory can be made below target");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left lies below target, where nobody minds.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn config_text(address: SocketAddr, directory: &Path) -> String {
    format!(
        "port {}\nbindaddress {}\nallow\ncmdport 0\npidfile {}\n",
        address.port(),
        address.ip(),
        directory.join("pid").display()
    )
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where `tests/tools.sh` has unpacked the foreign programs; it is run if they are not there yet.
fn peers() -> PathBuf {
    static TOOLS: Once = Once::new();
    TOOLS.call_once(|| {
        let status = Command::new(root().join("tests/tools.sh")).stdin(Stdio::null()).status();
        assert!(status.expect("tests/tools.sh can be run").success(), "tests/tools.sh failed; it says why above");
    });
    root().join("target/peers")
}

fn chronyd() -> PathBuf {
    peers().join("usr/sbin/chronyd")
}

/// How to run it, in words.
fn chronyd_of(release: Release) -> Vec<PathBuf> {
    if release == Release::Present {
        return vec![chronyd()];
    }
    peers();
    let newer = root().join("target/newer/usr");
    // Both folders are named after the kind of machine.
    let named = |folder: &str, beginning: &str| {
        let entries = fs::read_dir(newer.join(folder)).expect("tests/tools.sh has unpacked it");
        let names = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(beginning));
        entries.flatten().map(|entry| entry.path()).find(names).expect("it is there")
    };
    let (loader, libraries) = (named("lib64", "ld-linux-"), named("lib", "-linux-gnu"));
    vec![loader, "--library-path".into(), libraries, newer.join("sbin/chronyd")]
}

/// Asks a server for the time: how many seconds it is ahead of the system clock, or `None` without a good answer.
fn ask(server: SocketAddr) -> Option<f64> {
    // Version 4, mode 3 (client): RFC 5905, figure 8. All else may stay zero.
    let mut request = [0_u8; 48];
    request[0] = 0x23;
    let local: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((local, 0)).ok()?;
    socket.set_read_timeout(Some(Duration::from_millis(200))).ok()?;
    socket.connect(server).ok()?;
    socket.send(&request).ok()?;
    let mut reply = [0_u8; 48];
    let length = socket.recv(&mut reply).ok()?;
    let leap = reply[0] >> 6;
    if length < 48 || leap == 3 || reply[1] == 0 {
        return None;
    }
    let transmit = u64::from_be_bytes(reply[40..48].try_into().ok()?);
    // Eras do not matter for a difference of seconds: both sides are taken modulo 2^32 s.
    let server_seconds = (transmit >> 32) as u32;
    let fraction = transmit as u32;
    let now = system_clock_ns();
    let now_seconds = (now / 1_000_000_000 + 2_208_988_800) as u32;
    let whole = server_seconds.wrapping_sub(now_seconds) as i32;
    Some(f64::from(whole) + f64::from(fraction) / 4_294_967_296.0 - (now % 1_000_000_000) as f64 / 1e9)
}

#[test]
fn a_killed_server_can_come_back_with_another_time() {
    let first = Chronyd::start();
    let address = first.kill();
    assert_eq!(ask(address), None, "a killed server is silent");
    let second = Chronyd::start_at(address, -5);
    assert!(ask(second.address()).is_some_and(|ahead| (ahead + 5.0).abs() < 0.1));
}
