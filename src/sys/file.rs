//! Files that outlive a process: opened only if nobody else can have written them.

use std::ffi::{CString, OsString};
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{beside_standard, checked};

/// Why a file is not trusted, whatever is in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Distrust {
    Unreadable(io::ErrorKind, String),
    /// Nor made, where there is none.
    Unwritable(io::ErrorKind, String),
    Link,
    NotAFile,
    Owner(u32),
    Writable(u32),
    /// Of a secret.
    Readable(u32),
    TooLong(u64),
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(_, why) => write!(f, "it cannot be read: {why}"),
            Self::Unwritable(_, why) => write!(f, "it cannot be made or written: {why}"),
            Self::Link => f.write_str("it is a symbolic link"),
            Self::NotAFile => f.write_str("it is no regular file"),
            Self::Owner(user) => write!(f, "it belongs to user {user}, neither us nor root"),
            Self::Writable(mode) => write!(f, "others may write it (mode {:o})", mode & 0o7777),
            Self::Readable(mode) => write!(f, "others may read it (mode {:o})", mode & 0o7777),
            Self::TooLong(limit) => write!(f, "it has more than {limit} bytes"),
        }
    }
}

impl From<io::Error> for Distrust {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.kind(), error.to_string())
    }
}

impl From<Distrust> for io::Error {
    fn from(distrust: Distrust) -> Self {
        let kind = match distrust {
            Distrust::Unreadable(kind, _) | Distrust::Unwritable(kind, _) => kind,
            Distrust::TooLong(_) => io::ErrorKind::FileTooLarge,
            _ => io::ErrorKind::PermissionDenied,
        };
        Self::new(kind, distrust.to_string())
    }
}

impl Distrust {
    /// Whether the file may be what it should be, and it is only that we may not open it so.
    pub(crate) fn is_prohibition(&self) -> bool {
        let (Self::Unreadable(kind, _) | Self::Unwritable(kind, _)) = self else { return false };
        matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
    }

    /// The same of a file that was to be written, and made if there is none.
    pub(crate) fn in_writing(self) -> Self {
        match self {
            Self::Unreadable(kind, why) => Self::Unwritable(kind, why),
            other => other,
        }
    }

    /// Whether there is no such file at all.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::Unreadable(io::ErrorKind::NotFound, _))
    }
}

/// Opens the file at `path` as `options` say if only `user` or root can have written it.
pub(crate) fn open_trusted(path: &Path, options: &mut OpenOptions, user: u32) -> Result<File, Distrust> {
    // Not blocking: the path may be that of a pipe, of which we shall know when it is open.
    options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK);
    let file = options.open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => Distrust::Link,
        // What cannot be opened for writing: a folder, a pipe without a reader.
        Some(libc::EISDIR | libc::ENXIO) => Distrust::NotAFile,
        _ => error.into(),
    })?;
    let file = beside_standard(file)?;
    // Of the open file, not of the path: nobody can exchange it in between.
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(Distrust::NotAFile);
    }
    if ![user, 0].contains(&about.uid()) {
        return Err(Distrust::Owner(about.uid()));
    }
    if about.mode() & 0o022 != 0 {
        return Err(Distrust::Writable(about.mode()));
    }
    Ok(file)
}

/// What is in the file at `path`, which only `user` or root can have written and nobody else may read; one byte above
/// `limit` at most.
#[cfg_attr(not(feature = "_nts"), expect(dead_code, reason = "only keys of cookies are read like this"))]
pub(crate) fn read_secret(path: &Path, user: u32, limit: u64) -> Result<Vec<u8>, Distrust> {
    secret(open_trusted(path, File::options().read(true), user)?, 0o077, limit)
}

/// The same where root's group may read it, too. Where systemd passes on a credential (`LoadCredential`), an access
/// list lets the service's user read what is root's, and the mode (0440) shows that as the right of the group.
pub(crate) fn read_credential(path: &Path, user: u32, limit: u64) -> Result<Vec<u8>, Distrust> {
    let file = open_trusted(path, File::options().read(true), user)?;
    let open = if file.metadata()?.gid() == 0 { 0o037 } else { 0o077 };
    secret(file, open, limit)
}

/// The same where its group may read it, whichever that is, and the path may be that of a link, as the private keys of
/// certificates are kept; none if it is longer.
#[cfg_attr(not(feature = "_nts"), expect(dead_code, reason = "only private keys are read like this"))]
pub(crate) fn read_groups_secret(path: &Path, user: u32, limit: u64) -> Result<Zeroizing<Vec<u8>>, Distrust> {
    let file = open_trusted(&fs::canonicalize(path)?, File::options().read(true), user)?;
    let bytes = Zeroizing::new(secret(file, 0o007, limit)?);
    if bytes.len() as u64 > limit { Err(Distrust::TooLong(limit)) } else { Ok(bytes) }
}

/// What is in `file` if it has none of the bits `open` in its mode; one byte above `limit` at most.
fn secret(file: File, open: u32, limit: u64) -> Result<Vec<u8>, Distrust> {
    let mode = file.metadata()?.mode();
    if mode & open != 0 {
        return Err(Distrust::Readable(mode));
    }
    // With room for all of it: what is moved elsewhere is not wiped where it was.
    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(2);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(std::mem::take(&mut bytes))
}

/// What is in the file at `path`, which only `user` or root can have written, and which has `limit` bytes at most.
/// Where the path is that of a link, the file that it leads to is meant.
#[cfg(any(feature = "cli", feature = "_nts"))]
pub(crate) fn read_trusted(path: &Path, user: u32, limit: u64) -> Result<Vec<u8>, Distrust> {
    all_of(open_trusted(&fs::canonicalize(path)?, File::options().read(true), user)?, limit)
}

/// What is at `path`, whoever has written it and whatever it is, if that has `limit` bytes at most: a device may never
/// end.
pub(crate) fn read_any(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    Ok(all_of(File::open(path)?, limit)?)
}

fn all_of(file: File, limit: u64) -> Result<Vec<u8>, Distrust> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(Distrust::TooLong(limit)) } else { Ok(bytes) }
}

/// Where the file at `path` is, which is here if that does not say.
#[cfg(any(feature = "cli", all(test, feature = "_nts")))]
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether we may make files in `directory`.
#[cfg(all(any(test, feature = "cli"), feature = "_nts"))]
pub(crate) fn may_fill(directory: &Path) -> io::Result<()> {
    // With a dot behind it only a directory will do.
    let name = CString::new(directory.join(".").as_os_str().as_bytes())?;
    // SAFETY: the string lives until the call returns.
    checked(unsafe { libc::faccessat(libc::AT_FDCWD, name.as_ptr(), libc::W_OK | libc::X_OK, libc::AT_EACCESS) })
        .map(drop)
}

/// Makes a file at `path`, where there must be none, that only we may read and write.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    options.open(path).and_then(beside_standard)
}

/// Puts `bytes` at `path`, where readers find all of them or none: written aside, on the disk before `name` gives them
/// their name, and taken away again if anything fails.
pub(crate) fn put(path: &Path, bytes: &[u8], name: impl FnOnce(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    put_for(path, bytes, None, name)
}

/// The same as `owner`'s, user and group, which only root can give it.
pub(crate) fn put_for(
    path: &Path,
    bytes: &[u8],
    owner: Option<(u32, u32)>,
    name: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let aside = aside(path)?;
    let written = write_aside(&aside, bytes, owner).and_then(|()| name(&aside, path));
    if written.is_err() {
        // If it cannot be removed either, there is nothing more to be done.
        let _ = fs::remove_file(&aside);
    }
    written
}

pub(crate) fn write_aside(path: &Path, bytes: &[u8], owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut file = create_private(path)?;
    file.write_all(bytes)?;
    // The open file, not what may have taken its name meanwhile.
    if let Some((user, group)) = owner {
        std::os::unix::fs::fchown(&file, Some(user), Some(group))?;
    }
    file.sync_all()
}

/// Puts `bytes` at `path`, where readers find all of them or none, for everybody to read; what is lost when the power
/// fails is no loss.
#[cfg(feature = "cli")]
pub(crate) fn show(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = aside(path)?;
    // Where there is anything of that name already, a link even, nothing is made.
    let shown =
        File::create_new(&aside).and_then(|mut file| file.write_all(bytes)).and_then(|()| fs::rename(&aside, path));
    if shown.is_err() {
        // As above.
        let _ = fs::remove_file(&aside);
    }
    shown
}

/// A name in the directory of `path` that nobody can have guessed and occupied.
pub(crate) fn aside(path: &Path) -> io::Result<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let [nobody_elses] = super::random()?;
    name.push(format!(".{nobody_elses:016x}"));
    Ok(path.with_file_name(name))
}

/// Gives the file at `from` the name `to`, which nothing may have yet.
pub(crate) fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    let [old, new] = [from, to].map(|path| CString::new(path.as_os_str().as_bytes()));
    let (old, new) = (old?, new?);
    let (here, how) = (libc::AT_FDCWD, libc::RENAME_NOREPLACE);
    // SAFETY: both strings live until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_renameat2, here, old.as_ptr(), here, new.as_ptr(), how) };
    match checked(result as libc::c_int) {
        // Not every file system can; a link does the same in two steps.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        renamed => renamed.map(drop),
    }
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inode {
    device: u64,
    number: u64,
}

impl From<&Metadata> for Inode {
    fn from(about: &Metadata) -> Self {
        Self { device: about.dev(), number: about.ino() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::host::effective_user;

    #[test]
    fn what_is_no_file_of_ours_is_not_opened_to_read_or_to_write() {
        let folder = std::env::temp_dir().join(format!("ntpclock-file-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (fifo, link) = (folder.join("fifo"), folder.join("link"));
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        let (mut read, mut write) = (OpenOptions::new(), OpenOptions::new());
        read.read(true);
        write.read(true).write(true);
        for options in [&mut read, &mut write] {
            let mut refusal = |path: &Path| open_trusted(path, options, effective_user()).unwrap_err();
            assert_eq!(refusal(&fifo), Distrust::NotAFile);
            assert_eq!(refusal(&folder), Distrust::NotAFile);
            assert_eq!(refusal(&link), Distrust::Link);
            assert!(refusal(&folder.join("none")).is_absence());
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_gets_a_new_name_only_where_there_is_none() {
        let path = std::env::temp_dir().join(format!("ntpclock-rename-{}", std::process::id()));
        let [first, second] = [(); 2].map(|()| {
            let aside = aside(&path).unwrap();
            drop(create_private(&aside).unwrap());
            aside
        });
        rename_to_new(&first, &path).unwrap();
        assert_eq!(rename_to_new(&second, &path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(create_private(&path).is_err() && !first.exists() && second.exists());
        fs::remove_file(&path).and_then(|()| fs::remove_file(&second)).unwrap();
    }
}
