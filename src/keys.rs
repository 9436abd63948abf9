//! Key files: the symmetric keys that we share with servers, one a line, as `chronyd` and `ntpd` have them.
//!
//! ```text
//! # id  type    key
//! 5     AES128  HEX:2b7e151628aed2a6abf7158809cf4f3c
//! ```
//!
//! Whoever reads the file can answer in the servers' names: so it is refused if others than its owner may read or write
//! it, and if it is neither ours nor root's.

use std::path::Path;

use zeroize::Zeroizing;

use crate::config::Config;
use crate::error::Error;
use crate::mac::Key;
use crate::sys::host;
use crate::sys::private::{self, Distrust};

/// A longer file is none of ours.
const SIZE_MAX: u64 = 1 << 16;

/// What others than the owner may not have: anything.
const OTHERS: u32 = 0o077;

/// Types of keys that such files have for other programs.
const FOREIGN: [&str; 8] = ["MD5", "SHA1", "SHA256", "SHA384", "SHA512", "SHA3-256", "TIGER", "WHIRLPOOL"];

impl Config {
    /// Reads the symmetric keys in the file at `path`, for servers that are added with one
    /// ([`add_servers_with`](Self::add_servers_with)).
    ///
    /// Each line has an id, from 1 on, a type, `AES128` or `AES256` (AES-CMAC, RFC 8573), and the key, as `HEX:` and its
    /// digits or as text. Empty lines, and those that begin with `#`, `!`, `;` or `%`, say nothing; keys of other types
    /// are passed by. The file is read once, now; keys of several files add up.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read, or may not be trusted: it must be a regular file, ours or root's, that
    /// nobody else may read or write (mode 0600). [`Error::Malformed`] names the line that makes no sense, or has an id
    /// that there was before; then no key is taken.
    pub fn load_keys(&mut self, path: impl AsRef<Path>) -> Result<&mut Self, Error> {
        let path = path.as_ref();
        let refused = |error: Distrust| Error::io(format!("reading key file {}", path.display()), error.into());
        let found = private::read(path, host::effective_user(), OTHERS, SIZE_MAX).map_err(refused)?;
        let bytes = found.map(Zeroizing::new).ok_or_else(|| refused(Distrust::missing()))?;
        let wrong = |line, why: &str| Error::Malformed { path: path.to_owned(), line, why: why.to_owned() };
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong(1, "is not UTF-8"))?;
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line_number = index + 1;
            let Some(key) = parse(line).map_err(|why| wrong(line_number, &why))? else { continue };
            if self.keys.iter().chain(&keys).any(|other: &Key| other.id() == key.id()) {
                return Err(wrong(line_number, &format!("key {} is there already", key.id())));
            }
            keys.push(key);
        }
        self.keys.extend(keys);
        Ok(self)
    }
}

/// The key in a line, if there is one for us.
fn parse(line: &str) -> Result<Option<Key>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', '!', ';', '%']) {
        return Ok(None);
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        // The oldest kind of line: a key for MD5.
        [id, _] if id.parse::<u32>().is_ok() => Ok(None),
        [id, kind, _] if id.parse::<u32>().is_ok() && FOREIGN.contains(&kind) => Ok(None),
        [id, kind, secret] => Key::parse(id, kind, secret).map(Some).map_err(|why| format!("the key {why}")),
        _ => Err("a line has an id, a type and a key".to_owned()),
    }
}
