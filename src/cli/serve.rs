//! `ntpclock serve`: answers NTP clients until it is ended.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use super::settings::{Local, Nts, RateLimit, Service, Settings};
use super::{Failure, Faults, Files, Upstream, end, json, parsed_span, seconds, table};
use crate::clock::Clock;
use crate::error::Error;
use crate::server::{Listeners, Server, ServerConfig};
use crate::sys::ending::Ending;
use crate::sys::{file, user};

/// How often the statistics file is written, and what is wrong with the clock's files looked after.
const ROUND: Duration = Duration::from_secs(1);

/// Where to serve, and whose time.
///
/// Sockets that are passed by systemd's protocol (the environment's LISTEN_FDS and LISTEN_PID) are served beside those
/// of the options.
#[derive(Args)]
pub(super) struct Serve {
    /// Read all of it from this file, in TOML, instead of the options
    #[arg(long, value_name = "FILE", conflicts_with_all = ["Sources", "Trust", "Files", "Offer"])]
    config: Option<PathBuf>,
    /// Say whether what is asked for makes sense, and end
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    upstream: Upstream,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    offer: Offer,
    /// End by itself after this time [default: when a signal asks for it]; either way what was done is printed
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
}

/// What is served to whom.
#[derive(Args)]
struct Offer {
    /// Address and port to listen on; port 0 picks a free one (may be repeated) [default: the sockets that are passed]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<String>,
    /// Serve this machine's own clock as this stratum, without any upstream
    #[arg(long, value_name = "STRATUM", requires = "root_dispersion", conflicts_with_all = ["Sources", "Trust", "Files"])]
    local: Option<i32>,
    /// How far from UTC this machine's clock may be: your claim, which clients rely on
    #[arg(long, value_name = "MILLISECONDS", value_parser = milliseconds, requires = "local")]
    root_dispersion: Option<Duration>,
    /// Answer clients of this prefix, and no others but those of other such prefixes (may be repeated)
    #[arg(long, value_name = "PREFIX")]
    allow: Vec<String>,
    /// Ignore clients of this prefix (may be repeated)
    #[arg(long, value_name = "PREFIX")]
    deny: Vec<String>,
    /// Requests a second that one address gets answered over time; 0 answers everything [default: 16]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    rate_limit: Option<i64>,
    /// Requests at once that one address gets answered [default: 64]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    burst: Option<i64>,
    /// Threads that answer [default: one for each processor]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<usize>,
    /// Say nothing while the clock is not synchronised, instead of saying so
    #[arg(long)]
    silent_unless_synchronized: bool,
    /// Serve Network Time Security, too: as the server whose certificates (PEM) are in this file
    #[arg(long, value_name = "FILE", requires = "nts_private_key")]
    nts_certificate: Option<PathBuf>,
    /// The private key (PEM) of the server's certificate
    #[arg(long, value_name = "FILE", requires = "nts_certificate")]
    nts_private_key: Option<PathBuf>,
    /// Exchange keys at this port; 0 picks a free one [default: 4460]
    #[arg(long, value_name = "PORT", requires = "nts_certificate")]
    nts_port: Option<u16>,
    /// Seal cookies with the keys in this file, which servers may share; made if there is none (`ntpclock cookie-keys`
    /// renews it)
    #[arg(long, value_name = "FILE", requires = "nts_certificate")]
    nts_cookie_keys: Option<PathBuf>,
    /// Become this user once the sockets are bound, if started as root
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Write what was done to this file every second, for `status --server`
    #[arg(long, value_name = "FILE")]
    statistics_file: Option<PathBuf>,
}

impl Serve {
    fn settings(&self) -> Result<Settings, Failure> {
        if let Some(path) = &self.config {
            return Settings::read(path);
        }
        let (offer, usual) = (&self.offer, RateLimit::default());
        let local = offer.local.zip(offer.root_dispersion);
        Ok(Settings {
            upstream: self.upstream.clone(),
            files: self.files.clone(),
            user: offer.user.clone(),
            statistics_file: offer.statistics_file.clone(),
            server: Service {
                listen: offer.listen.clone(),
                allow: offer.allow.clone(),
                deny: offer.deny.clone(),
                threads: offer.threads,
                silent_unless_synchronized: offer.silent_unless_synchronized,
                rate_limit: (offer.rate_limit.is_some() || offer.burst.is_some()).then(|| RateLimit {
                    per_second: offer.rate_limit.unwrap_or(usual.per_second),
                    burst: offer.burst.unwrap_or(usual.burst),
                }),
                nts: offer.nts_certificate.clone().zip(offer.nts_private_key.clone()).map(
                    |(certificate, private_key)| Nts {
                        certificate,
                        private_key,
                        port: offer.nts_port,
                        cookie_keys: offer.nts_cookie_keys.clone(),
                    },
                ),
                local: local
                    .map(|(stratum, dispersion)| Local { stratum, root_dispersion_ms: dispersion.as_secs_f64() * 1e3 }),
            },
        })
    }

    pub(super) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
        let settings = self.settings()?;
        // Of a file it is the file that is wrong.
        let named = |error: Error| match &self.config {
            Some(path) => Failure::Settings(format!("{}: {error}", path.display())),
            None => Failure::Clock(error),
        };
        // What is checked is what holds whoever starts it.
        let passed = if self.check { 0 } else { passed(|name| std::env::var_os(name))? };
        if !self.check && passed == 0 && settings.server.listen.is_empty() {
            let why = "names no address, and no sockets are passed (LISTEN_FDS, LISTEN_PID)";
            return Err(named(Error::argument("listen", why)));
        }
        let (config, clock) = (settings.server().map_err(named)?, settings.clock().map_err(named)?);
        settings.check_names(self.config.as_deref()).map_err(named)?;
        let user = settings.user.as_deref();
        // Whatever is found wrong here is found by a start, too: they say the same.
        if let Some(caution) = check_first(&config, user).map_err(named)? {
            // No more than that: it may be this machine's clock that is wrong.
            let _ = writeln!(err, "ntpclock: {caution}");
        }
        // What only root may comes first; what is to be another user's last.
        let listeners = if self.check { None } else { Some(bind(passed, &config)?) };
        become_user(user)?;
        if let Err(error) = give_up_capabilities() {
            // What there may be of them is more than is needed, and no reason to serve nobody.
            let _ = writeln!(err, "ntpclock: capabilities cannot be given up for good: {error}");
        }
        clock.as_ref().map_or(Ok(()), Clock::check).map_err(named)?;
        config.check_later_files().map_err(named)?;
        let Some(listeners) = listeners else {
            settings.check_directories().map_err(named)?;
            settings.check_page().map_err(named)?;
            let what = self.config.as_deref().unwrap_or(Path::new("it"));
            let caveat =
                if settings.server.listen.is_empty() { ", if sockets are passed: it names no address" } else { "" };
            return Ok(writeln!(out, "{} makes sense{caveat}", what.display())?);
        };
        let whose = match (&clock, &settings.server.local) {
            (Some(clock), _) => format!("the time of {}", clock.servers()),
            (None, local) => {
                format!("this machine's clock as stratum {}", local.map_or(0, |local| local.stratum))
            }
        };
        let ending = Ending::hold_back();
        // Held until the end: the clock stops when dropped.
        let clock = clock.map(Clock::start).transpose()?;
        let mut server = Server::run(clock.as_ref(), &config, listeners)?;
        for address in server.addresses() {
            writeln!(out, "serving {whose} on {address}")?;
        }
        for address in server.key_exchange_addresses() {
            writeln!(out, "exchanging keys on {address}")?;
        }
        // Whoever reads these lines through a pipe waits for the port.
        out.flush()?;
        if user.is_none() && user::is_root() {
            // When it cannot be said, it holds all the same.
            let _ = writeln!(err, "ntpclock: stays root, since no user is named whom it should become");
        }
        self.wait(&ending, &server, clock.as_ref(), &settings, err);
        server.stop();
        write!(out, "{}", table::statistics(&json::Statistics::from(&server.statistics())))?;
        clock.as_ref().map_or(Ok(()), end)
    }

    /// Until the time is over, or a signal asks to end. What is wrong with a file meanwhile, or no longer, is told;
    /// clients are served all the same.
    fn wait(&self, ending: &Ending, server: &Server, clock: Option<&Clock>, settings: &Settings, err: &mut dyn Write) {
        let begun = Instant::now();
        let statistics_file = settings.statistics_file.as_deref();
        let clock = clock.filter(|_| settings.files != Files::default());
        let is_busy = statistics_file.is_some() || clock.is_some();
        let [mut of_statistics, mut of_state, mut of_page] = [const { News(None) }; 3];
        loop {
            let left = self.duration.map(|duration| duration.saturating_sub(begun.elapsed()));
            if let Some(path) = statistics_file {
                of_statistics.tell(tell(server, path).err().map(|failure| failure.to_string()), err);
            }
            if let Some(Faults { state_file, shared_page }) = clock.map(Faults::of) {
                of_state.tell(state_file, err);
                of_page.tell(shared_page, err);
            }
            let round = is_busy.then_some(ROUND);
            let span = [left, round].into_iter().flatten().min();
            if left == Some(Duration::ZERO) || ending.comes_within(span) {
                return;
            }
        }
    }
}

/// A fault that is told of when it comes, and when it has gone.
struct News(Option<String>);

impl News {
    fn tell(&mut self, fault: Option<String>, err: &mut dyn Write) {
        // When it cannot be said, it is so all the same.
        let _ = match (&self.0, &fault) {
            (told, fault) if told == fault => return,
            (_, Some(fault)) => writeln!(err, "ntpclock: {fault}"),
            (told, None) => writeln!(err, "ntpclock: no longer: {}", told.as_deref().unwrap_or_default()),
        };
        self.0 = fault;
    }
}

/// What can be told before root is given up.
fn check_first(config: &ServerConfig, user: Option<&str>) -> Result<Option<String>, Error> {
    if let Some(user) = user {
        user::check(user).map_err(|error| Error::io(format!("looking for the user `{user}`"), error))?;
    }
    config.check_files()
}

/// Root becomes `user`, if one is named.
fn become_user(user: Option<&str>) -> Result<(), Error> {
    match user.filter(|_| user::is_root()) {
        Some(name) => user::become_user(name).map_err(|error| Error::io(format!("becoming the user `{name}`"), error)),
        None => Ok(()),
    }
}

/// Who is not root needs none once the sockets are bound.
fn give_up_capabilities() -> std::io::Result<()> {
    if user::is_root() { Ok(()) } else { user::give_up_capabilities() }
}

/// Sockets that are passed to us, so many, and those of the configuration.
fn bind(passed: usize, config: &ServerConfig) -> Result<Listeners, Error> {
    if passed > 0 { Listeners::inherit(passed, config) } else { Listeners::bind(config) }
}

/// How many sockets are passed to us, as sd_listen_fds(3) has it: none if `LISTEN_PID` is not there, or of another
/// process.
fn passed(variable: impl Fn(&str) -> Option<OsString>) -> Result<usize, Error> {
    let number = |name: &'static str, most: u32| {
        let Some(text) = variable(name) else { return Ok(None) };
        let number = text.to_str().and_then(|text| text.parse().ok()).filter(|number| (1..=most).contains(number));
        let wrong = || Error::argument(name, format!("is `{}`; 1 to {most} is possible", text.to_string_lossy()));
        number.map(Some).ok_or_else(wrong)
    };
    if number("LISTEN_PID", i32::MAX.unsigned_abs())? != Some(std::process::id()) {
        return Ok(0);
    }
    Ok(number("LISTEN_FDS", LISTEN_FDS_MAX)?.unwrap_or(0) as usize)
}

/// More sockets than that there is no use for.
const LISTEN_FDS_MAX: u32 = 64;

/// Replaces the statistics file at one stroke: whoever reads it finds all of it.
fn tell(server: &Server, path: &Path) -> Result<(), Failure> {
    let mut text = Vec::new();
    json::write(&mut text, &json::Statistics::from(&server.statistics()))?;
    Ok(file::show(path, &text).map_err(|error| Error::io(format!("writing {}", path.display()), error))?)
}

/// Reads a number of milliseconds, fractions allowed.
fn milliseconds(text: &str) -> Result<Duration, String> {
    parsed_span(text, 1e3, "milliseconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_of_once_when_it_comes_changes_and_goes() {
        let (mut news, mut said) = (News(None), Vec::new());
        for fault in [None, Some("a"), Some("a"), Some("b"), None, None, Some("a")] {
            news.tell(fault.map(str::to_owned), &mut said);
        }
        let expected = "ntpclock: a\nntpclock: b\nntpclock: no longer: b\nntpclock: a\n";
        assert_eq!(String::from_utf8(said).unwrap(), expected);
    }

    #[test]
    fn milliseconds_may_have_fractions_but_no_sign() {
        assert_eq!(milliseconds("0.5"), Ok(Duration::from_micros(500)));
        for (wrong, why) in [
            ("-1", "is below zero"),
            ("ten", "is not a number of milliseconds"),
            ("nan", "is not a number of milliseconds"),
            ("1e300", "is more milliseconds than can be counted"),
        ] {
            assert_eq!(milliseconds(wrong), Err(why.to_owned()), "{wrong}");
        }
    }
}
