//! HTTP/1.1 requests as a server reads them.

use std::io;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::{io::AsyncReadExt, net::TcpStream};

const MAX_FIELDS: usize = 64;

/// A complete request.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// The method.
    pub method: String,
    /// The target: path and query.
    pub target: String,
    /// The body.
    pub body: Vec<u8>,
    /// All bytes of the request.
    pub bytes: Vec<u8>,
}

/// The server's side of a connection.
#[derive(Debug)]
pub(crate) struct ServerConnection {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
}

impl ServerConnection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, received: Vec::new() }
    }

    /// Waits for the next request; `None` when the client closes the connection.
    pub(crate) async fn next(&mut self) -> io::Result<Option<ReceivedRequest>> {
        loop {
            if let Some(request) = ReceivedRequest::parse(&self.received)? {
                self.received.drain(..request.bytes.len());
                return Ok(Some(request));
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Ok(None);
            }
        }
    }
}

impl ReceivedRequest {
    /// Returns the header fields.
    ///
    /// # Panics
    /// When one is no field that HTTP knows.
    #[must_use]
    pub fn fields(&self) -> HeaderMap {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Request::new(&mut fields);
        head.parse(&self.bytes).expect("it was parsed before");
        let field = |field: &httparse::Header<'_>| {
            let name = field.name.parse::<HeaderName>().expect("a name");
            (name, HeaderValue::from_bytes(field.value).expect("a value"))
        };
        head.headers.iter().map(field).collect()
    }

    /// Reads the request at the start of `bytes`; `None` while it is incomplete.
    pub(crate) fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Request::new(&mut fields);
        let parsed = head
            .parse(bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        let httparse::Status::Complete(start) = parsed else { return Ok(None) };
        let length =
            head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
        let length = length
            .and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok())
            .unwrap_or(0);
        let Some(body) = bytes.get(start..start + length) else { return Ok(None) };
        Ok(Some(Self {
            method: head.method.unwrap_or_default().to_owned(),
            target: head.path.unwrap_or_default().to_owned(),
            body: body.to_vec(),
            bytes: bytes[..start + length].to_vec(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_once_it_is_complete() {
        let bytes = b"POST /a?b HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}GET /next";
        let length = bytes.len() - b"GET /next".len();
        for cut in 0..length {
            assert!(ReceivedRequest::parse(&bytes[..cut]).unwrap().is_none(), "{cut}");
        }
        let request = ReceivedRequest::parse(bytes).unwrap().unwrap();
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/a?b"));
        assert_eq!((&request.body[..], &request.bytes[..]), (&b"{}"[..], &bytes[..length]));
    }
}
