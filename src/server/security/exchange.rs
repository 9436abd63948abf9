//! The thread that hands out keys: TLS 1.3 over TCP, one message each way (RFC 8915, section 4).
//!
//! Whoever comes has two seconds and some kilobytes for all of it. There are only so many places, and of these only so
//! many for one address, so that idle visitors keep nobody else out for long; while all are taken, or there is no
//! descriptor at all, new ones wait in the kernel's queue. The last descriptors are the host's: whoever comes by one of
//! these is hung up on, and counted as failed.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, ServerConnection};
use zeroize::Zeroizing;

use super::super::access::Access;
use super::secrets::Source;
use super::{Guard, OpenDoors, Wish, neighbourhood};
#[cfg(feature = "cli")]
use crate::engine::handshake::certificates::validity;
use crate::engine::handshake::{ALPN, EXPORTER_LABEL, cryptography};
use crate::error::Error;
use crate::nts::aead::Keys;
use crate::nts::cookie::Sealer;
use crate::nts::record::Direction;
use crate::nts::record::asked::{self, Refusal};
use crate::nts::{COOKIES_MAX, Cookie};
use crate::sys::thread::{Order, attempt};
use crate::sys::wake::Sleeper;
use crate::sys::{self, file, futex, host};
#[cfg(feature = "cli")]
use crate::units::{Nanos, UnixTime};

/// Longer files are none of a server's certificates, and none of a private key.
const CERTIFICATES_MAX: u64 = 1 << 20;
const KEY_MAX: u64 = 1 << 16;

/// So long before a certificate expires somebody should know.
#[cfg(feature = "cli")]
const SOON: Nanos = Nanos::from_seconds(7 * 86_400);

/// All that a visitor may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes that a visitor may send, TLS and all: a record of TLS, the longest there is, and what comes before it.
const BYTES_MAX: usize = 24 * 1024;

/// Bytes that are still taken once all is said: if some were left when we close, the visitor's system would drop what
/// it has of ours.
const PARTING_MAX: usize = 64 * 1024;

/// Visitors at a time, and of one address.
const PLACES: usize = 128;
const PLACES_EACH: usize = 32;

/// Newcomers at one door that are looked at before those that are here go on: who is refused takes no place.
const TURN: usize = 64;

/// How long nobody is let in when the system could not.
const PAUSE: Duration = Duration::from_millis(100);

/// How often the keys for cookies are looked after.
const ROUND: Duration = Duration::from_secs(1);

/// What has come of key exchanges.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) granted: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Files of cookie keys that were of no use.
    pub(crate) key_faults: AtomicU64,
}

fn named(what: &str, path: &Path) -> String {
    format!("reading {what} from {}", path.display())
}

/// The server's own certificate and those that vouch for it.
fn certificates(wish: &Wish) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = file::read_trusted(&wish.certificate, host::effective_user(), CERTIFICATES_MAX)
        .map_err(|distrust| Error::io(named("certificates", &wish.certificate), distrust.into()))?;
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| {
            Error::argument("certificate", format!("`{}` is damaged: {error}", wish.certificate.display()))
        })?;
    if chain.is_empty() {
        let why = format!("`{}` holds no certificate in PEM", wish.certificate.display());
        return Err(Error::argument("certificate", why));
    }
    Ok(chain)
}

/// What clients will soon have against the certificates, or have already, if it is `now`.
#[cfg(feature = "cli")]
pub(super) fn caution(wish: &Wish, now: UnixTime) -> Result<Option<String>, Error> {
    let chain = certificates(wish)?;
    let found = chain.iter().filter_map(validity).filter_map(|(from, until)| {
        // Who renews early enough is not to be bothered, however short-lived the certificate is.
        let soon = Nanos((until - from).0 / 4).min(SOON);
        let (rank, what) = match now {
            now if now > until => (0, "has expired"),
            now if now < from => (1, "is not valid yet"),
            now if until - now < soon => (2, "expires soon"),
            _ => return None,
        };
        let path = wish.certificate.display();
        Some((rank, format!("a certificate in {path} {what}: it is valid from {from} until {until}")))
    });
    // The worst of them.
    Ok(found.min_by_key(|(rank, _)| *rank).map(|(_, sentence)| sentence))
}

/// TLS as we want it.
pub(super) fn configuration(wish: &Wish) -> Result<Arc<ServerConfig>, Error> {
    let chain = certificates(wish)?;
    let text = file::read_groups_secret(&wish.private_key, host::effective_user(), KEY_MAX)
        .map_err(|distrust| Error::io(named("a private key", &wish.private_key), distrust.into()))?;
    let no_key = |why: String| Error::argument("private_key", format!("`{}` {why}", wish.private_key.display()));
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| no_key("holds no private key in PEM".to_owned()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(cryptography()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Error::argument("certificate", error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| no_key(format!("does not serve: {error}")))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Every exchange is a new one, and nothing is kept.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// The thread's own.
pub(crate) struct Desk {
    listeners: Vec<(TcpListener, Option<u16>)>,
    tls: Arc<ServerConfig>,
    source: Source,
    guard: Guard,
    told: Arc<Told>,
    visitors: Vec<Visitor>,
    /// Nobody is let in before.
    opens: Instant,
    looked: Instant,
}

impl Desk {
    pub(crate) fn new(doors: OpenDoors, told: Arc<Told>) -> Self {
        let (guard, now) = (doors.guard(), Instant::now());
        let OpenDoors { listeners, tls, source, .. } = doors;
        Self { listeners, tls, source, guard, told, visitors: Vec::new(), opens: now, looked: now }
    }

    /// Serves whom `access` lets in until told to stop.
    pub(crate) fn serve(&mut self, access: &Access, order: &Order) {
        while !order.is_over() {
            // A bug is the end of one turn and not of the thread; one that every turn finds shall not take a processor.
            if attempt(|| self.take_a_turn(access, order)).is_none() {
                self.told.failed.fetch_add(1, Relaxed);
                futex::pause(PAUSE);
            }
        }
    }

    /// Waits for something to do, and does it.
    fn take_a_turn(&mut self, access: &Access, order: &Order) {
        let now = Instant::now();
        let is_open = self.visitors.len() < PLACES && self.opens <= now;
        let doors = self.listeners.iter().filter(|_| is_open).map(|(listener, _)| (listener.as_raw_fd(), false));
        let visitors = self.visitors.iter().map(|visitor| (visitor.stream.as_raw_fd(), visitor.tls.wants_write()));
        let mut sleeper =
            Sleeper::for_either([(order.waker.as_raw_fd(), false)].into_iter().chain(doors).chain(visitors));
        let until =
            self.visitors.iter().map(|visitor| visitor.deadline).chain((self.opens > now).then_some(self.opens));
        let nap = until.map(|until| until.saturating_duration_since(now)).fold(ROUND, Duration::min);
        if sleeper.wait(Some(nap)).is_err() {
            // Out of memory in the kernel: do not turn in circles at full speed meanwhile.
            futex::pause(PAUSE);
        }
        self.advance();
        if is_open {
            self.let_in(access);
        }
        self.look_after_keys();
    }

    fn look_after_keys(&mut self) {
        let now = Instant::now();
        if now.saturating_duration_since(self.looked) < ROUND {
            return;
        }
        self.looked = now;
        #[cfg(test)]
        tests::stumble(tests::Stone::Keys);
        if self.source.renew(&self.guard.vault, now).is_err() {
            self.told.key_faults.fetch_add(1, Relaxed);
        }
        self.guard.renew();
    }

    /// Goes on with everybody who is there.
    fn advance(&mut self) {
        let now = Instant::now();
        let Self { visitors, guard, told, .. } = self;
        visitors.retain_mut(|visitor| {
            // A bug that one of them finds is not the others' end.
            let going = attempt(|| visitor.advance(guard));
            let over = visitor.deadline <= now || !matches!(going, Some(Ok(true)));
            if over {
                let count = if visitor.is_served { &told.granted } else { &told.failed };
                count.fetch_add(1, Relaxed);
            }
            !over
        });
    }

    fn let_in(&mut self, access: &Access) {
        for (listener, port) in &self.listeners {
            for _ in 0..TURN {
                if self.visitors.len() >= PLACES {
                    return;
                }
                match listener.accept() {
                    Ok((stream, from)) => {
                        #[cfg(test)]
                        tests::stumble(tests::Stone::Door);
                        let spared = sys::beside_standard(stream).ok().filter(|stream| !sys::is_among_the_last(stream));
                        let Some(stream) = spared else {
                            self.told.failed.fetch_add(1, Relaxed);
                            self.opens = Instant::now() + PAUSE;
                            return;
                        };
                        let near = neighbourhood(from.ip());
                        let neighbours = self.visitors.iter().filter(|visitor| visitor.near == near).count();
                        let is_welcome = access.allows(from.ip()) && neighbours < PLACES_EACH;
                        match is_welcome.then(|| Visitor::new(stream, near, *port, &self.tls)).flatten() {
                            Some(visitor) => self.visitors.push(visitor),
                            None => _ = self.told.failed.fetch_add(1, Relaxed),
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // The visitor has gone, or the system has no descriptor or memory to spare. The former may be said
                    // as often as somebody likes to.
                    Err(_) => {
                        self.opens = Instant::now() + PAUSE;
                        return;
                    }
                }
            }
        }
    }
}

/// Somebody who wants keys.
struct Visitor {
    stream: TcpStream,
    tls: ServerConnection,
    /// Beside whom its place is.
    near: IpAddr,
    /// Of the NTP server, if that is to be said.
    port: Option<u16>,
    deadline: Instant,
    /// Bytes that may still come.
    left: usize,
    message: Zeroizing<Vec<u8>>,
    stage: Stage,
    is_served: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The request is not here as a whole.
    Listening,
    /// All is said, and some of it still to be sent.
    Telling,
    /// All is sent. To close now might take away what is under way.
    Parting,
}

impl Visitor {
    fn new(stream: TcpStream, near: IpAddr, port: Option<u16>, tls: &Arc<ServerConfig>) -> Option<Self> {
        stream.set_nonblocking(true).ok()?;
        let _ = stream.set_nodelay(true);
        Some(Self {
            tls: ServerConnection::new(Arc::clone(tls)).ok()?,
            stream,
            near,
            port,
            deadline: Instant::now() + PATIENCE,
            left: BYTES_MAX,
            message: Zeroizing::new(Vec::new()),
            stage: Stage::Listening,
            is_served: false,
        })
    }

    /// Goes as far as it can without waiting: whether there is more to come.
    fn advance(&mut self, guard: &mut Guard) -> io::Result<bool> {
        match self.go_on(guard) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            done => done,
        }
    }

    fn go_on(&mut self, guard: &mut Guard) -> io::Result<bool> {
        #[cfg(test)]
        tests::stumble(tests::Stone::Visitor);
        loop {
            while self.tls.wants_write() {
                self.tls.write_tls(&mut self.stream)?;
            }
            match self.stage {
                Stage::Listening => {
                    let may_say_more = self.hear()?;
                    self.reply(guard)?;
                    // Who has said all may hang up its own end at once, and still listens.
                    if !may_say_more && self.stage == Stage::Listening {
                        return Ok(false);
                    }
                }
                Stage::Telling => {
                    self.stream.shutdown(Shutdown::Write)?;
                    self.stage = Stage::Parting;
                }
                Stage::Parting => {
                    let read = self.stream.read(&mut [0; 1024])?;
                    self.left = self.left.saturating_sub(read);
                    if read == 0 || self.left == 0 {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Takes in what has come; whether there can be more.
    fn hear(&mut self) -> io::Result<bool> {
        let mut incoming = (&self.stream).take(self.left as u64);
        let read = self.tls.read_tls(&mut incoming)?;
        self.left -= read.min(self.left);
        if let Err(error) = self.tls.process_new_packets() {
            // The visitor may learn why, if it still listens.
            let _ = self.tls.write_tls(&mut self.stream);
            return Err(io::Error::other(error));
        }
        let mut buffer = Zeroizing::new([0; 1024]);
        loop {
            match self.tls.reader().read(&mut *buffer) {
                // With a farewell, and without one.
                Ok(0) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                Ok(length) => self.message.extend(buffer.iter().take(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if self.message.len() > asked::REQUEST_MAX {
                break;
            }
        }
        Ok(read > 0)
    }

    /// Says what is to be said, once the request is here.
    fn reply(&mut self, guard: &mut Guard) -> io::Result<()> {
        let wish = match asked::parse(&self.message) {
            Ok(None) => return Ok(()),
            // Whoever does not say that it speaks this protocol is not answered in it.
            _ if self.tls.alpn_protocol() != Some(ALPN) => return Err(io::Error::other("it does not speak ntske/1")),
            Ok(Some(wish)) => Ok(wish),
            Err(refusal) => Err(refusal),
        };
        let response = wish.and_then(|wish| self.grant(wish, guard).ok_or(Refusal::Internal));
        self.is_served = response.is_ok();
        let response = Zeroizing::new(response.unwrap_or_else(Refusal::response));
        self.tls.writer().write_all(&response)?;
        self.tls.send_close_notify();
        (self.stage, self.left) = (Stage::Telling, PARTING_MAX);
        Ok(())
    }

    /// Keys and cookies; `None` only if the system or a bug of ours keeps them from being made.
    fn grant(&self, wish: asked::Wish, guard: &mut Guard) -> Option<Vec<u8>> {
        let key = |direction| {
            let key = Zeroizing::new(vec![0; wish.algorithm.key_length()]);
            self.tls.export_keying_material(key, EXPORTER_LABEL, Some(&wish.exporter_context(direction))).ok()
        };
        let (c2s, s2c) = (key(Direction::ClientToServer)?, key(Direction::ServerToClient)?);
        let keys = Keys::new(wish.algorithm, &c2s, &s2c)?.mirrored();
        let mut place = vec![0; Sealer::cookie_length(wish.algorithm)];
        let mut cookies = Vec::new();
        for _ in 0..COOKIES_MAX {
            guard.sealer.seal(&keys, &guard.nonces.next(), &mut place)?;
            cookies.push(Cookie::new(&place)?);
        }
        Some(wish.response(&cookies, self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Doors;
    use super::*;
    use crate::sys::thread::Worker;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
    use std::cell::Cell;
    use std::fs;
    use std::net::SocketAddr;

    /// What a test has put in the thread's way.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Stone {
        Visitor,
        Door,
        Keys,
    }

    thread_local! {
        static IN_THE_WAY: Cell<Option<Stone>> = const { Cell::new(None) };
    }

    /// Fails where this thread was told to, once.
    pub(super) fn stumble(stone: Stone) {
        if IN_THE_WAY.get() == Some(stone) {
            IN_THE_WAY.set(None);
            panic!("as was wished");
        }
    }

    /// The thread, with its bug; its certificate is all that is trusted.
    struct Exchange {
        _worker: Worker,
        address: SocketAddr,
        told: Arc<Told>,
        roots: Arc<RootCertStore>,
    }

    impl Exchange {
        fn with_a_bug(stone: Stone) -> Self {
            let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
            let place =
                |what: &str| std::env::temp_dir().join(format!("ntpclock-{}-{stone:?}-{what}", std::process::id()));
            let (certificate, key) = (place("certificate"), place("key"));
            fs::write(&certificate, made.cert.pem()).unwrap();
            fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            let wish = Wish { port: 0, ..Wish::new(certificate.clone(), key.clone()).unwrap() };
            let doors = Doors::bind(&wish, &["127.0.0.1:123".parse().unwrap()]).unwrap().open().unwrap();
            fs::remove_file(certificate).and_then(|()| fs::remove_file(key)).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(made.cert.der().clone()).unwrap();
            let (address, told) = (doors.addresses[0], Arc::<Told>::default());
            let shared = Arc::clone(&told);
            let worker = Worker::start_with_stack("test", crate::server::EXCHANGE_STACK, move |order| {
                IN_THE_WAY.set(Some(stone));
                let access = crate::server::config::ServerConfig::new().rules.compile();
                Desk::new(doors, shared).serve(&access, &order);
            });
            Self { _worker: worker.unwrap(), address, told, roots: Arc::new(roots) }
        }

        /// How many cookies somebody gets.
        fn visit(&self) -> io::Result<usize> {
            let mut config = ClientConfig::builder_with_provider(Arc::new(cryptography()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_root_certificates(Arc::clone(&self.roots))
                .with_no_client_auth();
            config.alpn_protocols = vec![ALPN.to_vec()];
            let tls = ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap();
            let stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            let mut stream = StreamOwned::new(tls, stream);
            // NTPv4, AES-SIV-CMAC-256, and the end.
            stream.write_all(&[0x80, 1, 0, 2, 0, 0, 0x80, 4, 0, 2, 0, 15, 0x80, 0, 0, 0])?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            let (mut rest, mut cookies) = (&answer[..], 0);
            while let [_, kind, high, low, more @ ..] = rest {
                cookies += usize::from(*kind == 5);
                rest = &more[usize::from(u16::from_be_bytes([*high, *low]))..];
            }
            Ok(cookies)
        }

        /// Granted, and failed.
        fn counted(&self, expected: (u64, u64)) {
            let begun = Instant::now();
            let counts = || (self.told.granted.load(Relaxed), self.told.failed.load(Relaxed));
            while counts() != expected {
                assert!(begun.elapsed() < Duration::from_secs(20), "{:?} instead of {expected:?}", counts());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn a_bug_that_one_visitor_finds_is_its_own_end_and_the_next_gets_eight_cookies() {
        for stone in [Stone::Visitor, Stone::Door] {
            let exchange = Exchange::with_a_bug(stone);
            assert!(exchange.visit().is_err(), "{stone:?}");
            exchange.counted((0, 1));
            assert_eq!(exchange.visit().unwrap(), 8, "{stone:?}");
            exchange.counted((1, 1));
        }
    }

    #[test]
    fn a_bug_in_the_care_for_the_keys_is_counted_and_the_next_visitor_gets_eight_cookies() {
        let exchange = Exchange::with_a_bug(Stone::Keys);
        exchange.counted((0, 1));
        assert_eq!(exchange.visit().unwrap(), 8);
        exchange.counted((1, 1));
    }
}
