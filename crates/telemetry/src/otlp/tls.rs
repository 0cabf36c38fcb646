//! TLS towards a collector: whom to trust, and how to show who sends.

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

use crate::TelemetryError;

/// The files that the variables name, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TlsFiles {
    /// The authorities that vouch for the collector; without them, the system's.
    pub(super) authorities: Option<PathBuf>,
    /// Our own certificate and its key, for a collector that asks for one.
    pub(super) own: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// For the gRPC transport.
    pub(super) fn for_grpc(&self) -> Result<ClientTlsConfig, TelemetryError> {
        let config = match &self.authorities {
            Some(file) => {
                // Looked at here, since the transport would take a file without certificates for
                // one with none to trust.
                read_certificates(file)?;
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(file)?))
            }
            None => ClientTlsConfig::new().with_enabled_roots(),
        };
        Ok(match &self.own {
            Some((certificate, key)) => {
                config.identity(Identity::from_pem(read(certificate)?, read(key)?))
            }
            None => config,
        })
    }

    /// For the HTTP transport.
    pub(super) fn for_http(&self) -> Result<ClientConfig, TelemetryError> {
        // Named, since a process with two providers has no default one.
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
        match &self.own {
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

/// The certificates in a file, one at least.
fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TelemetryError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| not_pem(file, "a certificate"))
}

fn not_pem(file: &Path, wanted: &'static str) -> TelemetryError {
    TelemetryError::NotPem { file: file.to_owned(), wanted }
}
