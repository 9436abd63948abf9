//! `ntpclock cookie-keys`: the keys that NTS servers seal cookies with.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::server;

/// Puts a new key in front of those in FILE, which is made if there is none, for nobody but its owner to read; the
/// three that were the newest stay behind it.
///
/// Servers that share the file (`serve --nts-cookie-keys`) read it again when it changes: the second key seals, so that
/// the others know the first when its time comes. Once a day is often enough, and a client that asks as often keeps its
/// cookies good.
#[derive(Args)]
pub(super) struct CookieKeys {
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl CookieKeys {
    pub(super) fn run(&self) -> Result<(), Failure> {
        Ok(server::renew_cookie_keys(&self.file)?)
    }
}
