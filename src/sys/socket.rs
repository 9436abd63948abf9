//! UDP sockets whose datagrams carry the kernel's receive timestamp.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};

use super::checked;
use crate::units::{NANOS_PER_SECOND, Nanos, UnixTime};

/// Room for the control messages we ask for (a timespec and an address), and then some.
const CONTROL_LEN: usize = 128;

/// Aligned as control messages must be.
#[repr(align(8))]
struct Control([u8; CONTROL_LEN]);

/// Longer datagrams are cut: nothing behind the first bytes is read.
pub(crate) const DATAGRAM_MAX: usize = 1280;

/// A datagram that came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) length: usize,
    /// The sender; `None` on a connected socket whose kernel names nobody.
    pub(crate) from: Option<SocketAddr>,
    /// The address of ours that it was sent to, on a socket of [`listening`] that is bound to all of them.
    pub(crate) to: Option<IpAddr>,
    /// The system clock when the kernel took the datagram from the network.
    pub(crate) stamp: Option<UnixTime>,
}

/// A fresh socket, on a port the kernel picks at random, that exchanges datagrams with `peer` alone: it is bound by being
/// connected, so that there is no moment in which a stranger's datagram could get in.
pub(crate) fn connected(peer: SocketAddr) -> io::Result<UdpSocket> {
    let family = if peer.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes no pointers.
    let fd = checked(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: `fd` was just opened and belongs to nobody else.
    let socket = unsafe { UdpSocket::from_raw_fd(fd) };
    ask_for_stamps(&socket);
    socket.connect(peer)?;
    Ok(socket)
}

/// A TCP socket that does not block, and is about to be connected with `peer`: it is writable when it is, or cannot be.
#[cfg(feature = "_nts")]
pub(crate) fn connecting(peer: SocketAddr) -> io::Result<std::net::TcpStream> {
    use std::os::fd::{FromRawFd, OwnedFd};

    let family = if peer.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes numbers only.
    let descriptor = checked(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: just opened, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let (name, length) = storage(peer);
    // SAFETY: `name` holds `length` bytes of an address, and is alive here.
    let result = unsafe { libc::connect(socket.as_raw_fd(), (&raw const name).cast(), length) };
    match checked(result) {
        Ok(_) => Ok(socket.into()),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error),
    }
}

/// A socket bound to `address` that does not block and asks the kernel for receive timestamps.
pub(crate) fn stamped(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    ask_for_stamps(&socket);
    Ok(socket)
}

/// Timestamps are a kindness of the kernel: where a sandbox forbids the option, we go on without.
fn ask_for_stamps(socket: &UdpSocket) {
    let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
}

/// As [`stamped`]; where `address` stands for every address of this host, each datagram tells to which it was sent.
///
/// Left to itself the kernel sends from the address that the route suggests, and a client that asked another one takes
/// the answer for a stranger's. Where a sandbox forbids the option, that is how it stays.
pub(crate) fn listening(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = stamped(address)?;
    if address.ip().is_unspecified() {
        let _ = match address {
            SocketAddr::V4(_) => set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
            SocketAddr::V6(_) => set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
        };
    }
    Ok(socket)
}

/// Kernels switch timestamping on with a delay when the first socket asks for it, and off with the last; while
/// this one is open, the datagrams of all our sockets carry stamps from the first on.
pub(crate) fn stamping_holder() -> Option<UdpSocket> {
    stamped(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .or_else(|_| stamped(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))))
        .ok()
}

fn set_option(socket: &UdpSocket, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and `value` holds `length` bytes.
    checked(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) })?;
    Ok(())
}

/// Takes one datagram, if there is one (`WouldBlock` otherwise). An earlier datagram that the peer's host refused is
/// reported as the error it came back as.
pub(crate) fn receive(socket: &UdpSocket, buffer: &mut [u8; DATAGRAM_MAX]) -> io::Result<Received> {
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
    let mut received = Received { length: result.unsigned_abs(), from: socket_address(&name), to: None, stamp: None };
    read_control(&message, &mut received);
    Ok(received)
}

/// Takes what is wanted from the control messages of `message`, just filled by the kernel.
fn read_control(message: &libc::msghdr, received: &mut Received) {
    // SAFETY: `message` was filled by `recvmsg`, and its control buffer is still alive in the caller.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, so it points to a whole header inside the control buffer.
        let found = unsafe { *header };
        // SAFETY: the header is whole, so its payload follows it inside the buffer.
        let payload = unsafe { libc::CMSG_DATA(header) };
        match (found.cmsg_level, found.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                // SAFETY: the payload of this kind is a timespec, which may be unaligned.
                let time = unsafe { payload.cast::<libc::timespec>().read_unaligned() };
                let seconds = UnixTime(time.tv_sec.saturating_mul(NANOS_PER_SECOND));
                received.stamp = Some(seconds + Nanos(time.tv_nsec));
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the payload of this kind is an `in_pktinfo`, which may be unaligned.
                let info = unsafe { payload.cast::<libc::in_pktinfo>().read_unaligned() };
                // Not `ipi_addr`: that is what the datagram says, which may be an address of many hosts.
                received.to = Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the payload of this kind is an `in6_pktinfo`, which may be unaligned.
                let info = unsafe { payload.cast::<libc::in6_pktinfo>().read_unaligned() };
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                // From an address of many hosts nothing can be sent.
                received.to = (!address.is_multicast()).then_some(address.into());
            }
            _ => {}
        }
        // SAFETY: as for the first header; the macro stays inside the buffer.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
}

/// Sends `datagram` to `to`, from the address `from` of ours if there is a choice.
pub(crate) fn send(socket: &UdpSocket, datagram: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
    let Some(from) = from else { return socket.send_to(datagram, to).map(drop) };
    let (mut name, name_length) = storage(to);
    let mut part = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
    let mut control = Control([0; CONTROL_LEN]);
    // SAFETY: all-zero bytes are a valid `msghdr`: null pointers and zero lengths.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = name_length;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    // The interface is left to the route: a link-local client's address carries its own.
    match from {
        IpAddr::V4(from) => {
            let source = libc::in_addr { s_addr: u32::from(from).to_be() };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: libc::in_addr { s_addr: 0 } };
            write_control(&mut message, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        IpAddr::V6(from) => {
            let source = libc::in6_addr { s6_addr: from.octets() };
            let info = libc::in6_pktinfo { ipi6_addr: source, ipi6_ifindex: 0 };
            write_control(&mut message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
    // SAFETY: every pointer in `message` is to a local or to `datagram`, with its true length, all live here, and
    // `sendmsg` only reads.
    let result = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes `info` the one control message of `message`, whose control buffer is a zeroed [`Control`].
fn write_control<T: Copy>(message: &mut libc::msghdr, level: libc::c_int, kind: libc::c_int, info: T) {
    const { assert!(size_of::<T>() + size_of::<libc::cmsghdr>() + 2 * align_of::<libc::cmsghdr>() <= CONTROL_LEN) };
    let length = size_of::<T>() as libc::c_uint;
    // SAFETY: the macro computes with numbers only.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(length) } as _;
    // SAFETY: `message` has a control buffer that holds at least one header.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: the macro computes with numbers only.
    let whole = unsafe { libc::CMSG_LEN(length) };
    // SAFETY: all-zero bytes are a valid `cmsghdr`; some C libraries pad it with members of their own.
    let mut head: libc::cmsghdr = unsafe { std::mem::zeroed() };
    (head.cmsg_len, head.cmsg_level, head.cmsg_type) = (whole as _, level, kind);
    // SAFETY: the buffer is aligned for headers, and long enough (asserted above).
    unsafe { header.write(head) };
    // SAFETY: the header's payload follows it inside the buffer.
    let payload = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: there is room for `T` (asserted above), unaligned if need be.
    unsafe { payload.cast::<T>().write_unaligned(info) };
}

/// `address` as the system calls take it, and its length.
fn storage(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all-zero bytes are a valid `sockaddr_storage`.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let place = &raw mut storage;
    let length = match address {
        SocketAddr::V4(v4) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large enough and aligned for every kind of address.
            unsafe { place.cast::<libc::sockaddr_in>().write(address) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { place.cast::<libc::sockaddr_in6>().write(address) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
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

    /// Asks a socket bound to `listen` at `asked`; whether the answer, echoed, comes from where it was asked.
    fn is_answered(listen: &str, asked: &str) -> bool {
        let server = listening(listen.parse().unwrap()).unwrap();
        let asked = SocketAddr::new(asked.parse().unwrap(), server.local_addr().unwrap().port());
        // A connected socket hears nobody else.
        let client = connected(asked).unwrap();
        client.send(b"hello").unwrap();
        wake::wait(&[server.as_raw_fd()], Some(std::time::Duration::from_secs(5))).unwrap();
        let mut buffer = [0; DATAGRAM_MAX];
        let received = receive(&server, &mut buffer).unwrap();
        send(&server, &buffer[..received.length], received.from.unwrap(), received.to).unwrap();
        wake::wait(&[client.as_raw_fd()], Some(std::time::Duration::from_millis(500))).unwrap();
        receive(&client, &mut buffer).is_ok_and(|answer| answer.length == received.length)
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
    fn an_empty_socket_does_not_block() {
        let socket = stamped("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = receive(&socket, &mut [0; DATAGRAM_MAX]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
