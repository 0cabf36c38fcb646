//! TLS of a port: the certificate, its key, and who signs the certificates of clients.

use std::{
    fmt::{self, Debug},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    CertificateError, Error, RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
    server::WebPkiClientVerifier,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What the first byte of a TLS connection is.
const HANDSHAKE: u8 = 22;

/// What a client receives that does not speak TLS.
const PLAIN_TEXT: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    content-length: 38\r\nconnection: close\r\n\r\nThis port speaks TLS: write https://.\n";

/// A file, as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsFile {
    /// Its path, for messages.
    pub path: PathBuf,
    /// Its content, in PEM.
    pub content: Vec<u8>,
}

/// The files of a port's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and its authority.
    pub certificate: TlsFile,
    /// The certificate's key.
    pub key: TlsFile,
    /// The authorities of clients' certificates; `None` if clients need none.
    pub client_ca: Option<TlsFile>,
    /// Whether requests other than probes need a client certificate.
    pub requires_client_certificate: bool,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file has no certificate.
    #[error("`{0}` has no certificate: write it in PEM (`-----BEGIN CERTIFICATE-----`)")]
    NoCertificate(PathBuf),
    /// A certificate cannot be read.
    #[error("`{0}` has a certificate that cannot be read: {1}")]
    Certificate(PathBuf, String),
    /// The file has no key.
    #[error("`{0}` has no private key: write it in PEM (`-----BEGIN PRIVATE KEY-----`)")]
    NoKey(PathBuf),
    /// The key is encrypted.
    #[error("the key in `{0}` is encrypted: decrypt it with `openssl pkey -in FILE -out FILE`")]
    EncryptedKey(PathBuf),
    /// The key cannot be read.
    #[error("`{0}` has a private key that cannot be used: {1}")]
    Key(PathBuf, String),
    /// The key is another certificate's.
    #[error("the key in `{key}` does not belong to the certificate in `{certificate}`")]
    OtherKey {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificate.
        certificate: PathBuf,
    },
}

/// The TLS of one or more ports. Cheap to clone; clones change together.
#[derive(Clone)]
pub struct Tls {
    active: Arc<ArcSwap<Active>>,
}

/// What a new connection uses.
struct Active {
    /// For HTTP/2 and HTTP/1.1.
    http: Arc<ServerConfig>,
    /// For HTTP/2 alone.
    http2: Arc<ServerConfig>,
    requires_client_certificate: bool,
    warning: Option<String>,
    /// When the certificate expires, in Unix seconds, if it can be read.
    expires_at: Option<u64>,
}

/// What is known of a connection over TLS.
#[derive(Clone, Copy, Debug)]
pub(super) struct Security {
    /// Whether the client has no certificate, although requests other than probes need one.
    pub(super) lacks_certificate: bool,
}

/// A mark in the extensions of each request that came over TLS.
#[derive(Clone, Copy, Debug)]
pub struct Encrypted;

// === impl Tls ===

impl Tls {
    /// Sets up TLS with these files.
    ///
    /// # Errors
    /// Returns an error that names the file when the content of one cannot be used.
    pub fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        let active = Arc::new(ArcSwap::from_pointee(Active::new(files)?));
        Ok(Self { active })
    }

    /// Uses what `other` has for every connection from now on.
    pub fn adopt(&self, other: &Self) {
        self.active.store(other.active.load_full());
    }

    /// Returns what is possible but probably not meant: a certificate that is not valid now.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.active.load().warning.clone()
    }

    /// Returns when the certificate expires, in Unix seconds; `None` if it does not say so.
    #[must_use]
    pub fn expires_at(&self) -> Option<u64> {
        self.active.load().expires_at
    }

    /// Does the handshake of a connection, within `timeout`. Returns `None` if it fails.
    pub(super) async fn accept(
        &self,
        mut stream: TcpStream,
        only_http2: bool,
        timeout: Duration,
    ) -> Option<(TlsStream<TcpStream>, Security)> {
        let active = self.active.load_full();
        let config = if only_http2 { &active.http2 } else { &active.http };
        let acceptor = TlsAcceptor::from(Arc::clone(config));
        let handshake = async move {
            let mut first = [0];
            if !matches!(stream.peek(&mut first).await, Ok(1)) {
                return None;
            }
            if first[0] != HANDSHAKE {
                tracing::debug!("a client does not speak TLS on a TLS port");
                let _ = stream.write_all(PLAIN_TEXT).await;
                let _ = stream.shutdown().await;
                super::io::linger(stream).await;
                return None;
            }
            match acceptor.accept(stream).await {
                Ok(stream) => Some(stream),
                Err(error) => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "a TLS handshake failed"
                    );
                    None
                }
            }
        };
        let stream = tokio::time::timeout(timeout, handshake).await.ok()??;
        let has_certificate = stream.get_ref().1.peer_certificates().is_some();
        let lacks_certificate = active.requires_client_certificate && !has_certificate;
        Some((stream, Security { lacks_certificate }))
    }
}

impl Active {
    fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        let TlsFiles { certificate, key, client_ca, requires_client_certificate } = files;
        let chain = certificates(certificate)?;
        let leaf = chain[0].clone();
        let provider = Arc::new(ring::default_provider());
        let unusable = |error: Error| {
            TlsError::Certificate(certificate.path.clone(), without_wrapping(&error))
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                // Probes have no certificate, so each request is asked for one, not each
                // connection.
                let verifier = WebPkiClientVerifier::builder_with_provider(
                    Arc::new(roots(ca)?),
                    Arc::clone(&provider),
                )
                .allow_unauthenticated()
                .build()
                .map_err(|error| TlsError::Certificate(ca.path.clone(), error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(chain, private_key(key)?);
        let mut http = config.map_err(|error| match error {
            Error::InconsistentKeys(_) => {
                TlsError::OtherKey { key: key.path.clone(), certificate: certificate.path.clone() }
            }
            Error::InvalidCertificate(_) => unusable(error),
            _ => TlsError::Key(key.path.clone(), error.to_string()),
        })?;
        http.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut http2 = http.clone();
        http2.alpn_protocols.truncate(1);
        Ok(Self {
            http: Arc::new(http),
            http2: Arc::new(http2),
            requires_client_certificate: *requires_client_certificate,
            warning: invalid_now(&leaf, &provider)
                .map(|what| format!("the certificate in `{}` {what}", certificate.path.display())),
            expires_at: expires_at(&leaf, &provider),
        })
    }
}

fn certificates(file: &TlsFile) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(&file.content)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Certificate(file.path.clone(), error.to_string()))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate(file.path.clone()));
    }
    Ok(certificates)
}

/// Returns what is wrong, without the types that rustls wraps around an error of another library.
fn without_wrapping(error: &Error) -> String {
    let Error::InvalidCertificate(CertificateError::Other(cause)) = error else {
        return error.to_string();
    };
    let cause = cause.to_string();
    if cause.contains("UnsupportedCertVersion") {
        // As `openssl x509 -req` makes them without `-extfile`.
        return "it is of X.509 version 1: make one of version 3, with a subjectAltName".to_owned();
    }
    cause
}

fn roots(file: &TlsFile) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Certificate(file.path.clone(), error.to_string()))?;
    }
    Ok(roots)
}

fn private_key(file: &TlsFile) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&file.content).map_err(|error| {
        let path = file.path.clone();
        let is_encrypted = String::from_utf8_lossy(&file.content).contains("ENCRYPTED");
        match error {
            _ if is_encrypted => TlsError::EncryptedKey(path),
            pem::Error::NoItemsFound => TlsError::NoKey(path),
            error => TlsError::Key(path, error.to_string()),
        }
    })
}

/// Returns why a certificate is not valid at this time, or `None`.
fn invalid_now(
    certificate: &CertificateDer<'_>,
    provider: &Arc<CryptoProvider>,
) -> Option<&'static str> {
    match invalid_at(UnixTime::now(), certificate, provider)? {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Some("has expired: clients will refuse it")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Some("is not valid yet: clients will refuse it")
        }
        _ => None,
    }
}

/// Returns when a certificate expires, in Unix seconds: what rustls says of it at a time at which
/// every certificate has expired.
fn expires_at(certificate: &CertificateDer<'_>, provider: &Arc<CryptoProvider>) -> Option<u64> {
    /// The first second of the year 10000: a certificate cannot name a later one than the second
    /// before.
    const AFTER_ALL: Duration = Duration::from_secs(253_402_300_800);
    match invalid_at(UnixTime::since_unix_epoch(AFTER_ALL), certificate, provider)? {
        CertificateError::ExpiredContext { not_after, .. } => Some(not_after.as_secs()),
        _ => None,
    }
}

/// Returns what is wrong with a certificate at this time. The time is verified before the name and
/// the signature, which do not matter here.
fn invalid_at(
    time: UnixTime,
    certificate: &CertificateDer<'_>,
    provider: &Arc<CryptoProvider>,
) -> Option<CertificateError> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone().into_owned()).ok()?;
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .ok()?;
    let name = ServerName::try_from("localhost").ok()?;
    match verifier.verify_server_cert(certificate, &[], &name, &[], time) {
        Err(Error::InvalidCertificate(error)) => Some(error),
        _ => None,
    }
}

impl Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl TlsFile {
    /// Creates a file from its path and what was read.
    #[must_use]
    pub fn new(path: impl AsRef<Path>, content: impl Into<Vec<u8>>) -> Self {
        Self { path: path.as_ref().to_owned(), content: content.into() }
    }

    /// Verifies that the file has certificates, and that each of them can be an authority's.
    ///
    /// # Errors
    /// Returns an error that names the file when it cannot be used.
    pub fn verify_certificates(&self) -> Result<(), TlsError> {
        roots(self).map(drop)
    }

    /// Verifies that the file has a private key that is not encrypted. Whether a certificate has
    /// that key, only [`Tls::new`] finds out.
    ///
    /// # Errors
    /// Returns an error that names the file when it cannot be used.
    pub fn verify_key(&self) -> Result<(), TlsError> {
        private_key(self).map(drop)
    }
}

impl Debug for TlsFile {
    /// Shows the path alone: the content may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}
