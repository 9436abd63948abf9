//! Requests and replies as bytes, after RFC 5905, figure 8: nothing of the library's own is used to judge it.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ntpclock::{Server, ServerConfig};

/// How long a reply may take, and how long silence is watched.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const SILENCE: Duration = Duration::from_millis(150);

/// A reply's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) length: usize,
    pub(crate) leap: u8,
    pub(crate) version: u8,
    pub(crate) mode: u8,
    pub(crate) stratum: u8,
    pub(crate) root_delay: u32,
    pub(crate) root_dispersion: u32,
    pub(crate) reference_id: [u8; 4],
    pub(crate) reference: u64,
    pub(crate) origin: u64,
    pub(crate) receive: u64,
    pub(crate) transmit: u64,
}

impl Reply {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        assert!(bytes.len() >= 48, "a reply of {} bytes", bytes.len());
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let time = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        Self {
            length: bytes.len(),
            leap: bytes[0] >> 6,
            version: bytes[0] >> 3 & 7,
            mode: bytes[0] & 7,
            stratum: bytes[1],
            root_delay: word(4),
            root_dispersion: word(8),
            reference_id: bytes[12..16].try_into().unwrap(),
            reference: time(16),
            origin: time(24),
            receive: time(32),
            transmit: time(40),
        }
    }
}

/// A request of this version and mode.
pub(crate) fn request(version: u8, mode: u8, transmit: u64) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[0] = version << 3 | mode;
    bytes[40..].copy_from_slice(&transmit.to_be_bytes());
    bytes
}

/// A client that hears `server` alone.
pub(crate) struct Client(pub(crate) UdpSocket);

impl Client {
    pub(crate) fn of(server: SocketAddr) -> Self {
        Self::at(if server.is_ipv4() { "127.0.0.1:0" } else { "[::]:0" }, server)
    }

    pub(crate) fn at(own: &str, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(own).unwrap();
        socket.connect(server).unwrap();
        Self(socket)
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.0.send(bytes).unwrap();
    }

    /// The next datagram within `patience`.
    pub(crate) fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        self.0.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 2048];
        let length = self.0.recv(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    }

    /// The reply to `bytes`, which comes.
    pub(crate) fn ask(&self, bytes: &[u8]) -> Reply {
        self.send(bytes);
        Reply::parse(&self.receive(PATIENCE).expect("a request is answered"))
    }

    /// Whether nothing comes in answer to `bytes`.
    pub(crate) fn is_ignored(&self, bytes: &[u8]) -> bool {
        self.send(bytes);
        self.receive(SILENCE).is_none()
    }
}

/// A server of this machine's clock, stratum 3, 2 ms.
pub(crate) fn local(listen: &str, wish: impl FnOnce(&mut ServerConfig)) -> Server {
    let mut config = ServerConfig::new();
    config.add_listen(listen).unwrap().set_local(3, Duration::from_millis(2)).unwrap();
    wish(&mut config);
    Server::start(None, &config).unwrap()
}

/// Random bits of a test's own.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        // Knuth's, the upper half.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0.rotate_left(32)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Waits for `holds`: what the threads of a server tell of themselves comes a little later.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
