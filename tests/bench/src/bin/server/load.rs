//! The generator: a closed loop of requests in flight, every reply checked.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::batch::{BATCH, Batch};

/// Requests in flight.
pub const WINDOW: usize = 256;

/// After so long without any reply those in flight are taken for lost.
const LOST: Duration = Duration::from_millis(100);

/// Requests of `N` bytes, and as long replies.
pub struct Load<const N: usize> {
    socket: UdpSocket,
    incoming: Batch<N>,
    outgoing: Batch<N>,
    /// Of NTS, one for each slot: a server keeps nothing of a session, and answers the same request again and again.
    /// Empty for plain ones, which are made as they go.
    requests: Vec<[u8; N]>,
    /// Distinguishes this loop's requests from those of others.
    nonce: u64,
    next: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub responses: u64,
    /// Not the reply to a request in flight, or no time in it.
    pub bad: u64,
    pub lost: u64,
    pub seconds: f64,
}

/// A load of any length.
pub trait Run {
    /// Keeps a server busy for so long.
    fn run(&mut self, duration: Duration) -> Outcome;
}

impl<const N: usize> Load<N> {
    pub fn new(server: SocketAddr, requests: Vec<[u8; N]>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(server).expect("loopback");
        let timeout = libc::timeval { tv_sec: 0, tv_usec: LOST.as_micros() as libc::suseconds_t };
        // SAFETY: the option's value is a `timeval` of ours.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const timeout).cast(),
                size_of_val(&timeout) as u32,
            )
        };
        let nonce = u64::from(std::process::id()) << 48;
        Self { socket, incoming: Batch::new(), outgoing: Batch::new(), requests, nonce, next: 0 }
    }
}

impl<const N: usize> Run for Load<N> {
    fn run(&mut self, duration: Duration) -> Outcome {
        let fd = self.socket.as_raw_fd();
        // What an earlier run left.
        while self.incoming.receive(fd, BATCH, libc::MSG_DONTWAIT) > 0 {}
        let mut outcome = Outcome::default();
        // The origins in flight, in the slot of their last bits.
        let mut flying = [0_u64; WINDOW];
        let mut free = WINDOW;
        let begun = Instant::now();
        while begun.elapsed() < duration {
            while free > 0 {
                let count = free.min(BATCH);
                for index in 0..count {
                    // A slot that is free: replies come in disorder, but a window's worth of numbers has one of each.
                    while flying[self.next as usize % WINDOW] != 0 {
                        self.next += 1;
                    }
                    let slot = self.next as usize % WINDOW;
                    let packet = self.outgoing.packet(index);
                    match self.requests.get(slot) {
                        Some(request) => *packet = *request,
                        None => {
                            *packet = [0; N];
                            packet[0] = 0b00_100_011;
                            packet[40..48].copy_from_slice(&(self.nonce | self.next).to_be_bytes());
                        }
                    }
                    flying[slot] = origin(&packet[40..48]);
                    self.next += 1;
                }
                let mut sent = 0;
                while sent < count {
                    sent += self.outgoing.send(fd, sent, count, false).max(1);
                }
                free -= count;
            }
            let received = self.incoming.receive(fd, BATCH, libc::MSG_WAITFORONE);
            if received == 0 {
                outcome.lost += flying.iter().filter(|origin| **origin != 0).count() as u64;
                (flying, free) = ([0; WINDOW], WINDOW);
            }
            for index in 0..received {
                let is_whole = self.incoming.length(index) == N;
                let packet = self.incoming.packet(index);
                let origin = origin(&packet[24..32]);
                let slot = &mut flying[origin as usize % WINDOW];
                // A request of NTS is answered with an authenticator, where it has its cookie.
                let is_secure = self.requests.is_empty() || packet[84..86] == [4, 4];
                let is_time = packet[0] & 7 == 4 && packet[0] >> 6 != 3 && (1..16).contains(&packet[1]);
                let is_time = is_time && is_whole && is_secure;
                if *slot != origin || origin == 0 {
                    outcome.bad += 1;
                    continue;
                }
                outcome.responses += u64::from(is_time);
                outcome.bad += u64::from(!is_time);
                *slot = 0;
                free += 1;
            }
        }
        outcome.seconds = begun.elapsed().as_secs_f64();
        outcome
    }
}

fn origin(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}
