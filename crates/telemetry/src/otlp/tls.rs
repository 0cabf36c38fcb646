//! TLS to a collector: the trusted authorities and the client certificate.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper_rustls::ConfigBuilderExt;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::error::TelemetryError;

/// The files that the variables name, in PEM format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TlsFiles {
    /// The trusted authorities. `None` stands for the system's authorities.
    pub(super) authorities: Option<PathBuf>,
    /// The client certificate and its key, for a collector that requests one.
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// Returns the configuration of the gRPC transport.
    pub(super) fn for_grpc(&self) -> Result<ClientTlsConfig, TelemetryError> {
        let config = match &self.authorities {
            Some(file) => {
                // Checked here, because the transport accepts a file without certificates and then
                // trusts no collector.
                read_certificates(file)?;
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(file)?))
            }
            None => ClientTlsConfig::new().with_enabled_roots(),
        };
        Ok(match &self.client {
            Some((certificate, key)) => {
                config.identity(Identity::from_pem(read(certificate)?, read(key)?))
            }
            None => config,
        })
    }

    /// Returns the configuration of the HTTP transport.
    pub(super) fn for_http(&self) -> Result<ClientConfig, TelemetryError> {
        // Named, because a process with two cryptography providers has no default.
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(TelemetryError::Tls)?;
        let builder = match &self.authorities {
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in read_certificates(file)? {
                    roots.add(certificate).map_err(TelemetryError::Tls)?;
                }
                builder.with_root_certificates(roots)
            }
            None => builder.with_native_roots().map_err(TelemetryError::Certificates)?,
        };
        match &self.client {
            Some((certificate, key)) => {
                let chain = read_certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_slice(&read(key)?)
                    .map_err(|_| not_pem(key, "a private key"))?;
                builder.with_client_auth_cert(chain, key).map_err(TelemetryError::Tls)
            }
            None => Ok(builder.with_no_client_auth()),
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TelemetryError> {
    fs::read(file).map_err(|source| TelemetryError::File { file: file.to_owned(), source })
}

/// Reads the certificates in a file, which must contain at least one.
fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TelemetryError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| not_pem(file, "a certificate"))
}

fn not_pem(file: &Path, expected: &'static str) -> TelemetryError {
    TelemetryError::NotPem { file: file.to_owned(), expected }
}
