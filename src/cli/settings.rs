//! What `serve` is told: by its options, or by a file in TOML that can say the same and more.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::Failure;
use crate::config::Config;
use crate::error::Error;
use crate::server::ServerConfig;

/// All that can be said, as it stands in a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Settings {
    pub(super) servers: Vec<String>,
    pub(super) interleaved: bool,
    pub(super) state_file: Option<PathBuf>,
    pub(super) shared_page: Option<PathBuf>,
    pub(super) user: Option<String>,
    pub(super) statistics_file: Option<PathBuf>,
    pub(super) server: Service,
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
        let failed = |error| Error::io(format!("reading {}", path.display()), error);
        let text = fs::read_to_string(path).map_err(failed)?;
        Ok(Self::parse(&text, path)?)
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
            let dispersion = Duration::try_from_secs_f64(local.root_dispersion_ms / 1e3)
                .map_err(|error| Error::argument("root-dispersion-ms", error.to_string()))?;
            config.set_local(local.stratum, dispersion)?;
        }
        Ok(config)
    }

    /// The clock that is served; `None` for this machine's own.
    pub(crate) fn clock(&self) -> Result<Option<Config>, Error> {
        if self.server.local.is_some() {
            return match (self.servers.as_slice(), &self.state_file, &self.shared_page) {
                ([], None, None) => Ok(None),
                _ => Err(Error::argument("local", "is this machine's own clock, which follows no servers")),
            };
        }
        let mut config = match self.servers.as_slice() {
            [] => Config::from_environment()?,
            servers => Config::with_servers(&servers.join(","))?,
        };
        config.set_interleaved(self.interleaved);
        if let Some(path) = &self.state_file {
            config.set_state_file(path)?;
        }
        if let Some(path) = &self.shared_page {
            config.set_shared_page(path)?;
        }
        Ok(Some(config))
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
        shown = shown.replace("servers = ", "# ").replace("state-file = ", "# ").replace("shared-page = ", "# ");
        assert!(settings(&shown).unwrap().clock().unwrap().is_none());
        assert_eq!(all.user.as_deref(), Some("ntpclock"));
    }

    #[test]
    fn what_is_not_known_or_makes_no_sense_is_refused() {
        for wrong in
            ["serverss = []", "[server]\nlisten = 5", "[server]\nport = 123", "[server.local]\nstratum = 1", "x"]
        {
            assert!(settings(wrong).is_err(), "{wrong}");
        }
        for wrong in [
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
    }
}
