//! The floor: a responder that does nothing but receive, stamp and send, in batches.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use crate::batch::{BATCH, Batch, PACKET};

/// Answers every datagram that comes to `socket`, for ever.
pub fn run(socket: &UdpSocket) -> ! {
    let mut batch = Batch::<PACKET>::new();
    loop {
        let received = batch.receive(socket.as_raw_fd(), BATCH, libc::MSG_WAITFORONE);
        let now = now();
        for index in 0..received {
            let packet = batch.packet(index);
            // A server's reply, version 4, stratum 1; the request's transmit timestamp becomes the origin.
            packet[0] = 0b00_100_100;
            packet[1] = 1;
            packet.copy_within(40..48, 24);
            packet[32..40].copy_from_slice(&now);
            packet[40..48].copy_from_slice(&now);
        }
        let mut sent = 0;
        while sent < received {
            sent += batch.send(socket.as_raw_fd(), sent, received, true).max(1);
        }
    }
}

/// The system clock as NTP has it.
fn now() -> [u8; 8] {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    let seconds = (time.tv_sec + 2_208_988_800) as u64;
    let fraction = ((time.tv_nsec as u64) << 32) / 1_000_000_000;
    (seconds << 32 | fraction).to_be_bytes()
}
