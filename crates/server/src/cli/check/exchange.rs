//! Sends one request to a replica, and reads the response.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    CertificateError, ClientConfig, ClientConnection, RootCertStore, Stream,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::target::Target;

/// Far longer than a decision takes.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Far more than a replica's response has. Another program may listen on the port.
const MAX_RESPONSE_BYTES: u64 = 1 << 20;

/// Connects to a replica.
pub(super) struct Connector<'t> {
    target: &'t Target,
    /// How to speak TLS, and the name to verify; `None` for plain text.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// A response to a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// The fields with names in lower case.
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: String,
}

impl<'t> Connector<'t> {
    /// Prepares connections to `target`, which has to have a certificate of an authority in
    /// `ca_file`, or else of one that the system trusts.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(super) fn new(target: &'t Target, ca_file: Option<&Path>) -> Result<Self, String> {
        if !target.speaks_tls {
            return match ca_file {
                Some(_) => Err("--ca-file needs a URL that begins with https://".to_owned()),
                None => Ok(Self { target, tls: None }),
            };
        }
        let name = ServerName::try_from(target.host.clone())
            .map_err(|_| format!("`{}` is no name that a certificate can have", target.host))?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots(ca_file)?)
            .with_no_client_auth();
        Ok(Self { target, tls: Some((Arc::new(config), name)) })
    }

    /// Sends `body` to `/v1/check` with `token`, if there is one.
    ///
    /// # Errors
    /// Why there is no response.
    pub(super) fn post(&self, body: &str, token: Option<&str>) -> Result<Response, String> {
        let mut stream = self.connect()?;
        let token = token.map(|token| format!("x-sluice-token: {token}\r\n")).unwrap_or_default();
        // HTTP/1.0, so that the body has no chunks and ends with the connection.
        let request = format!(
            "POST /v1/check HTTP/1.0\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n{token}\r\n{body}",
            self.target.authority(),
            body.len(),
        );
        let received = match &self.tls {
            Some((config, name)) => {
                let mut connection = ClientConnection::new(Arc::clone(config), name.clone())
                    .map_err(|error| format!("TLS: {error}"))?;
                exchange(Stream::new(&mut connection, &mut stream), &request)
            }
            None => exchange(stream, &request),
        };
        received.map_err(|error| self.describe(&error)).and_then(|text| parse(&text))
    }

    fn connect(&self) -> Result<TcpStream, String> {
        let Target { host, port, .. } = self.target;
        let addresses = (host.as_str(), *port)
            .to_socket_addrs()
            .map_err(|error| format!("the name `{host}` has no address: {error}"))?;
        let mut last = format!("the name `{host}` has no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(stream) => {
                    let timeouts = stream
                        .set_read_timeout(Some(TIMEOUT))
                        .and_then(|()| stream.set_write_timeout(Some(TIMEOUT)));
                    return timeouts.map(|()| stream).map_err(|error| error.to_string());
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    last = format!("nothing listens at {address}: {error}");
                }
                Err(error) => last = format!("cannot connect to {address}: {error}"),
            }
        }
        Err(last)
    }

    /// Describes why there is no response on an open connection.
    fn describe(&self, error: &io::Error) -> String {
        let is_late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(why)) => match why {
                CertificateError::UnknownIssuer => "TLS: the certificate is not trusted: name its \
                                                    authority with --ca-file"
                    .to_owned(),
                why => format!("TLS: the certificate cannot be used: {why}"),
            },
            Some(rustls::Error::InvalidMessage(_)) => {
                format!("TLS: the port speaks no TLS: write http://{}", self.target.authority())
            }
            Some(other) => format!("TLS: {other}"),
            None if is_late => format!("no response within {} seconds", TIMEOUT.as_secs()),
            None if self.tls.is_some() => format!("TLS: the connection failed: {error}"),
            None => format!("the connection failed: {error}"),
        }
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        let unusable =
            |error: &dyn std::fmt::Display| format!("--ca-file: {}: {error}", path.display());
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))? {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            roots.add(certificate).map_err(|error| unusable(&error))?;
        }
        if roots.is_empty() {
            return Err(unusable(&"the file has no certificate"));
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err("the system trusts no authority: name one with --ca-file".to_owned());
        }
    }
    Ok(roots)
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let response = read_to_end(stream.take(MAX_RESPONSE_BYTES), Instant::now() + TIMEOUT)?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}

/// Reads a whole response. Each read has a timeout of its own, but a server may send a byte now and
/// then.
fn read_to_end(mut stream: impl Read, deadline: Instant) -> io::Result<Vec<u8>> {
    let (mut response, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(response),
            Ok(_) if Instant::now() >= deadline => return Err(io::ErrorKind::TimedOut.into()),
            Ok(read) => response.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A TLS connection without its last message, or a server that had not read everything.
            Err(error)
                if !response.is_empty()
                    && matches!(
                        error.kind(),
                        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                    ) =>
            {
                return Ok(response);
            }
            Err(error) => return Err(error),
        }
    }
}

fn parse(response: &str) -> Result<Response, String> {
    const NOT_HTTP: &str = "the response is not HTTP: another program may listen there";
    if response.is_empty() {
        return Err("the connection was closed without a response".to_owned());
    }
    // An alert of TLS.
    if response.starts_with("\u{15}\u{3}") {
        return Err("the port speaks TLS: write https://".to_owned());
    }
    let (head, body) = response.split_once("\r\n\r\n").ok_or(NOT_HTTP)?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok())
        .ok_or(NOT_HTTP)?;
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Ok(Response { status, fields: lines.filter_map(field).collect(), body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_has_status_fields_and_body() {
        let read = parse("HTTP/1.1 429 Too Many\r\nRetry-After: 2\r\nx: a:b\r\n\r\n{}").unwrap();
        let fields = [("retry-after", "2"), ("x", "a:b")];
        assert_eq!((read.status, read.body.as_str()), (429, "{}"));
        assert!(read.fields.iter().map(|(name, value)| (&**name, &**value)).eq(fields));
        for other in ["+PONG\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"] {
            assert!(parse(other).unwrap_err().contains("not HTTP"), "{other}");
        }
    }

    #[test]
    fn what_is_no_response_says_what_it_may_be() {
        assert!(parse("").unwrap_err().contains("closed without a response"));
        assert!(parse("\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}F").unwrap_err().contains("https://"));
    }

    #[test]
    fn a_response_that_trickles_in_ends_at_the_deadline() {
        struct Trickle;
        impl Read for Trickle {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                buffer[0] = b'x';
                Ok(1)
            }
        }
        let error = read_to_end(Trickle, Instant::now()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let whole = read_to_end(&b"HTTP"[..], Instant::now() + TIMEOUT).unwrap();
        assert_eq!(whole, b"HTTP");
    }
}
