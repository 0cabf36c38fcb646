//! Certificates for one test.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

/// The files of a certificate authority, and of a certificate that it signed for servers.
#[derive(Debug, Clone)]
pub(super) struct TlsFiles {
    pub(super) authority: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// A certificate that several servers share, and its directory.
#[derive(Debug)]
pub(super) struct SharedCertificate {
    pub(super) files: TlsFiles,
    _directory: TempDir,
}

impl SharedCertificate {
    /// Writes the files into a directory of their own.
    #[track_caller]
    pub(super) fn create() -> Self {
        let directory = TempDir::with_prefix("sluice-redis-tls-")
            .unwrap_or_else(|error| panic!("could not create a directory: {error}"));
        Self { files: TlsFiles::create(directory.path()), _directory: directory }
    }
}

impl TlsFiles {
    /// Writes a fresh authority, and a certificate for `localhost` and `127.0.0.1`, into
    /// `directory`.
    pub(super) fn create(directory: &Path) -> Self {
        let files = Self {
            authority: directory.join("ca.pem"),
            certificate: directory.join("server.pem"),
            key: directory.join("server.key"),
        };
        files.write().unwrap_or_else(|error| panic!("could not make a test certificate: {error}"));
        files
    }

    fn write(&self) -> Result<(), Box<dyn std::error::Error>> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "sluice test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let mut server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        server.distinguished_name.push(DnType::CommonName, "sluice test redis");
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &authority)?;

        fs::write(&self.authority, authority.pem())?;
        fs::write(&self.certificate, certificate.pem())?;
        fs::write(&self.key, key.serialize_pem())?;
        Ok(())
    }
}
