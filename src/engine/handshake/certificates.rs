//! Certificates: whom we trust, and whether a server's chain holds at a time.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{self, CertificateDer, ServerName};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::config::TrustWish;
use crate::error::Error;
use crate::nts::session::KeyFault;
use crate::nts::trust::{CertificateTime, Chain, Invalid};
use crate::sys::{file, host};
use crate::units::{NANOS_PER_SECOND, UnixTime};

/// Where distributions keep the certificates that they trust; the first that is there counts. Not asked: environment
/// variables, which are our host's.
const PLATFORM_FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A longer file is none of certificates: all that the web trusts are some 250 KB.
const SIZE_MAX: u64 = 1 << 22;

/// Whose certificates vouch for servers.
#[derive(Debug)]
pub(crate) struct Trust {
    own: Vec<CertificateDer<'static>>,
    platform: bool,
}

impl Trust {
    /// Reads the files of `wish`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if one cannot be read, or others than we and root may write it, [`Error::InvalidArgument`] if it
    /// holds no certificate.
    pub(crate) fn load(wish: &TrustWish) -> Result<Self, Error> {
        let mut own = Vec::new();
        for path in &wish.files {
            let found = named_certificates(path)
                .map_err(|error| Error::io(format!("reading certificates from {}", path.display()), error))?;
            if found.is_empty() {
                let why = format!("`{}` holds no certificate in PEM", path.display());
                return Err(Error::argument("trusted certificates", why));
            }
            own.extend(found);
        }
        Ok(Self { own, platform: wish.platform })
    }

    /// The certificates to trust now: those of the platform may have been renewed.
    pub(super) fn roots(&self) -> Result<RootCertStore, KeyFault> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.own.iter().cloned());
        let bundle =
            if self.platform { PLATFORM_FILES.map(PathBuf::from).into_iter().find(|file| file.exists()) } else { None };
        if let Some(file) = bundle {
            // Among so many one or another may be beyond us.
            roots.add_parsable_certificates(platform_certificates(&file)?);
        }
        if roots.is_empty() {
            return Err(KeyFault::Failed("there are no trusted certificates".to_owned()));
        }
        Ok(roots)
    }
}

/// The certificates in a file that the user names: whoever could write it could answer for any server.
fn named_certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    Ok(certificates(&file::read_trusted(path, host::effective_user(), SIZE_MAX)?))
}

/// The certificates in a file of the platform's, whoever may write that.
fn platform_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, KeyFault> {
    let why = |error| KeyFault::Failed(format!("the platform's certificates in {}: {error}", file.display()));
    Ok(certificates(&file::read_any(file, SIZE_MAX).map_err(why)?))
}

/// The certificates in a text. What is not whole is no certificate, and the rest still are.
fn certificates(text: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(text).filter_map(Result::ok).collect()
}

/// Judges certificates at the time that we think it is.
#[derive(Clone, Debug)]
pub(super) struct AtOurTime {
    pub(super) verifier: Arc<WebPkiServerVerifier>,
    pub(super) time: CertificateTime,
}

impl rustls::time_provider::TimeProvider for AtOurTime {
    fn current_time(&self) -> Option<pki_types::UnixTime> {
        Some(tls_time(self.time.at))
    }
}

impl ServerCertVerifier for AtOurTime {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: pki_types::UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let last = RefCell::new(None);
        let check = |at| {
            let verify =
                self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, tls_time(at));
            verify.map_err(|error| {
                let invalid = invalid(&error);
                last.replace(Some(error));
                invalid
            })
        };
        self.time.judge(check).map_err(|invalid| match last.take() {
            // Whoever is told of it shall know which time that was.
            Some(rustls::Error::InvalidCertificate(why)) if is_about_time(&why) => {
                rustls::Error::General(format!("{}: {invalid}", self.time))
            }
            Some(error) => error,
            None => rustls::Error::General(invalid.to_string()),
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // Never asked: there is no TLS 1.2 here.
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

fn is_about_time(why: &CertificateError) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(why, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
}

/// The chain of a session, to be checked again.
#[derive(Debug)]
pub(super) struct Certificates {
    pub(super) verifier: Arc<WebPkiServerVerifier>,
    pub(super) name: ServerName<'static>,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl Chain for Certificates {
    fn check(&self, at: UnixTime) -> Result<(), Invalid> {
        let (end_entity, intermediates) =
            self.chain.split_first().ok_or_else(|| Invalid::Otherwise("there is no certificate".to_owned()))?;
        let verify = self.verifier.verify_server_cert(end_entity, intermediates, &self.name, &[], tls_time(at));
        verify.map(drop).map_err(|error| invalid(&error))
    }
}

/// From when to when a certificate says that it is valid, whoever has signed it; `None` if it does not say so.
#[cfg(feature = "cli")]
pub(crate) fn validity(certificate: &CertificateDer<'static>) -> Option<(UnixTime, UnixTime)> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).ok()?;
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(super::cryptography())).build().ok()?;
    let name = ServerName::try_from("localhost").ok()?;
    // Before anything else of a certificate its time is checked.
    let alone = Certificates { verifier, name, chain: vec![certificate.clone()] };
    let Err(Invalid::NotYet { from }) = alone.check(UnixTime(0)) else { return None };
    match alone.check(UnixTime(i64::MAX)) {
        Err(Invalid::Expired { since }) => Some((from, since)),
        _ => Some((from, UnixTime(i64::MAX))),
    }
}

fn invalid(error: &rustls::Error) -> Invalid {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            Invalid::NotYet { from: our_time(*not_before) }
        }
        rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            Invalid::Expired { since: our_time(*not_after) }
        }
        other => Invalid::Otherwise(in_words(other)),
    }
}

/// An error in words; of this one rustls knows only the name.
pub(super) fn in_words(error: &rustls::Error) -> String {
    let text = error.to_string();
    if text.contains("CaUsedAsEndEntity") {
        return "the server shows the certificate of an authority (CA:TRUE) as its own".to_owned();
    }
    text
}

fn tls_time(at: UnixTime) -> pki_types::UnixTime {
    pki_types::UnixTime::since_unix_epoch(Duration::from_nanos(u64::try_from(at.0).unwrap_or(0)))
}

fn our_time(at: pki_types::UnixTime) -> UnixTime {
    UnixTime(i64::try_from(at.as_secs()).unwrap_or(i64::MAX).saturating_mul(NANOS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platforms_certificates_are_not_read_beyond_a_limit() {
        let path = std::env::temp_dir().join(format!("ntpclock-platform-{}.pem", std::process::id()));
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(SIZE_MAX).unwrap();
        assert_eq!(platform_certificates(&path), Ok(Vec::new()));
        file.set_len(SIZE_MAX + 1).unwrap();
        let told = format!("the platform's certificates in {}: it has more than 4194304 bytes", path.display());
        assert_eq!(platform_certificates(&path), Err(KeyFault::Failed(told)));
        std::fs::remove_file(path).unwrap();
    }
}
