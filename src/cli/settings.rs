//! What `serve` is told: by its options, or by a file in TOML that can say the same and more.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de};

use super::{Failure, Files, Sources, Trust, Upstream, authentication, source, span};
use crate::config::{self, Authentication, Config};
use crate::engine::seat::Seat;
use crate::error::Error;
use crate::server::ServerConfig;
use crate::status::ServerOptions;
use crate::sys::file::{self, Inode};
use crate::sys::host;

/// A longer file is none of ours.
const SIZE_MAX: u64 = 1 << 18;

/// All that can be said.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Written")]
pub(crate) struct Settings {
    pub(super) upstream: Upstream,
    pub(super) files: Files,
    pub(super) user: Option<String>,
    pub(super) statistics_file: Option<PathBuf>,
    pub(super) server: Service,
}

/// The same as it stands in a file: what options say, by their names.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Written {
    servers: Vec<String>,
    source: Vec<Source>,
    keys: Option<PathBuf>,
    #[serde(deserialize_with = "mode")]
    authentication: Authentication,
    khronos: bool,
    interleaved: bool,
    trusted_certificates: Vec<PathBuf>,
    no_platform_trust: bool,
    state_file: Option<PathBuf>,
    shared_page: Option<PathBuf>,
    user: Option<String>,
    statistics_file: Option<PathBuf>,
    server: Service,
}

impl From<Written> for Settings {
    fn from(written: Written) -> Self {
        let Written { servers, source, keys, authentication, khronos, interleaved, .. } = written;
        let Written { trusted_certificates, no_platform_trust, state_file, shared_page, .. } = written;
        let Written { user, statistics_file, server, .. } = written;
        let trust = Trust { trusted_certificates, no_platform_trust };
        let source = source.into_iter().map(|Source(server, options)| (server, options)).collect();
        let sources = Sources { servers, interleaved, source, keys, authentication, khronos };
        Self {
            upstream: Upstream { sources, trust },
            files: Files { state_file, shared_page },
            user,
            statistics_file,
            server,
        }
    }
}

/// One server with options, in the words of `--source`.
struct Source(String, ServerOptions);

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        source(&text).map(|(server, options)| Self(server, options)).map_err(de::Error::custom)
    }
}

fn mode<'de, D: Deserializer<'de>>(from: D) -> Result<Authentication, D::Error> {
    let text = String::deserialize(from)?;
    authentication(&text).map_err(|why| de::Error::custom(format_args!("`{text}` {why}")))
}

/// Where to serve, whom, and how much.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Service {
    pub(super) listen: Vec<String>,
    pub(super) allow: Vec<String>,
    pub(super) deny: Vec<String>,
    pub(super) threads: Option<usize>,
    pub(super) silent_unless_synchronized: bool,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) local: Option<Local>,
    pub(super) nts: Option<Nts>,
}

/// Network Time Security.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Nts {
    pub(super) certificate: PathBuf,
    pub(super) private_key: PathBuf,
    pub(super) port: Option<u16>,
    pub(super) cookie_keys: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RateLimit {
    pub(super) per_second: i64,
    pub(super) burst: i64,
}

impl Default for RateLimit {
    fn default() -> Self {
        let (per_second, burst) = ServerConfig::RATE_LIMIT;
        Self { per_second, burst }
    }
}

/// This machine's own clock.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Local {
    pub(super) stratum: i32,
    /// How far from UTC it may be.
    pub(super) root_dispersion_ms: f64,
}

impl Settings {
    /// Reads `path`.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        // Whoever could write it could say whom we believe.
        let bytes = file::read_trusted(path, host::effective_user(), SIZE_MAX)
            .map_err(|why| Error::io(format!("reading {}", path.display()), why.into()))?;
        let foreign = |_| Error::Malformed { path: path.to_owned(), line: 1, why: "the file is not UTF-8".to_owned() };
        Ok(Self::parse(&String::from_utf8(bytes).map_err(foreign)?, path)?)
    }

    /// Reads `text`, which stands in the file at `path`.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let malformed = |error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
            Error::Malformed { path: path.to_owned(), line, why: error.message().to_owned() }
        };
        toml::from_str(text).map_err(malformed)
    }

    /// The server, if all that is said of it makes sense.
    pub(crate) fn server(&self) -> Result<ServerConfig, Error> {
        let Service { listen, allow, deny, threads, silent_unless_synchronized, rate_limit, local, nts } = &self.server;
        let mut config = ServerConfig::new();
        for address in listen {
            config.add_listen(address)?;
        }
        for prefix in allow {
            config.allow(prefix)?;
        }
        for prefix in deny {
            config.deny(prefix)?;
        }
        if let Some(limit) = rate_limit {
            config.set_rate_limit(limit.per_second, limit.burst)?;
        }
        if let Some(threads) = threads {
            config.set_threads(*threads)?;
        }
        config.set_silent_unless_synchronized(*silent_unless_synchronized);
        if let Some(Nts { certificate, private_key, port, cookie_keys }) = nts {
            config.set_nts(certificate, private_key)?;
            if let Some(port) = port {
                config.set_nts_port(*port)?;
            }
            if let Some(path) = cookie_keys {
                config.set_nts_cookie_keys(path)?;
            }
        }
        if let Some(local) = local {
            let dispersion = span(local.root_dispersion_ms, 1e3, "milliseconds")
                .map_err(|why| Error::argument("root-dispersion-ms", why))?;
            config.set_local(local.stratum, dispersion)?;
        }
        if let Some(path) = &self.statistics_file {
            config::file("statistics-file", path)?;
        }
        Ok(config)
    }

    /// The clock that is served; `None` for this machine's own.
    pub(crate) fn clock(&self) -> Result<Option<Config>, Error> {
        if self.server.local.is_some() {
            let says_nothing = self.upstream == Upstream::default() && self.files == Files::default();
            let contradiction = || Error::argument("local", "is this machine's own clock, which follows no servers");
            return if says_nothing { Ok(None) } else { Err(contradiction()) };
        }
        self.upstream.with(&self.files).map(Some)
    }

    /// Whether no file that is written is another one as well; all this was read from `config`, if from a file.
    pub(super) fn check_names(&self, config: Option<&Path>) -> Result<(), Error> {
        let Upstream { sources, trust } = &self.upstream;
        let Files { state_file, shared_page } = &self.files;
        let nts = self.server.nts.as_ref();
        let read = [
            ("config", config),
            ("keys", sources.keys.as_deref()),
            ("certificate", nts.map(|nts| nts.certificate.as_path())),
            ("private-key", nts.map(|nts| nts.private_key.as_path())),
        ];
        let trusted = trust.trusted_certificates.iter().map(|path| ("trusted-certificates", Some(path.as_path())));
        let lock = shared_page.as_deref().map(Seat::lock_of);
        let written = [
            ("state-file", state_file.as_deref()),
            ("shared-page", shared_page.as_deref()),
            ("shared-page's lock", lock.as_deref()),
            ("cookie-keys", nts.and_then(|nts| nts.cookie_keys.as_deref())),
            ("statistics-file", self.statistics_file.as_deref()),
        ];
        // What stands there, by whatever name; where nothing does, its own name, by whatever way the directory is named.
        let place = |path: &Path| {
            let directory = file::directory_of(path);
            fs::metadata(path).map(|about| Inode::from(&about)).map_err(|_| {
                let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
                (directory, path.file_name().map(OsString::from))
            })
        };
        let read = read.into_iter().chain(trusted).filter_map(|(name, path)| Some((name, place(path?))));
        let mut seen: Vec<_> = read.collect();
        for (name, path) in written.into_iter().filter_map(|(name, path)| Some((name, path?))) {
            let place = place(path);
            if let Some((other, _)) = seen.iter().find(|(_, former)| *former == place) {
                let why = format!("is {}, which is the `{other}`, too: each needs a file of its own", path.display());
                return Err(Error::argument(name, why));
            }
            seen.push((name, place));
        }
        Ok(())
    }

    /// Whether what stands where the page is to be shared is one; where nothing stands it is made at the start.
    pub(super) fn check_page(&self) -> Result<(), Error> {
        self.files.shared_page.as_deref().map_or(Ok(()), Seat::check)
    }

    /// Whether what is written while we serve, or shared, has a directory to be in.
    pub(super) fn check_directories(&self) -> Result<(), Error> {
        let Files { state_file, shared_page } = &self.files;
        for path in [state_file, shared_page, &self.statistics_file].into_iter().flatten() {
            // With a dot behind it only a directory will do.
            let seen = fs::metadata(file::directory_of(path).join("."));
            seen.map_err(|error| Error::io(format!("the directory of {}", path.display()), error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Settings, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn the_example_makes_sense_and_says_what_holds_anyway() {
        let text = include_str!("../../bindings/systemd/ntpclock.toml");
        settings(text).unwrap().server().unwrap();
        // With everything in it that is only shown, but the one or the other clock.
        let mut shown: String = text
            .lines()
            .map(|line| {
                line.strip_prefix("# ").filter(|rest| rest.contains(" = ") || rest.starts_with('[')).unwrap_or(line)
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let all = settings(&shown).unwrap();
        let RateLimit { per_second, burst } = RateLimit::default();
        let shown_limit = all.server.rate_limit.as_ref().unwrap();
        assert_eq!((shown_limit.per_second, shown_limit.burst), (per_second, burst));
        assert_eq!(all.server.local.unwrap().stratum, 10);
        assert!(all.clock().unwrap_err().to_string().contains("`local`"));
        for upstream in ["servers", "source", "keys", "trusted-certificates", "state-file", "shared-page"] {
            assert!(shown.contains(&format!("\n{upstream} = ")), "{upstream}");
            shown = shown.replace(&format!("\n{upstream} = "), "\n# ");
        }
        // What is left of it are values that hold anyway.
        assert!(settings(&shown).unwrap().clock().unwrap().is_none());
        assert_eq!(all.user.as_deref(), Some("ntpclock"));
    }

    #[test]
    fn every_option_about_sources_and_their_files_can_be_said_in_a_file_and_stands_in_the_example() {
        use clap::{ArgAction, CommandFactory};
        let example = include_str!("../../bindings/systemd/ntpclock.toml");
        let command = crate::cli::Arguments::command();
        let serve = command.find_subcommand("serve").unwrap();
        let about = |name: &str| ["Sources", "Trust", "Files"].contains(&name);
        let groups: Vec<_> = serve.get_groups().filter(|group| about(group.get_id().as_str())).collect();
        let ids: Vec<_> = groups.iter().flat_map(|group| group.get_args()).collect();
        assert_eq!((groups.len(), ids.len()), (3, 10));
        for id in ids {
            let option = serve.get_arguments().find(|argument| argument.get_id() == id).unwrap();
            let name = option.get_long().unwrap();
            let value = match option.get_action() {
                ArgAction::SetTrue => "true",
                ArgAction::Append => "[\"192.0.2.1\"]",
                _ => "\"require\"",
            };
            let said = settings(&format!("{name} = {value}")).unwrap();
            assert!(said.upstream != Upstream::default() || said.files != Files::default(), "{name}");
            assert!(example.contains(&format!("\n# {name} = ")) || example.contains(&format!("\n{name} = ")), "{name}");
        }
    }

    #[test]
    fn a_source_in_a_file_has_the_options_that_it_has_on_the_command_line() {
        let said =
            settings("source = [\"192.0.2.1 key 5 trust\", \"pool:p prefer\"]\nauthentication = \"ignore\"").unwrap();
        let Sources { source, authentication, .. } = said.upstream.sources;
        let first = ServerOptions { key: Some(5), trust: true, ..ServerOptions::default() };
        let second = ServerOptions { prefer: true, ..ServerOptions::default() };
        assert_eq!(source, [("192.0.2.1".to_owned(), first), ("pool:p".to_owned(), second)]);
        assert_eq!(authentication, Authentication::Ignore);
        for (wrong, why) in [
            ("\nsource = [\"a key\"]", "f:2: after `key` goes the id of one, a number"),
            ("\nauthentication = \"none\"", "f:2: `none` is none of ignore, mix, require"),
        ] {
            assert_eq!(Settings::parse(wrong, Path::new("f")).unwrap_err().to_string(), why);
        }
    }

    /// With all files that can be named, in `directory` and called like their settings.
    fn with_files(directory: &Path) -> Settings {
        let at = |name| directory.join(name);
        let trusted_certificates = vec![at("another"), at("trusted-certificates")];
        let (certificate, private_key) = (at("certificate"), at("private-key"));
        let nts = Nts { certificate, private_key, port: None, cookie_keys: Some(at("cookie-keys")) };
        Settings {
            upstream: Upstream {
                sources: Sources { keys: Some(at("keys")), ..Sources::default() },
                trust: Trust { trusted_certificates, no_platform_trust: false },
            },
            files: Files { state_file: Some(at("state-file")), shared_page: Some(at("shared-page")) },
            user: None,
            statistics_file: Some(at("statistics-file")),
            server: Service { nts: Some(nts), ..Service::default() },
        }
    }

    #[test]
    fn a_file_that_is_written_is_no_other_by_whatever_name() {
        let directory = std::env::temp_dir().join(format!("ntpclock-names-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let at = |name| directory.join(name);
        let told =
            |settings: &Settings| settings.check_names(Some(&at("config"))).map_err(|refused| refused.to_string());
        let is_refused = |settings: &Settings, one: &str, other: &str| {
            let said = told(settings).expect_err(&format!("{one} is {other}"));
            assert!([one, other].iter().all(|name| said.contains(&format!("`{name}`"))), "{one}, {other}: {said}");
        };
        let read = ["config", "keys", "trusted-certificates", "certificate", "private-key"];
        let written = ["state-file", "shared-page", "cookie-keys", "statistics-file"];
        let mut settings = with_files(&directory);
        assert_eq!(told(&settings), Ok(()));
        for name in read {
            settings.files.state_file = Some(at(".").join(name));
            is_refused(&settings, "state-file", name);
        }
        settings.files.state_file = Some(at("shared-page.lock"));
        is_refused(&settings, "shared-page's lock", "state-file");
        let settings = with_files(&directory);
        let all = [&read[..], &written].concat();
        all.iter().for_each(|name| fs::write(at(name), "").unwrap());
        assert_eq!(told(&settings), Ok(()));
        for name in written {
            fs::remove_file(at(name)).unwrap();
            for other in all.iter().filter(|other| **other != name) {
                std::os::unix::fs::symlink(at(other), at(name)).unwrap();
                is_refused(&settings, name, other);
                fs::remove_file(at(name)).unwrap();
                fs::hard_link(at(other), at(name)).unwrap();
                is_refused(&settings, name, other);
                fs::remove_file(at(name)).unwrap();
            }
            fs::write(at(name), "").unwrap();
        }
        // What is only read may be one: a certificate and its key are often kept together.
        fs::remove_file(at("private-key")).and_then(|()| fs::hard_link(at("certificate"), at("private-key"))).unwrap();
        assert_eq!(told(&settings), Ok(()));
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_not_known_or_makes_no_sense_is_refused() {
        for wrong in
            ["serverss = []", "[server]\nlisten = 5", "[server]\nport = 123", "[server.local]\nstratum = 1", "x"]
        {
            assert!(settings(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "statistics-file = \"/tmp/a\\u0000b\"",
            "[server]\nlisten = [\"localhost\"]",
            "[server]\nallow = [\"10.0.0.1/8\"]",
            "[server]\nthreads = 0",
            "[server.rate-limit]\nper-second = -1",
            "[server.rate-limit]\nburst = 0",
            "[server.local]\nstratum = 16\nroot-dispersion-ms = 1.0",
            "[server.local]\nstratum = 1\nroot-dispersion-ms = -1.0",
        ] {
            assert!(settings(wrong).unwrap().server().is_err(), "{wrong}");
        }
        for number in ["nan", "inf"] {
            let text = format!("[server.local]\nstratum = 1\nroot-dispersion-ms = {number}");
            let error = settings(&text).unwrap().server().unwrap_err();
            assert_eq!(error.to_string(), "`root-dispersion-ms` is not a number of milliseconds");
        }
    }
}
