//! OTLP over TLS, with certificates that the test creates.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use sluice_telemetry::TelemetryError;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};

use crate::{assert_received, collector::Collector, record_and_stop, telemetry_with};

/// Accepts TLS connections.
pub(crate) struct TlsListener {
    pub(crate) listener: TcpListener,
    pub(crate) tls: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = self.listener.accept().await.expect("file descriptors are left");
            // A client that does not trust the certificate closes the connection.
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A certificate authority, and the files of the certificates that it issued.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("the system provides randomness");
        let issuer =
            CertifiedIssuer::self_signed(authority, key).expect("the parameters are valid");
        let files = tempfile::tempdir().expect("a directory can be created");
        fs::write(files.path().join("authority.pem"), issuer.pem())
            .expect("the directory is writable");
        Self { issuer, files }
    }

    /// Issues a certificate for `name`, in the files `NAME.pem` and `NAME.key`.
    fn issue_for(&self, name: &str) {
        let certificate = CertificateParams::new([name.to_owned()]).expect("the name is valid");
        let key = KeyPair::generate().expect("the system provides randomness");
        let certificate =
            certificate.signed_by(&key, &self.issuer).expect("the parameters are valid");
        fs::write(self.path(&format!("{name}.pem")), certificate.pem())
            .expect("the directory is writable");
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem())
            .expect("the directory is writable");
    }

    fn path(&self, file: &str) -> String {
        self.files.path().join(file).to_str().expect("the path is text").to_owned()
    }

    /// Starts a collector with a certificate of this authority. With `client_certificates`, it
    /// accepts only clients with a certificate of this authority.
    fn collector(&self, client_certificates: bool) -> Collector {
        self.issue_for("127.0.0.1");
        let read = |file: &str| fs::read(self.path(file)).expect("the file exists");
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder =
            builder.with_safe_default_protocol_versions().expect("the provider supports them");
        let builder = if client_certificates {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).expect("the certificate is valid");
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                Arc::new(ring::default_provider()),
            )
            .build();
            builder.with_client_cert_verifier(verifier.expect("there is a root certificate"))
        } else {
            builder.with_no_client_auth()
        };
        let chain =
            vec![CertificateDer::from_pem_slice(&read("127.0.0.1.pem")).expect("the file is PEM")];
        let key = PrivateKeyDer::from_pem_slice(&read("127.0.0.1.key")).expect("the file is PEM");
        let mut config =
            builder.with_single_cert(chain, key).expect("the certificate matches the key");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Collector::start_with_tls(&TlsAcceptor::from(Arc::new(config)))
    }
}

fn endpoints(collector: &Collector) -> [(String, &'static str); 2] {
    [(collector.grpc_endpoint(), "grpc"), (collector.http_endpoint(), "http/protobuf")]
}

#[test]
fn a_collector_is_trusted_if_its_authority_is_named() {
    let authority = Authority::new();
    let file = authority.path("authority.pem");
    for index in [0, 1] {
        let collector = authority.collector(false);
        let (endpoint, protocol) = &endpoints(&collector)[index];
        let telemetry =
            telemetry_with(endpoint, protocol, &[("OTEL_EXPORTER_OTLP_CERTIFICATE", &file)])
                .expect("the file is valid");
        record_and_stop(&telemetry).unwrap_or_else(|error| panic!("{protocol}: {error:?}"));
        assert_received(&collector.received());
    }
}

#[test]
fn nothing_is_sent_to_an_untrusted_collector() {
    let (authority, another) = (Authority::new(), Authority::new());
    let file = another.path("authority.pem");
    for index in [0, 1] {
        let collector = authority.collector(false);
        let (endpoint, protocol) = &endpoints(&collector)[index];
        // The system's authorities did not issue its certificate either.
        for variables in [&[][..], &[("OTEL_EXPORTER_OTLP_CERTIFICATE", file.as_str())]] {
            let Ok(telemetry) = telemetry_with(endpoint, protocol, variables) else {
                assert_eq!(variables, [], "only a system without authorities makes this fail");
                continue;
            };
            assert!(record_and_stop(&telemetry).is_err(), "{protocol}");
        }
        assert!(collector.received().sums.is_empty() && collector.received().spans.is_empty());
    }
}

#[test]
fn a_collector_can_require_a_client_certificate() {
    let authority = Authority::new();
    authority.issue_for("replica");
    let (authorities, certificate, key) = (
        authority.path("authority.pem"),
        authority.path("replica.pem"),
        authority.path("replica.key"),
    );
    let variables = [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", authorities.as_str()),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &certificate),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key),
    ];
    for index in [0, 1] {
        let collector = authority.collector(true);
        let (endpoint, protocol) = &endpoints(&collector)[index];
        let without =
            telemetry_with(endpoint, protocol, &variables[..1]).expect("the file is valid");
        assert!(record_and_stop(&without).is_err(), "{protocol}: the client has no certificate");
        let with = telemetry_with(endpoint, protocol, &variables).expect("the files are valid");
        record_and_stop(&with).unwrap_or_else(|error| panic!("{protocol}: {error:?}"));
        assert_received(&collector.received());
    }
}

#[test]
fn a_file_without_certificates_is_named_in_the_error() {
    let authority = Authority::new();
    fs::write(authority.path("empty.pem"), "").expect("the directory is writable");
    for protocol in ["grpc", "http/protobuf"] {
        let build = |file: &str| {
            telemetry_with(
                "https://127.0.0.1:1",
                protocol,
                &[("OTEL_EXPORTER_OTLP_CERTIFICATE", file)],
            )
        };
        let (empty, missing) = (authority.path("empty.pem"), authority.path("missing.pem"));
        let error = build(&empty).expect_err("the file has no certificates");
        assert!(
            matches!(&error, TelemetryError::NotPem { file, .. } if file == Path::new(&empty)),
            "{error}"
        );
        let error = build(&missing).expect_err("the file does not exist");
        assert!(
            matches!(&error, TelemetryError::File { file, .. } if file == Path::new(&missing)),
            "{error}"
        );
    }
}
