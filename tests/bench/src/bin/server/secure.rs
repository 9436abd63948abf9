//! Requests with NTS: keys and cookies from many key exchanges, so that nobody answers from what was worked out before.

use std::net::SocketAddr;
use std::path::Path;

use crate::client::{COOKIE, PATIENCE, Session, ask, field};
use crate::load::{Load, Run, WINDOW};

/// AES-SIV-CMAC-256, which every server has, and AES-128-GCM-SIV, which clients like best where a server has it.
pub const SIV: u16 = 15;
pub const GCM_SIV: u16 = 30;

/// Requests to a server, of which one is seen to be answered with what is authenticated.
pub fn load(server: SocketAddr, exchanger: SocketAddr, authority: &Path, algorithm: u16) -> Box<dyn Run> {
    let mut requests: Vec<Vec<u8>> = Vec::new();
    while requests.len() < WINDOW {
        let session = Session::begin(exchanger, authority, algorithm);
        for cookie in &session.cookies {
            let slot = requests.len() as u64;
            let mut unique = [0x77; 32];
            unique[..8].copy_from_slice(&slot.to_be_bytes());
            // Slots are counted from one: no request's origin is zero.
            let origin = slot + WINDOW as u64;
            let fields = [field(crate::client::UNIQUE, &unique), field(COOKIE, cookie)];
            requests.push(session.request_at(origin, &fields));
        }
        let probe = session.asking(&session.cookies[0], 0);
        let reply = ask(server, &probe, PATIENCE).expect("a request with NTS is answered");
        assert_eq!(session.cookies_in(&reply).len(), 1);
    }
    requests.truncate(WINDOW);
    // Cookies are as long as their server makes them.
    match requests[0].len() {
        188 => of_length::<188>(server, &requests),
        192 => of_length::<192>(server, &requests),
        228 => of_length::<228>(server, &requests),
        length => panic!("requests of {length} bytes"),
    }
}

fn of_length<const N: usize>(server: SocketAddr, requests: &[Vec<u8>]) -> Box<dyn Run> {
    let request = |request: &Vec<u8>| request.as_slice().try_into().expect("all are of one length");
    Box::new(Load::<N>::new(server, requests.iter().map(request).collect()))
}
