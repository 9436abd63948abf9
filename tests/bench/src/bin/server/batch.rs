//! `recvmmsg` and `sendmmsg` over datagrams of one length, with nothing around them.

/// Datagrams in one call at most.
pub const BATCH: usize = 64;

pub const PACKET: usize = 48;

/// Buffers that stay where they are.
pub struct Batch<const N: usize> {
    headers: Vec<libc::mmsghdr>,
    _parts: Vec<libc::iovec>,
    names: Vec<libc::sockaddr_storage>,
    packets: Vec<[u8; N]>,
}

impl<const N: usize> Batch<N> {
    pub fn new() -> Self {
        let mut packets = vec![[0; N]; BATCH];
        // SAFETY: zero bytes are valid for both.
        let (mut names, blank): (Vec<libc::sockaddr_storage>, libc::mmsghdr) =
            unsafe { (vec![std::mem::zeroed(); BATCH], std::mem::zeroed()) };
        let mut parts: Vec<libc::iovec> =
            packets.iter_mut().map(|packet| libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: N }).collect();
        let headers = (0..BATCH)
            .map(|index| {
                let mut header = blank;
                header.msg_hdr.msg_name = (&raw mut names[index]).cast();
                header.msg_hdr.msg_iov = &raw mut parts[index];
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Self { headers, _parts: parts, names, packets }
    }

    pub fn packet(&mut self, index: usize) -> &mut [u8; N] {
        &mut self.packets[index]
    }

    /// How long the datagram is that came in place `index`, cut to the place.
    pub fn length(&self, index: usize) -> usize {
        self.headers[index].msg_len as usize
    }

    /// How many came; none is no error.
    pub fn receive(&mut self, socket: i32, most: usize, flags: i32) -> usize {
        for header in &mut self.headers[..most] {
            header.msg_hdr.msg_namelen = size_of_val(&self.names[0]) as u32;
        }
        // SAFETY: the headers point to names and packets that live and stay, with their true lengths.
        let result =
            unsafe { libc::recvmmsg(socket, self.headers.as_mut_ptr(), most as u32, flags as _, std::ptr::null_mut()) };
        usize::try_from(result).unwrap_or(0)
    }

    /// Sends packets `from` to `to`, each to where it came from if they are replies; how many left.
    pub fn send(&mut self, socket: i32, from: usize, to: usize, replies: bool) -> usize {
        if !replies {
            self.headers[from..to].iter_mut().for_each(|header| header.msg_hdr.msg_namelen = 0);
        }
        // SAFETY: as above.
        let result = unsafe { libc::sendmmsg(socket, self.headers[from..].as_mut_ptr(), (to - from) as u32, 0) };
        usize::try_from(result).unwrap_or(0)
    }
}
