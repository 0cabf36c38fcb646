//! The same by TLS, with certificates of the test's own.

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

/// Accepts connections by TLS.
pub(crate) struct TlsListener {
    pub(crate) listener: TcpListener,
    pub(crate) tls: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) =
                self.listener.accept().await.expect("the test has descriptors left");
            // Who does not trust us goes away.
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// An authority, and whom it vouches for.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("there is randomness");
        let issuer =
            CertifiedIssuer::self_signed(authority, key).expect("the parameters are sound");
        let files = tempfile::tempdir().expect("a directory can be made");
        fs::write(files.path().join("authority.pem"), issuer.pem()).expect("the directory is ours");
        Self { issuer, files }
    }

    /// Vouches for `name`, in the files `NAME.pem` and `NAME.key`.
    fn vouch_for(&self, name: &str) {
        let certificate = CertificateParams::new([name.to_owned()]).expect("it is a name");
        let key = KeyPair::generate().expect("there is randomness");
        let certificate =
            certificate.signed_by(&key, &self.issuer).expect("the parameters are sound");
        fs::write(self.path(&format!("{name}.pem")), certificate.pem())
            .expect("the directory is ours");
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem())
            .expect("the directory is ours");
    }

    fn path(&self, file: &str) -> String {
        self.files.path().join(file).to_str().expect("it is text").to_owned()
    }

    /// A collector that it vouches for; one that asks who sends, and believes nobody else, when
    /// `asks`.
    fn collector(&self, asks: bool) -> Collector {
        self.vouch_for("127.0.0.1");
        let read = |file: &str| fs::read(self.path(file)).expect("it was written");
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder =
            builder.with_safe_default_protocol_versions().expect("the provider knows them");
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).expect("it is a certificate");
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                Arc::new(ring::default_provider()),
            )
            .build();
            builder.with_client_cert_verifier(verifier.expect("there is a root"))
        } else {
            builder.with_no_client_auth()
        };
        let chain =
            vec![CertificateDer::from_pem_slice(&read("127.0.0.1.pem")).expect("it is PEM")];
        let key = PrivateKeyDer::from_pem_slice(&read("127.0.0.1.key")).expect("it is PEM");
        let mut config = builder.with_single_cert(chain, key).expect("they go together");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Collector::start_with(&TlsAcceptor::from(Arc::new(config)))
    }
}

fn endpoints(collector: &Collector) -> [(String, &'static str); 2] {
    [(collector.grpc_endpoint(), "grpc"), (collector.http_endpoint(), "http/protobuf")]
}

#[test]
fn a_collector_is_trusted_whose_authority_is_named() {
    let authority = Authority::new();
    let file = authority.path("authority.pem");
    for place in [0, 1] {
        let collector = authority.collector(false);
        let (endpoint, protocol) = &endpoints(&collector)[place];
        let telemetry =
            telemetry_with(endpoint, protocol, &[("OTEL_EXPORTER_OTLP_CERTIFICATE", &file)])
                .expect("the file is sound");
        record_and_stop(&telemetry).unwrap_or_else(|error| panic!("{protocol}: {error:?}"));
        assert_received(&collector.received());
    }
}

#[test]
fn a_collector_of_strangers_is_told_nothing() {
    let (authority, another) = (Authority::new(), Authority::new());
    let file = another.path("authority.pem");
    for place in [0, 1] {
        let collector = authority.collector(false);
        let (endpoint, protocol) = &endpoints(&collector)[place];
        // The system's authorities do not know it either.
        for variables in [&[][..], &[("OTEL_EXPORTER_OTLP_CERTIFICATE", file.as_str())]] {
            let Ok(telemetry) = telemetry_with(endpoint, protocol, variables) else {
                assert_eq!(
                    variables,
                    [],
                    "without authorities of the system there is nobody to trust"
                );
                continue;
            };
            assert!(record_and_stop(&telemetry).is_err(), "{protocol}");
        }
        assert!(collector.received().sums.is_empty() && collector.received().spans.is_empty());
    }
}

#[test]
fn a_collector_that_asks_who_sends_is_shown_the_certificate() {
    let authority = Authority::new();
    authority.vouch_for("replica");
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
    for place in [0, 1] {
        let collector = authority.collector(true);
        let (endpoint, protocol) = &endpoints(&collector)[place];
        let unknown =
            telemetry_with(endpoint, protocol, &variables[..1]).expect("the file is sound");
        assert!(record_and_stop(&unknown).is_err(), "{protocol}: it does not believe everybody");
        let known = telemetry_with(endpoint, protocol, &variables).expect("the files are sound");
        record_and_stop(&known).unwrap_or_else(|error| panic!("{protocol}: {error:?}"));
        assert_received(&collector.received());
    }
}

#[test]
fn a_file_that_holds_no_certificate_is_named() {
    let authority = Authority::new();
    fs::write(authority.path("empty.pem"), "").expect("the directory is ours");
    for protocol in ["grpc", "http/protobuf"] {
        let refused = |file: &str| {
            telemetry_with(
                "https://127.0.0.1:1",
                protocol,
                &[("OTEL_EXPORTER_OTLP_CERTIFICATE", file)],
            )
        };
        let (empty, missing) = (authority.path("empty.pem"), authority.path("missing.pem"));
        let error = refused(&empty).expect_err("nobody could be trusted");
        assert!(
            matches!(&error, TelemetryError::NotPem { file, .. } if file == Path::new(&empty)),
            "{error}"
        );
        assert!(
            matches!(refused(&missing), Err(TelemetryError::File { file, .. }) if file == Path::new(&missing))
        );
    }
}
