//! A certificate authority of a test's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::peers::Directory;

const DAY: Duration = Duration::from_secs(86_400);

/// Signs certificates; its own lies in a file.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: Directory,
}

/// A server's certificate and key, in files.
pub(crate) struct Identity {
    directory: Directory,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are fine");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate can be made");
        let directory = Directory::new();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("the directory is writable");
        Self { issuer, directory }
    }

    /// The file with its certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// For a server at `name` (a DNS name or an address), valid from yesterday to next month.
    pub(crate) fn identity(&self, name: &str) -> Identity {
        let now = SystemTime::now();
        self.identity_for(name, now - DAY, now + 30 * DAY)
    }

    /// The same, valid between these times.
    pub(crate) fn identity_for(&self, name: &str, from: SystemTime, until: SystemTime) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name or an address");
        (params.not_before, params.not_after) = (from.into(), until.into());
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate can be signed");
        let directory = Directory::new();
        fs::write(directory.path().join("cert.pem"), certificate.pem()).expect("the directory is writable");
        fs::write(directory.path().join("key.pem"), key.serialize_pem()).expect("the directory is writable");
        let own = fs::Permissions::from_mode(0o600);
        fs::set_permissions(directory.path().join("key.pem"), own).expect("the file is ours");
        Identity { directory }
    }
}

impl Identity {
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }
}
