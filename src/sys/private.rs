//! Files that are believed only if nobody else can have had a hand in them.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Why a file is not believed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Distrust {
    Unreadable(io::ErrorKind, String),
    Link,
    NotAFile,
    Owner(u32),
    /// Others than the owner have rights that they may not have.
    Mode(u32),
}

impl Distrust {
    pub(crate) fn missing() -> Self {
        let kind = io::ErrorKind::NotFound;
        Self::Unreadable(kind, kind.to_string())
    }
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(_, why) => write!(f, "it cannot be read: {why}"),
            Self::Link => f.write_str("it is a symbolic link"),
            Self::NotAFile => f.write_str("it is no regular file"),
            Self::Owner(user) => write!(f, "it belongs to user {user}, neither us nor root"),
            Self::Mode(mode) if mode & 0o022 != 0 => write!(f, "others may write it (mode {:o})", mode & 0o7777),
            Self::Mode(mode) => write!(f, "others may read it (mode {:o})", mode & 0o7777),
        }
    }
}

impl From<Distrust> for io::Error {
    fn from(distrust: Distrust) -> Self {
        let kind = match distrust {
            Distrust::Unreadable(kind, _) => kind,
            _ => io::ErrorKind::PermissionDenied,
        };
        Self::new(kind, distrust.to_string())
    }
}

/// The bytes of a regular file of `user`'s or root's, on which others have none of the rights `denied`; `None` if there
/// is no file. No more than one byte above `limit` is read.
pub(crate) fn read(path: &Path, user: u32, denied: u32, limit: u64) -> Result<Option<Vec<u8>>, Distrust> {
    let unreadable = |error: io::Error| Distrust::Unreadable(error.kind(), error.to_string());
    let mut options = OpenOptions::new();
    // Not blocking: the path may be that of a pipe, of which we shall know when it is open.
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(Distrust::Link),
        Err(error) => return Err(unreadable(error)),
    };
    // Of the open file, not of the path: nobody can exchange it in between.
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(Distrust::NotAFile);
    }
    if ![user, 0].contains(&about.uid()) {
        return Err(Distrust::Owner(about.uid()));
    }
    if about.mode() & denied != 0 {
        return Err(Distrust::Mode(about.mode()));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(Some(bytes))
}
