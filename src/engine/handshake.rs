//! Key exchanges (RFC 8915, section 4): TCP, TLS 1.3, one message each way. For the helper thread, which goes on with
//! several at a time; but hosts that the user names are looked up, and then it blocks. Whatever the other side does,
//! one ends after [`Limits::whole`] and [`BYTES_MAX`], with however many addresses; and those that brought nothing come
//! last the next time.
//!
//! TLS is rustls with a provider of our own choosing, which is told to nobody else in the process. Certificates are
//! judged at the time that [`crate::nts::trust`] has found, and against the name that the user wrote, wherever the NTP
//! server turns out to be.

pub(crate) mod certificates;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
#[cfg(feature = "nts-aws-lc")]
use rustls::crypto::aws_lc_rs as chosen;
#[cfg(not(feature = "nts-aws-lc"))]
use rustls::crypto::ring as chosen;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use zeroize::Zeroizing;

use super::helper::{self, Answer, LOST, Pause, Task, Turn};
use super::inquiry::Inquiry;
use super::resolve::resolve;
use crate::config::NTP_PORT;
use crate::nts;
use crate::nts::aead::Keys;
use crate::nts::record::{self, Direction, Incoming, Response};
use crate::nts::session::{Grant, KeyFault};
use crate::nts::trust::{Basis, CertificateTime, Credential};
use crate::sys::socket;
use crate::sys::wake::Waker;
pub(crate) use certificates::Trust;
use certificates::{AtOurTime, Certificates, in_words};
use chosen::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};
use chosen::default_provider;
use chosen::kx_group::{SECP256R1, X25519};

pub(crate) const ALPN: &[u8] = b"ntske/1";
pub(crate) const EXPORTER_LABEL: &[u8] = b"EXPORTER-network-time-security";

/// Bytes in both directions, TLS and all: a chain of certificates takes some thousands, a response some hundreds. They
/// may all have to be kept for one message of TLS, for which rustls has 32 KiB, and above 28 KiB twice as much.
const BYTES_MAX: usize = 28 * 1024;

/// How long a key exchange may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// To find out that nobody is at an address, if the addresses after it leave so much time; and for all the rest
    /// with one that is not the last.
    pub(crate) connect: Duration,
    /// All of it, however many addresses there are; a name's lookup aside.
    pub(crate) whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), whole: Duration::from_secs(6) }
    }
}

/// A key exchange to be made.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Addresses of the host that are not to be asked.
    pub(crate) taken: Vec<SocketAddr>,
    /// Addresses that others are preferred to, the longer ago given up the better.
    pub(crate) given_up: Vec<SocketAddr>,
    pub(crate) time: CertificateTime,
    pub(crate) trust: Arc<Trust>,
    pub(crate) limits: Limits,
}

/// What has come of it, and which addresses have brought no keys.
#[derive(Debug)]
pub(crate) struct Concluded {
    pub(crate) outcome: Result<Granted, KeyFault>,
    pub(crate) failed: Vec<SocketAddr>,
}

impl Concluded {
    fn without_an_attempt(fault: KeyFault) -> Self {
        Self { outcome: Err(fault), failed: Vec::new() }
    }
}

/// The keys.
#[derive(Debug)]
pub(crate) struct Granted {
    /// Who gave the keys, and how many there are of them.
    pub(crate) exchanger: SocketAddr,
    pub(crate) exchangers: usize,
    /// Where the NTP server is.
    pub(crate) server: SocketAddr,
    pub(crate) grant: Grant,
}

/// The cryptography, chosen when we were built: of the ciphers those that everybody has (RFC 8446, section 9.1), since
/// each takes its room.
pub(crate) fn cryptography() -> CryptoProvider {
    let cipher_suites = vec![TLS13_AES_256_GCM_SHA384, TLS13_AES_128_GCM_SHA256];
    CryptoProvider { cipher_suites, kx_groups: vec![X25519, SECP256R1], ..default_provider() }
}

/// A key exchange under way: with one address of the host after the other, until one gives keys or the time is over.
struct Exchange {
    order: Order,
    tls: Tls,
    addresses: VecDeque<SocketAddr>,
    /// How many the host has.
    found: usize,
    deadline: Instant,
    /// Bytes that it may still take.
    left: usize,
    stage: Stage,
    /// What the attempts so far have come to, and with whom.
    fault: KeyFault,
    failed: Vec<SocketAddr>,
    /// Is told the outcome.
    told: Option<Answer<Concluded>>,
}

/// Where it stands.
enum Stage {
    /// With no address at the moment.
    Between,
    Attempt(Box<Attempt>),
    /// There are keys, for a server that is being looked up.
    Naming(Box<Naming>),
}

/// Has `order` carried out by the helper thread. `told` learns what it has come to, and then `waker` is woken.
pub(crate) fn queue(order: Order, waker: &Arc<Waker>, told: impl FnOnce(Concluded) + Send + 'static) {
    let lost = || Concluded::without_an_attempt(KeyFault::Failed(LOST.to_owned()));
    let told = Answer::new(lost, told);
    let work = |able: Result<(), String>| match able {
        Ok(()) => begin(order, told),
        Err(why) => {
            told.give(Concluded::without_an_attempt(KeyFault::Unreached(why)));
            None
        }
    };
    helper::queue(Turn::Later, waker, Box::new(work));
}

/// Begins a key exchange; looking up the host may take a while.
fn begin(order: Order, told: Answer<Concluded>) -> Option<Box<dyn Task>> {
    let prepared = resolve(&order.host, order.port)
        .map_err(|why| KeyFault::Unreached(format!("the host cannot be resolved: {why}")))
        .and_then(|found| Ok((found, Tls::new(&order)?)));
    let (found, tls) = match prepared {
        Ok(prepared) => prepared,
        Err(fault) => {
            told.give(Concluded::without_an_attempt(fault));
            return None;
        }
    };
    let mut addresses: Vec<SocketAddr> = found.iter().copied().filter(|found| !order.taken.contains(found)).collect();
    // Never tried before given up, and given up long ago before given up lately.
    addresses.sort_by_key(|address| order.given_up.iter().position(|other| other == address).map_or(0, |age| age + 1));
    let deadline = Instant::now() + order.limits.whole;
    Some(Box::new(Exchange {
        order,
        tls,
        addresses: addresses.into(),
        found: found.len(),
        deadline,
        left: BYTES_MAX,
        stage: Stage::Between,
        fault: KeyFault::Unreached("all addresses of the name are in use".to_owned()),
        failed: Vec::new(),
        told: Some(told),
    }))
}

impl Task for Exchange {
    fn advance(&mut self) -> Option<Pause> {
        loop {
            match &mut self.stage {
                Stage::Between => match self.addresses.pop_front().filter(|_| Instant::now() < self.deadline) {
                    Some(address) => self.attempt(address),
                    None => return self.end(Err(self.fault.clone())),
                },
                Stage::Attempt(attempt) => match attempt.advance() {
                    Ok(Progress::Pause(pause)) => return Some(pause),
                    Ok(Progress::Response(response)) => {
                        match attempt.conclude(response, &self.tls, self.order.time.basis) {
                            Ok(naming) => {
                                self.left = attempt.stream.left;
                                self.stage = Stage::Naming(Box::new(naming));
                            }
                            Err(why) => {
                                let (address, fault) = (attempt.address, attempt.failed(&why));
                                self.note(address, fault);
                            }
                        }
                    }
                    Err(fault) => {
                        let address = attempt.address;
                        self.note(address, fault);
                    }
                },
                Stage::Naming(naming) => match naming.server() {
                    Ok(None) => return Some(naming.pause()),
                    Ok(Some(server)) => return self.grant(server),
                    Err(why) => {
                        let address = naming.exchanger;
                        self.note(address, failed(address, &why));
                    }
                },
            }
        }
    }
}

impl Exchange {
    /// Goes on to `address`. Whoever is silent there, or slow, leaves those after it their share of the time.
    fn attempt(&mut self, address: SocketAddr) {
        let now = Instant::now();
        let others = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
        let share = self.deadline.saturating_duration_since(now) / others.saturating_add(1);
        let connected_by = now + share.min(self.order.limits.connect);
        let deadline =
            if others == 0 { self.deadline } else { self.deadline.min(connected_by + self.order.limits.connect) };
        match Attempt::begin(address, &self.tls, connected_by, deadline, self.left) {
            Ok(attempt) => self.stage = Stage::Attempt(Box::new(attempt)),
            Err(fault) => self.note(address, fault),
        }
    }

    /// An attempt came to nothing. That a server refused says more than that nobody was there.
    fn note(&mut self, address: SocketAddr, fault: KeyFault) {
        if let Stage::Attempt(attempt) = &self.stage {
            self.left = attempt.stream.left;
        }
        self.stage = Stage::Between;
        self.failed.push(address);
        if matches!(fault, KeyFault::Failed(_)) || matches!(self.fault, KeyFault::Unreached(_)) {
            self.fault = fault;
        }
    }

    fn grant(&mut self, server: SocketAddr) -> Option<Pause> {
        let Stage::Naming(naming) = std::mem::replace(&mut self.stage, Stage::Between) else { return None };
        let Naming { exchanger, grant, .. } = *naming;
        self.end(Ok(Granted { exchanger, exchangers: self.found, server, grant }))
    }

    fn end(&mut self, outcome: Result<Granted, KeyFault>) -> Option<Pause> {
        self.stage = Stage::Between;
        if let Some(told) = self.told.take() {
            told.give(Concluded { outcome, failed: std::mem::take(&mut self.failed) });
        }
        None
    }
}

/// Keys, and where the NTP server is that they are for.
struct Naming {
    exchanger: SocketAddr,
    grant: Grant,
    place: Place,
    deadline: Instant,
}

/// As the server has told.
enum Place {
    At(SocketAddr),
    /// A name of its choice.
    Named(String, Inquiry),
}

impl Naming {
    /// Where the NTP server is, if that is known by now.
    fn server(&self) -> Result<Option<SocketAddr>, String> {
        let (name, inquiry) = match &self.place {
            Place::At(server) => return Ok(Some(*server)),
            Place::Named(name, inquiry) => (name, inquiry),
        };
        let unknown = |why: &str| format!("the server `{name}` it names cannot be resolved: {why}");
        match inquiry.answer() {
            Some(Ok(found)) => choose(name, &found, self.exchanger).map(Some),
            Some(Err(why)) => Err(unknown(&why)),
            None if Instant::now() >= self.deadline => Err(unknown("it takes too long")),
            None => Ok(None),
        }
    }

    fn pause(&self) -> Pause {
        let descriptor = match &self.place {
            Place::Named(_, inquiry) => inquiry.as_raw_fd(),
            // Never waited for; and nothing to wait for.
            Place::At(_) => -1,
        };
        Pause { descriptor, writable: false, until: self.deadline }
    }
}

/// The best of the addresses `found` for `name`.
fn choose(name: &str, found: &[SocketAddr], exchanger: SocketAddr) -> Result<SocketAddr, String> {
    let usable = || found.iter().filter(|found| nts::may_serve(found.ip(), exchanger.ip()));
    // Where the exchange has got through, the family of addresses works.
    let alike = usable().find(|found| found.is_ipv4() == exchanger.is_ipv4());
    alike
        .or_else(|| usable().next())
        .copied()
        .ok_or_else(|| format!("the server `{name}` it names is out of the question"))
}

/// Where the NTP server is that `response` means.
fn place(response: &Response, exchanger: SocketAddr) -> Result<Place, String> {
    let port = response.port.unwrap_or(NTP_PORT);
    let Some(name) = &response.server else {
        return Ok(Place::At(SocketAddr::new(exchanger.ip(), port)));
    };
    if let Ok(literal) = name.parse::<IpAddr>() {
        return choose(name, &[SocketAddr::new(literal, port)], exchanger).map(Place::At);
    }
    let inquiry = Inquiry::begin(name, port);
    inquiry
        .map(|inquiry| Place::Named(name.clone(), inquiry))
        .map_err(|why| format!("the server `{name}` it names cannot be resolved: {why}"))
}

/// An exchange with one address.
struct Attempt {
    address: SocketAddr,
    stream: Limited,
    client: ClientConnection,
    /// Until when somebody must be there; `None`: somebody is.
    connected_by: Option<Instant>,
    deadline: Instant,
    /// The server's, as far as it has come.
    message: Incoming,
}

/// How far an attempt has come.
enum Progress {
    Pause(Pause),
    Response(Response),
}

impl Attempt {
    fn begin(
        address: SocketAddr,
        tls: &Tls,
        connected_by: Instant,
        deadline: Instant,
        left: usize,
    ) -> Result<Self, KeyFault> {
        let socket = socket::connecting(address).map_err(|error| unreached(address, &error))?;
        let client = tls.client().map_err(|why| failed(address, &why))?;
        let stream = Limited { socket, left };
        Ok(Self { address, stream, client, connected_by: Some(connected_by), deadline, message: Incoming::default() })
    }

    fn failed(&self, why: &str) -> KeyFault {
        failed(self.address, why)
    }

    fn pause(&self, writable: bool) -> Progress {
        let until = self.connected_by.unwrap_or(self.deadline);
        Progress::Pause(Pause { descriptor: self.stream.socket.as_raw_fd(), writable, until })
    }

    fn advance(&mut self) -> Result<Progress, KeyFault> {
        if let Some(by) = self.connected_by {
            let socket = &self.stream.socket;
            match (socket.take_error(), socket.peer_addr()) {
                (Ok(None), Ok(_)) => self.connected_by = None,
                (Ok(Some(error)) | Err(error), _) => return Err(unreached(self.address, &error)),
                (Ok(None), Err(_)) if Instant::now() >= by => {
                    return Err(unreached(self.address, &io::ErrorKind::TimedOut.into()));
                }
                (Ok(None), Err(_)) => return Ok(self.pause(true)),
            }
        }
        self.converse().map_err(|error| self.failed(&told(&error)))
    }

    /// Carries bytes to and fro.
    fn converse(&mut self) -> io::Result<Progress> {
        loop {
            // Asked first, so that who sends and sends cannot keep us here.
            let late = Instant::now() >= self.deadline;
            match self.carry() {
                Ok(Some(response)) => return Ok(Progress::Response(response)),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ if late => return Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long")),
                Ok(None) => {}
                Err(_) => return Ok(self.pause(self.client.wants_write())),
            }
        }
    }

    /// Writes what is to be written, and reads once; `WouldBlock` if the socket is not ready.
    fn carry(&mut self) -> io::Result<Option<Response>> {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.stream)?;
        }
        let ended = self.client.read_tls(&mut self.stream)? == 0;
        if let Err(error) = self.client.process_new_packets() {
            // The other side may learn why, if it still listens.
            let _ = self.client.write_tls(&mut self.stream);
            return Err(io::Error::other(error));
        }
        let mut buffer = [0; 2048];
        loop {
            let come = match self.client.reader().read(&mut buffer) {
                Ok(length @ 1..) => buffer.get(..length).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !ended => return Ok(None),
                _ => return Err(io::Error::other("the message ends too early")),
            };
            if let Some(response) = self.message.take(come).map_err(|fault| io::Error::other(fault.to_string()))? {
                return Ok(Some(response));
            }
        }
    }

    /// What follows from the server's response.
    fn conclude(&mut self, response: Response, tls: &Tls, basis: Basis) -> Result<Naming, String> {
        let client = &mut self.client;
        // After the handshake, of which the response is the proof.
        if client.alpn_protocol() != Some(ALPN) {
            return Err("the server does not speak ntske/1".to_owned());
        }
        let key = |direction| {
            let context = response.exporter_context(direction);
            let key = Zeroizing::new(vec![0; response.algorithm.key_length()]);
            client.export_keying_material(key, EXPORTER_LABEL, Some(&context)).map_err(|error| error.to_string())
        };
        let (c2s, s2c) = (key(Direction::ClientToServer)?, key(Direction::ServerToClient)?);
        let keys = Keys::new(response.algorithm, &c2s, &s2c).ok_or("the keys have the wrong length")?;
        let certificates = client.peer_certificates().ok_or("the server has shown no certificate")?;
        let chain = Arc::new(Certificates {
            verifier: Arc::clone(&tls.verifier),
            name: tls.name.clone(),
            chain: certificates.iter().map(|certificate| certificate.clone().into_owned()).collect(),
        });
        client.send_close_notify();
        // It would only be polite.
        let _ = client.write_tls(&mut self.stream);
        let (exchanger, place) = (self.address, place(&response, self.address)?);
        let grant = Grant { keys, cookies: response.cookies, credential: Credential { chain, basis } };
        Ok(Naming { exchanger, grant, place, deadline: self.deadline })
    }
}

fn failed(address: SocketAddr, why: &str) -> KeyFault {
    KeyFault::Failed(format!("key exchange with {address}: {why}"))
}

fn unreached(address: SocketAddr, error: &io::Error) -> KeyFault {
    KeyFault::Unreached(format!("key exchange with {address}: {error}"))
}

/// TLS as we want it.
struct Tls {
    config: Arc<ClientConfig>,
    verifier: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl Tls {
    fn new(order: &Order) -> Result<Self, KeyFault> {
        let failed = |why: String| KeyFault::Failed(why);
        // The zone of a link-local address is no part of the name, nor is the dot that says where a name ends.
        let host = order.host.split('%').next().unwrap_or_default().trim_end_matches('.');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| failed(format!("`{host}` cannot be the name in a certificate")))?;
        let provider = Arc::new(cryptography());
        let roots = Arc::new(order.trust.roots()?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let at_our_time = AtOurTime { verifier: Arc::clone(&verifier), time: order.time };
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(at_our_time.clone()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| failed(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(at_our_time))
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Every exchange is a new one, and nobody can tell from it that we were here before.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), verifier, name })
    }

    /// A client that has its request ready.
    fn client(&self) -> Result<ClientConnection, String> {
        let mut client =
            ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(|error| error.to_string())?;
        client.writer().write_all(&record::request()).map_err(|error| error.to_string())?;
        Ok(client)
    }
}

/// What an error says, without what TLS says about it.
fn told(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::General(why)) => why.clone(),
        Some(inner) => in_words(inner),
        None => error.to_string(),
    }
}

/// A connection that carries so many bytes, both ways together.
struct Limited {
    socket: TcpStream,
    left: usize,
}

impl Limited {
    /// Moves at most what is left.
    fn carry(
        &mut self,
        wanted: usize,
        carry: impl FnOnce(&TcpStream, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other(format!("it takes more than {BYTES_MAX} bytes")));
        }
        let carried = carry(&self.socket, wanted.min(self.left))?;
        self.left -= carried.min(self.left);
        Ok(carried)
    }
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.carry(buffer.len(), |mut socket, most| socket.read(buffer.get_mut(..most).unwrap_or_default()))
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.carry(bytes.len(), |mut socket, most| socket.write(bytes.get(..most).unwrap_or_default()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
