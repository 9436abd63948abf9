//! Key files: the symmetric keys that we share with servers, one a line, as `chronyd` and `ntpd` have them.
//!
//! ```text
//! # id  type    key
//! 5     AES128  HEX:2b7e151628aed2a6abf7158809cf4f3c
//! ```
//!
//! Whoever reads the file can answer in the servers' names: so it is refused if others than its owner may read or write
//! it, root's group excepted, which may read it, and if it is neither ours nor root's.

use std::path::Path;

use zeroize::Zeroizing;

use crate::config::Config;
use crate::error::Error;
use crate::mac::Key;
use crate::sys::file;
use crate::sys::host;

/// A longer file is none of ours.
const SIZE_MAX: u64 = 1 << 16;

/// Types of keys that such files have for other programs.
const FOREIGN: [&str; 8] = ["MD5", "SHA1", "SHA256", "SHA384", "SHA512", "SHA3-256", "TIGER", "WHIRLPOOL"];

impl Config {
    /// Reads the symmetric keys in the file at `path`, for servers that are added with one
    /// ([`add_servers_with`](Self::add_servers_with)).
    ///
    /// Each line has an id, from 1 on, a type, `AES128` or `AES256` (AES-CMAC, RFC 8573), and the key, as `HEX:` and
    /// its digits or as text. Empty lines, and those that begin with `#`, `!`, `;` or `%`, say nothing; keys of other
    /// types are passed by. The file is read once, now; keys of several files add up.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read, or may not be trusted: it must be a regular file, ours or root's, that
    /// nobody else may read or write (mode 0600; root's group may read it, as it may what systemd passes on by
    /// `LoadCredential`). [`Error::Malformed`] names the line that makes no sense, or has an id
    /// that there was before; then no key is taken.
    pub fn load_keys(&mut self, path: impl AsRef<Path>) -> Result<&mut Self, Error> {
        let path = path.as_ref();
        let read = file::read_credential(path, host::effective_user(), SIZE_MAX);
        let read = read.map_err(|error| Error::io(format!("reading key file {}", path.display()), error.into()));
        let bytes = Zeroizing::new(read?);
        if bytes.len() as u64 > SIZE_MAX {
            return Err(Error::argument("path", format!("is a file of more than {SIZE_MAX} bytes")));
        }
        self.take_keys(&bytes, path)
    }

    /// The keys in the `bytes` of the file at `path`.
    pub(crate) fn take_keys(&mut self, bytes: &[u8], path: &Path) -> Result<&mut Self, Error> {
        let wrong = |line, why: &str| Error::Malformed { path: path.to_owned(), line, why: why.to_owned() };
        let text = std::str::from_utf8(bytes).map_err(|_| wrong(1, "is not UTF-8"))?;
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
        [id, key] if id.parse::<u32>().is_ok() && !key.starts_with("AES") => Ok(None),
        [id, kind, _] if id.parse::<u32>().is_ok() && FOREIGN.contains(&kind) => Ok(None),
        [id, kind, secret] => Key::parse(id, kind, secret).map(Some).map_err(|why| format!("the key {why}")),
        _ => Err("a line has an id, a type and a key".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ServerOptions;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    const GOOD: &str = "# ours\n\n5 AES128 HEX:000102030405060708090a0b0c0d0e0f\n7 MD5 secret\n8 oldest\n";

    /// A file of its own for each test.
    fn file(name: &str, text: &str, mode: u32) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ntpclock-keys-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn told(path: &Path) -> String {
        Config::new().load_keys(path).unwrap_err().to_string()
    }

    #[test]
    fn keys_are_read_and_those_of_other_types_passed_by() {
        let path = file("good", GOOD, 0o600);
        let mut config = Config::new();
        config.load_keys(&path).unwrap();
        assert_eq!(config.keys.iter().map(Key::id).collect::<Vec<_>>(), [5]);
        // The same id again is nobody's.
        let again = config.load_keys(&path).unwrap_err().to_string();
        assert!(again.contains(":3: ") && again.contains("key 5 is there already"), "{again}");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_others_may_read_or_write_is_refused() {
        let (others, root) = (12_345, 0);
        for (group, mode, why) in [
            (others, 0o640, "read"),
            (others, 0o440, "read"),
            (others, 0o604, "read"),
            (others, 0o620, "write"),
            (others, 0o606, "write"),
            (others, 0o610, "read"),
            (root, 0o444, "read"),
            (root, 0o450, "read"),
            (root, 0o460, "write"),
        ] {
            let path = file("mode", GOOD, mode);
            std::os::unix::fs::chown(&path, None, Some(group)).expect("we are root");
            assert!(told(&path).contains(&format!("others may {why} it (mode {mode:o})")), "{}", told(&path));
            fs::remove_file(path).unwrap();
        }
        assert!(told(Path::new("/no/such/file")).contains("/no/such/file"));
        assert!(told(Path::new("/")).contains("no regular file"));
    }

    #[test]
    fn a_credential_as_systemd_passes_it_on_is_read() {
        for mode in [0o440, 0o640] {
            let path = file("credential", GOOD, mode);
            std::os::unix::fs::chown(&path, Some(0), Some(0)).expect("we are root");
            Config::new().load_keys(&path).unwrap();
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named_and_no_secret_is_told() {
        for (line, why) in [
            ("5 AES128", "an id, a type and a key"),
            ("x AES128 HEX:00", "id is not a number"),
            ("5 AES128 HEX:5ec2e7", "takes 16"),
            ("5 ROT13 HEX:5ec2e7", "ROT13"),
            ("5 AES128 HEX:5ec2e7 more", "an id, a type and a key"),
        ] {
            let path = file("line", &format!("# one\n{line}\n"), 0o600);
            let told = told(&path);
            assert!(told.contains(":2: ") && told.contains(why) && !told.contains("5ec2e7"), "{line}: {told}");
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_key_that_is_not_there_is_an_error_of_the_start() {
        let mut config = Config::new();
        let options = ServerOptions { key: Some(9), ..ServerOptions::default() };
        config.add_servers_with("127.0.0.1", options).unwrap();
        let told = crate::Clock::start(config).unwrap_err().to_string();
        assert!(told.contains("9 of 127.0.0.1 is none of the AES keys"), "{told}");
    }
}
