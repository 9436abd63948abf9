//! Where there are no ciphers nobody has keys: the compiler leaves out all that would use them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::access::Access;
use super::respond::Silence;
use super::statistics::Count;
use crate::error::Error;
use crate::packet::HEADER_LEN;
use crate::sys::thread::Order;

/// Refused when it is wished for.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) port: u16,
    pub(super) cookie_keys: Option<PathBuf>,
    never: Never,
}

#[derive(Clone, Copy, Debug)]
enum Never {}

#[derive(Debug)]
pub(super) struct Doors(Never);

#[derive(Debug)]
pub(super) struct OpenDoors {
    pub(super) addresses: Vec<SocketAddr>,
    never: Never,
}

#[derive(Debug)]
pub(super) struct Guard(Never);

#[derive(Debug)]
pub(super) struct Secured(Never);

pub(super) struct Desk(Never);

#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) granted: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) key_faults: AtomicU64,
}

impl Wish {
    pub(super) fn new(_: PathBuf, _: PathBuf) -> Option<Self> {
        None
    }

    #[cfg(feature = "cli")]
    pub(super) fn check(&self) -> Result<Option<String>, Error> {
        match self.never {}
    }

    #[cfg(feature = "cli")]
    pub(super) fn check_cookie_keys(&self) -> Result<(), Error> {
        match self.never {}
    }
}

impl Doors {
    pub(super) fn bind(wish: &Wish, _: &[SocketAddr]) -> Result<Self, Error> {
        match wish.never {}
    }

    pub(super) fn open(self) -> Result<OpenDoors, Error> {
        match self.0 {}
    }
}

impl OpenDoors {
    pub(super) fn guard(&self) -> Guard {
        match self.never {}
    }
}

impl Guard {
    pub(super) fn renew(&mut self) {
        match self.0 {}
    }

    pub(super) fn judge(&mut self, _: &mut [u8]) -> Result<Option<Secured>, Silence> {
        match self.0 {}
    }
}

impl Secured {
    pub(super) fn len(&self) -> usize {
        match self.0 {}
    }

    pub(super) fn finish(&self, _: &[u8; HEADER_LEN], _: &[u8; HEADER_LEN], _: &mut [u8]) -> Option<Count> {
        match self.0 {}
    }
}

impl Desk {
    pub(super) fn new(doors: OpenDoors, _: Arc<Told>) -> Self {
        match doors.never {}
    }

    pub(super) fn serve(&mut self, _: &Access, _: &Order) {
        match self.0 {}
    }
}
