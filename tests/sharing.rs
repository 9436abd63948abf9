//! Processes that share one page: what becomes of it when its leader is killed, is stopped, forks, or goes over to another
//! program. The processes are `tests/c/share.c`.

#[path = "common/library.rs"]
#[expect(dead_code, reason = "one compiler will do here")]
mod library;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use library::{C_FLAGS, Link, build, scratch};
use ntpclock::{Role, Server, ServerConfig};

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
        fs::read_to_string(self.folder.join("page.lock")).ok()?.split_whitespace().next()?.parse().ok()
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

    /// Ends all processes and checks what they found: nothing read backwards, no interval that missed the time, nobody lost.
    fn close(mut self) -> Vec<Found> {
        let board = fs::File::options().write(true).open(self.folder.join("board")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&board, &1_i64.to_ne_bytes(), 0).unwrap();
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
            assert_eq!((found.held_over, found.epoch), (0, 1), "{mode}: {found:?}");
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
