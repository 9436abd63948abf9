//! A client that can do wrong: key exchange, requests and replies, byte by byte; nothing of the library's own is used
//! to judge a server by.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes128GcmSiv, KeyInit};
use aes_siv::siv::{Aes128Siv, Aes256Siv};
// As in the library itself.
#[cfg(feature = "nts-aws-lc")]
pub(crate) use rustls::crypto::aws_lc_rs as ciphers;
#[cfg(not(feature = "nts-aws-lc"))]
pub(crate) use rustls::crypto::ring as ciphers;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// How long a server may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How long silence is watched.
pub(crate) const SILENCE: Duration = Duration::from_millis(200);

pub(crate) const UNIQUE: u16 = 0x0104;
pub(crate) const COOKIE: u16 = 0x0204;
pub(crate) const PLACEHOLDER: u16 = 0x0304;
pub(crate) const AUTHENTICATOR: u16 = 0x0404;

/// A TLS connection to `exchanger`, at 127.0.0.1 by its certificate.
pub(crate) fn connect(
    exchanger: SocketAddr,
    authority: &Path,
    alpn: &[u8],
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).expect("it was written there")).expect("a certificate");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ciphers::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring knows TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = if alpn.is_empty() { Vec::new() } else { vec![alpn.to_vec()] };
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let tls = ClientConnection::new(Arc::new(config), name).expect("the configuration is sound");
    let stream = TcpStream::connect(exchanger).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time can be set");
    StreamOwned::new(tls, stream)
}

pub(crate) fn record(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), body].concat()
}

/// What the server says to `message`: its records, critical bits and all. Empty if it says nothing.
pub(crate) fn exchange(exchanger: SocketAddr, authority: &Path, message: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut stream = connect(exchanger, authority, b"ntske/1");
    let _ = stream.write_all(message).and_then(|()| stream.flush());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    records(&answer)
}

fn records(mut rest: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut records = Vec::new();
    while rest.len() >= 4 {
        let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        records.push((u16::from_be_bytes([rest[0], rest[1]]), rest[4..4 + length].to_vec()));
        rest = &rest[4 + length..];
    }
    records
}

/// The keys of a session, and the cookies that came with them.
pub(crate) struct Session {
    algorithm: u16,
    c2s: Vec<u8>,
    s2c: Vec<u8>,
    pub(crate) cookies: Vec<Vec<u8>>,
    pub(crate) port: u16,
}

impl Session {
    /// Keys for one cipher.
    pub(crate) fn begin(exchanger: SocketAddr, authority: &Path, algorithm: u16) -> Self {
        let mut stream = connect(exchanger, authority, b"ntske/1");
        let message =
            [record(0x8001, &[0, 0]), record(0x8004, &algorithm.to_be_bytes()), record(1024, &[]), record(0x8000, &[])];
        stream.write_all(&message.concat()).and_then(|()| stream.flush()).expect("the server listens");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the server says goodbye");
        let records = records(&answer);
        let body = |kind| records.iter().find(|(found, _)| *found == kind).map(|(_, body)| body.clone());
        assert_eq!(body(0x8004), Some(algorithm.to_be_bytes().to_vec()), "{records:?}");
        let key = |direction| {
            let length = match algorithm {
                15 => 32,
                17 => 64,
                _ => 16,
            };
            let context = [0, 0, 0, algorithm as u8, direction];
            let label = b"EXPORTER-network-time-security";
            stream.conn.export_keying_material(vec![0; length], label, Some(&context)).expect("TLS is up")
        };
        let cookies = records.iter().filter(|(kind, _)| *kind == 5).map(|(_, body)| body.clone()).collect();
        let port = body(0x8007).map_or(123, |port| u16::from_be_bytes([port[0], port[1]]));
        Self { algorithm, c2s: key(0), s2c: key(1), cookies, port }
    }

    fn nonce_length(&self) -> usize {
        if self.algorithm == 30 { 12 } else { 16 }
    }

    fn seal(&self, nonce: &[u8], associated: &[u8], text: &[u8]) -> Vec<u8> {
        match self.algorithm {
            15 => Aes128Siv::new_from_slice(&self.c2s).expect("a key").encrypt([associated, nonce], text),
            17 => Aes256Siv::new_from_slice(&self.c2s).expect("a key").encrypt([associated, nonce], text),
            _ => {
                let nonce: [u8; 12] = nonce.try_into().expect("a nonce");
                let payload = Payload { msg: text, aad: associated };
                Aes128GcmSiv::new_from_slice(&self.c2s).expect("a key").encrypt(&nonce.into(), payload)
            }
        }
        .expect("it can be sealed")
    }

    fn open(&self, nonce: &[u8], associated: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        match self.algorithm {
            15 => Aes128Siv::new_from_slice(&self.s2c).expect("a key").decrypt([associated, nonce], sealed),
            17 => Aes256Siv::new_from_slice(&self.s2c).expect("a key").decrypt([associated, nonce], sealed),
            _ => {
                let nonce: [u8; 12] = nonce.try_into().ok()?;
                let payload = Payload { msg: sealed, aad: associated };
                Aes128GcmSiv::new_from_slice(&self.s2c).expect("a key").decrypt(&nonce.into(), payload)
            }
        }
        .ok()
    }

    /// Fields, and behind them the authenticator.
    pub(crate) fn request(&self, fields: &[Vec<u8>]) -> Vec<u8> {
        self.request_at(7, fields)
    }

    /// The same with this transmit timestamp.
    pub(crate) fn request_at(&self, transmit: u64, fields: &[Vec<u8>]) -> Vec<u8> {
        let mut datagram = header();
        datagram[40..].copy_from_slice(&transmit.to_be_bytes());
        datagram.extend(fields.concat());
        let nonce = vec![9; self.nonce_length()];
        let sealed = self.seal(&nonce, &datagram, &[]);
        let lengths = [nonce.len() as u16, sealed.len() as u16].map(u16::to_be_bytes).concat();
        datagram.extend(field(AUTHENTICATOR, &[lengths, nonce, sealed].concat()));
        datagram
    }

    /// An identifier, a cookie, so many placeholders, and the authenticator.
    pub(crate) fn asking(&self, cookie: &[u8], placeholders: usize) -> Vec<u8> {
        let placeholder = field(PLACEHOLDER, &vec![0; cookie.len()]);
        self.request(&[vec![unique(), field(COOKIE, cookie)], vec![placeholder; placeholders]].concat())
    }

    /// The cookies in a reply that is authenticated, and answers a request of ours.
    pub(crate) fn cookies_in(&self, reply: &[u8]) -> Vec<Vec<u8>> {
        assert_eq!((reply[0] & 7, &reply[48..84]), (4, &unique()[..]));
        let (associated, authenticator) = reply.split_at(84);
        assert_eq!(authenticator[..2], AUTHENTICATOR.to_be_bytes());
        assert_eq!(usize::from(u16::from_be_bytes([authenticator[2], authenticator[3]])), authenticator.len());
        let nonce_length = usize::from(u16::from_be_bytes([authenticator[4], authenticator[5]]));
        let (nonce, sealed) = authenticator[8..].split_at(nonce_length);
        let text = self.open(nonce, associated, sealed).expect("it is authenticated");
        let (mut rest, mut cookies) = (&text[..], Vec::new());
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            assert_eq!(rest[..2], COOKIE.to_be_bytes());
            cookies.push(rest[4..length].to_vec());
            rest = &rest[length..];
        }
        cookies
    }
}

/// A request's, of version 4.
pub(crate) fn header() -> Vec<u8> {
    let mut header = vec![0; 48];
    header[0] = 0x23;
    header[40..].copy_from_slice(&7_u64.to_be_bytes());
    header
}

pub(crate) fn field(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(body.len() as u16 + 4).to_be_bytes(), body].concat()
}

pub(crate) fn unique() -> Vec<u8> {
    field(UNIQUE, &[0x77; 32])
}

/// What comes in answer to `datagram`, which must be no longer.
pub(crate) fn ask(server: SocketAddr, datagram: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
    socket.connect(server).expect("the server is on loopback");
    socket.set_read_timeout(Some(patience)).expect("a time can be set");
    socket.send(datagram).expect("loopback carries it");
    let mut buffer = [0; 65_536];
    let length = socket.recv(&mut buffer).ok()?;
    assert!(length <= datagram.len(), "{length} bytes in answer to {}", datagram.len());
    Some(buffer[..length].to_vec())
}

/// Whether `reply` says that keys are to be exchanged anew, to the request with our identifier.
pub(crate) fn is_nak(reply: &[u8]) -> bool {
    reply.len() == 84 && reply[1] == 0 && reply[12..16] == *b"NTSN" && reply[48..] == unique()[..]
}
