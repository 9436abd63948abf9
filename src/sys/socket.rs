//! UDP sockets whose datagrams carry the kernel's receive timestamp.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use super::checked;
use crate::units::{NANOS_PER_SECOND, Nanos, UnixTime};

/// Room for the control messages we ask for (a timespec), and then some.
const CONTROL_LEN: usize = 128;

/// Longer datagrams are cut: nothing behind the first bytes is read.
pub(crate) const DATAGRAM_MAX: usize = 1280;

/// A datagram that came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) length: usize,
    /// The sender; `None` on a connected socket whose kernel names nobody.
    pub(crate) from: Option<SocketAddr>,
    /// The system clock when the kernel took the datagram from the network.
    pub(crate) stamp: Option<UnixTime>,
}

/// A fresh socket, on a port the kernel picks at random, that exchanges datagrams with `peer` alone.
pub(crate) fn connected(peer: SocketAddr) -> io::Result<UdpSocket> {
    let any = match peer {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = stamped(any)?;
    socket.connect(peer)?;
    Ok(socket)
}

/// A socket bound to `address` that does not block and asks the kernel for receive timestamps.
///
/// Timestamps are a kindness of the kernel: where a sandbox forbids the option, we go on without.
pub(crate) fn stamped(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    let _ = set_option(&socket, libc::SO_TIMESTAMPNS, 1);
    Ok(socket)
}

/// Kernels switch timestamping on with a delay when the first socket asks for it, and off with the last; while
/// this one is open, the datagrams of all our sockets carry stamps from the first on.
pub(crate) fn stamping_holder() -> Option<UdpSocket> {
    stamped(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .or_else(|_| stamped(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))))
        .ok()
}

fn set_option(socket: &UdpSocket, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and `value` holds `length` bytes.
    checked(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), length)
    })?;
    Ok(())
}

/// Takes one datagram, if there is one (`WouldBlock` otherwise). An earlier datagram that the peer's host refused is
/// reported as the error it came back as.
pub(crate) fn receive(socket: &UdpSocket, buffer: &mut [u8; DATAGRAM_MAX]) -> io::Result<Received> {
    // Aligned as control messages must be.
    #[repr(align(8))]
    struct Control([u8; CONTROL_LEN]);
    let mut control = Control([0; CONTROL_LEN]);
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero bytes are a valid `msghdr`: null pointers and zero lengths.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_LEN as _;
    // SAFETY: every pointer in `message` is to a local or to `buffer`, with its true length, all live here.
    let result =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed storage is initialised, whatever part of it the kernel has written.
    let name = unsafe { name.assume_init() };
    Ok(Received { length: result.unsigned_abs(), from: socket_address(&name), stamp: stamp_of(&message) })
}

/// The receive timestamp among the control messages of `message`, just filled by the kernel.
fn stamp_of(message: &libc::msghdr) -> Option<UnixTime> {
    // SAFETY: `message` was filled by `recvmsg`, and its control buffer is still alive in the caller.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, so it points to a whole header inside the control buffer.
        let found = unsafe { *header };
        if found.cmsg_level == libc::SOL_SOCKET && found.cmsg_type == libc::SCM_TIMESTAMPNS {
            // SAFETY: the payload of this kind is a timespec, which may be unaligned.
            let time = unsafe { libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned() };
            return Some(UnixTime(time.tv_sec.saturating_mul(NANOS_PER_SECOND)) + Nanos(time.tv_nsec));
        }
        // SAFETY: as for the first header; the macro stays inside the buffer.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

fn socket_address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says what it is, and the storage is large enough and aligned for it.
            let v4 = unsafe { *(&raw const *name).cast::<libc::sockaddr_in>() };
            Some(SocketAddr::from((Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)), u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { *(&raw const *name).cast::<libc::sockaddr_in6>() };
            let address = std::net::SocketAddrV6::new(
                Ipv6Addr::from(v6.sin6_addr.s6_addr),
                u16::from_be(v6.sin6_port),
                v6.sin6_flowinfo,
                v6.sin6_scope_id,
            );
            Some(SocketAddr::V6(address))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::wake;

    fn exchange(listen: &str) -> Received {
        let _holder = stamping_holder();
        let server = stamped(listen.parse().unwrap()).unwrap();
        let client = connected(server.local_addr().unwrap()).unwrap();
        client.send(b"hello").unwrap();
        wake::wait(&[server.as_raw_fd()], Some(std::time::Duration::from_secs(5))).unwrap();
        let mut buffer = [0; DATAGRAM_MAX];
        let received = receive(&server, &mut buffer).unwrap();
        assert_eq!(&buffer[..received.length], b"hello");
        assert_eq!(received.from, Some(client.local_addr().unwrap()));
        received
    }

    #[test]
    fn a_datagram_arrives_with_its_sender_and_a_stamp_of_the_kernel() {
        let before = crate::sys::counter::system_time();
        let stamp = exchange("127.0.0.1:0").stamp.expect("the kernel stamps datagrams while a holder is open");
        assert!(stamp - before < Nanos::from_seconds(5) && stamp >= before);
    }

    #[test]
    fn ipv6_works_alike() {
        assert!(exchange("[::1]:0").stamp.is_some());
    }

    #[test]
    fn an_empty_socket_does_not_block() {
        let socket = stamped("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = receive(&socket, &mut [0; DATAGRAM_MAX]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
