//! What a key exchange takes of memory, whatever the server says: 64 KiB at most.
//!
//! The allocator counts for the whole process, so this program has one test.

#![expect(unsafe_code, reason = "an allocator is unsafe to write; this one passes everything on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use ntpclock::{Config, Error, query_with};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

#[path = "nts/authority.rs"]
mod authority;
#[path = "nts/client.rs"]
#[expect(dead_code, reason = "only its ciphers and its way to write a record serve here")]
mod client;
#[path = "bench/src/bin/server/peers.rs"]
mod peers;

use authority::{Authority, Identity};
use client::{PATIENCE, ciphers, record};

/// What it may take, a good one's share and what counts the bytes on the way in it.
const MOST: isize = 64 * 1024;

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    /// What a hostile server takes for itself does not count.
    static IS_SERVER: Cell<bool> = const { Cell::new(false) };
}

fn count(bytes: isize) {
    if !IS_SERVER.try_with(Cell::get).unwrap_or(true) {
        PEAK.fetch_max(LIVE.fetch_add(bytes, Relaxed) + bytes, Relaxed);
    }
}

// SAFETY: all is the system's, called as we are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as we are called.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as we are called; it came from there.
        unsafe { System.dealloc(place, layout) }
    }

    // Else it would be two pieces for a moment, of which the system's needs but one.
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: as we are called; it came from there.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Stream = StreamOwned<ServerConnection, TcpStream>;

/// Answers key exchanges with what `say` says, after a chain of so many certificates and so many TLS tickets.
fn serve(identity: &Identity, chain: usize, tickets: usize, say: fn(&mut Stream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let certificate = CertificateDer::from_pem_file(identity.certificate()).unwrap();
    let key = PrivateKeyDer::from_pem_file(identity.key()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ciphers::default_provider()));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(vec![certificate; chain], key).unwrap();
    config.alpn_protocols = vec![b"ntske/1".to_vec()];
    config.send_tls13_tickets = tickets;
    let config = Arc::new(config);
    thread::spawn(move || {
        IS_SERVER.set(true);
        for socket in listener.incoming().flatten() {
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), socket);
            // Who goes away in the middle is the client's affair.
            if stream.read(&mut [0; 1024]).is_ok() {
                say(&mut stream);
                let _ = stream.flush();
            }
        }
    });
    address
}

/// As soon as somebody comes, bytes that are no TLS, without end.
fn make_noise() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        IS_SERVER.set(true);
        for mut socket in listener.incoming().flatten() {
            // The head of a handshake's record of 16 KiB, and then of no other.
            while socket.write_all(&[0x16, 3, 3, 0x40, 0]).and_then(|()| socket.write_all(&[0xff; 0x4000])).is_ok() {}
        }
    });
    address
}

/// NTPv4, AES-SIV-CMAC-256, such cookies, a port where nobody is, and the end.
fn message(cookies: usize, length: usize) -> Vec<u8> {
    let cookies = record(5, &vec![7; length]).repeat(cookies);
    let port = record(0x8007, &9_u16.to_be_bytes());
    [record(0x8001, &[0, 0]), record(0x8004, &[0, 15]), cookies, port, record(0x8000, &[])].concat()
}

fn say(stream: &mut Stream, message: &[u8]) {
    // Hung up on.
    let _ = stream.write_all(message);
}

/// Why there were no keys, or what was wrong afterwards; and how much more memory than before there was at most.
fn ask(exchanger: SocketAddr, authority: &Authority) -> (String, isize) {
    let mut config = Config::new();
    config.add_trusted_certificates(authority.file()).unwrap().set_platform_trust(false);
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let why = match query_with(&config, &format!("{exchanger} nts"), PATIENCE + Duration::from_secs(5)) {
        Err(Error::KeyExchange { why, .. }) => why,
        Err(error) => error.to_string(),
        Ok(answer) => panic!("{answer:?}"),
    };
    (why, PEAK.load(Relaxed) - before)
}

/// (case 25)
#[test]
fn nothing_that_a_server_says_makes_a_key_exchange_take_more_than_64_kib() {
    let authority = Authority::new();
    let identity = authority.identity("127.0.0.1");
    let good = serve(&identity, 1, 0, |stream| say(stream, &message(8, 100)));
    // The first one reads the certificates of the authority, and whatever else is kept.
    assert!(ask(good, &authority).0.starts_with("exchanging with"));
    let (why, usual) = ask(good, &authority);
    assert!(why.starts_with("exchanging with"), "{why}");
    assert!(usual > 4_096, "it does count: {usual}");
    for (what, exchanger, complaint) in [
        ("many cookies", serve(&identity, 1, 0, |stream| say(stream, &message(10_000, 100))), "longer than 16384"),
        ("a long cookie", serve(&identity, 1, 0, |stream| say(stream, &message(1, 65_535))), "longer than 16384"),
        (
            "no end",
            serve(&identity, 1, 0, |stream| while stream.write_all(&record(5, &[7; 100])).is_ok() {}),
            "longer than",
        ),
        ("tickets", serve(&identity, 1, 10_000, |stream| say(stream, &message(8, 100))), "more than 28672 bytes"),
        ("a long chain", serve(&identity, 120, 0, |stream| say(stream, &message(8, 100))), "more than 28672 bytes"),
        ("no TLS", make_noise(), "received corrupt message of type "),
    ] {
        let (why, taken) = ask(exchanger, &authority);
        println!("{what}: {taken} bytes, {usual} usually; {why}");
        assert!(why.contains(complaint), "{what}: {why}");
        assert!(taken <= MOST, "{what}: {taken} bytes, {usual} usually");
    }
}
