//! Where processes share a page: folder, server, processes, and what these have found.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ntpclock::{Clock, Config, Error, Server, ServerConfig};

use crate::library::{C_FLAGS, Link, build, scratch};

/// What `tests/c/share.c` has room for.
const EPOCHS: usize = 64;
const PLACES: usize = 32;
const FACTS: usize = 10;

/// The demand: so long may nobody lead.
pub(crate) const TAKE_OVER: Duration = Duration::from_secs(2);

/// Ample time for a process to be loaded, started and synchronised on a busy machine.
pub(crate) const AMPLE: Duration = Duration::from_secs(30);

/// What one process found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) readings: i64,
    pub(crate) backwards: i64,
    pub(crate) outside: i64,
    pub(crate) lost: i64,
    pub(crate) held_over: i64,
    pub(crate) epoch: i64,
    pub(crate) role: i64,
    pub(crate) leader_pid: i64,
    pub(crate) faults: i64,
    pub(crate) events: i64,
}

/// A page, a server that shows the system clock, and the processes that share the one and may ask the other.
pub(crate) struct House {
    pub(crate) folder: PathBuf,
    pub(crate) server: Server,
    pub(crate) processes: Vec<(usize, Child)>,
}

impl House {
    pub(crate) fn new(name: &str) -> Self {
        let folder = scratch("sharing").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("board"), vec![0; 8 * (1 + EPOCHS + PLACES * FACTS)]).unwrap();
        let mut config = ServerConfig::new();
        config.add_listen("127.0.0.1:0").unwrap().set_local(1, Duration::from_micros(10)).unwrap();
        let server = Server::start(None, &config).unwrap();
        Self { folder, server, processes: Vec::new() }
    }

    pub(crate) fn page(&self) -> PathBuf {
        self.folder.join("page")
    }

    pub(crate) fn servers(&self) -> String {
        self.server.addresses()[0].to_string()
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.folder.join("page.lock")
    }

    /// A clock of this very process on the page.
    pub(crate) fn clock(&self) -> Result<Clock, Error> {
        let mut config = Config::with_servers(&self.servers())?;
        config.set_poll_exponents(0, 0)?.set_shared_page(self.page())?;
        Clock::start(config)
    }

    /// The same, synchronised.
    pub(crate) fn synchronized(&self) -> Clock {
        let clock = self.clock().unwrap();
        clock.wait(None, Some(AMPLE)).unwrap();
        clock
    }

    pub(crate) fn command(&self, mode: &str, place: usize) -> Command {
        let mut command = Command::new(build("gcc", &C_FLAGS, "tests/c/share.c", Link::Shared));
        command.args([mode, &self.servers()]).args([self.page(), self.folder.join("board")]).arg(place.to_string());
        command
    }

    /// One more process, which has read for a while when this returns.
    pub(crate) fn enter(&mut self, mode: &str, place: usize) {
        let before = self.found(place).readings;
        let child = self.command(mode, place).spawn().unwrap();
        self.processes.push((place, child));
        self.until("it reads", || (self.found(place).readings > before + 10).then_some(()));
    }

    pub(crate) fn words(&self) -> Vec<i64> {
        let bytes = fs::read(self.folder.join("board")).unwrap();
        bytes.chunks_exact(8).map(|word| i64::from_ne_bytes(word.try_into().unwrap())).collect()
    }

    pub(crate) fn found(&self, place: usize) -> Found {
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
    pub(crate) fn leader(&self) -> Option<u32> {
        fs::read_to_string(self.lock()).ok()?.split_whitespace().next()?.parse().ok()
    }

    pub(crate) fn place_of(&self, pid: u32) -> Option<usize> {
        self.processes.iter().find(|(_, child)| child.id() == pid).map(|(place, _)| *place)
    }

    /// Takes the process out, which is about to end or has ended.
    pub(crate) fn take(&mut self, place: usize) -> Child {
        let index = self.processes.iter().position(|(other, _)| *other == place).expect("it is there");
        self.processes.swap_remove(index).1
    }

    pub(crate) fn until<T>(&self, what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(seen) = seen() {
                return seen;
            }
            assert!(begun.elapsed() < AMPLE, "{what}: not within {AMPLE:?}");
            sleep(Duration::from_millis(1));
        }
    }

    /// Counts what was published on the page.
    fn turn(&self) -> u64 {
        let page = fs::read(self.page()).unwrap();
        u64::from_le_bytes(page[64..72].try_into().unwrap())
    }

    /// Waits until another than `former` leads, one of ours, and has published; says how long that took.
    pub(crate) fn until_another_leads(&self, former: u32) -> Duration {
        let (begun, turn) = (Instant::now(), self.turn());
        self.until("another leads", || {
            let leader = self.leader().filter(|leader| *leader != former)?;
            self.place_of(leader).filter(|_| self.turn() != turn).map(drop)
        });
        begun.elapsed()
    }

    /// Ends all processes and checks what they found: nothing read backwards, no interval that missed the time, nobody
    /// lost.
    pub(crate) fn close(mut self) -> Vec<Found> {
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

pub(crate) fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}
