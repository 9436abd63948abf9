//! Sockets of servers: shared out among threads, deep, and telling when replies left.

use std::ffi::CString;
use std::io;
#[cfg(feature = "_nts")]
use std::net::TcpListener;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};

use super::socket::{ask_for_stamps, set_option, socket_address, storage};
use super::{beside_standard, checked};

/// What a server's receive buffer should hold, in bytes as the kernel counts them: a thread that does not run for 10 ms
/// loses nothing of a burst. What is not used costs nothing.
const RECEIVE_BUFFER: libc::c_int = 8 << 20;

/// Connections that the kernel takes before we do.
#[cfg(feature = "_nts")]
const BACKLOG: libc::c_int = 128;

/// What a socket that is bound to all addresses of IPv6 takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// What the system does by itself: for the most part IPv4, too.
    AsUsual,
    /// IPv6 alone: the same port of IPv4 is another socket's.
    OnlyIpv6,
}

/// `count` sockets for a server at `address`, among which the kernel shares its datagrams out by sender. They do not
/// block, have deep buffers, and the kernel stamps what they receive.
///
/// Where `address` stands for every address of this host, each datagram tells to which it was sent. Left to itself the
/// kernel sends from the address that the route suggests, and a client that asked another one takes the answer for a
/// stranger's. Where a sandbox forbids the option, that is how it stays.
pub(crate) fn listening(address: SocketAddr, count: usize, kinds: Kinds) -> io::Result<Vec<UdpSocket>> {
    refuse_many(address)?;
    // The first alone finds out whether the port is free: two that both share may be of different programs.
    let first = bound_to(address, kinds, false)?;
    let bound = first.local_addr()?;
    if count > 1 {
        set_option(&first, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bound_to(bound, kinds, true)?);
    }
    for socket in &sockets {
        prepare_listener(socket, address);
    }
    Ok(sockets)
}

/// The number of a network interface that this host has.
pub(crate) fn interface(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: a string that lives.
    Some(unsafe { libc::if_nametoindex(name.as_ptr()) }).filter(|number| *number != 0)
}

/// All addresses that this host has at present; none where a sandbox does not let us ask.
pub(crate) fn own_addresses() -> Vec<IpAddr> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the place for the list is ours.
    if checked(unsafe { libc::getifaddrs(&raw mut first) }).is_err() {
        return Vec::new();
    }
    let (mut found, mut next) = (Vec::new(), first);
    // SAFETY: null, or an entry of the list, which is whole until it is freed below.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        // SAFETY: null, or an address that begins with its family.
        let family = unsafe { entry.ifa_addr.as_ref() }.map(|address| libc::c_int::from(address.sa_family));
        let length = match family {
            Some(libc::AF_INET) => size_of::<libc::sockaddr_in>(),
            Some(libc::AF_INET6) => size_of::<libc::sockaddr_in6>(),
            _ => continue,
        };
        // SAFETY: all-zero bytes are a valid `sockaddr_in6`.
        let mut name: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
        // SAFETY: an address of that family has `length` bytes, and there is room for the longer of the two.
        unsafe { std::ptr::copy_nonoverlapping(entry.ifa_addr.cast::<u8>(), (&raw mut name).cast(), length) };
        found.extend(socket_address(&name).map(|address| address.ip()));
    }
    // SAFETY: what `getifaddrs` made, once; nothing refers to it any more.
    unsafe { libc::freeifaddrs(first) };
    found
}

/// Has `socket`, bound to `address`, do what a server's does: a deep buffer, and the address that was asked.
fn prepare_listener(socket: &UdpSocket, address: SocketAddr) {
    // Beyond the system's limit only root may go.
    let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)
        .or_else(|_| set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER));
    if address.ip().is_unspecified() {
        let _ = match address {
            SocketAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
            SocketAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
        };
    }
}

/// A UDP socket that this process was started with, made fit for a server, and its address.
#[cfg(feature = "cli")]
pub(crate) fn inherited(fd: libc::c_int) -> io::Result<(UdpSocket, SocketAddr)> {
    // SAFETY: takes numbers only; a descriptor that is not open is an error.
    checked(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and whoever started us passed it to us: nobody else here uses it.
    let socket = unsafe { UdpSocket::from_raw_fd(fd) };
    let about = |option| {
        let mut number: libc::c_int = 0;
        get_option(&socket, option, &mut number).map(|()| number)
    };
    // Also of a family that is not the Internet's.
    if about(libc::SO_TYPE)? != libc::SOCK_DGRAM || about(libc::SO_PROTOCOL)? != libc::IPPROTO_UDP {
        return Err(io::Error::other("it is no UDP socket"));
    }
    let address = socket.local_addr()?;
    if address.port() == 0 {
        return Err(io::Error::other("it is not bound to a port"));
    }
    if let Ok(peer) = socket.peer_addr() {
        return Err(io::Error::other(format!("it is connected to {peer}, and hears nobody else")));
    }
    refuse_many(address)?;
    socket.set_nonblocking(true)?;
    ask_for_stamps(&socket);
    prepare_listener(&socket, address);
    Ok((socket, address))
}

/// An error if `address` is many hosts': what is sent there reaches every thread, and whoever answers it multiplies it.
fn refuse_many(address: SocketAddr) -> io::Result<()> {
    let kind = match address.ip().to_canonical() {
        ip if ip.is_multicast() => "multicast",
        IpAddr::V4(v4) if !v4.is_unspecified() && is_broadcast(SocketAddr::from((v4, address.port()))) => "broadcast",
        _ => return Ok(()),
    };
    Err(io::Error::other(format!("it is a {kind} address: what is sent there is never answered")))
}

/// Only the routes of this host say whether an address is a network's broadcast address: to connect to one is forbidden
/// unless it was asked for.
fn is_broadcast(address: SocketAddr) -> bool {
    let Ok(probe) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else { return false };
    let forbidden = probe.connect(address).is_err_and(|error| error.raw_os_error() == Some(libc::EACCES));
    forbidden && probe.set_broadcast(true).and_then(|()| probe.connect(address)).is_ok()
}

/// A socket that is bound to `address`, does not block and asks for stamps; one that `shares` does so with all that
/// share that address.
fn bound_to(address: SocketAddr, kinds: Kinds, shares: bool) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes no pointers.
    let fd = checked(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: `fd` was just opened and belongs to nobody else.
    let socket = beside_standard(unsafe { UdpSocket::from_raw_fd(fd) })?;
    if address.is_ipv6() && kinds == Kinds::OnlyIpv6 {
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    if shares {
        set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    let (name, length) = storage(address);
    // SAFETY: the name is ours, and so long.
    checked(unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), length) })?;
    ask_for_stamps(&socket);
    Ok(socket)
}

/// A socket on which connections to `address` are awaited. It does not block.
#[cfg(feature = "_nts")]
pub(crate) fn awaiting(address: SocketAddr, kinds: Kinds) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes no pointers.
    let fd = checked(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: `fd` was just opened and belongs to nobody else.
    let socket = unsafe { TcpListener::from_raw_fd(fd) };
    if address.is_ipv6() && kinds == Kinds::OnlyIpv6 {
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    // Connections of before that are still being closed are in nobody's way.
    set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    let (name, length) = storage(address);
    // SAFETY: the name is ours, and so long.
    checked(unsafe { libc::bind(fd, (&raw const name).cast(), length) })?;
    // SAFETY: the call takes no pointers.
    checked(unsafe { libc::listen(fd, BACKLOG) })?;
    Ok(socket)
}

/// Has the kernel tell ([`socket::departure`]) when those datagrams left for which that was wished.
pub(crate) fn tell_departures(socket: &UdpSocket) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, libc::SOF_TIMESTAMPING_SOFTWARE.cast_signed())
}

/// What the kernel grants of a receive buffer, in bytes as it counts them.
pub(crate) fn receive_buffer(socket: &UdpSocket) -> io::Result<usize> {
    let mut granted: libc::c_int = 0;
    get_option(socket, libc::SO_RCVBUF, &mut granted)?;
    Ok(usize::try_from(granted).unwrap_or(0))
}

/// Datagrams that the kernel dropped because the socket's buffer was full.
pub(crate) fn dropped(socket: &UdpSocket) -> io::Result<u32> {
    // `SK_MEMINFO_DROPS` of `linux/sock_diag.h`, the last of nine.
    let mut counts = [0_u32; 9];
    get_option(socket, libc::SO_MEMINFO, &mut counts)?;
    Ok(counts[8])
}

fn get_option<T>(socket: &UdpSocket, option: libc::c_int, value: &mut T) -> io::Result<()> {
    let mut length = size_of::<T>() as libc::socklen_t;
    let place = std::ptr::from_mut(value).cast();
    // SAFETY: the descriptor is open as long as `socket` is borrowed; `value` is ours, plain data of `length` bytes.
    checked(unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, place, &raw mut length) })?;
    Ok(())
}
