//! Somebody between client and server, who sees and changes all.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is made of a request and its true reply; with the number of the request.
pub(crate) type Mischief = fn(usize, &[u8], Vec<u8>) -> Option<Vec<u8>>;

/// Stands at 127.0.0.2, on the port of a server at 127.0.0.1.
pub(crate) struct Relay {
    mischief: Arc<Mutex<Mischief>>,
    asked: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Where a server must send its clients so that a relay is in between.
pub(crate) const PLACE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

pub(crate) fn pass(_: usize, _: &[u8], reply: Vec<u8>) -> Option<Vec<u8>> {
    Some(reply)
}

impl Relay {
    pub(crate) fn start(server: SocketAddr) -> Self {
        let front = UdpSocket::bind((IpAddr::from(PLACE), server.port())).expect("the port is free there, too");
        let back = UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
        back.connect(server).expect("the server is on loopback");
        for socket in [&front, &back] {
            socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a time can be set");
        }
        let mischief: Arc<Mutex<Mischief>> = Arc::new(Mutex::new(pass));
        let (asked, ended) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let theirs = (Arc::clone(&mischief), Arc::clone(&asked), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let (mischief, asked, ended) = theirs;
            let (mut request, mut reply) = ([0; 2048], [0; 2048]);
            while !ended.load(Ordering::SeqCst) {
                let Ok((length, client)) = front.recv_from(&mut request) else { continue };
                let number = asked.fetch_add(1, Ordering::SeqCst);
                let request = &request[..length];
                back.send(request).expect("loopback carries it");
                let Ok(length) = back.recv(&mut reply) else { continue };
                let made = mischief.lock().expect("nobody panics with it");
                if let Some(made) = made(number, request, reply[..length].to_vec()) {
                    front.send_to(&made, client).expect("loopback carries it");
                }
            }
        });
        Self { mischief, asked, ended, thread: Some(thread) }
    }

    pub(crate) fn make(&self, mischief: Mischief) {
        *self.mischief.lock().expect("nobody panics with it") = mischief;
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        self.thread.take().map(JoinHandle::join);
    }
}
