//! How connections in TLS prove who is at their ends.

use std::{fs, net::SocketAddr, path::Path};

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ErrorKind, RedisFuture, TlsCertificates,
    io::AsyncDNSResolver,
};
use rustls::pki_types::ServerName;

use super::{
    address::HostPort,
    redis_error::{PemContent, RedisError},
};
use crate::StoreError;

/// The authorities that are trusted, and the certificate that is shown.
#[derive(Clone)]
pub(super) struct Tls {
    /// An address with what the client has read from the files.
    template: ConnectionAddr,
}

/// The files of a [`Tls`], each in PEM.
#[derive(Clone, Copy, Default)]
pub(super) struct TlsFiles<'a> {
    pub(super) authorities: Option<&'a Path>,
    pub(super) certificate: Option<&'a Path>,
    pub(super) key: Option<&'a Path>,
}

/// Resolves a certificate's name to the address of the server that should have it.
pub(super) struct ServerOf(pub(super) HostPort);

impl Tls {
    pub(super) fn read(files: TlsFiles<'_>) -> Result<Self, RedisError> {
        let root_cert =
            files.authorities.map(|file| read_pem(file, PemContent::Certificate)).transpose()?;
        let client_tls = match (files.certificate, files.key) {
            (Some(certificate), Some(key)) => Some(ClientTlsConfig {
                client_cert: read_pem(certificate, PemContent::Certificate)?,
                client_key: read_pem(key, PemContent::PrivateKey)?,
            }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(RedisError::HalfOfClientCertificate),
        };
        let any = ConnectionAddr::TcpTls {
            host: "localhost".to_owned(),
            port: 1,
            insecure: false,
            tls_params: None,
        };
        if root_cert.is_none() && client_tls.is_none() {
            return Ok(Self { template: any });
        }
        let client = Client::build_with_tls(any, TlsCertificates { client_tls, root_cert })
            .map_err(|e| RedisError::Tls(e.into()))?;
        Ok(Self { template: client.get_connection_info().addr().clone() })
    }

    /// Returns the address of `server`, whose certificate must have the name `name`.
    pub(super) fn address(&self, server: &HostPort, name: &str) -> ConnectionAddr {
        let mut address = self.template.clone();
        if let ConnectionAddr::TcpTls { host, port, .. } = &mut address {
            name.clone_into(host);
            *port = server.port;
        }
        address
    }
}

/// Reads a file in PEM, which must hold some `content`. Without any certificate, for example,
/// nobody would be trusted, and every connection would fail.
fn read_pem(file: &Path, content: PemContent) -> Result<Vec<u8>, RedisError> {
    let text = fs::read(file).map_err(|source| RedisError::file(file, source))?;
    let is_there = |label: &[u8]| text.windows(label.len()).any(|part| part == label);
    if content.labels().iter().any(|label| is_there(label.as_bytes())) {
        return Ok(text);
    }
    Err(RedisError::WrongPem { file: file.to_owned(), content })
}

/// Returns whether `name` can stand in a certificate.
pub(super) fn is_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

/// Returns the error of a connection that could not be opened, if the reason is, or may be, that
/// only one end speaks TLS, or gives `error` back.
pub(super) fn mismatch(
    is_encrypted: bool,
    error: redis::RedisError,
) -> Result<StoreError, redis::RedisError> {
    let cause = match error.kind() {
        ErrorKind::Io if is_encrypted && error.to_string().contains("InvalidContentType") => {
            return Ok(StoreError::wrong_settings(RedisError::NoTls(error.into())));
        }
        ErrorKind::Parse if !is_encrypted => {
            return Ok(StoreError::wrong_settings(RedisError::OnlyTls(error.into())));
        }
        // A server without TLS waits for the end of what it takes for a command.
        ErrorKind::Io if is_encrypted && error.is_timeout() => {
            RedisError::NoHandshake(error.into())
        }
        // A server that expects TLS resets the connection, often before its reply is read. So does
        // one that ends at this moment.
        ErrorKind::Io
            if !is_encrypted && error.is_connection_dropped() && !error.is_connection_refusal() =>
        {
            RedisError::ClosedAtOnce(error.into())
        }
        _ => return Err(error),
    };
    Ok(StoreError::unreachable(cause))
}

impl AsyncDNSResolver for ServerOf {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _: &'b str,
        _: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async {
            let found = tokio::net::lookup_host((&*self.0.host, self.0.port)).await?;
            Ok(Box::new(found) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}
