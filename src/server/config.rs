//! What a server is told before it starts: parsed once into types.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::access::Rules;
use super::limit::Limit;
use super::security::Wish;
use crate::config::{NTP_PORT, file, path_of, split_port};
use crate::error::Error;
use crate::sys::listen;
use crate::units::Nanos;

/// The most addresses one server listens on.
pub(super) const LISTEN_MAX: usize = 64;

/// The most threads of one server.
const THREADS_MAX: usize = 64;

/// A root dispersion from here on is no synchronisation (RFC 5905, MAXDISP).
const DISPERSION_MAX: Duration = Duration::from_secs(16);

/// Where a server listens, whose time it serves, and to whom.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) local: Option<Local>,
    pub(super) rules: Rules,
    pub(super) limit: Limit,
    pub(super) threads: Option<usize>,
    pub(super) is_silent: bool,
    pub(super) security: Option<Wish>,
}

/// The system clock, served on its own authority.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local {
    pub(super) stratum: u8,
    pub(super) root_dispersion: Nanos,
}

impl ServerConfig {
    /// What one address is answered a second over time, and at once, unless set.
    pub(crate) const RATE_LIMIT: (i64, i64) = (16, 64);

    /// Listens nowhere yet; serves the clock it is started with to everybody, a thread for each processor, no address
    /// more than 16 times a second.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an address to listen on: `address`, `address:port`, `[v6]:port`. Without a port it is 123; port 0 picks a
    /// free one. An address of IPv4 that is mapped into IPv6 is that of IPv4. A link-local one names its interface,
    /// `[fe80::1%eth0]:123`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it is no literal address, one of multicast or broadcast, a link-local one that
    /// names no interface, one too many (64), or if what is sent there would come to
    /// another one, too: the same address with the same port, or all addresses (`0.0.0.0`, `[::]`) beside one of them.
    pub fn add_listen(&mut self, address: &str) -> Result<&mut Self, Error> {
        if self.listen.len() == LISTEN_MAX {
            return Err(Error::argument("address", format!("is one more than the {LISTEN_MAX} that are possible")));
        }
        let parsed = literal(address.trim()).ok_or_else(|| {
            let shown: String = address.chars().take(100).collect();
            let why = if shown.contains('%') { ", or is on an interface that this host has not" } else { "" };
            Error::argument("address", format!("is `{shown}`, which is no literal address{why}"))
        })?;
        // What is sent to many hosts is answered by none.
        let many = match parsed.ip() {
            IpAddr::V4(v4) if v4.is_broadcast() => Some("broadcast"),
            ip if ip.is_multicast() => Some("multicast"),
            _ => None,
        };
        if let Some(kind) = many {
            let why = format!("is {parsed}, a {kind} address: what is sent there is never answered");
            return Err(Error::argument("address", why));
        }
        if let SocketAddr::V6(v6) = parsed
            && v6.ip().is_unicast_link_local() != (v6.scope_id() != 0)
        {
            let why = match v6.scope_id() {
                0 => "which is on every link and names no interface: [fe80::1%eth0]:123 does",
                _ => "which names an interface; only a link-local address has to",
            };
            return Err(Error::argument("address", format!("is {parsed}, {why}")));
        }
        if let Some(other) = self.listen.iter().find(|other| is_shared(**other, parsed)) {
            let why = match *other == parsed {
                true => format!("is {parsed}, which is listened on already"),
                false => format!("is {parsed}, which cannot be listened on beside {other}: one is part of the other"),
            };
            return Err(Error::argument("address", why));
        }
        self.listen.push(parsed);
        Ok(self)
    }

    /// Serves the *system clock* as `stratum` with this root dispersion, without any upstream: for islands and
    /// demonstrations. The dispersion is the caller's claim.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] unless 1 ≤ `stratum` ≤ 15 and the dispersion is below 16 s.
    pub fn set_local(&mut self, stratum: i32, root_dispersion: Duration) -> Result<&mut Self, Error> {
        let allowed = u8::try_from(stratum).ok().filter(|stratum| (1..=15).contains(stratum));
        let stratum =
            allowed.ok_or_else(|| Error::argument("stratum", format!("is {stratum}; 1 to 15 is possible")))?;
        if root_dispersion >= DISPERSION_MAX {
            return Err(Error::argument("root dispersion", format!("is {root_dispersion:?}; it must be below 16 s")));
        }
        self.local = Some(Local { stratum, root_dispersion: Nanos::from_duration(root_dispersion) });
        Ok(self)
    }

    /// Answers clients of `prefix`: `address/length`, or one address. Where one prefix lies in another the longer one
    /// counts. Whoever is in none is answered, unless anything at all is allowed explicitly. Prefixes of IPv6 say nothing
    /// of clients of IPv4, nor do those of IPv4 of IPv6's; `::ffff:10.0.0.0/104` is one of IPv4.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it is no prefix, if it is denied already, or one too many (1024 in all).
    pub fn allow(&mut self, prefix: &str) -> Result<&mut Self, Error> {
        self.rules.add(prefix, true)?;
        Ok(self)
    }

    /// Ignores clients of `prefix`; see [`Self::allow`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it is no prefix, if it is allowed already, or one too many (1024 in all).
    pub fn deny(&mut self, prefix: &str) -> Result<&mut Self, Error> {
        self.rules.add(prefix, false)?;
        Ok(self)
    }

    /// Answers each address (of IPv6: each network of 64 bits) at most `per_second` times a second over time, and
    /// `burst` times at once; 16 and 64 unless set. Of what is beyond, a random quarter is answered all the same, so
    /// that nobody can silence us to somebody by asking in that name, and some are told to ask less (the kiss code
    /// `RATE`). `per_second` 0 answers everything. Unless set, this host's own loopback addresses are not limited.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] unless 0 ≤ `per_second` ≤ 1 000 000 and 1 ≤ `burst` ≤ 1 000 000.
    pub fn set_rate_limit(&mut self, per_second: i64, burst: i64) -> Result<&mut Self, Error> {
        self.limit = Limit::new(per_second, burst)?;
        Ok(self)
    }

    /// Serves with so many threads, each with a socket of its own for each address; unless set, with one for each
    /// processor that this process may use.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] unless 1 ≤ `threads` ≤ 64.
    pub fn set_threads(&mut self, threads: usize) -> Result<&mut Self, Error> {
        if !(1..=THREADS_MAX).contains(&threads) {
            return Err(Error::argument("threads", format!("is {threads}; 1 to {THREADS_MAX} is possible")));
        }
        self.threads = Some(threads);
        Ok(self)
    }

    /// Says nothing while the clock is not synchronised, instead of saying so.
    pub fn set_silent_unless_synchronized(&mut self, is_silent: bool) -> &mut Self {
        self.is_silent = is_silent;
        self
    }

    /// Serves Network Time Security (RFC 8915) beside plain NTP, to whoever asks for it: as the server whose
    /// certificates (PEM, its own first) and private key (PEM) are in these files. They are read when the server starts
    /// and never again: when they are renewed, a new server has to be started. Both must be ours or root's, and nobody
    /// else may write them; the key nobody beyond its group may read (mode 0640).
    ///
    /// Keys are exchanged over TLS at every address that is listened on, port 4460 unless set.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if a path names no file, [`Error::Unsupported`] in a build without NTS.
    pub fn set_nts(
        &mut self,
        certificate: impl AsRef<Path>,
        private_key: impl AsRef<Path>,
    ) -> Result<&mut Self, Error> {
        if !cfg!(feature = "_nts") {
            return Err(Error::Unsupported("Network Time Security"));
        }
        let files = (file("certificate", certificate.as_ref())?, file("private_key", private_key.as_ref())?);
        self.security = Wish::new(files.0, files.1);
        Ok(self)
    }

    /// Exchanges keys at this port; 0 picks a free one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if NTS is not served ([`set_nts`](Self::set_nts)).
    pub fn set_nts_port(&mut self, port: u16) -> Result<&mut Self, Error> {
        self.secure("port")?.port = port;
        Ok(self)
    }

    /// Seals cookies with the keys in the file at `path`, which several servers may share: so that each of them
    /// understands the clients of the others. Unless set, they are a server's own, made anew every day, and gone when
    /// it stops.
    ///
    /// A line has an id and `HEX:` with 64 digits; the newest key comes first, for others to know, the second seals,
    /// and all of them open. The file must be ours or root's, for nobody else to read or write (mode 0600); it is made,
    /// with a first key, if the server finds none when it starts, and read again when it changes. Nothing renews its
    /// keys but `ntpclock cookie-keys FILE`: have that done once a day.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if NTS is not served ([`set_nts`](Self::set_nts)), or `path` names no file.
    pub fn set_nts_cookie_keys(&mut self, path: impl AsRef<Path>) -> Result<&mut Self, Error> {
        let path = path_of("cookie keys", path.as_ref())?;
        self.secure("path")?.cookie_keys = Some(path);
        Ok(self)
    }

    fn secure(&mut self, name: &'static str) -> Result<&mut Wish, Error> {
        self.security.as_mut().ok_or_else(|| Error::argument(name, "makes no sense without a certificate for NTS"))
    }

    /// Reads the files that are read before root is given up, and says what is wrong with them; what somebody should
    /// know of them, where they serve.
    #[cfg(feature = "cli")]
    pub(crate) fn check_files(&self) -> Result<Option<String>, Error> {
        self.security.as_ref().map_or(Ok(None), Wish::check)
    }

    /// The same of those that are read afterwards.
    #[cfg(feature = "cli")]
    pub(crate) fn check_later_files(&self) -> Result<(), Error> {
        self.security.as_ref().map_or(Ok(()), Wish::check_cookie_keys)
    }

    /// How many threads are to serve.
    pub(super) fn thread_count(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or_else(processors).clamp(1, THREADS_MAX)
    }
}

/// Whether one datagram may be for both, so that the system lets only one of them be bound. Where there is IPv4 at a
/// port, `[::]` is IPv6 alone ([`Listeners`](super::Listeners)).
fn is_shared(one: SocketAddr, other: SocketAddr) -> bool {
    let is_everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    let same_port = one.port() == other.port() && one.port() != 0;
    one == other && same_port || is_everywhere && same_port && one.is_ipv4() == other.is_ipv4()
}

/// `address`, `address:port` or `[v6]:port`; without a port it is NTP's.
fn literal(text: &str) -> Option<SocketAddr> {
    // The zone of a link-local address is only understood in the form with a port.
    if let Some(address) = text.parse::<SocketAddr>().ok().or_else(|| numbered(text)?.parse().ok()) {
        // One of IPv4 that is mapped is the same socket's as without.
        let is_mapped = address.is_ipv6() && address.ip().to_canonical().is_ipv4();
        return Some(if is_mapped { SocketAddr::new(address.ip().to_canonical(), address.port()) } else { address });
    }
    match split_port(text) {
        Ok((host, None)) => host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip.to_canonical(), NTP_PORT)),
        _ => None,
    }
}

/// `text` with its interface's number in place of the name, which only the system knows.
fn numbered(text: &str) -> Option<String> {
    let (address, rest) = text.split_once('%')?;
    let (name, port) = rest.split_once(']')?;
    Some(format!("{address}%{}]{port}", listen::interface(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_literal_and_have_a_default_port() {
        let mut config = ServerConfig::new();
        for address in ["127.0.0.1", "127.0.0.1:0", "::1", "[::2]", "[::1]:5"] {
            config.add_listen(address).unwrap();
        }
        assert_eq!(config.listen.iter().map(SocketAddr::port).collect::<Vec<_>>(), [123, 0, 123, 123, 5]);
        let wrong = ["", "localhost", "127.0.0.1:", "127.0.0.1:x", "300.1.1.1", "127.0.0.1:65536", "[", "[]"];
        let brackets = ["[::1", "::1]", "[[::1]]", "[127.0.0.1]", "[127.0.0.1]:1", "[::1]5", "[::1]:", "::1]:5"];
        for address in wrong.into_iter().chain(brackets) {
            assert!(config.add_listen(address).is_err(), "{address}");
        }
    }

    #[test]
    fn a_link_local_address_names_its_interface_by_name_or_number() {
        let mut config = ServerConfig::new();
        config.add_listen("[fe80::1%lo]:5").unwrap().add_listen("[fe80::2%1]:5").unwrap();
        assert_eq!(config.listen, ["[fe80::1%1]:5", "[fe80::2%1]:5"].map(|address| address.parse().unwrap()));
        let told = |address| ServerConfig::new().add_listen(address).unwrap_err().to_string();
        for address in ["fe80::1", "[fe80::1]:5", "[fe80::1%0]:5"] {
            assert!(told(address).contains("names no interface"), "{}", told(address));
        }
        assert!(told("[2001:db8::1%lo]:5").contains("only a link-local address"), "{}", told("[2001:db8::1%lo]:5"));
        assert!(told("[fe80::1%none-such]:5").contains("an interface that this host has not"));
        for address in ["[fe80::1%none-such]:5", "[fe80::1%]:5", "[fe80::1%lo]", "[fe80::1%lo:5", "127.0.0.1%lo:5"] {
            assert!(told(address).contains("no literal address"), "{}", told(address));
        }
    }

    #[test]
    fn an_address_that_is_part_of_another_is_refused_with_both_named() {
        for (first, second, refused) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::1]:1", "[::]:1", true),
            ("127.0.0.1", "127.0.0.1:123", true),
            ("127.0.0.1:1", "[::ffff:127.0.0.1]:1", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("[::ffff:0.0.0.0]:1", "127.0.0.1:1", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("0.0.0.0:1", "[::]:1", false),
            ("0.0.0.0:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
        ] {
            let mut config = ServerConfig::new();
            let told =
                config.add_listen(first).unwrap().add_listen(second).map(drop).map_err(|error| error.to_string());
            assert_eq!(told.is_err(), refused, "{first} {second}");
            let named = |listen| literal(listen).unwrap().to_string();
            assert!(told.is_ok() || told.is_err_and(|why| why.contains(&named(first)) && why.contains(&named(second))));
        }
    }

    #[test]
    fn an_address_of_many_hosts_is_refused_by_its_kind() {
        for (address, kind) in [
            ("224.0.0.1:0", "multicast"),
            ("[ff02::101]:123", "multicast"),
            ("[::ffff:239.1.1.1]:1", "multicast"),
            ("255.255.255.255:0", "broadcast"),
        ] {
            let told = ServerConfig::new().add_listen(address).unwrap_err().to_string();
            assert!(told.contains(&literal(address).unwrap().to_string()) && told.contains(kind), "{told}");
        }
    }

    #[cfg(feature = "_nts")]
    #[test]
    fn a_path_with_a_nul_in_it_is_refused_by_every_setter() {
        let (mut config, path) = (ServerConfig::new(), "/tmp/a\0b");
        let told = |refused: Result<&mut ServerConfig, Error>| refused.unwrap_err().to_string();
        let why = "is \"/tmp/a\\0b\", with a NUL character in it";
        assert_eq!(told(config.set_nts(path, "/tmp/key")), format!("`certificate` {why}"));
        assert_eq!(told(config.set_nts("/tmp/certificate", path)), format!("`private_key` {why}"));
        config.set_nts("/tmp/certificate", "/tmp/key").unwrap();
        assert_eq!(told(config.set_nts_cookie_keys(path)), format!("`path` of the cookie keys {why}"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut config = ServerConfig::new();
        assert!(config.set_local(0, Duration::ZERO).is_err());
        assert!(config.set_local(16, Duration::ZERO).is_err());
        assert!(config.set_local(1, Duration::from_secs(16)).is_err());
        assert!(config.set_threads(0).is_err() && config.set_threads(65).is_err());
        assert_eq!(config.set_threads(3).unwrap().thread_count(), 3);
        assert!(ServerConfig::new().thread_count() >= 1);
    }
}
