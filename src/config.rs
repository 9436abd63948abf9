//! What the user wishes, parsed once into types.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use crate::mac::Key;
use crate::nts::KEY_EXCHANGE_PORT;
use crate::status::ServerOptions;
use crate::units::{Nanos, Ppb};

/// The port of NTP (RFC 5905).
pub(crate) const NTP_PORT: u16 = 123;

/// The longest host name DNS allows (RFC 1035), and so the longest we take.
const HOST_MAX: usize = 253;

/// The longest server list: far above need, and a limit on what a mistake can cost.
const LIST_MAX: usize = 16_384;

/// The most sources one clock polls.
pub(crate) const SOURCES_MAX: usize = 64;

/// Sources taken from one `pool:` name, as by convention of the field (RFC 5905 leaves it open).
pub(crate) const POOL_MEMBERS: usize = 4;

/// Longest and shortest poll exponents that can be configured (RFC 5905 allows up to 17).
const POLL_EXPONENTS: std::ops::RangeInclusive<i8> = 0..=17;

/// How a clock behaves: its servers, and what is assumed of them and of the oscillator.
///
/// Values in, checked at once: a `Config` that exists can be started.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub(crate) servers: Vec<ServerSpec>,
    /// Their ids differ.
    pub(crate) keys: Vec<Key>,
    pub(crate) settings: Settings,
    pub(crate) recording: Option<PathBuf>,
    pub(crate) state_file: Option<PathBuf>,
    pub(crate) shared_page: Option<PathBuf>,
    pub(crate) restart_after_fork: bool,
    pub(crate) trust: TrustWish,
}

/// Whose word is taken on who a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustWish {
    /// Files of certificates (PEM).
    pub(crate) files: Vec<PathBuf>,
    /// Those of the platform, too.
    pub(crate) platform: bool,
}

/// Everything the core must know besides its sources.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Shortest and longest poll interval, as exponents of 2 in seconds.
    pub(crate) poll_min: i8,
    pub(crate) poll_max: i8,
    /// A poll interval that is given from outside, in replays.
    pub(crate) fixed_poll: Option<Nanos>,
    /// Sources that may lie; `None`: a third of them.
    pub(crate) fault_limit: Option<usize>,
    /// Fewest sources that must agree.
    pub(crate) min_agreeing: usize,
    /// Corrections above this step instead of slewing.
    pub(crate) step_threshold: Nanos,
    /// An error bound above this is no synchronisation.
    pub(crate) bound_cap: Nanos,
    /// Worst change of the oscillator's frequency over time.
    pub(crate) drift: DriftLimit,
    /// Largest frequency error of the raw counter against UTC.
    pub(crate) frequency_limit: Ppb,
    /// Servers are asked when their last reply really left.
    pub(crate) interleaved: bool,
    pub(crate) authentication: Authentication,
    /// Whether servers of the pools that are not polled are asked now and then.
    pub(crate) khronos: bool,
}

/// What authenticated sources are to those that are not. The numbers are the C API's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Authentication {
    /// Nothing: all are judged alike.
    Ignore = 0,
    /// Where there are both kinds, the authenticated ones are required and trusted: at least one of them must agree,
    /// and they alone say where UTC lies. The others may refine the estimate within.
    #[default]
    Mix = 1,
    /// The others have no say at all.
    Require = 2,
}

/// D(τ): the worst change of the oscillator's frequency within a time τ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DriftLimit {
    /// Worst change within `knee`.
    pub(crate) short: Ppb,
    /// Up to here `short` holds.
    pub(crate) knee: Nanos,
    /// Worst change over any longer time.
    pub(crate) long: Ppb,
}

impl Default for DriftLimit {
    fn default() -> Self {
        // Long: RFC 5905's PHI, the field's figure for what an uncompensated crystal does over any time. Short: what
        // was measured of computers' oscillators in offices and machine rooms stays within 0.1 ppm over such times
        // (Veitch, Ridoux and Korada, "Robust synchronization of absolute and difference clocks over networks",
        // IEEE/ACM Trans. Networking 17, 2009); an AT-cut crystal away from its turning point moves by some 0.1 ppm/K,
        // so that 2 ppm allow for 20 K within a quarter of an hour, or for a virtual machine that is moved to a host
        // with a like crystal.
        Self { short: Ppb::from_ppm(2.0), knee: Nanos::from_seconds(1000), long: Ppb::from_ppm(15.0) }
    }
}

impl DriftLimit {
    /// G(τ), rounded up.
    pub(crate) fn growth(&self, span: Nanos) -> Nanos {
        let span = span.abs();
        let early = span.min(self.knee);
        early.gain_outward(self.short) + (span - early).gain_outward(self.long)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            poll_min: 4,
            poll_max: 10,
            fixed_poll: None,
            fault_limit: None,
            min_agreeing: 1,
            step_threshold: Nanos::from_millis(100),
            bound_cap: Nanos::from_seconds(1),
            drift: DriftLimit::default(),
            // Twice the worst of ordinary crystals (±100 ppm with ageing and temperature), and well
            // above what a kernel's calibration of the counter is off by.
            frequency_limit: Ppb::from_ppm(200.0),
            interleaved: false,
            authentication: Authentication::default(),
            khronos: false,
        }
    }
}

impl Settings {
    /// How many of `configured` sources are assumed to lie at most (design: ⌊(n-1)/3⌋ unless set).
    pub(crate) fn faults(&self, configured: usize) -> usize {
        let most = configured.saturating_sub(1);
        self.fault_limit.unwrap_or(most / 3).min(most / 2)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// No servers yet, and the defaults of the documentation.
    pub fn new() -> Self {
        Self {
            servers: Vec::new(),
            keys: Vec::new(),
            settings: Settings::default(),
            recording: None,
            state_file: None,
            shared_page: None,
            restart_after_fork: false,
            trust: TrustWish { files: Vec::new(), platform: true },
        }
    }

    /// The defaults, with the servers of `list` (see [`Config::add_servers`]).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidServer`] or [`Error::NoServers`].
    pub fn with_servers(list: &str) -> Result<Self, Error> {
        let mut config = Self::new();
        config.add_servers(list)?;
        if config.servers.is_empty() { Err(Error::NoServers) } else { Ok(config) }
    }

    /// Adds the servers of a comma-separated list: `host`, `host:port`, `[v6]:port`, `pool:host`, each
    /// optionally followed by ` nts`.
    ///
    /// Either all entries are added or none.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidServer`] names the first entry that does not follow the grammar.
    pub fn add_servers(&mut self, list: &str) -> Result<&mut Self, Error> {
        self.add_servers_with(list, ServerOptions::default())
    }

    /// The same, and gives each of them `options`: a key that [`load_keys`](Self::load_keys) has read or is about to
    /// read, and how far it is trusted.
    ///
    /// # Errors
    ///
    /// As [`add_servers`](Self::add_servers), and [`Error::InvalidArgument`] for a key id of 0, or a key beside NTS. A
    /// key that was not read is an error of the start.
    pub fn add_servers_with(&mut self, list: &str, options: ServerOptions) -> Result<&mut Self, Error> {
        if options.key == Some(0) {
            return Err(Error::argument("key id", "is 0; ids are from 1 on"));
        }
        let added = parse_servers(list, options)?;
        if self.servers.len() + added.len() > SOURCES_MAX {
            return Err(Error::argument("servers", format!("names more than {SOURCES_MAX} servers")));
        }
        self.servers.extend(added);
        Ok(self)
    }

    /// Sets the shortest and longest poll interval as exponents of 2, in seconds. Default 4 and 10 (16 s, 17 min).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] unless 0 ≤ `min_exponent` ≤ `max_exponent` ≤ 17.
    pub fn set_poll_exponents(&mut self, min_exponent: i32, max_exponent: i32) -> Result<&mut Self, Error> {
        let exponent = |name, value| match i8::try_from(value) {
            Ok(small) if POLL_EXPONENTS.contains(&small) => Ok(small),
            _ => Err(Error::argument(name, format!("is {value}; poll exponents go from 0 to 17"))),
        };
        let (min, max) = (exponent("min_exponent", min_exponent)?, exponent("max_exponent", max_exponent)?);
        if min > max {
            return Err(Error::argument("min_exponent", format!("is {min}, above `max_exponent`, {max}")));
        }
        (self.settings.poll_min, self.settings.poll_max) = (min, max);
        Ok(self)
    }

    /// Asks servers, in interleaved mode (RFC 9769), when their last reply really left; off unless set. A server that
    /// does not know the mode answers as ever.
    ///
    /// It narrows what a server's own work and queue add to the delay, and with it the bound, where the server knows
    /// better than when it handed a reply to its system; what is known then is one poll interval old.
    pub fn set_interleaved(&mut self, is_interleaved: bool) -> &mut Self {
        self.settings.interleaved = is_interleaved;
        self
    }

    /// Sets how many sources may lie about the time. Default: ⌊(n-1)/3⌋ of n.
    ///
    /// Never more than ⌊(n-1)/2⌋ is assumed, whatever is set.
    pub fn set_fault_limit(&mut self, sources: usize) -> &mut Self {
        self.settings.fault_limit = Some(sources);
        self
    }

    /// Sets the fewest sources that must agree before the clock counts as synchronised. Default 1.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `sources` is 0 or more than a clock can have (64).
    pub fn set_min_agreeing(&mut self, sources: usize) -> Result<&mut Self, Error> {
        if !(1..=SOURCES_MAX).contains(&sources) {
            return Err(Error::argument("sources", format!("is {sources}; 1 to {SOURCES_MAX} can be asked for")));
        }
        self.settings.min_agreeing = sources;
        Ok(self)
    }

    /// Sets the largest correction that is slewed; larger ones step and start a new epoch. Default 100 ms.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] above one hour: at 500 ppm that already takes 83 days.
    pub fn set_step_threshold(&mut self, threshold: Duration) -> Result<&mut Self, Error> {
        if threshold > Duration::from_secs(3600) {
            return Err(Error::argument("step threshold", format!("is {threshold:?}, above one hour")));
        }
        self.settings.step_threshold = Nanos::from_duration(threshold);
        Ok(self)
    }

    /// Sets the error bound above which the clock counts as unsynchronised. Default 1 s.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `cap` is zero or above one day.
    pub fn set_bound_cap(&mut self, cap: Duration) -> Result<&mut Self, Error> {
        if cap.is_zero() || cap > Duration::from_secs(86_400) {
            return Err(Error::argument("bound cap", format!("is {cap:?}; above zero and up to one day is possible")));
        }
        self.settings.bound_cap = Nanos::from_duration(cap);
        Ok(self)
    }

    /// Sets the largest frequency error of the raw counter against UTC, in parts per million. Default 200.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] unless 0 < `ppm` ≤ 1000.
    pub fn set_frequency_limit_ppm(&mut self, ppm: f64) -> Result<&mut Self, Error> {
        if !(ppm > 0.0 && ppm <= 1000.0) {
            return Err(Error::argument("ppm", format!("is {ppm}; above 0 and up to 1000 is possible")));
        }
        self.settings.frequency_limit = Ppb::from_ppm(ppm);
        Ok(self)
    }

    /// Sets the drift limit D: the oscillator's frequency changes by `short_ppm` at most within `knee`, and by
    /// `long_ppm` over any time. Default 2 ppm within 1000 s, and 15 ppm.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] unless 0 ≤ `short_ppm` ≤ `long_ppm` ≤ 1000 and `knee` is at most 30 days.
    pub fn set_drift_limit(&mut self, short_ppm: f64, knee: Duration, long_ppm: f64) -> Result<&mut Self, Error> {
        if !(0.0..=1000.0).contains(&long_ppm) {
            return Err(Error::argument("long_ppm", format!("is {long_ppm}; 0 to 1000 is possible")));
        }
        if !(0.0..=long_ppm).contains(&short_ppm) {
            return Err(Error::argument(
                "short_ppm",
                format!("is {short_ppm}; 0 to long_ppm, {long_ppm}, is possible"),
            ));
        }
        if knee > Duration::from_secs(30 * 86_400) {
            return Err(Error::argument("knee", format!("is {knee:?}; up to 30 days is possible")));
        }
        let (short, long) = (Ppb::from_ppm(short_ppm), Ppb::from_ppm(long_ppm));
        self.settings.drift = DriftLimit { short, knee: Nanos::from_duration(knee), long };
        Ok(self)
    }

    /// Sets what authenticated sources are to those that are not. Default: [`Authentication::Mix`].
    pub fn set_authentication(&mut self, authentication: Authentication) -> &mut Self {
        self.settings.authentication = authentication;
        self
    }

    /// Sets whether a dozen other servers of the pools, picked at random, are asked once an hour, in the spirit of
    /// Khronos (RFC 9523). Default: no, because they are asked beside those that are polled.
    ///
    /// When they contradict what the polled servers agree on, and others do so again two minutes later, that is not
    /// believed any more: the clock is in HOLDOVER, with [`Flags::VETOED`](crate::Flags::VETOED), until it is backed
    /// again. It takes a name, or several, with enough servers behind them: fewer than six others are no opinion. The
    /// others are not authenticated: as long as those that say where UTC lies all are, nothing is vetoed.
    pub fn set_khronos(&mut self, enabled: bool) -> &mut Self {
        self.settings.khronos = enabled;
        self
    }

    /// The key that `spec` was given, or that it was given none.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if no key of that id was read.
    pub(crate) fn key(&self, spec: &ServerSpec) -> Result<Option<Key>, Error> {
        let Some(id) = spec.options.key else { return Ok(None) };
        let found = self.keys.iter().find(|key| key.id() == id);
        let missing = || Error::argument("key id", format!("{id} of {spec} is none of the AES keys that were read"));
        found.cloned().map(Some).ok_or_else(missing)
    }

    /// Whether the servers can ever give the time, as far as that is known beforehand.
    ///
    /// # Errors
    ///
    /// [`Error::NoServers`], and [`Error::InvalidArgument`] for a key that was not read, or where authentication is
    /// required of all and offered by none.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.servers.is_empty() {
            return Err(Error::NoServers);
        }
        self.servers.iter().try_for_each(|spec| self.key(spec).map(drop))?;
        let authenticated = self.servers.iter().any(|spec| spec.options.key.is_some() || spec.options.nts);
        if self.settings.authentication == Authentication::Require && !authenticated {
            return Err(Error::argument("authentication", "is required, and no server is authenticated"));
        }
        Ok(())
    }

    /// Records every exchange that counts to the file at `path`, in the format that [`Replay`](crate::Replay) reads.
    ///
    /// What the file held before is lost when a clock starts; a file that cannot be written then fails the start. One
    /// that can no longer be written later ends the recording, not the clock
    /// ([`Clock::recording_fault`](crate::Clock::recording_fault)). Two clocks cannot share one file.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `path` names no file.
    pub fn set_recording(&mut self, path: impl AsRef<Path>) -> Result<&mut Self, Error> {
        self.recording = Some(path_of("recording", path.as_ref())?);
        Ok(self)
    }

    /// Starts warm from the state file at `path`, and saves the state there: at the stop, and every 10 minutes.
    ///
    /// In the same boot the clock reads with a bound from the first moment, in HOLDOVER; after any boot it expects the
    /// frequency that it had. A file that cannot be trusted is refused, and the clock starts cold
    /// ([`Clock::state_file_fault`](crate::Clock::state_file_fault)). Who follows different servers, or
    /// trusts them differently, needs another file. A relative `path` is in the directory that is the working directory
    /// when a clock starts.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `path` names no file.
    pub fn set_state_file(&mut self, path: impl AsRef<Path>) -> Result<&mut Self, Error> {
        self.state_file = Some(path_of("state file", path.as_ref())?);
        Ok(self)
    }

    /// Trusts the certificates in the file at `path` (PEM) to vouch for servers with ` nts`, beside those of the
    /// platform. The file is read when a clock starts; one that cannot be read, or holds none, fails the start.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `path` names no file, [`Error::Unsupported`] in a build without NTS.
    pub fn add_trusted_certificates(&mut self, path: impl AsRef<Path>) -> Result<&mut Self, Error> {
        if !cfg!(feature = "_nts") {
            return Err(Error::Unsupported("Network Time Security, so no use for certificates"));
        }
        self.trust.files.push(path_of("trusted certificates", path.as_ref())?);
        Ok(self)
    }

    /// Whether the certificates that the platform trusts vouch for servers with ` nts`. Default: yes.
    pub fn set_platform_trust(&mut self, trusted: bool) -> &mut Self {
        self.trust.platform = trusted;
        self
    }

    /// Shares the clock with the other processes of this host that name the same page: all read it, one of them asks
    /// the servers.
    ///
    /// Who holds the lock of the file `PATH.lock` leads: it writes the page at `path`, which is made if it is not
    /// there. When it ends, however it does, another takes over within two seconds, in the same epoch and on the same
    /// line. All should have the same configuration; state file and recording are the leader's. The directory should be
    /// one that only you may write, in memory, and gone after a boot: `/run/…`. A file that cannot be trusted fails the
    /// start. Who may write or lock the page is trusted; `docs/shared-page.md` says what is and what is not protected
    /// against. A relative `path` is in the directory that is the working directory when a clock starts.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `path` names no file.
    pub fn set_shared_page(&mut self, path: impl AsRef<Path>) -> Result<&mut Self, Error> {
        self.shared_page = Some(path_of("shared page", path.as_ref())?);
        Ok(self)
    }

    /// Has a forked child restart the clock by itself, as [`Clock::restart`](crate::Clock::restart) does. Default: no.
    ///
    /// A reading starts nothing, for it takes no lock; nor does the fork, which may be the beginning of an `exec`. So
    /// "by itself" is at the child's first call that waits for the clock, asks for its report, its sources or its
    /// events, or starts it. Until then the child reads on in HOLDOVER.
    pub fn set_restart_after_fork(&mut self, restart: bool) -> &mut Self {
        self.restart_after_fork = restart;
        self
    }

    /// The list the servers were parsed from, in canonical form.
    pub fn servers(&self) -> String {
        self.servers.iter().map(ServerSpec::to_string).collect::<Vec<_>>().join(",")
    }
}

/// One entry of a server list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerSpec {
    /// Name or literal address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Up to [`POOL_MEMBERS`] sources may come from this name.
    pub(crate) pool: bool,
    /// What it is given beside its name; of this the text of an entry knows ` nts` alone: host and port are then those
    /// of the key exchange.
    pub(crate) options: ServerOptions,
}

impl ServerSpec {
    fn default_port(nts: bool) -> u16 {
        if nts { KEY_EXCHANGE_PORT } else { NTP_PORT }
    }
}

impl fmt::Display for ServerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pool {
            f.write_str("pool:")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        if self.port != Self::default_port(self.options.nts) {
            write!(f, ":{}", self.port)?;
        }
        if self.options.nts { f.write_str(" nts") } else { Ok(()) }
    }
}

/// The path of a file, there already or not.
pub(crate) fn file(name: &'static str, path: &Path) -> Result<PathBuf, Error> {
    named(path).map_err(|why| Error::argument(name, why))
}

/// The same where the argument is called `path`, and the setter tells of what.
pub(crate) fn path_of(what: &str, path: &Path) -> Result<PathBuf, Error> {
    named(path).map_err(|why| Error::argument("path", format!("of the {what} {why}")))
}

fn named(path: &Path) -> Result<PathBuf, String> {
    // Which no system knows by any name.
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(format!("is {path:?}, with a NUL character in it"));
    }
    let is_named = path.file_name().is_some();
    if is_named { Ok(path.to_owned()) } else { Err(format!("is `{}`, which names no file", path.display())) }
}

/// Parses a whole list; blanks around entries are allowed, empty entries are not.
fn parse_servers(list: &str, options: ServerOptions) -> Result<Vec<ServerSpec>, Error> {
    if list.len() > LIST_MAX {
        return Err(Error::argument("servers", format!("is {} bytes long; the limit is {LIST_MAX}", list.len())));
    }
    if list.trim().is_empty() {
        return Ok(Vec::new());
    }
    list.split(',').map(|entry| parse_server_with(entry.trim(), options)).collect()
}

/// Parses one entry.
pub(crate) fn parse_server(entry: &str) -> Result<ServerSpec, Error> {
    parse_server_with(entry, ServerOptions::default())
}

fn parse_server_with(entry: &str, options: ServerOptions) -> Result<ServerSpec, Error> {
    let wrong = |why| Error::InvalidServer { entry: entry.chars().take(300).collect(), why };
    let mut words = entry.split_whitespace();
    let address = words.next().ok_or(wrong("is empty"))?;
    let nts = match (words.next(), words.next()) {
        (None, _) => options.nts,
        (Some("nts"), None) => true,
        _ => return Err(wrong("only ` nts` may follow the name")),
    };
    if nts && !cfg!(feature = "_nts") {
        // Never asked without it instead.
        return Err(Error::Unsupported("Network Time Security (` nts`)"));
    }
    if nts && options.key.is_some() {
        return Err(Error::argument("key id", format!("is given to `{address}`, which is authenticated by NTS")));
    }
    let (pool, address) = match address.strip_prefix("pool:") {
        Some(rest) => (true, rest),
        None => (false, address),
    };
    let (host, port) = split_port(address).map_err(wrong)?;
    let port = match port {
        None => ServerSpec::default_port(nts),
        Some(digits) => match digits.parse() {
            Ok(port) if port != 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => port,
            _ => return Err(wrong("the port is not a number from 1 to 65535")),
        },
    };
    if host.is_empty() {
        return Err(wrong("the host name is empty"));
    }
    if host.len() > HOST_MAX {
        return Err(wrong("the host name is longer than 253 bytes"));
    }
    let in_a_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if !host.chars().all(in_a_name) {
        return Err(wrong("the host name has a character that no name has"));
    }
    Ok(ServerSpec { host: host.to_owned(), port, pool, options: ServerOptions { nts, ..options } })
}

/// Splits `host`, `host:port`, `[v6]`, `[v6]:port`, or a bare IPv6 address.
pub(crate) fn split_port(address: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("`[` without `]`")?;
        // The zone of a link-local address (`%eth0`) is for the resolver to judge.
        let bare = host.split('%').next().unwrap_or(host);
        if bare.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("between `[` and `]` goes an IPv6 address");
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err("after `]` only `:port` may follow"),
        };
    }
    match address.split_once(':') {
        None => Ok((address, None)),
        Some(_) if address.parse::<std::net::Ipv6Addr>().is_ok() => Ok((address, None)),
        Some((_, port)) if port.contains(':') => Err("an IPv6 address with a port is written `[address]:port`"),
        Some((host, port)) => Ok((host, Some(port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_servers(list: &str) -> Result<Vec<ServerSpec>, Error> {
        super::parse_servers(list, ServerOptions::default())
    }

    fn spec(host: &str, port: u16, pool: bool) -> ServerSpec {
        ServerSpec { host: host.into(), port, pool, options: ServerOptions::default() }
    }

    #[test]
    fn the_grammar_of_the_server_list() {
        let list = "ntp.example.org, 192.0.2.1:1123,[2001:db8::1]:321,2001:db8::2,[::1],pool:pool.example.org";
        assert_eq!(
            parse_servers(list).unwrap(),
            [
                spec("ntp.example.org", 123, false),
                spec("192.0.2.1", 1123, false),
                spec("2001:db8::1", 321, false),
                spec("2001:db8::2", 123, false),
                spec("::1", 123, false),
                spec("pool.example.org", 123, true),
            ]
        );
    }

    #[test]
    fn a_canonical_list_parses_to_itself() {
        let list = "a,b:1,[::1],[::1]:2,pool:c,pool:d:9";
        assert_eq!(Config::with_servers(list).unwrap().servers(), list);
    }

    #[test]
    fn a_wrong_entry_is_named() {
        for (entry, why) in [
            ("a,,b", "empty"),
            ("a,", "empty"),
            ("a:0", "port"),
            ("a:65536", "port"),
            ("a:+1", "port"),
            ("a:", "port"),
            (":1", "host name is empty"),
            ("pool:", "host name is empty"),
            ("[::1", "without"),
            ("[::1]x", "after"),
            ("[name]:1", "IPv6"),
            ("::1:2:3:4:5:6:7:8:9", "written"),
            ("a b", "nts"),
            ("a nts nts", "nts"),
            ("a\u{7}", "character"),
            ("http://a", "port"),
        ] {
            let message = parse_servers(entry).unwrap_err().to_string();
            assert!(message.contains(why), "{entry:?}: {message}");
        }
        assert!(parse_servers(&"x".repeat(254)).unwrap_err().to_string().contains("253"));
        assert!(parse_servers(&"x,".repeat(LIST_MAX)).unwrap_err().to_string().contains("limit"));
    }

    #[cfg(feature = "_nts")]
    #[test]
    fn nts_follows_the_name_and_its_port_is_that_of_the_key_exchange() {
        let secure = |host, port, pool| ServerSpec {
            options: ServerOptions { nts: true, ..ServerOptions::default() },
            ..spec(host, port, pool)
        };
        assert_eq!(
            parse_servers("a nts,b:4461 nts ,[::1] nts,pool:c\tnts,d:123 nts").unwrap(),
            [
                secure("a", 4460, false),
                secure("b", 4461, false),
                secure("::1", 4460, false),
                secure("c", 4460, true),
                secure("d", 123, false),
            ]
        );
        let list = "a nts,b:4461 nts,[::1] nts,pool:c nts,d:123 nts,e:4460";
        assert_eq!(Config::with_servers(list).unwrap().servers(), list);
        let mut config = Config::new();
        config
            .add_servers_with("a,b:1 nts", ServerOptions { nts: true, ..ServerOptions::default() })
            .unwrap()
            .add_servers("c")
            .unwrap();
        assert_eq!(config.servers(), "a nts,b:1 nts,c");
        // Either of the two authenticates.
        let key = ServerOptions { key: Some(1), ..ServerOptions::default() };
        let told = config.add_servers_with("a nts", key).unwrap_err().to_string();
        assert_eq!(told, "`key id` is given to `a`, which is authenticated by NTS");
    }

    #[cfg(not(feature = "_nts"))]
    #[test]
    fn nts_is_refused_rather_than_ignored_where_there_is_none() {
        assert!(matches!(parse_server("a nts"), Err(Error::Unsupported(_))));
    }

    #[test]
    fn a_list_is_added_whole_or_not_at_all() {
        let mut config = Config::with_servers("a").unwrap();
        assert!(config.add_servers("b,,c").is_err());
        assert_eq!(config.servers(), "a");
    }

    #[test]
    fn no_server_is_an_error_of_its_own() {
        assert!(matches!(Config::with_servers("  "), Err(Error::NoServers)));
    }

    #[test]
    fn a_third_of_the_sources_may_lie_and_never_half() {
        let mut settings = Settings::default();
        assert_eq!([1, 2, 3, 4, 6, 7].map(|n| settings.faults(n)), [0, 0, 0, 1, 1, 2]);
        settings.fault_limit = Some(9);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|n| settings.faults(n)), [0, 0, 0, 1, 1, 2]);
    }

    #[test]
    fn what_is_refused_is_called_as_in_the_header_or_in_words() {
        let mut config = Config::new();
        let told = |refused: Result<&mut Config, Error>| refused.unwrap_err().to_string();
        assert_eq!(told(config.set_poll_exponents(5, 4)), "`min_exponent` is 5, above `max_exponent`, 4");
        assert!(told(config.set_poll_exponents(4, 18)).starts_with("`max_exponent` is 18;"));
        assert!(told(config.set_step_threshold(Duration::MAX)).starts_with("`step threshold` is"));
        assert!(told(config.set_bound_cap(Duration::ZERO)).starts_with("`bound cap` is 0ns"));
        let none = ServerOptions { key: Some(0), ..ServerOptions::default() };
        assert!(told(config.add_servers_with("a", none)).starts_with("`key id` is 0"));
        assert_eq!(told(config.set_state_file("/")), "`path` of the state file is `/`, which names no file");
        assert_eq!(told(config.set_shared_page("..")), "`path` of the shared page is `..`, which names no file");
        assert_eq!(told(config.set_recording("")), "`path` of the recording is ``, which names no file");
    }

    #[test]
    fn a_path_with_a_nul_in_it_is_refused_by_every_setter() {
        let (mut config, path) = (Config::new(), "/tmp/a\0b");
        let told = |refused: Result<&mut Config, Error>| refused.unwrap_err().to_string();
        let why = "is \"/tmp/a\\0b\", with a NUL character in it";
        assert_eq!(told(config.set_recording(path)), format!("`path` of the recording {why}"));
        assert_eq!(told(config.set_state_file(path)), format!("`path` of the state file {why}"));
        assert_eq!(told(config.set_shared_page(path)), format!("`path` of the shared page {why}"));
        if cfg!(feature = "_nts") {
            assert_eq!(
                told(config.add_trusted_certificates(path)),
                format!("`path` of the trusted certificates {why}")
            );
        }
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let mut config = Config::new();
        assert!(config.set_poll_exponents(-1, 4).is_err());
        assert!(config.set_poll_exponents(4, 18).is_err());
        assert!(config.set_poll_exponents(5, 4).is_err());
        assert!(config.set_min_agreeing(0).is_err());
        assert!(config.set_bound_cap(Duration::ZERO).is_err());
        assert!(config.set_frequency_limit_ppm(f64::NAN).is_err());
        let knee = Duration::from_secs(1000);
        for (short, long) in [(-1.0, 15.0), (16.0, 15.0), (f64::NAN, 15.0), (1.0, f64::NAN), (1.0, 1001.0)] {
            assert!(config.set_drift_limit(short, knee, long).is_err(), "{short} {long}");
        }
        assert!(config.set_drift_limit(1.0, Duration::MAX, 2.0).is_err());
        assert!(config.set_drift_limit(0.0, knee, 0.0).is_ok());
        assert!(config.set_recording("").is_err() && config.set_state_file("/").is_err());
        assert!(config.set_shared_page("..").is_err());
    }

    #[test]
    fn growth_is_the_integral_of_the_drift_limit() {
        let drift = DriftLimit::default();
        // Rounding adds at most a nanosecond for each slope, and never takes one away.
        for (seconds, exact) in [(10, 20_000), (1100, 2_000_000 + 1_500_000), (-10, 20_000)] {
            let growth = drift.growth(Nanos::from_seconds(seconds)).0;
            assert!((exact..=exact + 2).contains(&growth), "{seconds} s: {growth}");
        }
    }
}
