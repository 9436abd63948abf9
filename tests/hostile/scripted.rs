//! An NTP server that does what a test wants, on a real socket.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Length of an NTP header.
pub(crate) const HEADER: usize = 48;

/// Where the fields of a header stand (RFC 5905, figure 8).
pub(crate) const STRATUM: usize = 1;
pub(crate) const POLL: usize = 2;
pub(crate) const ROOT_DELAY: usize = 4;
pub(crate) const ROOT_DISPERSION: usize = 8;
pub(crate) const REFERENCE_ID: usize = 12;
pub(crate) const ORIGIN: usize = 24;
pub(crate) const RECEIVE: usize = 32;
pub(crate) const TRANSMIT: usize = 40;

/// Seconds from 1900 to 1970.
const NTP_UNIX_OFFSET: u64 = 2_208_988_800;

/// A header as bytes.
pub(crate) type Header = [u8; HEADER];

/// A server that runs its script for every request that comes. It ends when dropped.
pub(crate) struct Scripted {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A request that has come, and the means to answer it.
pub(crate) struct Turn<'a> {
    /// Of how many before it, from 0 on.
    pub(crate) number: usize,
    pub(crate) request: &'a [u8],
    pub(crate) from: SocketAddr,
    pub(crate) socket: &'a UdpSocket,
}

impl Scripted {
    /// On a free port of 127.0.0.1.
    pub(crate) fn start(script: impl FnMut(&Turn<'_>) + Send + 'static) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), script)
    }

    pub(crate) fn start_at(address: SocketAddr, mut script: impl FnMut(&Turn<'_>) + Send + 'static) -> Self {
        let socket = UdpSocket::bind(address).expect("the address is free");
        let address = socket.local_addr().expect("it is bound");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout can be set");
        let (requests, ending) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, over) = (Arc::clone(&requests), Arc::clone(&ending));
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !over.load(Ordering::SeqCst) {
                // Who was answered at a port that is closed by now says so: that is no request.
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let number = counted.load(Ordering::SeqCst);
                script(&Turn { number, request: &buffer[..length], from, socket: &socket });
                counted.store(number + 1, Ordering::SeqCst);
            }
        });
        Self { address, requests, ending, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that the script has seen to its end.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A script that has failed has failed the test already, or is about to.
            let _ = thread.join();
        }
    }
}

impl Turn<'_> {
    /// An honest answer by this machine's clock, as of now.
    pub(crate) fn good(&self) -> Header {
        let mut reply = [0; HEADER];
        reply[..4].copy_from_slice(&[0b00_100_100, 1, 0, 0xec]);
        reply[ROOT_DISPERSION..REFERENCE_ID].copy_from_slice(&[0, 0, 0, 66]);
        reply[REFERENCE_ID..16].copy_from_slice(b"TEST");
        if let Some(transmit) = self.request.get(TRANSMIT..HEADER) {
            reply[ORIGIN..RECEIVE].copy_from_slice(transmit);
        }
        let now = now();
        put(&mut reply, RECEIVE, now);
        put(&mut reply, TRANSMIT, now);
        reply
    }

    /// The same, changed.
    pub(crate) fn spoilt(&self, spoil: impl FnOnce(&mut Header)) -> Header {
        let mut reply = self.good();
        spoil(&mut reply);
        reply
    }

    /// A kiss of death.
    pub(crate) fn kiss(&self, code: &[u8; 4]) -> Header {
        self.spoilt(|reply| {
            reply[STRATUM] = 0;
            reply[REFERENCE_ID..16].copy_from_slice(code);
        })
    }

    pub(crate) fn send(&self, datagram: &[u8]) {
        // The client may have closed its port.
        let _ = self.socket.send_to(datagram, self.from);
    }

    pub(crate) fn answer(&self) {
        self.send(&self.good());
    }
}

/// This machine's clock as an NTP timestamp.
pub(crate) fn now() -> u64 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let fraction = (u64::from(age.subsec_nanos()) << 32) / 1_000_000_000;
    (age.as_secs() + NTP_UNIX_OFFSET) << 32 | fraction
}

/// So many ms as a difference of NTP timestamps.
pub(crate) fn milliseconds(ms: u64) -> u64 {
    (ms << 32) / 1000
}

/// Writes a number of 64 bits.
pub(crate) fn put(reply: &mut Header, at: usize, number: u64) {
    reply[at..at + 8].copy_from_slice(&number.to_be_bytes());
}

pub(crate) fn get(datagram: &[u8], at: usize) -> u64 {
    let bytes = datagram.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    u64::from_be_bytes(bytes.expect("it is as long as a header"))
}
