//! Who leads among the processes that share a page: whoever holds the lock of the file beside it.
//!
//! The lock ends with its holder, however that ends, and a holder that is only stopped keeps it: so there never are
//! two. Should the lock file be taken away from under its holder, another file can be locked in its place. Therefore a
//! leader has a second lock, on the page itself, without which nobody writes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf, absolute};
use std::time::{Duration, Instant};

use super::Membership;
use crate::error::Error;
use crate::publication::note::Note;
use crate::publication::page::Page;
use crate::publication::shared::{Refusal, SharedPage};
use crate::publication::{Damaged, Publication};
use crate::sys::file::{self, Distrust, Inode};
use crate::sys::lock::Unshared;
use crate::sys::mapping::Access;
use crate::sys::process::Process;
use crate::sys::{futex, host};

/// How long a start waits for the page that the holder of the lock is about to make.
const PATIENCE: Duration = Duration::from_secs(2);
const PACE: Duration = Duration::from_millis(2);

/// What a lock file holds: a process's number and its start, filled up with blanks. Written in one go, and never
/// shortened.
const ENTRY: usize = 40;

/// The places of a page and of its lock file.
#[derive(Debug)]
pub(crate) struct Seat {
    page: PathBuf,
    lock: PathBuf,
}

/// The lead: held as long as this lives, in this process alone.
#[derive(Debug)]
pub(crate) struct Lead {
    seat: Seat,
    /// `None` once the page is not where it was: others may then make a new one.
    election: Option<Unshared>,
    #[expect(dead_code, reason = "the page is locked as long as this is")]
    page_lock: Unshared,
    page: SharedPage,
    /// What the former leader published last; `None`: nothing was published yet.
    pub(crate) left: Option<Box<(Page, Note)>>,
}

/// A page, and the lead if it was to be had.
pub(crate) struct Opened {
    pub(crate) page: SharedPage,
    pub(crate) seat: Result<Lead, Seat>,
}

/// What came of trying to lock the lock file.
enum Lock {
    Ours(Unshared),
    /// It is another's.
    Taken,
    /// We may not write here, for this reason, and only follow.
    Barred(Distrust),
}

/// What came of standing for the lead; an error is why it could not be taken though nobody has it.
pub(crate) type Election = Result<Option<Lead>, String>;

impl Seat {
    fn at(path: &Path) -> io::Result<Self> {
        // Wherever our host's working directory may be later.
        let page = absolute(path)?;
        let lock = Self::lock_of(&page);
        Ok(Self { page, lock })
    }

    /// The lock file of the page at `path`, which stands beside it.
    pub(crate) fn lock_of(path: &Path) -> PathBuf {
        let mut lock = path.to_owned().into_os_string();
        lock.push(".lock");
        lock.into()
    }

    /// Where those stand who share the page at `path`, which is open already.
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        Self::at(path).map_err(|error| Error::SharedPage { why: format!("locating {}: {error}", path.display()) })
    }

    /// Says why [`open`](Self::open) would refuse what stands at `path`, and makes nothing.
    #[cfg(feature = "cli")]
    pub(crate) fn check(path: &Path) -> Result<(), Error> {
        let seat = Self::of(path)?;
        let refused = |why: &dyn std::fmt::Display| Error::SharedPage { why: seat.sentence(why) };
        match SharedPage::open(&seat.page, Access::Read) {
            Ok(page) => page.publication().whole().map(drop).map_err(|Damaged| refused(&DAMAGED)),
            Err(Refusal::Boot) => Ok(()),
            Err(Refusal::Distrusted(distrust)) if distrust.is_absence() => Ok(()),
            Err(refusal) => Err(refused(&refusal)),
        }
    }

    /// Opens the page at `path` for reading, and leads if nobody does. A page that is not there, or of an earlier boot,
    /// is made anew, by whoever holds the lock.
    pub(crate) fn open(path: &Path) -> Result<Opened, Error> {
        let seat = Self::of(path)?;
        let refused = |why: &dyn std::fmt::Display| Error::SharedPage { why: seat.sentence(why) };
        let deadline = Instant::now() + PATIENCE;
        let (page, lock) = loop {
            let lock = seat.try_lock().map_err(|why| Error::SharedPage { why })?;
            let opened = SharedPage::open(&seat.page, Access::Read);
            let absent = matches!(&opened, Err(Refusal::Distrusted(distrust)) if distrust.is_absence());
            match opened {
                Ok(page) => break (page, lock),
                Err(refusal) if absent || refusal == Refusal::Boot => {
                    if let Lock::Ours(_) = lock {
                        SharedPage::create(&seat.page, !absent).map_err(|error| refused(&error))?;
                    } else if Instant::now() >= deadline {
                        return Err(refused(&format!("{refusal}; {}", seat.obstacle(&lock))));
                    } else {
                        futex::pause(PACE);
                    }
                }
                Err(refusal) => return Err(refused(&refusal)),
            }
        };
        page.publication().whole().map_err(|Damaged| refused(&DAMAGED))?;
        let lead = match lock {
            Lock::Ours(lock) => seat.take(lock, &page).map_err(|why| Error::SharedPage { why })?,
            Lock::Taken | Lock::Barred(_) => None,
        };
        Ok(Opened { page, seat: lead.ok_or(seat) })
    }

    /// Takes the lead of `page` if nobody has it.
    pub(crate) fn stand(&self, page: &SharedPage) -> Election {
        match self.try_lock()? {
            Lock::Ours(lock) => self.take(lock, page),
            Lock::Taken | Lock::Barred(_) => Ok(None),
        }
    }

    /// Why nobody makes the page that is not there, as far as can be told from here.
    fn obstacle(&self, lock: &Lock) -> String {
        match (lock, self.leader()) {
            (Lock::Barred(why), _) => format!("lock file {}: {why}", self.lock.display()),
            (_, Some(Process { pid, .. })) => format!("process {pid}, which holds the lock, does not make one"),
            (_, None) => "whoever holds the lock does not make one".to_owned(),
        }
    }

    /// Locks the lock file, which is made if it is not there.
    fn try_lock(&self) -> Result<Lock, String> {
        let failed = |why: &dyn std::fmt::Display| format!("lock file {}: {why}", self.lock.display());
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = match open_unshared(&self.lock, &mut options).map_err(Distrust::in_writing) {
            Ok(lock) => lock,
            Err(distrust) if distrust.is_prohibition() => return Ok(Lock::Barred(distrust)),
            Err(distrust) => return Err(failed(&distrust)),
        };
        if !lock.try_lock().map_err(|error| failed(&error))? {
            return Ok(Lock::Taken);
        }
        // Another may have the place by now; then this one excludes nobody.
        let here = lock.inode().map_err(|error| failed(&error))?;
        let there = fs::symlink_metadata(&self.lock);
        Ok(if there.is_ok_and(|there| Inode::from(&there) == here) { Lock::Ours(lock) } else { Lock::Taken })
    }

    /// The second step: locks and maps the page itself, if it still is the one that our readers have.
    fn take(&self, election: Unshared, read: &SharedPage) -> Election {
        let failed = |why: &dyn std::fmt::Display| self.sentence(why);
        // What can be written is open only until it is mapped; what stays open, to be locked, cannot be.
        let page = match SharedPage::open(&self.page, Access::Write) {
            Ok(page) => page,
            Err(Refusal::Distrusted(distrust)) if distrust.is_prohibition() => return Ok(None),
            Err(refusal) => return Err(failed(&refusal)),
        };
        let page_lock = open_unshared(&self.page, File::options().read(true)).map_err(|distrust| failed(&distrust))?;
        let locked = page_lock.inode().map_err(|error| failed(&error))?;
        let same = page.is_same_file(read) && page.is(locked);
        if !same || !page_lock.try_lock().map_err(|error| failed(&error))? {
            return Ok(None);
        }
        let left = page.publication().whole().map_err(|Damaged| failed(&DAMAGED))?;
        // Only to be found sooner by those who wait for our end; what it costs not to be, their own patience limits.
        let entry = Process::this().map(|this| format!("{:<width$}\n", this_entry(&this), width = ENTRY - 1));
        let _ = entry.and_then(|entry| election.file().write_all_at(entry.as_bytes(), 0));
        let seat = Self { page: self.page.clone(), lock: self.lock.clone() };
        Ok(Some(Lead { seat, election: Some(election), page_lock, page, left: left.map(Box::new) }))
    }

    /// Who leads, by what the lock file says: perhaps somebody who has died.
    pub(crate) fn leader(&self) -> Option<Process> {
        let file = file::open_trusted(&self.lock, File::options().read(true), host::effective_user()).ok()?;
        let mut entry = [0; ENTRY];
        file.read_exact_at(&mut entry, 0).ok()?;
        let mut words = std::str::from_utf8(&entry).ok()?.split_whitespace();
        let (pid, started) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Process { pid, started })
    }

    /// Of whoever follows the leader.
    pub(crate) fn followed(&self) -> Membership {
        Membership { leads: false, leader: self.leader().map_or(0, |leader| leader.pid), fault: None }
    }

    /// Why the page is not where it was.
    pub(crate) fn displaced(&self, page: &SharedPage) -> Option<String> {
        let why = page.displaced(&self.page)?;
        Some(self.sentence(&format!("{why}; clocks that are started now share another one")))
    }

    fn sentence(&self, why: &dyn std::fmt::Display) -> String {
        format!("shared page {}: {why}", self.page.display())
    }

    pub(crate) fn damaged(&self) -> String {
        self.sentence(&DAMAGED)
    }
}

/// The file at `path` as `options` say, without copies in forked children.
fn open_unshared(path: &Path, options: &mut OpenOptions) -> Result<Unshared, Distrust> {
    Unshared::open(|| file::open_trusted(path, options, host::effective_user()))
}

const DAMAGED: &str = "its words are not what a leader wrote";

fn this_entry(this: &Process) -> String {
    format!("{} {}", this.pid, this.started)
}

impl Lead {
    /// Where to write.
    pub(crate) fn publication(&self) -> &Publication {
        self.page.publication()
    }

    pub(crate) fn page(&self) -> &SharedPage {
        &self.page
    }

    /// Why the page is not where it was. Its readers keep it, and so does its leader; the lock file is left to those
    /// who come.
    pub(crate) fn check(&mut self) -> Option<String> {
        let fault = self.seat.displaced(&self.page);
        if fault.is_some() {
            self.election = None;
        }
        fault
    }
}
