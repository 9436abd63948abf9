//! Processes that share one page: what becomes of it when its leader is killed, is stopped, forks, or goes over to
//! another program. The processes are `tests/c/share.c`.

#[path = "common/library.rs"]
#[expect(dead_code, reason = "one compiler will do here")]
mod library;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use library::{C_FLAGS, Link, build, scratch};
use ntpclock::{Clock, Config, Error, Events, Role, Server, ServerConfig, State, Timescale};

/// What `tests/c/share.c` has room for.
const EPOCHS: usize = 64;
const PLACES: usize = 32;
const FACTS: usize = 10;

/// The demand: so long may nobody lead.
const TAKE_OVER: Duration = Duration::from_secs(2);

/// Ample time for a process to be loaded, started and synchronised on a busy machine.
const AMPLE: Duration = Duration::from_secs(30);

/// What one process found.
#[derive(Clone, Copy, Debug)]
struct Found {
    readings: i64,
    backwards: i64,
    outside: i64,
    lost: i64,
    held_over: i64,
    epoch: i64,
    role: i64,
    leader_pid: i64,
    faults: i64,
    events: i64,
}

/// A page, a server that shows the system clock, and the processes that share the one and may ask the other.
struct House {
    folder: PathBuf,
    server: Server,
    processes: Vec<(usize, Child)>,
}

impl House {
    fn new(name: &str) -> Self {
        let folder = scratch("sharing").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("board"), vec![0; 8 * (1 + EPOCHS + PLACES * FACTS)]).unwrap();
        let mut config = ServerConfig::new();
        config.add_listen("127.0.0.1:0").unwrap().set_local(1, Duration::from_micros(10)).unwrap();
        let server = Server::start(None, &config).unwrap();
        Self { folder, server, processes: Vec::new() }
    }

    fn page(&self) -> PathBuf {
        self.folder.join("page")
    }

    fn servers(&self) -> String {
        self.server.addresses()[0].to_string()
    }

    fn lock(&self) -> PathBuf {
        self.folder.join("page.lock")
    }

    /// A clock of this very process on the page.
    fn clock(&self) -> Result<Clock, Error> {
        let mut config = Config::with_servers(&self.servers())?;
        config.set_poll_exponents(0, 0)?.set_shared_page(self.page())?;
        Clock::start(config)
    }

    /// The same, synchronised.
    fn synchronized(&self) -> Clock {
        let clock = self.clock().unwrap();
        clock.wait(None, Some(AMPLE)).unwrap();
        clock
    }

    fn command(&self, mode: &str, place: usize) -> Command {
        let mut command = Command::new(build("gcc", &C_FLAGS, "tests/c/share.c", Link::Shared));
        command.args([mode, &self.servers()]).args([self.page(), self.folder.join("board")]).arg(place.to_string());
        command
    }

    /// One more process, which has read for a while when this returns.
    fn enter(&mut self, mode: &str, place: usize) {
        let before = self.found(place).readings;
        let child = self.command(mode, place).spawn().unwrap();
        self.processes.push((place, child));
        self.until("it reads", || (self.found(place).readings > before + 10).then_some(()));
    }

    fn words(&self) -> Vec<i64> {
        let bytes = fs::read(self.folder.join("board")).unwrap();
        bytes.chunks_exact(8).map(|word| i64::from_ne_bytes(word.try_into().unwrap())).collect()
    }

    fn found(&self, place: usize) -> Found {
        let words = self.words();
        let at = |fact| words[1 + EPOCHS + place * FACTS + fact];
        Found {
            readings: at(0),
            backwards: at(1),
            outside: at(2),
            lost: at(3),
            held_over: at(4),
            epoch: at(5),
            role: at(6),
            leader_pid: at(7),
            faults: at(8),
            events: at(9),
        }
    }

    /// Who has signed the lock file.
    fn leader(&self) -> Option<u32> {
        fs::read_to_string(self.lock()).ok()?.split_whitespace().next()?.parse().ok()
    }

    fn place_of(&self, pid: u32) -> Option<usize> {
        self.processes.iter().find(|(_, child)| child.id() == pid).map(|(place, _)| *place)
    }

    /// Takes the process out, which is about to end or has ended.
    fn take(&mut self, place: usize) -> Child {
        let index = self.processes.iter().position(|(other, _)| *other == place).expect("it is there");
        self.processes.swap_remove(index).1
    }

    fn until<T>(&self, what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(seen) = seen() {
                return seen;
            }
            assert!(begun.elapsed() < AMPLE, "{what}: not within {AMPLE:?}");
            sleep(Duration::from_millis(1));
        }
    }

    /// Waits until another than `former` leads, one of ours, and says how long that took.
    fn until_another_leads(&self, former: u32) -> Duration {
        let begun = Instant::now();
        self.until("another leads", || {
            let leader = self.leader().filter(|leader| *leader != former)?;
            self.place_of(leader).map(drop)
        });
        begun.elapsed()
    }

    /// Ends all processes and checks what they found: nothing read backwards, no interval that missed the time, nobody
    /// lost.
    fn close(mut self) -> Vec<Found> {
        let board = fs::File::options().write(true).open(self.folder.join("board")).unwrap();
        board.write_all_at(&1_i64.to_ne_bytes(), 0).unwrap();
        for (place, mut child) in std::mem::take(&mut self.processes) {
            let status = child.wait().unwrap();
            assert!(status.success(), "the process at {place}: {status}");
        }
        let all: Vec<Found> = (0..PLACES).map(|place| self.found(place)).filter(|found| found.readings > 0).collect();
        for found in &all {
            assert_eq!((found.backwards, found.outside, found.lost), (0, 0, 0), "{found:?}");
        }
        all
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for (_, child) in &mut self.processes {
            // Those that a test left behind when it failed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn eight_processes_read_one_line_though_the_leader_is_killed_fifty_times_in_a_row() {
    let mut house = House::new("fifty");
    (0..8).for_each(|place| house.enter("read", place));
    let inode = fs::metadata(house.page()).unwrap().ino();
    let mut slowest = Duration::ZERO;
    for round in 0..50_u64 {
        let former = house.leader().unwrap();
        let place = house.place_of(former).expect("the leader is one of ours");
        let mut child = house.take(place);
        child.kill().unwrap();
        slowest = slowest.max(house.until_another_leads(former));
        child.wait().unwrap();
        // Anybody may be in the middle of anything: of taking over, of the first exchange, of a correction.
        sleep(Duration::from_millis(round * 37 % 250));
        house.enter("read", place);
    }
    assert!(slowest < TAKE_OVER, "{slowest:?}");
    assert_eq!(fs::metadata(house.page()).unwrap().ino(), inode, "it is the same file");
    let leader = i64::from(house.leader().unwrap());
    house.until("all know the leader", || (0..8).all(|place| house.found(place).leader_pid == leader).then_some(()));
    let all = house.close();
    assert_eq!(all.len(), 8);
    for found in all {
        // One epoch from beginning to end.
        assert_eq!(found.epoch, 1, "{found:?}");
        assert!(found.readings > 1_000, "{found:?}");
    }
}

#[test]
fn a_leader_that_forks_and_then_dies_is_succeeded_though_its_child_lives() {
    let mut house = House::new("fork");
    house.enter("fork", 0);
    house.until("the child reads", || (house.found(1).readings > 10).then_some(()));
    house.enter("read", 2);
    let former = house.leader().unwrap();
    assert_eq!(house.place_of(former), Some(0));
    let mut parent = house.take(0);
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(house.until_another_leads(former) < TAKE_OVER);
    // The child has no thread and reads on what the other process writes: past the deadlines of what its parent wrote.
    let before = house.found(1);
    sleep(Duration::from_millis(4_500));
    let child = house.found(1);
    assert!(child.readings > before.readings + 1_000, "{child:?}");
    assert_eq!((child.held_over, child.role), (0, Role::Follower as i64), "{child:?}");
    house.close();
}

#[test]
fn a_stopped_leader_keeps_the_lead_and_its_deadlines_tell() {
    let mut house = House::new("stopped");
    house.enter("read", 0);
    (1..3).for_each(|place| house.enter("read", place));
    let leader = house.leader().unwrap();
    signal(leader, "-STOP");
    house.until("the followers are in holdover", || (house.found(1).held_over > 0).then_some(()));
    assert_eq!(house.leader(), Some(leader), "nobody else leads");
    signal(leader, "-CONT");
    // It goes on as if nothing had happened, and so does everybody.
    house.until("they are synchronised again", || {
        let before = house.found(1);
        sleep(Duration::from_millis(300));
        let after = house.found(1);
        (after.readings > before.readings && after.held_over == before.held_over).then_some(())
    });
    assert_eq!(house.leader(), Some(leader));
    // One that is stopped when it is killed is succeeded like any other.
    signal(leader, "-STOP");
    let mut child = house.take(0);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(house.until_another_leads(leader) < TAKE_OVER);
    let all = house.close();
    assert!(all.iter().all(|found| found.epoch == 1), "{all:?}");
}

#[test]
fn a_leader_that_ends_without_its_process_is_succeeded_and_nobody_leaves_synchronized() {
    for mode in ["exec", "free"] {
        let mut house = House::new(mode);
        house.enter(mode, 0);
        house.enter("read", 1);
        house.enter("read", 2);
        let former = house.leader().unwrap();
        assert_eq!(house.place_of(former), Some(0), "{mode}");
        // It reads two thousand times, and ends to lead.
        house.until("it has read", || (house.found(0).readings == 2_000).then_some(()));
        assert!(house.until_another_leads(former) < TAKE_OVER, "{mode}");
        sleep(Duration::from_secs(1));
        if mode == "exec" {
            let mut other_program = house.take(0);
            other_program.kill().unwrap();
            other_program.wait().unwrap();
        }
        for found in house.close() {
            assert_eq!((found.held_over, found.epoch, found.faults), (0, 1, 0), "{mode}: {found:?}");
            assert!(!Events(found.events as u32).contains(Events::LOST), "{mode}: {found:?}");
        }
    }
}

#[test]
fn where_processes_cannot_be_watched_the_lock_is_looked_at_often_enough() {
    let mut house = House::new("filtered");
    house.enter("read", 0);
    house.enter("filtered", 1);
    let former = house.leader().unwrap();
    let mut child = house.take(0);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(house.until_another_leads(former) < TAKE_OVER);
    house.close();
}

#[test]
fn what_a_leader_prints_that_has_closed_its_standard_output_is_not_written_on_the_page() {
    let mut house = House::new("closed");
    house.enter("closed", 0);
    house.enter("read", 1);
    let leader = house.leader().unwrap();
    assert_eq!(house.place_of(leader), Some(0));
    let is_ours = |fd: &Path| fs::read_link(fd).is_ok_and(|file| file.starts_with(&house.folder));
    let folder = PathBuf::from(format!("/proc/{leader}/fd"));
    assert!(!["0", "1", "2"].iter().any(|fd| is_ours(&folder.join(fd))));
    // What of the page stays open cannot be written at all.
    let kept = fs::read_dir(&folder).unwrap().map(|fd| fd.unwrap().path());
    let page: Vec<PathBuf> = kept.filter(|fd| fs::read_link(fd).is_ok_and(|file| file == house.page())).collect();
    let told = fs::read_to_string(
        PathBuf::from("/proc").join(leader.to_string()).join("fdinfo").join(page[0].file_name().unwrap()),
    );
    let told = told.unwrap();
    let flags = told.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    assert!(page.len() == 1 && flags.ends_with('0'), "{page:?} {told}");
    for found in house.close() {
        assert_eq!((found.epoch, found.faults), (1, 0), "{found:?}");
    }
}

#[test]
fn a_process_that_may_not_read_the_processors_counter_is_refused_or_needs_not_to() {
    let mut house = House::new("deaf");
    house.enter("read", 0);
    let output = house.command("deaf", 1).stdout(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}: {said}", output.status);
    // Byte 20 of the page says what it may be read by. Elsewhere the counter cannot be forbidden.
    if cfg!(target_arch = "x86_64") && fs::read(house.page()).unwrap()[20] == 1 {
        assert!(said.starts_with("-43 ") && said.contains("PR_SET_TSC"), "{said}");
    } else {
        assert!(said.starts_with("0 "), "{said}");
    }
    house.close();
}

#[test]
fn two_clocks_of_one_process_are_a_leader_and_a_follower_and_the_follower_succeeds() {
    let house = House::new("pair");
    let first = house.synchronized();
    let second = house.clock().unwrap();
    // What the leader has published is there at once.
    assert_eq!((second.now().state, second.now().epoch), (State::Synchronized, 1));
    second.wait(None, Some(AMPLE)).unwrap();
    let (leader, follower) = (first.report(), second.report());
    assert_eq!((leader.role, follower.role), (Role::Leader, Role::Follower));
    assert_eq!((leader.leader_pid, follower.leader_pid), (std::process::id(), std::process::id()));
    assert_eq!((follower.stratum, follower.reference_id), (2, leader.reference_id));
    assert_eq!((follower.state, follower.configured, follower.agreeing), (State::Synchronized, 1, 1));
    assert!(follower.exchanges > 0 && follower.root_dispersion_ns > 0, "{follower:?}");
    assert_eq!((first.sources().len(), second.sources().len()), (1, 0));
    // Events and the past are its own thread's to tell.
    house.until("the follower is told", || second.take_events().contains(Events::SYNCHRONIZED).then_some(()));
    let reading = second.now();
    let then = second.convert(Timescale::Raw, reading.raw_ns).unwrap();
    assert!(then.earliest_ns <= reading.latest_ns && reading.earliest_ns <= then.latest_ns, "{then:?} {reading:?}");
    second.wait_until_past(reading.latest_ns, Some(AMPLE)).unwrap();

    let exchanges = first.report().exchanges;
    first.stop();
    house.until("the follower leads", || (second.report().role == Role::Leader).then_some(()));
    house.until("it asks", || (second.report().exchanges > exchanges.min(1)).then_some(()));
    assert_eq!((second.now().state, second.now().epoch), (State::Synchronized, 1));
    assert!(!second.take_events().contains(Events::LOST));
    // Who was stopped reads on, what another writes.
    let (one, two) = (first.now(), second.now());
    assert_eq!((one.state, one.epoch, first.report().role), (State::Synchronized, 1, Role::Follower));
    assert!(one.unix_ns <= two.unix_ns && first.report().leader_pid == 0);
    assert_eq!((first.shared_page_fault(), second.shared_page_fault()), (None, None));
}

#[test]
fn a_page_that_nobody_leads_any_more_is_read_at_once_by_whoever_comes_next() {
    let house = House::new("again");
    let first = house.synchronized();
    let before = first.now();
    drop(first);
    let again = house.clock().unwrap();
    let now = again.now();
    assert_eq!((now.state, now.epoch), (State::Synchronized, 1));
    assert!(now.unix_ns > before.unix_ns && again.report().role == Role::Leader);
    house.until("it asks", || (again.report().exchanges > 0).then_some(()));
    assert_eq!((again.now().epoch, again.report().steps), (1, 0));
}

#[test]
fn a_server_on_a_clock_that_follows_says_what_its_leader_would() {
    let house = House::new("served");
    let leader = house.synchronized();
    let follower = house.clock().unwrap();
    let mut config = ServerConfig::new();
    config.add_listen("127.0.0.1:0").unwrap();
    let server = Server::start(Some(&follower), &config).unwrap();
    let answer = ntpclock::query(&server.addresses()[0].to_string(), AMPLE).unwrap();
    assert_eq!((answer.stratum, answer.reference_id), (2, leader.report().reference_id));
    assert!(answer.offset_ns.abs() <= answer.bound_ns && answer.reference_time_ns > 0, "{answer:?}");
}

#[test]
fn a_page_of_another_boot_is_replaced_by_whoever_leads() {
    let house = House::new("boot");
    drop(house.synchronized());
    let mut bytes = fs::read(house.page()).unwrap();
    bytes[24] ^= 1;
    let checksum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    fs::write(house.page(), &bytes).unwrap();
    let inode = fs::metadata(house.page()).unwrap().ino();
    let clock = house.clock().unwrap();
    assert_eq!((clock.now().epoch, clock.report().role), (0, Role::Leader));
    assert_ne!(fs::metadata(house.page()).unwrap().ino(), inode);
    clock.wait(None, Some(AMPLE)).unwrap();
    assert_eq!(house.clock().unwrap().now().epoch, 1);
}

#[test]
fn a_page_of_another_time_namespace_is_refused_and_left_alone() {
    let house = House::new("namespace");
    let ours = house.synchronized();
    let before = fs::read(house.page()).unwrap();
    let mut command = Command::new("unshare");
    command.args([
        "--time",
        "--monotonic",
        "1000",
        env!("CARGO_BIN_EXE_ntpclock"),
        "now",
        "--servers",
        &house.servers(),
    ]);
    let output = command.arg("--shared-page").arg(house.page()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("of another time namespace"), "{told}");
    assert_eq!(fs::read(house.page()).unwrap()[..64], before[..64]);
    assert_eq!((ours.report().role, ours.shared_page_fault()), (Role::Leader, None));
}

#[test]
fn a_start_that_may_not_lock_and_finds_no_page_says_why() {
    let mut house = House::new("barred");
    house.folder = std::env::temp_dir().join(format!("ntpclock-barred-{}", std::process::id()));
    fs::create_dir_all(&house.folder).unwrap();
    fs::set_permissions(&house.folder, fs::Permissions::from_mode(0o755)).unwrap();
    let told = std::thread::scope(|scope| {
        let nobody = scope.spawn(|| {
            become_nobody();
            house.clock().unwrap_err().to_string()
        });
        nobody.join().unwrap()
    });
    assert!(told.contains("page: ") && told.contains("page.lock: ") && told.contains("Permission denied"), "{told}");
    fs::remove_dir_all(&house.folder).unwrap();
}

/// Something that stands where a page, or its lock file, should be.
type Spoil = (&'static str, fn(&Path));

#[test]
fn what_is_no_page_or_no_lock_file_of_ours_fails_the_start_with_path_and_reason() {
    let link = |path: &Path| symlink("/dev/null", path).unwrap();
    let pipe = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let foreign_owner = |path: &Path| {
        fs::File::options().append(true).create(true).open(path).unwrap();
        chown(path, Some(65_534), None).unwrap();
    };
    let writable = |path: &Path| {
        fs::File::options().append(true).create(true).open(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    };
    let both: [Spoil; 5] = [
        ("it is no regular file", |path| fs::create_dir(path).unwrap()),
        ("it is no regular file", pipe),
        ("it is a symbolic link", link),
        ("it belongs to user 65534", foreign_owner),
        ("others may write it (mode 666)", writable),
    ];
    let pages: [Spoil; 5] = [
        ("it is no shared page", |path| fs::write(path, "my diary").unwrap()),
        ("it has 0 bytes", |path| fs::write(path, "").unwrap()),
        ("it has 4000 bytes", |path| fs::File::options().write(true).open(path).unwrap().set_len(4_000).unwrap()),
        ("version 2", |path| change(path, 8, 2)),
        ("its words are not what a leader wrote", |path| (128..2_176).for_each(|at| change(path, at, 0x55))),
    ];
    let house = House::new("refused");
    drop(house.synchronized());
    let whole = fs::read(house.page()).unwrap();
    let renew = |path: &Path, bytes: &[u8]| {
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let refused = |path: &Path, reason: &str| {
        let error = house.clock().expect_err(reason);
        let told = error.to_string();
        assert!(matches!(error, Error::SharedPage { .. }), "{told}");
        assert!(told.contains(reason) && told.contains(path.to_str().unwrap()), "{reason}: {told}");
    };
    for (reason, spoil) in both.iter().chain(&pages) {
        renew(&house.page(), &whole);
        let here = ["version", "4000", "words"].iter().any(|part| reason.contains(part));
        if !here {
            fs::remove_file(house.page()).unwrap();
        }
        spoil(&house.page());
        refused(&house.page(), reason);
    }
    renew(&house.page(), &whole);
    for (reason, spoil) in both {
        renew(&house.lock(), b"");
        fs::remove_file(house.lock()).unwrap();
        spoil(&house.lock());
        refused(&house.lock(), reason);
    }
    renew(&house.lock(), b"what is in it matters to nobody");
    assert_eq!(house.synchronized().now().epoch, 1);

    let mut config = Config::with_servers("127.0.0.1:9").unwrap();
    config.set_shared_page("/nonexistent/page").unwrap();
    let told = Clock::start(config).unwrap_err().to_string();
    assert!(told.contains("/nonexistent/page.lock: it cannot be read: No such file"), "{told}");
}

fn change(path: &Path, at: u64, byte: u8) {
    fs::File::options().write(true).open(path).unwrap().write_all_at(&[byte], at).unwrap();
}

#[test]
fn a_page_that_is_taken_away_is_told_by_its_leader_and_its_followers_who_keep_it() {
    let removed: fn(&Path) = |path| fs::remove_file(path).unwrap();
    let replaced: fn(&Path) = |path| {
        fs::remove_file(path).unwrap();
        fs::write(path, "my diary").unwrap();
    };
    // Behind everything that is read: nobody is killed.
    let shortened: fn(&Path) = |path| fs::File::options().write(true).open(path).unwrap().set_len(4_000).unwrap();
    for (taken, reason) in [
        (removed, "it was removed"),
        (replaced, "another file was put in its place"),
        (shortened, "it has 4000 bytes, not 4096"),
    ] {
        let house = House::new("taken");
        let (leader, follower) = (house.synchronized(), house.clock().unwrap());
        taken(&house.page());
        for clock in [&leader, &follower] {
            let told = house.until("it is told", || clock.shared_page_fault());
            assert!(told.contains("taken/page: ") && told.contains(reason), "{told}");
        }
        let before = leader.report().exchanges;
        house.until("the leader goes on", || (leader.report().exchanges > before + 1).then_some(()));
        assert_eq!((follower.now().state, follower.now().epoch), (State::Synchronized, 1));
        if reason == "it was removed" {
            // Those who come later share another page, and do not meet the old ones.
            let later = house.synchronized();
            assert_eq!((later.report().role, leader.report().role), (Role::Leader, Role::Leader));
            assert_eq!((follower.report().role, later.shared_page_fault()), (Role::Follower, None));
        }
    }
}

/// Makes this thread, and those it starts, another user's: the system's own calls are about one thread.
#[expect(unsafe_code, reason = "the C library's function is about all threads")]
fn become_nobody() {
    // SAFETY: the call takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, -1, 65_534, -1) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn who_may_read_the_page_of_root_but_not_write_it_follows_and_never_leads() {
    let mut house = House::new("root");
    house.folder = std::env::temp_dir().join(format!("ntpclock-root-{}", std::process::id()));
    fs::create_dir_all(&house.folder).unwrap();
    let leader = house.synchronized();
    fs::set_permissions(house.page(), fs::Permissions::from_mode(0o644)).unwrap();
    std::thread::scope(|scope| {
        let nobody = scope.spawn(|| {
            become_nobody();
            house.clock().unwrap()
        });
        let follower = nobody.join().unwrap();
        let report = follower.report();
        assert_eq!((report.state, report.role, report.leader_pid), (State::Synchronized, Role::Follower, 0));
        drop(leader);
        sleep(Duration::from_secs(1));
        assert_eq!((follower.report().role, follower.shared_page_fault()), (Role::Follower, None));
        // The next one of root's leads, and is followed.
        let next = house.clock().unwrap();
        assert_eq!(next.report().role, Role::Leader);
        house.until("it asks", || (next.report().exchanges > 1).then_some(()));
        assert_eq!((follower.now().state, follower.now().epoch), (State::Synchronized, 1));
    });
    fs::remove_dir_all(&house.folder).unwrap();
}

#[test]
fn where_the_lock_file_is_taken_away_there_still_is_but_one_leader() {
    let house = House::new("unlocked");
    let leader = house.synchronized();
    fs::remove_file(house.lock()).unwrap();
    let others = [house.clock().unwrap(), house.clock().unwrap()];
    sleep(Duration::from_secs(1));
    assert_eq!(others.each_ref().map(|clock| clock.report().role), [Role::Follower; 2]);
    assert_eq!(leader.report().role, Role::Leader);
    drop(leader);
    house.until("another leads", || others.iter().any(|clock| clock.report().role == Role::Leader).then_some(()));
}

#[test]
fn words_that_somebody_else_writes_are_told_and_not_taken_over() {
    let mut house = House::new("damaged");
    house.enter("read", 0);
    let follower = house.clock().unwrap();
    let leader = house.leader().unwrap();
    // Who is stopped writes nothing while somebody else does, into words that no reader of the time looks at.
    signal(leader, "-STOP");
    for slot in [128, 1_152] {
        change(&house.page(), slot + 8 * 100, 0x55);
        change(&house.page(), slot + 8 * 101, 0xaa);
    }
    let mut child = house.take(0);
    child.kill().unwrap();
    child.wait().unwrap();
    let told = house.until("it is told", || follower.shared_page_fault());
    assert!(told.contains("damaged/page: its words are not what a leader wrote"), "{told}");
    sleep(Duration::from_millis(600));
    assert_eq!(follower.report().role, Role::Follower);
    // What is known goes on; it is only that nobody adds to it.
    assert!(follower.now().state.is_usable());
}

#[test]
fn a_page_is_read_at_the_price_of_a_clock_of_ones_own() {
    let house = House::new("price");
    let leader = house.synchronized();
    let follower = house.clock().unwrap();
    let mut config = Config::with_servers(&house.servers()).unwrap();
    config.set_poll_exponents(0, 0).unwrap();
    let own = Clock::start(config).unwrap();
    own.wait(None, Some(AMPLE)).unwrap();
    // By now all are read by what is best.
    sleep(Duration::from_secs(2));
    let price = |clock: &Clock| {
        let begun = Instant::now();
        for _ in 0..1_000 {
            std::hint::black_box(clock.now());
        }
        begun.elapsed()
    };
    // In turns, and the best of each: what else goes on here hits all alike.
    let mut best = [Duration::MAX; 3];
    for _ in 0..500 {
        for (best, clock) in best.iter_mut().zip([&own, &leader, &follower]) {
            *best = price(clock).min(*best);
        }
    }
    let [own, leader, follower] = best.map(|best| best.as_secs_f64());
    assert!(leader < 1.25 * own && follower < 1.25 * own, "{best:?}");
}

#[test]
fn the_thread_of_a_clock_that_follows_wakes_up_four_times_a_second() {
    let mut house = House::new("idle");
    house.enter("read", 0);
    house.enter("read", 1);
    let (_, follower) = &house.processes[1];
    let tasks = fs::read_dir(format!("/proc/{}/task", follower.id())).unwrap().map(|task| task.unwrap().path());
    let mut engines = tasks.filter(|task| fs::read_to_string(task.join("comm")).unwrap().trim() == "ntpclock");
    let engine = engines.next().expect("it has a thread of ours");
    let switches = || -> i64 {
        let status = fs::read_to_string(engine.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse().unwrap()
    };
    let (begun, before) = (Instant::now(), switches());
    sleep(Duration::from_secs(5));
    let pace = (switches() - before) as f64 / begun.elapsed().as_secs_f64();
    // And as often again for locks and a disk, at the most.
    assert!((3.0..=9.0).contains(&pace), "{pace} a second");
}
