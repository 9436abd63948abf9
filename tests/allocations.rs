//! A server that has begun takes no memory for a request: what it needs it has since its start.
//!
//! The allocator counts for the whole process, so this program has one test, which allocates nothing itself meanwhile.

#![expect(unsafe_code, reason = "an allocator is unsafe to write; this one passes everything on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use ntpclock::{Server, ServerConfig};

#[path = "nts/authority.rs"]
mod authority;
#[path = "nts/client.rs"]
#[expect(dead_code, reason = "nothing is done wrong here")]
mod client;
#[path = "bench/src/bin/server/peers.rs"]
mod peers;

use authority::Authority;
use client::{PATIENCE, Session};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is the system's, called as we are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        // SAFETY: as we are called.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as we are called; it came from there.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Asks so often, in turn in basic mode and as a client that speaks interleaved mode, and gets each time an answer.
fn ask(client: &UdpSocket, times: u64) {
    let (mut request, mut reply) = ([0; 48], [0; 64]);
    request[0] = 0x23;
    for number in 1..=times {
        request[24..40].fill(0);
        if number % 2 == 0 {
            // The receive timestamp that we were told last, and one of our own.
            request[24..32].copy_from_slice(&reply[32..40]);
            request[32..40].copy_from_slice(&u64::MAX.to_be_bytes());
        } else if number % 4 == 1 {
            // One that may speak the mode.
            request[24..32].copy_from_slice(&1_u64.to_be_bytes());
        }
        request[40..48].copy_from_slice(&number.to_be_bytes());
        client.send(&request).unwrap();
        assert_eq!(client.recv(&mut reply).unwrap(), 48);
    }
}

/// Asks so often with NTS, with the same requests again and again: each gets an answer.
fn ask_securely(client: &UdpSocket, requests: &[Vec<u8>], times: usize) {
    let mut reply = [0; 1500];
    for number in 0..times {
        let request = &requests[number % requests.len()];
        client.send(request).unwrap();
        assert!(client.recv(&mut reply).unwrap() >= 84);
    }
}

#[test]
fn a_server_answers_any_number_of_requests_without_an_allocation() {
    let authority = Authority::new();
    let identity = authority.identity("127.0.0.1");
    let mut config = ServerConfig::new();
    config.add_listen("127.0.0.1:0").unwrap().set_local(3, Duration::ZERO).unwrap();
    config.set_threads(1).unwrap().set_rate_limit(1_000_000, 1_000).unwrap();
    config.set_nts(identity.certificate(), identity.key()).unwrap().set_nts_port(0).unwrap();
    let server = Server::start(None, &config).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(server.addresses()[0]).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut requests = Vec::new();
    for algorithm in [15, 17, 30] {
        let session = Session::begin(server.key_exchange_addresses()[0], &authority.file(), algorithm);
        requests.extend([0, 3].map(|placeholders| session.asking(&session.cookies[0], placeholders)));
        requests.push(session.asking(&[0xa5; 100], 0));
    }
    // The first departure that is to be told takes a place in a list.
    ask(&client, 100);
    ask_securely(&client, &requests, 200);
    let before = COUNT.load(Relaxed);
    ask(&client, 2_000);
    assert_eq!(COUNT.load(Relaxed) - before, 0);
    ask_securely(&client, &requests, 2_000);
    assert_eq!(COUNT.load(Relaxed) - before, 0, "with NTS");
    // It does count.
    drop(std::hint::black_box(vec![1]));
    assert_eq!(COUNT.load(Relaxed) - before, 1);
    let told = server.statistics();
    assert!(told.interleaved > 500 && told.nts_replies > 1_000 && told.nts_naks > 500, "{told:?}");
}
