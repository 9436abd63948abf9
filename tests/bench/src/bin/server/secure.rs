//! Requests with NTS: keys and cookies from many key exchanges, so that nobody answers from what was worked out before.

use std::net::SocketAddr;
use std::path::Path;

use crate::client::{COOKIE, PATIENCE, Session, ask, field};
use crate::load::{Load, WINDOW};

/// A request with one cookie of AES-SIV-CMAC-256, where that has as many bytes as ours and chronyd's.
pub const LENGTH: usize = 48 + 36 + 4 + COOKIE_LENGTH + 40;

/// What both make.
const COOKIE_LENGTH: usize = 100;

/// AES-SIV-CMAC-256: what every server has.
const ALGORITHM: u16 = 15;

/// Requests to a server, of which one is seen to be answered with what is authenticated; `None` while it is not there.
pub fn load(server: SocketAddr, exchanger: SocketAddr, authority: &Path) -> Load<LENGTH> {
    let mut requests = Vec::new();
    while requests.len() < WINDOW {
        let session = Session::begin(exchanger, authority, ALGORITHM);
        for cookie in &session.cookies {
            let slot = requests.len() as u64;
            let mut unique = [0x77; 32];
            unique[..8].copy_from_slice(&slot.to_be_bytes());
            // Slots are counted from one: no request's origin is zero.
            let origin = slot + WINDOW as u64;
            let fields = [field(crate::client::UNIQUE, &unique), field(COOKIE, cookie)];
            let request = session.request_at(origin, &fields);
            requests.push(request.try_into().unwrap_or_else(|request: Vec<u8>| panic!("{} bytes", request.len())));
        }
        let probe = session.asking(&session.cookies[0], 0);
        let reply = ask(server, &probe, PATIENCE).expect("a request with NTS is answered");
        assert_eq!(session.cookies_in(&reply).len(), 1);
    }
    requests.truncate(WINDOW);
    Load::new(server, requests)
}
