//! Processes: which one it is, and when it dies.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::{beside_standard, checked};

/// One process of this machine: numbers are used again, but not at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// When it was started, in the kernel's ticks since boot.
    pub(crate) started: u64,
}

impl Process {
    /// This one. Fails where `/proc` is not to be had.
    pub(crate) fn this() -> io::Result<Self> {
        // Not by its number: that one, and `/proc`, may be of different namespaces.
        let started = started(&fs::read_to_string("/proc/self/stat")?).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { pid: std::process::id(), started })
    }

    fn is_there(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid));
        stat.is_ok_and(|stat| started(&stat) == Some(self.started))
    }
}

/// The 22nd field of `/proc/PID/stat`; the second is a name in parentheses that may contain anything (proc(5)).
fn started(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(19)?.parse().ok()
}

/// A descriptor that becomes readable when a process has ended (`pidfd`).
#[derive(Debug)]
pub(crate) struct Deathwatch(OwnedFd);

impl Deathwatch {
    /// `None` where the process cannot be watched: it has ended, is of another namespace of processes, or the host
    /// forbids the call (seccomp), or the kernel is older than 5.3.
    pub(crate) fn of(process: &Process) -> Option<Self> {
        let pid = libc::pid_t::try_from(process.pid).ok().filter(|pid| *pid > 0)?;
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = checked(fd as libc::c_int).ok()?;
        // SAFETY: `fd` was just opened and belongs to nobody else; the kernel has it closed at an exec.
        let watch = Self(beside_standard(unsafe { OwnedFd::from_raw_fd(fd) }).ok()?);
        // Only now: as long as this one is there, no other has its number.
        process.is_there().then_some(watch)
    }
}

impl AsRawFd for Deathwatch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::wake;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[test]
    fn a_process_is_known_by_its_number_and_its_start_whatever_its_name() {
        assert_eq!(started("7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"), Some(4711));
        assert_eq!((started("7 (x) S 1"), started("")), (None, None));
        let this = Process::this().unwrap();
        assert!(this.is_there() && !Process { started: this.started + 1, ..this }.is_there());
    }

    #[test]
    fn a_watched_process_is_told_when_it_has_died_and_a_namesake_is_not_watched() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let process = Process { pid: child.id(), started: started(&stat).unwrap() };
        let watch = Deathwatch::of(&process).unwrap();
        assert!(!wake::wait(&[watch.as_raw_fd()], Some(Duration::ZERO)).unwrap()[0]);
        assert!(Deathwatch::of(&Process { started: process.started + 1, ..process }).is_none());
        child.kill().unwrap();
        assert!(wake::wait(&[watch.as_raw_fd()], Some(Duration::from_secs(20))).unwrap()[0]);
        child.wait().unwrap();
        assert!(Deathwatch::of(&process).is_none());
        assert!(Deathwatch::of(&Process { pid: 0, started: 0 }).is_none());
    }
}
