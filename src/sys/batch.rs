//! Many datagrams a system call: `recvmmsg` into buffers that are made once, `sendmmsg` of the replies from the same
//! place.
//!
//! A reply is written over the request it answers, and is never longer: what leaves cannot be more than what came.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use super::socket::{self, CONTROL_LEN, Control, Received};

/// Datagrams taken in one call at most.
pub(crate) const BATCH: usize = 64;

/// Longer datagrams are cut: nothing behind the first bytes is read. What Ethernet carries in one piece over IPv4: the
/// longest request that anybody has a use for, one of NTS for eight cookies with the longest keys there are, has 1468
/// bytes.
pub(crate) const REQUEST_MAX: usize = 1472;

/// All that the two calls read and write. It never moves: its parts point to each other. What belongs to one datagram
/// touches few cache lines.
#[repr(C, align(64))]
struct Frame {
    data: [[u8; REQUEST_MAX]; BATCH],
    incoming: [libc::mmsghdr; BATCH],
    incoming_parts: [libc::iovec; BATCH],
    outgoing: [libc::mmsghdr; BATCH],
    outgoing_parts: [libc::iovec; BATCH],
    /// Of IPv4 or IPv6: no other socket is used here, and a name of IPv4 is the shorter.
    names: [libc::sockaddr_in6; BATCH],
    controls: [Control; BATCH],
}

/// Datagrams that came together, and the replies to them.
pub(crate) struct Batch {
    frame: NonNull<Frame>,
    /// Datagrams of the last call.
    received: usize,
    /// Replies that wait to be sent.
    queued: usize,
}

/// What became of the replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) sent: usize,
    /// Refused by the system: no route, or no room.
    pub(crate) failed: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        let frame = Box::<Frame>::new_zeroed();
        // SAFETY: all parts are plain data for which zero bytes are valid: null pointers, zero lengths, numbers.
        let frame = NonNull::from(Box::leak(unsafe { frame.assume_init() }));
        let mut batch = Self { frame, received: 0, queued: 0 };
        for index in 0..BATCH {
            batch.prepare(index);
        }
        batch
    }

    /// Makes place `index` ready to receive: the kernel has shortened what it filled.
    fn prepare(&mut self, index: usize) {
        // SAFETY: the frame lives as long as `self`, which is borrowed exclusively.
        let frame = unsafe { self.frame.as_mut() };
        let part = &raw mut frame.incoming_parts[index];
        frame.incoming_parts[index] =
            libc::iovec { iov_base: frame.data[index].as_mut_ptr().cast(), iov_len: REQUEST_MAX };
        let header = &mut frame.incoming[index].msg_hdr;
        header.msg_name = (&raw mut frame.names[index]).cast();
        header.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        header.msg_iov = part;
        header.msg_iovlen = 1;
        header.msg_control = frame.controls[index].0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_LEN as _;
        header.msg_flags = 0;
    }

    /// Takes what has come to `socket`, up to [`BATCH`] datagrams, and drops what was here before. `WouldBlock` if
    /// there is nothing; an earlier reply that a client's host refused is reported as the error it came back as.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        for index in 0..self.received {
            self.prepare(index);
        }
        (self.received, self.queued) = (0, 0);
        // SAFETY: as in `prepare`.
        let frame = unsafe { self.frame.as_mut() };
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: the headers point to names, parts, data and controls of the frame, with their true lengths, and
        // nothing else uses these meanwhile. (The type of the flags depends on the C library.)
        let result = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                frame.incoming.as_mut_ptr(),
                BATCH as libc::c_uint,
                flags as _,
                std::ptr::null_mut(),
            )
        };
        self.received = super::checked(result)?.unsigned_abs() as usize;
        Ok(self.received)
    }

    /// Datagram number `index` of those that were received: never called with another.
    #[inline]
    pub(crate) fn datagram(&self, index: usize) -> &[u8] {
        let frame = self.frame();
        &frame.data[index][..(frame.incoming[index].msg_len as usize).min(REQUEST_MAX)]
    }

    /// The same, to be written over.
    #[inline]
    pub(crate) fn datagram_mut(&mut self, index: usize) -> &mut [u8] {
        let length = self.datagram(index).len();
        // SAFETY: as in `prepare`.
        let frame = unsafe { self.frame.as_mut() };
        &mut frame.data[index][..length]
    }

    /// Who sent datagram number `index`, to whom, and when it came.
    pub(crate) fn received(&self, index: usize) -> Received {
        let frame = self.frame();
        let length = frame.incoming[index].msg_len as usize;
        let mut received = Received::new(length, socket::socket_address(&frame.names[index]));
        socket::read_control(&frame.incoming[index].msg_hdr, &mut received);
        received
    }

    /// Puts `reply` in the place of datagram number `index`, to be sent back from where `received` says that it was
    /// sent to; what is longer than the datagram is cut. Once for each datagram.
    pub(crate) fn queue(&mut self, index: usize, reply: &[u8], received: &Received, stamped: bool) {
        let place = self.datagram_mut(index);
        let length = reply.len().min(place.len());
        place[..length].copy_from_slice(&reply[..length]);
        self.queue_written(index, length, received, stamped);
    }

    /// The same where the first `length` bytes of the datagram were made the reply already.
    #[inline]
    pub(crate) fn queue_written(&mut self, index: usize, length: usize, received: &Received, stamped: bool) {
        if self.queued == BATCH {
            return;
        }
        let length = length.min(self.datagram(index).len());
        // SAFETY: as in `prepare`.
        let frame = unsafe { self.frame.as_mut() };
        let part = &raw mut frame.outgoing_parts[self.queued];
        frame.outgoing_parts[self.queued] =
            libc::iovec { iov_base: frame.data[index].as_mut_ptr().cast(), iov_len: length };
        let header = &mut frame.outgoing[self.queued].msg_hdr;
        header.msg_name = (&raw mut frame.names[index]).cast();
        header.msg_namelen = frame.incoming[index].msg_hdr.msg_namelen;
        header.msg_iov = part;
        header.msg_iovlen = 1;
        // What the control buffer told was read, by contract, and its place serves for what is to be said.
        header.msg_control = frame.controls[index].0.as_mut_ptr().cast();
        header.msg_controllen = 0;
        header.msg_flags = 0;
        if let Some(local) = &received.to {
            socket::write_source(header, local);
        }
        if stamped {
            socket::write_stamp_wish(header);
        }
        self.queued += 1;
    }

    /// Sends what is queued. What the system refuses is lost, as the network might lose it; the client asks again.
    pub(crate) fn send(&mut self, socket: &UdpSocket) -> Sent {
        let (mut done, mut failed) = (0, 0);
        while done < self.queued {
            // SAFETY: as in `prepare`.
            let frame = unsafe { self.frame.as_mut() };
            let rest = &mut frame.outgoing[done..self.queued];
            // SAFETY: the headers point to names, parts, data and controls of the frame, all of their true lengths;
            // `sendmmsg` reads them and writes the lengths sent into the headers.
            let result = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            };
            match super::checked(result) {
                // Zero cannot be; were it told, this would turn for ever.
                Ok(0) => break,
                Ok(sent) => done += sent.unsigned_abs() as usize,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It is the first of the rest that was refused.
                Err(_) => (done, failed) = (done + 1, failed + 1),
            }
        }
        self.queued = 0;
        Sent { sent: done - failed, failed }
    }

    fn frame(&self) -> &Frame {
        // SAFETY: the frame lives as long as `self`, and is only written through an exclusive borrow of it.
        unsafe { self.frame.as_ref() }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: leaked in `new`, and given back only here.
        drop(unsafe { Box::from_raw(self.frame.as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::listen::{Kinds, listening};
    use crate::sys::socket::{DATAGRAM_MAX, connected, stamped};
    use crate::sys::wake;
    use std::net::SocketAddr;
    use std::time::Duration;

    fn await_datagram(socket: &UdpSocket) -> bool {
        wake::wait(&[socket.as_raw_fd()], Some(Duration::from_secs(5))).unwrap()[0]
    }

    fn listener(address: &str) -> UdpSocket {
        listening(address.parse().unwrap(), 1, Kinds::AsUsual).unwrap().remove(0)
    }

    /// Asks a socket bound to `listen` at `asked`; whether the answer, echoed, comes from where it was asked.
    fn is_answered(listen: &str, asked: &str) -> bool {
        let server = listener(listen);
        let asked = SocketAddr::new(asked.parse().unwrap(), server.local_addr().unwrap().port());
        // A connected socket hears nobody else.
        let client = connected(asked).unwrap();
        client.send(b"hello").unwrap();
        await_datagram(&server);
        let mut batch = Batch::new();
        assert_eq!(batch.receive(&server).unwrap(), 1);
        assert_eq!(batch.datagram(0), b"hello");
        let received = batch.received(0);
        assert_eq!(received.from.map(|from| from.port()), Some(client.local_addr().unwrap().port()));
        batch.queue(0, b"hallo and more", &received, false);
        assert_eq!(batch.send(&server), Sent { sent: 1, failed: 0 });
        let mut buffer = [0; DATAGRAM_MAX];
        await_datagram(&client)
            && socket::receive(&client, &mut buffer).unwrap().length == 5
            && &buffer[..5] == b"hallo"
    }

    #[test]
    fn a_socket_of_all_addresses_answers_from_the_one_that_was_asked() {
        for (listen, asked) in [
            ("0.0.0.0:0", "127.0.0.1"),
            ("0.0.0.0:0", "127.0.0.2"),
            ("[::]:0", "::1"),
            // By default such a socket takes IPv4 too, and names it in IPv6's way.
            ("[::]:0", "127.0.0.2"),
            ("127.0.0.2:0", "127.0.0.2"),
        ] {
            assert!(is_answered(listen, asked), "{listen} asked at {asked}");
        }
    }

    #[test]
    fn datagrams_that_came_together_are_taken_together_and_their_replies_leave_together() {
        let server = listener("127.0.0.1:0");
        // One that has nothing to tell of its departures, which would pile up.
        let client = stamped("127.0.0.1:0".parse().unwrap()).unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        let mut batch = Batch::new();
        for round in 0..3_u8 {
            for number in 0..100 {
                client.send(&[round, number, 7]).unwrap();
            }
            let mut numbers = Vec::new();
            for expected in [BATCH, 100 - BATCH] {
                await_datagram(&server);
                assert_eq!(batch.receive(&server).unwrap(), expected);
                for index in 0..expected {
                    let [this, number, 7] = *batch.datagram(index) else { panic!("{:?}", batch.datagram(index)) };
                    assert_eq!(this, round);
                    let received = batch.received(index);
                    assert_eq!(received.from, Some(client.local_addr().unwrap()));
                    if number % 2 == 0 {
                        batch.queue(index, &[number], &received, false);
                    }
                    numbers.push(number);
                }
                let sent = batch.send(&server);
                assert_eq!(sent, Sent { sent: expected / 2, failed: 0 });
            }
            assert_eq!(numbers, (0..100).collect::<Vec<_>>());
            let mut buffer = [0; DATAGRAM_MAX];
            for number in (0..100).step_by(2) {
                await_datagram(&client);
                assert_eq!(socket::receive(&client, &mut buffer).unwrap().length, 1);
                assert_eq!(buffer[0], number);
            }
        }
        assert_eq!(batch.receive(&server).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_reply_that_cannot_leave_keeps_none_of_the_others() {
        let server = listener("127.0.0.1:0");
        let client = connected(server.local_addr().unwrap()).unwrap();
        for _ in 0..3 {
            client.send(b"x").unwrap();
        }
        await_datagram(&server);
        let mut batch = Batch::new();
        assert_eq!(batch.receive(&server).unwrap(), 3);
        // Port 0 is nobody's.
        // SAFETY: as in `prepare`.
        let name = unsafe { &raw mut batch.frame.as_mut().names[1] };
        // SAFETY: the name is of IPv4, as its family says, and nothing else uses it.
        unsafe { (*name.cast::<libc::sockaddr_in>()).sin_port = 0 };
        for index in 0..3 {
            let received = batch.received(index);
            batch.queue(index, b"y", &received, false);
        }
        assert_eq!(batch.send(&server), Sent { sent: 2, failed: 1 });
    }
}
