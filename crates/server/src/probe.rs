//! `sluice health`: requests `/ready` from a replica, for containers without an HTTP client.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, Stream,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// Longer than a replica takes to check its store, and shorter than the timeout of a container's
/// health check.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Far more than a replica's response has. Another program may listen on the port.
const MAX_RESPONSE_BYTES: u64 = 64 * 1024;

/// A replica's response to `/ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether the replica accepts requests.
    pub ready: bool,
    /// The body of the response, in JSON.
    pub body: String,
}

/// Requests `/ready` from the replica at `address`, over TLS if the port speaks it.
///
/// The certificate is not verified: the request has no secrets, and a replica with an expired
/// certificate, or with one that was replaced a moment ago, is still ready.
///
/// # Errors
///
/// [`io::Error`] if nothing listens there, no response comes within two seconds, or the response is
/// none that a replica gives.
pub fn readiness(address: SocketAddr, speaks_tls: bool) -> io::Result<Readiness> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    if speaks_tls {
        let mut connection = tls_client(address).map_err(io::Error::other)?;
        exchange(address, Stream::new(&mut connection, &mut stream))
    } else {
        exchange(address, stream)
    }
}

fn exchange(address: SocketAddr, mut stream: impl Read + Write) -> io::Result<Readiness> {
    // HTTP/1.0, so that the body has no chunks and ends with the connection.
    stream.write_all(format!("GET /ready HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes())?;
    read(stream)
}

fn tls_client(address: SocketAddr) -> Result<ClientConnection, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::from(address.ip()))
}

/// Accepts every certificate.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn read(stream: impl Read) -> io::Result<Readiness> {
    let mut response = Vec::new();
    match stream.take(MAX_RESPONSE_BYTES).read_to_end(&mut response) {
        // The end of a TLS connection without its last message; the response has a length.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        read => {
            read?;
        }
    }
    let response = String::from_utf8_lossy(&response);
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    match head.strip_prefix("HTTP/1.").and_then(|rest| rest.split([' ', '\r']).nth(1)) {
        // A port that speaks TLS says so with another one.
        Some(status @ ("200" | "503")) => {
            Ok(Readiness { ready: status == "200", body: body.trim_end().to_owned() })
        }
        Some(status) => {
            let text = format!("status {status}, which /ready never has: {}", body.trim_end());
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the response is not HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(response: &str) -> io::Result<Readiness> {
        read(response.as_bytes())
    }

    #[test]
    fn only_status_200_is_ready() {
        let ready = parsed(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"status\":\"ready\"}\n",
        )
        .unwrap();
        assert_eq!(ready, Readiness { ready: true, body: "{\"status\":\"ready\"}".to_owned() });
        let stopping =
            parsed("HTTP/1.0 503 Service Unavailable\r\n\r\n{\"status\":\"stopping\"}").unwrap();
        let body = "{\"status\":\"stopping\"}".to_owned();
        assert_eq!(stopping, Readiness { ready: false, body });
    }

    #[test]
    fn a_response_that_no_replica_gives_is_an_error() {
        for response in [
            "HTTP/1.1 400 Bad Request\r\n\r\nThis port speaks TLS",
            "",
            "-ERR unknown command 'GET'\r\n",
            "HTTP/1.1",
            "\r\n",
        ] {
            let error = parsed(response).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{response:?}");
        }
    }

    #[test]
    fn an_endless_response_is_cut_off() {
        let endless = b"HTTP/1.1 200 OK\r\n\r\n".chain(io::repeat(b'x'));
        let max = usize::try_from(MAX_RESPONSE_BYTES).unwrap();
        assert!(read(endless).unwrap().body.len() < max);
    }

    #[test]
    fn a_port_without_a_listener_is_an_error() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(readiness(port, false).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
