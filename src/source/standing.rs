//! What a source is by its configuration, and what a request of it needs.

use std::sync::Arc;

use crate::mac::Key;
use crate::nts;
use crate::status::ServerOptions;
use crate::units::NtpTime;

/// What a source is by its configuration, whichever server fills its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) options: ServerOptions,
    /// Its requests carry this key's code, and its answers must.
    pub(crate) key: Option<Arc<Key>>,
}

impl Standing {
    /// Whether nobody can answer in the server's name.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.key.is_some() || self.options.nts
    }

    /// The more, the more depends on it: who stands higher is never taken for somebody who stands lower.
    pub(crate) fn rank(&self) -> u8 {
        u8::from(self.is_authenticated()) << 2 | u8::from(self.options.trust) << 1 | u8::from(self.options.require)
    }
}

/// What one request needs of chance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance {
    pub(crate) transmit: NtpTime,
    pub(super) dither: u64,
    pub(super) nts: nts::Chance,
}

impl Chance {
    /// From random words.
    pub(crate) fn new([transmit, dither, nts @ ..]: [u64; 8]) -> Self {
        // 64 random bits: who has not seen the request cannot answer it. Zero would mean "none".
        Self { transmit: NtpTime(transmit.max(1)), dither, nts: nts::Chance::new(nts) }
    }
}
