//! Upstreams with TLS: the negotiated protocol and the trusted certificates.

use std::{path::PathBuf, sync::Arc};

use http::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use crate::{
    fixtures::{Gateway, Upstream},
    upgrades::{assert_echoes, open_socket, socket},
};

/// A certificate authority whose certificate is in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Returns a TLS acceptor that offers these protocols.
    fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

async fn gateway(upstream: &Upstream, ca_file: &str, protocol: &str) -> Gateway {
    let url = format!("https://localhost:{}", upstream.address.port());
    Gateway::with(
        &format!("{{ upstream: '{url}', ca_file: '{ca_file}', protocol: {protocol} }}"),
        &[],
    )
    .await
}

#[tokio::test]
async fn the_protocol_is_negotiated() {
    let authority = Authority::new();
    let file = authority.file().display().to_string();
    for (offered, protocol, version) in [
        (&["h2", "http/1.1"][..], "auto", "HTTP/2.0"),
        (&["http/1.1"], "auto", "HTTP/1.1"),
        (&[], "auto", "HTTP/1.1"),
        (&["h2", "http/1.1"], "http1", "HTTP/1.1"),
        (&["h2", "http/1.1"], "http2", "HTTP/2.0"),
    ] {
        let upstream =
            Upstream::listen("127.0.0.1:0", Some(authority.acceptor(offered)), open_socket).await;
        let gateway = gateway(&upstream, &file, protocol).await;
        let mut client = gateway.client().await;
        for _ in 0..3 {
            let got = client.get("/a").await;
            assert_eq!(got.status, StatusCode::OK, "{got:?}");
            assert!(
                got.text.lines().next().unwrap().ends_with(&format!("/a {version}")),
                "{offered:?} {protocol}: {}",
                got.text
            );
        }
        assert!(upstream.connections() <= 2, "{}", upstream.connections());
    }
}

#[tokio::test]
async fn a_websocket_uses_http1_although_requests_use_http2() {
    let authority = Authority::new();
    let upstream =
        Upstream::listen("127.0.0.1:0", Some(authority.acceptor(&["h2", "http/1.1"])), open_socket)
            .await;
    let gateway = gateway(&upstream, &authority.file().display().to_string(), "auto").await;
    let mut stream = socket(&gateway).await;
    assert_echoes(&mut stream, "hello").await;
    let got = gateway.get("/a").await;
    assert!(got.text.starts_with("GET https://api.test/a HTTP/2.0\n"), "{}", got.text);
    assert_echoes(&mut stream, "hello again").await;
}

#[tokio::test]
async fn an_untrusted_server_gets_no_request() {
    let (ours, another) = (Authority::new(), Authority::new());
    let upstream =
        Upstream::listen("127.0.0.1:0", Some(another.acceptor(&["h2"])), open_socket).await;
    let gateway = gateway(&upstream, &ours.file().display().to_string(), "auto").await;
    let got = gateway.get("/a").await;
    assert_eq!((got.status, got.problem().as_str()), (StatusCode::BAD_GATEWAY, "upstream-failed"));
    assert_eq!(upstream.requests(), 0);
}
