//! TLS over real sockets.

use std::{net::SocketAddr, sync::Arc};

use axum::body::Body;
use http::{Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use sluice::Recorders;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ALL_VERSIONS, ClientConfig, RootCertStore, SupportedProtocolVersion,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
        version::{TLS12, TLS13},
    },
};

use super::{
    tests::Responding,
    tls::{TlsFile, TlsFiles},
    *,
};

/// A certificate authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        change(&mut params);
        Identity { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }

    fn identity(&self) -> Identity {
        self.sign(|_| {})
    }
}

impl Identity {
    fn files(&self) -> TlsFiles {
        TlsFiles {
            certificate: TlsFile::new("tls.crt", self.certificate.pem()),
            key: TlsFile::new("tls.key", self.key.serialize_pem()),
            client_ca: None,
            requires_client_certificate: false,
        }
    }
}

async fn listen(tls: Tls) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let system = Recorders::disabled().system;
    let mut listener =
        Listener::new(socket, Responding, system, Limits::default()).with_tls(Some(tls));
    tokio::spawn(async move { listener.accept_until(std::future::pending()).await });
    address
}

/// A client that trusts `authority`.
struct TlsClient<'a> {
    authority: &'a Authority,
    versions: &'a [&'static SupportedProtocolVersion],
    protocols: &'a [&'a str],
    identity: Option<&'a Identity>,
}

impl<'a> TlsClient<'a> {
    fn of(authority: &'a Authority) -> Self {
        Self { authority, versions: ALL_VERSIONS, protocols: &[], identity: None }
    }

    async fn connect(&self, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        };
        config.alpn_protocols =
            self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Returns the response to one HTTP/1.1 request, or an error of the connection.
    async fn get(&self, address: SocketAddr, path: &str) -> std::io::Result<String> {
        let mut stream = self.connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        Ok(response)
    }
}

#[tokio::test]
async fn both_versions_of_http_and_tls_work() {
    let authority = Authority::new();
    let address = listen(Tls::new(&authority.identity().files()).unwrap()).await;
    for versions in [&[&TLS12], &[&TLS13]] {
        let client = TlsClient { versions, ..TlsClient::of(&authority) };
        let response = client.get(address, "/").await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        let client = TlsClient { protocols: &["h2", "http/1.1"], ..client };
        let stream = client.connect(address).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let driver = tokio::spawn(connection);
        let request = Request::get("https://x/").body(Body::empty()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
        driver.abort();
    }
}

#[tokio::test]
async fn new_connections_use_replaced_files_and_a_broken_pair_changes_nothing() {
    let (old, new) = (Authority::new(), Authority::new());
    let tls = Tls::new(&old.identity().files()).unwrap();
    let address = listen(tls.clone()).await;
    let broken = TlsFiles { key: new.identity().files().key, ..old.identity().files() };
    assert!(Tls::new(&broken).is_err());
    assert!(TlsClient::of(&old).get(address, "/").await.is_ok());
    tls.adopt(&Tls::new(&new.identity().files()).unwrap());
    assert!(TlsClient::of(&old).get(address, "/").await.is_err());
    assert!(TlsClient::of(&new).get(address, "/").await.is_ok());
}

#[tokio::test]
async fn only_probes_need_no_client_certificate_where_one_is_required() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let client_ca = Some(TlsFile::new("ca.crt", authority.0.pem()));
    for (requires_client_certificate, without) in [(true, "403"), (false, "200")] {
        let files = TlsFiles {
            client_ca: client_ca.clone(),
            requires_client_certificate,
            ..authority.identity().files()
        };
        let address = listen(Tls::new(&files).unwrap()).await;
        let (known, unknown) = (authority.identity(), stranger.identity());
        let anonymous = TlsClient::of(&authority);
        for (path, status) in [("/", without), ("/health", "200"), ("//health", without)] {
            let response = anonymous.get(address, path).await.unwrap();
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {response}");
        }
        let client = TlsClient { identity: Some(&known), ..TlsClient::of(&authority) };
        let response = client.get(address, "/").await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        let client = TlsClient { identity: Some(&unknown), ..TlsClient::of(&authority) };
        assert!(client.get(address, "/health").await.is_err(), "an unknown authority");
    }
}

#[tokio::test]
async fn a_client_that_does_not_speak_tls_learns_it_and_a_silent_one_delays_nobody() {
    let authority = Authority::new();
    let address = listen(Tls::new(&authority.identity().files()).unwrap()).await;
    let silent = TcpStream::connect(address).await.unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut response = String::new();
    plain.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    let (head, text) = response.split_once("\r\n\r\n").unwrap();
    assert!(text.contains("speaks TLS"), "{text}");
    assert!(head.contains(&format!("content-length: {}", text.len())), "{response}");
    assert!(TlsClient::of(&authority).get(address, "/").await.is_ok());
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_end_is_given_up() {
    let address = listen(Tls::new(&Authority::new().identity().files()).unwrap()).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(&[22, 3, 1]).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
}

#[test]
fn an_error_names_the_file_and_the_cause() {
    let authority = Authority::new();
    let (good, other) = (authority.identity().files(), authority.identity().files());
    let file = |content: &str| TlsFile::new("given.pem", content);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE \
                     KEY-----\n";
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    for (files, expected) in [
        (TlsFiles { certificate: file(""), ..good.clone() }, "`given.pem` has no certificate"),
        (TlsFiles { certificate: good.key.clone(), ..good.clone() }, "has no certificate"),
        (TlsFiles { certificate: file(broken), ..good.clone() }, "`given.pem` has a certificate"),
        (TlsFiles { key: file(""), ..good.clone() }, "`given.pem` has no private key"),
        (TlsFiles { key: good.certificate.clone(), ..good.clone() }, "has no private key"),
        (TlsFiles { key: file(encrypted), ..good.clone() }, "the key in `given.pem` is encrypted"),
        (TlsFiles { key: other.key.clone(), ..good.clone() }, "does not belong to the certificate"),
        (TlsFiles { client_ca: Some(file("")), ..good.clone() }, "`given.pem` has no certificate"),
    ] {
        let error = Tls::new(&files).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!format!("{files:?}").contains("PRIVATE"), "the content of a key is not shown");
    }
}

#[test]
fn a_certificate_of_version_1_is_rejected_with_the_remedy() {
    const VERSION_1: &str = "-----BEGIN CERTIFICATE-----
MIIBJDCBywIUfb8vNNk/hg/dDcljvSTw+X7ET2UwCgYIKoZIzj0EAwIwFDESMBAG
A1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTE4MzUwMFoYDzIxMjYxMTA1MTgzNTAw
WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AASb8q2TKmCZ+31OQR5A9DBfeIEQ7ullfo9bko1vqfTjWsVWrQLJFaG/WZ+M7zFb
8bYcBs/nCZ64BfcvdybzhxjUMAoGCCqGSM49BAMCA0gAMEUCIQDC9DCMzVL1ITe+
Zo/jODE86oxWxFf2ll18bLdRkZ8/yQIgGXwGi/PBxtErdO1fvqGOf/lXHvD1Frpq
W+DwyMmfbHs=
-----END CERTIFICATE-----
";
    let mut files = Authority::new().identity().files();
    files.certificate = TlsFile::new("tls.crt", VERSION_1);
    let error = Tls::new(&files).unwrap_err().to_string();
    assert_eq!(
        error,
        "`tls.crt` has a certificate that cannot be read: it is of X.509 version 1: make one of \
         version 3, with a subjectAltName"
    );
}

#[test]
fn a_certificate_that_is_not_valid_now_is_a_warning() {
    let authority = Authority::new();
    let warning = |identity: &Identity| Tls::new(&identity.files()).unwrap().warning();
    assert_eq!(warning(&authority.identity()), None);
    let expires_at = |identity: &Identity| Tls::new(&identity.files()).unwrap().expires_at();
    let expires = authority.sign(|params| params.not_after = date_time_ymd(2100, 1, 1));
    assert_eq!(expires_at(&expires), Some(4_102_444_800));
    let never = authority.sign(|params| params.not_after = date_time_ymd(9999, 12, 31));
    assert_eq!(expires_at(&never), Some(253_402_214_400));
    let expired = authority.sign(|params| params.not_after = date_time_ymd(2001, 1, 1));
    assert_eq!(expires_at(&expired), Some(978_307_200));
    assert!(warning(&expired).unwrap().contains("`tls.crt` has expired"));
    let early = authority.sign(|params| params.not_before = date_time_ymd(3000, 1, 1));
    assert!(warning(&early).unwrap().contains("is not valid yet"));
}
