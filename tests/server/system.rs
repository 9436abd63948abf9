//! What a test needs of the system and the standard library does not have.

#![expect(unsafe_code, reason = "calls of the C library; each is wrapped in a safe function")]

use std::fs::File;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::namespace::ip;
use crate::wire::eventually;

/// A link of two ends, `inner` and `outer`, both up; the number of `inner`.
pub(crate) fn inner_link() -> u32 {
    ip("link add inner type veth peer name outer");
    ip("link set inner up");
    ip("link set outer up");
    // The kernel hears of its carrier a little later: not in the middle of a test.
    eventually("the link has a carrier", || ip("-o link show inner").contains("state UP"));
    ip("-o link show inner").split(':').next().unwrap().parse().unwrap()
}

/// Sends `payload` to `to` in the name of `from`, as only root can.
pub(crate) fn forge(from: SocketAddr, to: SocketAddr, payload: &[u8]) {
    let (SocketAddr::V4(source), SocketAddr::V4(target)) = (from, to) else { panic!("IPv4 only") };
    let length = (28 + payload.len()) as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet.extend(source.ip().octets());
    packet.extend(target.ip().octets());
    packet.extend(source.port().to_be_bytes());
    packet.extend(target.port().to_be_bytes());
    // No checksum: IPv4 allows that.
    packet.extend((length - 20).to_be_bytes().into_iter().chain([0, 0]));
    packet.extend(payload);
    // SAFETY: takes numbers only.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    assert!(raw >= 0, "a raw socket needs root: {}", io::Error::last_os_error());
    // SAFETY: all zeros are an address.
    let mut name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    name.sin_family = libc::AF_INET as libc::sa_family_t;
    name.sin_addr.s_addr = u32::from(*target.ip()).to_be();
    let size = size_of_val(&name) as libc::socklen_t;
    // SAFETY: packet and name are ours, with their true lengths.
    let sent = unsafe { libc::sendto(raw, packet.as_ptr().cast(), packet.len(), 0, (&raw const name).cast(), size) };
    assert_eq!(sent, packet.len() as isize, "{}", io::Error::last_os_error());
    // SAFETY: opened above.
    unsafe { libc::close(raw) };
}

/// Runs `body` in a forked child; whether it said so, and nothing went wrong.
pub(crate) fn in_a_child(body: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child ends without running anything else of its parent's.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", io::Error::last_os_error());
    if child == 0 {
        let well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(false);
        // SAFETY: ends this process, here.
        unsafe { libc::_exit(i32::from(!well)) };
    }
    let mut status = 0;
    // SAFETY: the status is ours.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    ended == child && status == 0
}

/// A socket that is bound to nothing.
pub(crate) fn unbound() -> UdpSocket {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: just opened, and nobody else's.
    unsafe { UdpSocket::from_raw_fd(fd) }
}

/// A socket bound to `address` that leaves IPv4 to others.
pub(crate) fn only_ipv6(address: SocketAddr) -> UdpSocket {
    let SocketAddr::V6(v6) = address else { panic!("{address} is not of IPv6") };
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: just opened, and nobody else's.
    let socket = unsafe { UdpSocket::from_raw_fd(fd) };
    let (yes, size): (libc::c_int, _) = (1, size_of::<libc::c_int>() as libc::socklen_t);
    let place = (&raw const yes).cast();
    // SAFETY: the number is ours, and so long.
    let set = unsafe { libc::setsockopt(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, place, size) };
    // SAFETY: all zeros are an address.
    let mut name: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    name.sin6_port = v6.port().to_be();
    name.sin6_addr.s6_addr = v6.ip().octets();
    // SAFETY: the name is ours, and so long.
    let bound = unsafe { libc::bind(fd, (&raw const name).cast(), size_of_val(&name) as libc::socklen_t) };
    assert_eq!((set, bound), (0, 0), "{}", io::Error::last_os_error());
    socket
}

/// Has the program find `descriptors` under the numbers 3 and following.
pub(crate) fn pass<const N: usize>(command: &mut Command, descriptors: [RawFd; N]) {
    let place = move || {
        // Out of the way first: 3 and following may be among them.
        // SAFETY: takes numbers only.
        let aside = descriptors.map(|fd| unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 100) });
        for (index, fd) in aside.into_iter().enumerate() {
            // SAFETY: takes numbers only.
            if unsafe { libc::dup2(fd, 3 + index as i32) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: what runs between fork and exec is system calls only.
    unsafe { command.pre_exec(place) };
}

/// Takes the calling thread, and what it will start, to the network namespace that `file` stands for.
pub(crate) fn enter_network(file: &File) {
    // SAFETY: the descriptor is open; only this thread changes its namespace.
    let moved = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(moved, 0, "{}", io::Error::last_os_error());
}
