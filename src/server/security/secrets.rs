//! The keys that cookies are sealed with: a server's own, made anew every day, or those in a file that several servers
//! share.
//!
//! ```text
//! # id   key, newest first: the first is the next one, the second seals, the others still open
//! 12     HEX:0f1e…
//! 11     HEX:9a8b…
//! ```
//!
//! The first server that finds no such file makes it. Whoever has it can answer in the servers' names and listen to
//! their clients: so it is refused if others than its owner may read or write it, and if it is neither ours nor root's.
//! It is read again when it changes; servers that get to know of a new key one after the other understand each other
//! meanwhile, since nobody seals with the first of several.

use std::fs;
#[cfg(any(test, feature = "cli"))]
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Release},
};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::mac::secret_bytes;
use crate::nts::cookie::{KeyRing, SECRET_LEN, SECRETS_MAX, Secret};
#[cfg(any(test, feature = "cli"))]
use crate::sys::file::Inode;
#[cfg(any(test, feature = "cli"))]
use crate::sys::futex;
#[cfg(any(test, feature = "cli"))]
use crate::sys::lock::Unshared;
use crate::sys::{self, file, host};

/// A longer file is none of ours.
const SIZE_MAX: u64 = 1 << 16;

/// A key of our own seals for so long, and those of the two days before still open: a client that asks once a day keeps
/// its cookies good.
const OWN_LIFE: Duration = Duration::from_secs(86_400);
const OWN_KEPT: usize = 2;

/// Above the keys in a file of ours.
const HEADLINE: &str = "# id and key, newest first; the second seals cookies\n";

/// Keys that [`renew`] leaves in a file.
#[cfg(any(test, feature = "cli"))]
const KEPT: usize = 4;

/// How long [`renew`] waits for others that renew the same file, which takes each some milliseconds, and how often it
/// looks.
#[cfg(any(test, feature = "cli"))]
const PATIENCE: Duration = Duration::from_secs(10);
#[cfg(any(test, feature = "cli"))]
const PACE: Duration = Duration::from_millis(5);

/// The ring that is in use: the exchange thread changes it, and those that answer take it over.
#[derive(Debug)]
pub(super) struct Vault {
    ring: Mutex<Arc<KeyRing>>,
    generation: AtomicU32,
}

impl Vault {
    pub(super) fn new(ring: KeyRing) -> Self {
        Self { ring: Mutex::new(Arc::new(ring)), generation: AtomicU32::new(0) }
    }

    /// Changes with the ring.
    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Acquire)
    }

    pub(super) fn ring(&self) -> (u32, Arc<KeyRing>) {
        let ring = self.ring.lock();
        (self.generation(), Arc::clone(&ring))
    }

    fn put(&self, new: KeyRing) {
        let mut ring = self.ring.lock();
        *ring = Arc::new(new);
        self.generation.store(self.generation().wrapping_add(1), Release);
    }
}

/// Where new keys come from.
#[derive(Debug)]
pub(super) enum Source {
    Own {
        made: Instant,
    },
    File {
        path: PathBuf,
        /// Of what is in use, or of what is nonsense.
        seen: Option<Mark>,
        /// Of what was of no use last, which was told.
        faulty: Option<Option<Mark>>,
    },
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64, u64, i64, i64);

impl Mark {
    fn of(path: &Path) -> Option<Self> {
        let about = fs::metadata(path).ok()?;
        Some(Self(about.dev(), about.ino(), about.mtime(), about.mtime_nsec()))
    }
}

impl Source {
    /// The keys in the file at `path`, which is made if there is none, or else a first one of our own.
    pub(super) fn open(path: Option<&Path>) -> Result<(Self, KeyRing), Error> {
        let Some(path) = path else {
            let secret = fresh(0).map_err(|error| Error::io("making a key for cookies".to_owned(), error))?;
            return Ok((Self::Own { made: Instant::now() }, KeyRing::own(secret)));
        };
        if is_missing(path) {
            make(path)?;
        }
        let seen = Mark::of(path);
        Ok((Self::File { path: path.to_owned(), seen, faulty: None }, read(path)?))
    }

    /// Says why [`open`](Self::open) would fail with `path`, and makes nothing.
    #[cfg(any(test, feature = "cli"))]
    pub(super) fn check(path: &Path) -> Result<(), Error> {
        if !is_missing(path) {
            return read(path).map(drop);
        }
        file::may_fill(file::directory_of(path)).map_err(|error| making(path, error))
    }

    /// Changes the keys in `vault` if it is time; `Err`, once, if a file that has changed is of no use, and then the
    /// keys stay.
    pub(super) fn renew(&mut self, vault: &Vault, now: Instant) -> Result<(), Error> {
        match self {
            Self::Own { made } if now.saturating_duration_since(*made) >= OWN_LIFE => {
                let (generation, ring) = vault.ring();
                let secret = fresh(generation.wrapping_add(1));
                let secret = secret.map_err(|error| Error::io("making a key for cookies".to_owned(), error))?;
                *made = now;
                vault.put(ring.rotated(secret, OWN_KEPT));
            }
            Self::Own { .. } => {}
            Self::File { path, seen, faulty } => {
                let mark = Mark::of(path);
                if mark == *seen {
                    return Ok(());
                }
                match read(path) {
                    Ok(ring) => {
                        (*seen, *faulty) = (mark, None);
                        if *vault.ring().1 != ring {
                            vault.put(ring);
                        }
                    }
                    Err(error) => {
                        // What cannot be read now may be in a moment, without a change of the file; nonsense stays
                        // nonsense.
                        if !matches!(error, Error::Io { .. }) {
                            *seen = mark;
                        }
                        let is_told = faulty.replace(mark) == Some(mark);
                        return if is_told { Ok(()) } else { Err(error) };
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether there is nothing of that name, not even a link that leads nowhere.
fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn making(path: &Path, error: io::Error) -> Error {
    Error::io(format!("making cookie keys in {}", path.display()), error)
}

/// Makes the file at `path` with a first key. Of several servers that do so at once one has its way, and all read what
/// that one has written.
fn make(path: &Path) -> Result<(), Error> {
    let made = fresh(1).and_then(|secret| file::put(path, text([&secret]).as_bytes(), file::rename_to_new));
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(making(path, error)),
        _ => Ok(()),
    }
}

/// What a file with these keys says.
fn text<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Zeroizing<String> {
    // With room for all of it: what is moved elsewhere is not wiped where it was.
    let line = "4294967295 HEX:\n".len() + 2 * SECRET_LEN;
    let mut text = Zeroizing::new(String::with_capacity(HEADLINE.len() + line * SECRETS_MAX));
    text.push_str(HEADLINE);
    for secret in secrets {
        text.push_str(&format!("{} HEX:", secret.id));
        secret.key.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
        text.push('\n');
    }
    text
}

fn fresh(id: u32) -> std::io::Result<Secret> {
    let words = Zeroizing::new(sys::random::<{ SECRET_LEN / 8 }>()?);
    let mut key = Zeroizing::new([0; SECRET_LEN]);
    for (place, word) in key.as_chunks_mut::<8>().0.iter_mut().zip(words.iter()) {
        *place = word.to_ne_bytes();
    }
    Ok(Secret { id, key })
}

/// The keys in the file at `path`.
fn read(path: &Path) -> Result<KeyRing, Error> {
    let wrong = |line, why: String| Error::Malformed { path: path.to_owned(), line, why };
    let secrets = secrets(path)?;
    let count = secrets.len();
    KeyRing::shared(secrets)
        .ok_or_else(|| wrong(1, format!("has {count} keys; 1 to {SECRETS_MAX} of different ids make sense")))
}

fn secrets(path: &Path) -> Result<Vec<Secret>, Error> {
    secrets_of(path, host::effective_user())
}

/// The same in a file that is `user`'s or root's.
fn secrets_of(path: &Path, user: u32) -> Result<Vec<Secret>, Error> {
    let read = file::read_secret(path, user, SIZE_MAX);
    let read = read.map_err(|error| Error::io(format!("reading cookie keys from {}", path.display()), error.into()));
    let bytes = Zeroizing::new(read?);
    let wrong = |line, why: String| Error::Malformed { path: path.to_owned(), line, why };
    if bytes.len() as u64 > SIZE_MAX {
        return Err(wrong(1, format!("is a file of more than {SIZE_MAX} bytes")));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong(1, "is not UTF-8".to_owned()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with('#'));
    lines.map(|(index, line)| parse(line).map_err(|why| wrong(index + 1, why.to_owned()))).collect()
}

fn parse(line: &str) -> Result<Secret, &'static str> {
    let mut words = line.split_whitespace();
    let (Some(id), Some(key), None) = (words.next(), words.next(), words.next()) else {
        return Err("a line has an id and a key");
    };
    let id = id.parse().map_err(|_| "the id is not a number from 0 to 4294967295")?;
    let is_hexadecimal = key.starts_with("HEX:");
    let bytes = secret_bytes(key).ok().filter(|_| is_hexadecimal).ok_or("the key is not `HEX:` and its digits")?;
    let key = bytes.as_slice().try_into().map_err(|_| "the key has not 32 bytes")?;
    Ok(Secret { id, key: Zeroizing::new(key) })
}

/// Puts a new key in front of those in the file at `path`, which is made if there is none, and leaves the three that
/// were the newest behind it. It stays its owner's, whoever renews it; a new one is that of the directory's owner, if
/// we are root.
///
/// # Errors
///
/// [`Error::Io`] and [`Error::Malformed`], as reading it gives, and [`Error::Io`] if another process holds its lock for
/// long; then it is as it was.
#[cfg(any(test, feature = "cli"))]
pub(crate) fn renew(path: &Path) -> Result<(), Error> {
    renew_until(path, Instant::now() + PATIENCE)
}

/// The same, waiting for a lock until `deadline` at most.
#[cfg(any(test, feature = "cli"))]
fn renew_until(path: &Path, deadline: Instant) -> Result<(), Error> {
    let failed = |error| Error::io(format!("renewing cookie keys in {}", path.display()), error);
    loop {
        let renewed = match fs::symlink_metadata(path) {
            Ok(about) => renew_there(path, &about, deadline)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let owner = fs::metadata(file::directory_of(path)).ok();
                match put(path, &[], owner, file::rename_to_new) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                    made => made.map(|()| true).map_err(failed)?,
                }
            }
            Err(error) => return Err(failed(error)),
        };
        if renewed {
            return Ok(());
        }
    }
}

/// The same where there is a file, which is locked meanwhile: of several that renew it at once none loses another's
/// key. `false` if it was replaced, or taken away, before we had the lock.
#[cfg(any(test, feature = "cli"))]
fn renew_there(path: &Path, about: &fs::Metadata, deadline: Instant) -> Result<bool, Error> {
    let failed = |error| Error::io(format!("renewing cookie keys in {}", path.display()), error);
    // Root may renew what is another's, who is then the one that may have written it.
    let us = host::effective_user();
    let user = if us == 0 { about.uid() } else { us };
    // Nobody but its owner and root can have it open, and so keep us waiting: if its owner means to, not for ever.
    let locked = match Unshared::open(|| file::open_trusted(path, File::options().read(true), user)) {
        Ok(file) => file,
        Err(distrust) if distrust.is_absence() => return Ok(false),
        Err(distrust) => {
            return Err(Error::io(format!("reading cookie keys from {}", path.display()), distrust.into()));
        }
    };
    // What others may read others may lock, too.
    secrets_of(path, user)?;
    while !locked.try_lock().map_err(failed)? {
        if Instant::now() >= deadline {
            return Err(failed(io::Error::new(io::ErrorKind::TimedOut, "another process holds its lock")));
        }
        futex::pause(PACE);
    }
    let there = fs::symlink_metadata(path).ok();
    if there.as_ref().map(Inode::from) != locked.inode().ok() {
        return Ok(false);
    }
    put(path, &secrets_of(path, user)?, there, |aside, path| fs::rename(aside, path)).map(|()| true).map_err(failed)
}

/// Puts a new key in front of the newest of the `former` ones, in a file at `path` that is `owner`'s if we are root.
#[cfg(any(test, feature = "cli"))]
fn put(
    path: &Path,
    former: &[Secret],
    owner: Option<fs::Metadata>,
    name: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let id = former.iter().map(|secret| secret.id).max().map_or(1, |newest| newest.wrapping_add(1));
    let secret = fresh(id)?;
    let kept = former.iter().filter(|former| former.id != id).take(KEPT - 1);
    let text = text(std::iter::once(&secret).chain(kept));
    let owner = owner.filter(|_| host::effective_user() == 0).map(|owner| (owner.uid(), owner.gid()));
    file::put_for(path, text.as_bytes(), owner, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file(name: &str, text: &str, mode: u32) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ntpclock-cookies-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn line(id: u32) -> String {
        format!("{id} HEX:{}\n", format!("{id:02x}").repeat(SECRET_LEN))
    }

    #[test]
    fn a_file_is_read_again_when_it_changes_and_one_that_is_of_no_use_changes_nothing() {
        let path = file("change", &(line(2) + &line(1)), 0o600);
        let (mut source, ring) = Source::open(Some(&path)).unwrap();
        let vault = Vault::new(ring.clone());
        source.renew(&vault, Instant::now()).unwrap();
        assert_eq!(vault.generation(), 0);
        renew(&path).unwrap();
        source.renew(&vault, Instant::now()).unwrap();
        assert_eq!(vault.generation(), 1);
        assert_ne!(*vault.ring().1, ring);
        fs::remove_file(&path).unwrap();
        assert!(source.renew(&vault, Instant::now()).is_err());
        assert!(source.renew(&vault, Instant::now()).is_ok(), "it is told once");
        assert_eq!(vault.generation(), 1);
        fs::write(&path, "nonsense").unwrap();
        assert!(source.renew(&vault, Instant::now()).is_err());
        assert!(source.renew(&vault, Instant::now()).is_ok(), "it is told once");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_could_not_be_read_for_a_while_is_read_as_soon_as_it_can_be() {
        let path = file("later", &line(1), 0o600);
        let (mut source, ring) = Source::open(Some(&path)).unwrap();
        let vault = Vault::new(ring);
        fs::write(&path, line(2) + &line(1)).unwrap();
        // Its mark is not changed by who may read it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(source.renew(&vault, Instant::now()).is_err());
        assert!(source.renew(&vault, Instant::now()).is_ok(), "it is told once");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        source.renew(&vault, Instant::now()).unwrap();
        assert_eq!(vault.generation(), 1);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_stays_its_owners_when_root_renews_it_and_a_new_one_is_the_directorys_owners() {
        let directory = std::env::temp_dir().join(format!("ntpclock-cookies-{}-owner", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        std::os::unix::fs::chown(&directory, Some(4_711), Some(4_712)).unwrap();
        let path = directory.join("keys");
        for expected in [4_711, 4_711, 4_713] {
            if expected == 4_713 {
                std::os::unix::fs::chown(&path, Some(expected), None).unwrap();
            }
            renew(&path).unwrap();
            let about = fs::metadata(&path).unwrap();
            assert_eq!((about.uid(), about.gid(), about.mode() & 0o777), (expected, 4_712, 0o600));
        }
        assert_eq!(secrets_of(&path, 4_713).unwrap().len(), 3);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn of_servers_that_find_no_file_one_makes_it_and_all_have_its_key() {
        let directory = std::env::temp_dir().join(format!("ntpclock-cookies-{}-first", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for round in 0..20 {
            let path = directory.join(round.to_string());
            Source::check(&path).unwrap();
            assert!(!path.exists(), "it is only looked");
            let together = std::sync::Barrier::new(4);
            let rings: Vec<KeyRing> = std::thread::scope(|scope| {
                let racers = [(); 4].map(|()| {
                    scope.spawn(|| {
                        together.wait();
                        Source::open(Some(&path)).unwrap().1
                    })
                });
                racers.into_iter().map(|racer| racer.join().unwrap()).collect()
            });
            assert!(rings.iter().all(|ring| *ring == rings[0]));
            let found = secrets(&path).unwrap();
            assert_eq!(found.iter().map(|secret| secret.id).collect::<Vec<_>>(), [1]);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            assert_eq!(rings[0], KeyRing::shared(found).unwrap());
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 20, "nothing is left aside");
        // Where no file can be made, that is said.
        let lost = directory.join("none/keys");
        for told in [Source::open(Some(&lost)).unwrap_err(), Source::check(&lost).unwrap_err()] {
            assert!(told.to_string().contains(&format!("making cookie keys in {}", lost.display())), "{told}");
        }
        let link = directory.join("link");
        std::os::unix::fs::symlink("none", &link).unwrap();
        assert!(Source::open(Some(&link)).unwrap_err().to_string().contains("it is a symbolic link"));
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_key_of_our_own_lasts_for_a_day() {
        let (mut source, ring) = Source::open(None).unwrap();
        let vault = Vault::new(ring);
        let begun = Instant::now();
        for (hours, generation) in [(23, 0), (25, 1), (26, 1), (50, 2)] {
            source.renew(&vault, begun + Duration::from_secs(hours * 3_600)).unwrap();
            assert_eq!(vault.generation(), generation, "{hours}");
        }
    }

    #[test]
    fn renewing_makes_a_file_for_its_owner_and_keeps_four_keys() {
        let path = file("renew", "", 0o600);
        fs::remove_file(&path).unwrap();
        for count in [1, 2, 3, 4, 4] {
            renew(&path).unwrap();
            assert_eq!(secrets(&path).unwrap().len(), count);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(secrets(&path).unwrap().iter().map(|secret| secret.id).collect::<Vec<_>>(), [5, 4, 3, 2]);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn of_many_that_renew_a_file_at_once_each_adds_its_key() {
        let directory = std::env::temp_dir().join(format!("ntpclock-cookies-{}-together", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("keys");
        for round in 1..=10 {
            let together = std::sync::Barrier::new(6);
            std::thread::scope(|scope| {
                for _ in 0..6 {
                    scope.spawn(|| {
                        together.wait();
                        renew(&path).unwrap();
                    });
                }
            });
            assert_eq!(secrets(&path).unwrap().iter().map(|secret| secret.id).max(), Some(6 * round));
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left aside");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_file_whose_lock_another_holds_is_waited_for_but_not_for_ever() {
        let path = file("held", &line(1), 0o600);
        let holder = File::open(&path).unwrap();
        holder.lock().unwrap();
        let renewing = |patience| {
            let (path, (told, heard)) = (path.clone(), std::sync::mpsc::channel());
            std::thread::spawn(move || told.send(renew_until(&path, Instant::now() + patience)));
            heard
        };
        let refused = renewing(Duration::from_millis(50)).recv_timeout(PATIENCE).expect("it ends").unwrap_err();
        let why = format!("renewing cookie keys in {}: another process holds its lock", path.display());
        assert_eq!(refused.to_string(), why);
        assert_eq!(secrets(&path).unwrap().len(), 1);
        let waiting = renewing(PATIENCE);
        assert!(waiting.recv_timeout(Duration::from_millis(50)).is_err());
        holder.unlock().unwrap();
        waiting.recv_timeout(PATIENCE).expect("it ends").unwrap();
        assert_eq!(secrets(&path).unwrap().len(), 2);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named_with_its_line_and_no_key_is_told() {
        for (text, why) in [
            ("# nothing\n".to_owned(), ":1: has 0 keys"),
            (line(1) + &line(1), ":1: has 2 keys"),
            (line(1) + "5 HEX:5ec2e7\n", ":2: the key has not 32 bytes"),
            ("\nx HEX:5ec2e7\n".to_owned(), ":2: the id"),
            ("1 5ec2e7\n".to_owned(), ":1: the key is not `HEX:`"),
            ("1\n".to_owned(), ":1: a line has"),
        ] {
            let path = file("wrong", &text, 0o600);
            let told = Source::open(Some(&path)).unwrap_err().to_string();
            assert!(told.contains(why) && !told.contains("5ec2e7"), "{why}: {told}");
            fs::remove_file(path).unwrap();
        }
        for mode in [0o640, 0o604, 0o620] {
            let path = file("mode", &line(1), mode);
            assert!(Source::open(Some(&path)).unwrap_err().to_string().contains("others may"), "{mode:o}");
            fs::remove_file(path).unwrap();
        }
    }
}
