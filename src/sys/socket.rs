//! UDP sockets whose datagrams carry the kernel's receive timestamp.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};

use super::{beside_standard, checked};
use crate::units::{NANOS_PER_SECOND, Nanos, UnixTime};

/// Room for the control messages we ask for (stamps and an address), and then some.
pub(super) const CONTROL_LEN: usize = 192;

/// Aligned as control messages must be.
#[repr(align(8))]
pub(super) struct Control(pub(super) [u8; CONTROL_LEN]);

/// Longer datagrams are cut: nothing behind the first bytes is read.
pub(crate) const DATAGRAM_MAX: usize = 1280;

/// A datagram that came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) length: usize,
    /// The sender; `None` on a connected socket whose kernel names nobody.
    pub(crate) from: Option<SocketAddr>,
    /// The address of ours that it was sent to, on a socket of [`super::listen::listening`] that is bound to all of
    /// them.
    pub(crate) to: Option<Local>,
    /// It was sent to many hosts, as far as such a socket tells: a broadcast or multicast address.
    pub(crate) is_to_many: bool,
    /// The system clock when the kernel took the datagram from the network.
    pub(crate) stamp: Option<UnixTime>,
}

impl Received {
    /// A datagram of which nothing more is known yet.
    pub(super) fn new(length: usize, from: Option<SocketAddr>) -> Self {
        Self { length, from, to: None, is_to_many: false, stamp: None }
    }
}

/// An address of ours, and the interface that has it where that must be said: each link has its own link-local ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    address: IpAddr,
    interface: u32,
}

/// A fresh socket, on a port the kernel picks at random, that exchanges datagrams with `peer` alone: it is bound by
/// being connected, so that there is no moment in which a stranger's datagram could get in.
pub(crate) fn connected(peer: SocketAddr) -> io::Result<UdpSocket> {
    let family = if peer.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes no pointers.
    let fd = checked(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: `fd` was just opened and belongs to nobody else.
    let socket = beside_standard(unsafe { UdpSocket::from_raw_fd(fd) })?;
    ask_for_stamps_both_ways(&socket);
    socket.connect(peer)?;
    Ok(socket)
}

/// A TCP socket that does not block, and is about to be connected with `peer`: it is writable when it is, or cannot be.
/// What is written leaves at once: a key exchange is a few short messages, each of which waits for the one before.
#[cfg(feature = "_nts")]
pub(crate) fn connecting(peer: SocketAddr) -> io::Result<std::net::TcpStream> {
    use std::os::fd::{FromRawFd, OwnedFd};

    let family = if peer.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes numbers only.
    let descriptor = checked(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: just opened, and nobody else's.
    let socket = beside_standard(unsafe { OwnedFd::from_raw_fd(descriptor) })?;
    // Where a sandbox forbids it, it only takes longer.
    let _ = set_option(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
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
    let socket = UdpSocket::bind(address).and_then(beside_standard)?;
    socket.set_nonblocking(true)?;
    ask_for_stamps(&socket);
    Ok(socket)
}

/// Timestamps are a kindness of the kernel: where a sandbox forbids the option, we go on without.
pub(super) fn ask_for_stamps(socket: &UdpSocket) {
    let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
}

/// As above, and the kernel also tells ([`departure`]) when each datagram left; not what was in it, which is known.
fn ask_for_stamps_both_ways(socket: &UdpSocket) {
    let wish = libc::SOF_TIMESTAMPING_RX_SOFTWARE
        | libc::SOF_TIMESTAMPING_TX_SOFTWARE
        | libc::SOF_TIMESTAMPING_SOFTWARE
        | libc::SOF_TIMESTAMPING_OPT_TSONLY;
    if set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, wish.cast_signed()).is_err() {
        ask_for_stamps(socket);
    }
}

/// Has the kernel drop what cannot answer a request that is answered with one of these two: whatever is too short,
/// or has another origin timestamp (RFC 5905, figure 8). It costs the receiver nothing then, and takes no room from the
/// answer. A kindness of the kernel as well.
pub(crate) fn admit_only(socket: &UdpSocket, origins: [u64; 2]) -> io::Result<()> {
    /// The filter sees the datagram with its UDP header of 8 bytes.
    const ORIGIN: u32 = 8 + 24;
    let load =
        |at| libc::sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: at };
    let equal = |word, then, otherwise| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: then,
        jf: otherwise,
        k: word,
    };
    let [first, second] = origins.map(|origin| [(origin >> 32) as u32, origin as u32]);
    let accept = |length| libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: length };
    // To load what is not there drops the datagram.
    let mut filter = [
        load(ORIGIN),
        equal(first[0], 0, 2),
        load(ORIGIN + 4),
        equal(first[1], 4, 0),
        load(ORIGIN),
        equal(second[0], 0, 3),
        load(ORIGIN + 4),
        equal(second[1], 0, 1),
        accept(u32::MAX),
        accept(0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let length = size_of_val(&program) as libc::socklen_t;
    let place = &raw const program;
    // SAFETY: the descriptor is open as long as `socket` is borrowed; `program` holds `length` bytes, and as many
    // instructions as it says, all live here: the kernel copies them.
    checked(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, place.cast(), length)
    })?;
    Ok(())
}

/// Kernels switch timestamping on with a delay when the first socket asks for it, and off with the last; while
/// this one is open, the datagrams of all our sockets carry stamps from the first on.
pub(crate) fn stamping_holder() -> Option<UdpSocket> {
    stamped(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .or_else(|_| stamped(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))))
        .ok()
}

pub(super) fn set_option(
    socket: &impl AsRawFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and `value` holds `length` bytes.
    checked(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) })?;
    Ok(())
}

/// Takes one datagram, if there is one (`WouldBlock` otherwise). An earlier datagram that the peer's host refused is
/// reported as the error it came back as.
pub(crate) fn receive(socket: &UdpSocket, buffer: &mut [u8; DATAGRAM_MAX]) -> io::Result<Received> {
    receive_with(socket, buffer, 0)
}

/// The next datagram of which the kernel tells when it left, with all headers in front (`WouldBlock`: none).
pub(crate) fn departure(socket: &UdpSocket, buffer: &mut [u8; DATAGRAM_MAX]) -> io::Result<Received> {
    receive_with(socket, buffer, libc::MSG_ERRQUEUE)
}

fn receive_with(socket: &UdpSocket, buffer: &mut [u8; DATAGRAM_MAX], flags: libc::c_int) -> io::Result<Received> {
    let mut control = Control([0; CONTROL_LEN]);
    let mut name = MaybeUninit::<libc::sockaddr_in6>::zeroed();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero bytes are a valid `msghdr`: null pointers and zero lengths.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_LEN as _;
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: every pointer in `message` is to a local or to `buffer`, with its true length, all live here.
    let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed storage is initialised, whatever part of it the kernel has written.
    let name = unsafe { name.assume_init() };
    let mut received = Received::new(result.unsigned_abs(), socket_address(&name));
    read_control(&message, &mut received);
    Ok(received)
}

/// Takes what is wanted from the control messages of `message`, just filled by the kernel.
pub(super) fn read_control(message: &libc::msghdr, received: &mut Received) {
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
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => {
                // The first of three is the kernel's own. SAFETY: as above.
                let time = unsafe { payload.cast::<libc::timespec>().read_unaligned() };
                let stamp = UnixTime(time.tv_sec.saturating_mul(NANOS_PER_SECOND)) + Nanos(time.tv_nsec);
                received.stamp = received.stamp.or((stamp != UnixTime(0)).then_some(stamp));
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the payload of this kind is an `in_pktinfo`, which may be unaligned.
                let info = unsafe { payload.cast::<libc::in_pktinfo>().read_unaligned() };
                // What was asked (`ipi_addr`) may be an address of many hosts; the other one is ours.
                let [address, asked] =
                    [info.ipi_spec_dst, info.ipi_addr].map(|address| Ipv4Addr::from(u32::from_be(address.s_addr)));
                received.is_to_many = asked != address && !address.is_unspecified();
                received.to = Some(Local { address: address.into(), interface: 0 });
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the payload of this kind is an `in6_pktinfo`, which may be unaligned.
                let info = unsafe { payload.cast::<libc::in6_pktinfo>().read_unaligned() };
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                received.is_to_many = address.is_multicast();
                // From an address of many hosts nothing can be sent.
                let interface = if address.is_unicast_link_local() { info.ipi6_ifindex as u32 } else { 0 };
                received.to = (!address.is_multicast()).then_some(Local { address: address.into(), interface });
            }
            _ => {}
        }
        // SAFETY: as for the first header; the macro stays inside the buffer.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
}

/// Has `message` leave from `local`. Its control buffer is a [`Control`].
pub(super) fn write_source(message: &mut libc::msghdr, local: &Local) {
    match local.address {
        IpAddr::V4(from) => {
            let source = libc::in_addr { s_addr: u32::from(from).to_be() };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: libc::in_addr { s_addr: 0 } };
            write_control(message, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        IpAddr::V6(from) => {
            let source = libc::in6_addr { s6_addr: from.octets() };
            let info = libc::in6_pktinfo { ipi6_addr: source, ipi6_ifindex: local.interface as _ };
            write_control(message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
}

/// Asks the kernel to tell when `message` left. Its control buffer is a [`Control`].
pub(super) fn write_stamp_wish(message: &mut libc::msghdr) {
    let wish: u32 = libc::SOF_TIMESTAMPING_TX_SOFTWARE;
    write_control(message, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, wish);
}

/// Appends `info` to the control messages of `message`, whose control buffer is a [`Control`]. There is room for two.
fn write_control<T: Copy>(message: &mut libc::msghdr, level: libc::c_int, kind: libc::c_int, info: T) {
    const { assert!(size_of::<T>() + size_of::<libc::cmsghdr>() + 2 * align_of::<libc::cmsghdr>() <= CONTROL_LEN / 2) };
    let length = size_of::<T>() as libc::c_uint;
    // Its type depends on the C library.
    let before: usize = message.msg_controllen as _;
    if before > CONTROL_LEN / 2 {
        return;
    }
    // SAFETY: the macro computes with numbers only.
    let space = unsafe { libc::CMSG_SPACE(length) } as usize;
    message.msg_controllen = (before + space) as _;
    // SAFETY: the buffer has room behind what was written before (checked above), which ends at a header's alignment.
    let header = unsafe { message.msg_control.cast::<u8>().add(before) }.cast::<libc::cmsghdr>();
    // SAFETY: the macro computes with numbers only.
    let whole = unsafe { libc::CMSG_LEN(length) };
    // SAFETY: all-zero bytes are a valid `cmsghdr`; some C libraries pad it with members of their own.
    let mut head: libc::cmsghdr = unsafe { std::mem::zeroed() };
    (head.cmsg_len, head.cmsg_level, head.cmsg_type) = (whole as _, level, kind);
    // SAFETY: the buffer is aligned for headers, and long enough (as above).
    unsafe { header.write(head) };
    // SAFETY: the header's payload follows it inside the buffer.
    let payload = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: there is room for `T` (as above), unaligned if need be.
    unsafe { payload.cast::<T>().write_unaligned(info) };
}

/// `address` as the system calls take it, and its length.
pub(super) fn storage(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
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

/// What a name says that is of IPv4 or IPv6; of any other family it says nothing.
pub(super) fn socket_address(name: &libc::sockaddr_in6) -> Option<SocketAddr> {
    match libc::c_int::from(name.sin6_family) {
        libc::AF_INET => {
            const { assert!(size_of::<libc::sockaddr_in>() <= size_of::<libc::sockaddr_in6>()) };
            const { assert!(align_of::<libc::sockaddr_in>() <= align_of::<libc::sockaddr_in6>()) };
            // SAFETY: the family, which stands in one place in both, says what it is; there is room for it (above).
            let v4 = unsafe { *(&raw const *name).cast::<libc::sockaddr_in>() };
            Some(SocketAddr::from((Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)), u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            let address = std::net::SocketAddrV6::new(
                Ipv6Addr::from(name.sin6_addr.s6_addr),
                u16::from_be(name.sin6_port),
                name.sin6_flowinfo,
                name.sin6_scope_id,
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
    fn the_kernel_tells_once_when_a_datagram_left_and_not_what_was_in_it() {
        let server = stamped("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = connected(server.local_addr().unwrap()).unwrap();
        let mut buffer = [0; DATAGRAM_MAX];
        let before = crate::sys::counter::system_time();
        client.send(b"hello").unwrap();
        let told = departure(&client, &mut buffer).unwrap();
        let stamp = told.stamp.expect("loopback stamps what leaves");
        assert!(before <= stamp && stamp <= crate::sys::counter::system_time() && told.length == 0, "{told:?}");
        assert_eq!(departure(&client, &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[cfg(feature = "_nts")]
    #[test]
    fn what_is_written_to_a_connecting_socket_does_not_wait_for_more() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(connecting(listener.local_addr().unwrap()).unwrap().nodelay().unwrap());
    }

    #[test]
    fn the_kernel_drops_what_has_another_origin_if_it_is_told_to() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let server = stamped(listen.parse().unwrap()).unwrap();
            let client = connected(server.local_addr().unwrap()).unwrap();
            let (one, other) = (0x0102_0304_0506_0708, 0x0102_0304_1111_1111);
            admit_only(&client, [one, other]).unwrap();
            let to = client.local_addr().unwrap();
            let with_origin = |origin: u64| [&[0; 24], origin.to_be_bytes().as_slice(), &[0; 16]].concat();
            for junk in [&[][..], &[1; 31], &with_origin(0), &with_origin(one + 1), &with_origin(other + (1 << 32))] {
                server.send_to(junk, to).unwrap();
            }
            server.send_to(&with_origin(one), to).unwrap();
            server.send_to(&with_origin(other), to).unwrap();
            wake::wait(&[client.as_raw_fd()], Some(std::time::Duration::from_secs(5))).unwrap();
            let mut buffer = [0; DATAGRAM_MAX];
            for admitted in [one, other] {
                assert_eq!(receive(&client, &mut buffer).unwrap().length, 48);
                assert_eq!(buffer[24..32], admitted.to_be_bytes());
            }
            assert_eq!(receive(&client, &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn an_empty_socket_does_not_block() {
        let socket = stamped("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = receive(&socket, &mut [0; DATAGRAM_MAX]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
