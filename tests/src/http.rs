//! An HTTP/1.1 client for tests of a server: it sends any bytes, and shows each response, closed
//! connection and unexpected byte.
//!
//! Other clients retry, reconnect and reject invalid requests.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::HeaderMap;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// Far more than a response takes even on a busy machine: only a server that hangs exceeds it.
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_FIELDS: usize = 64;

/// A request as bytes.
#[derive(Clone, Debug)]
pub struct Request {
    head: String,
    body: Vec<u8>,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// One connection, kept open from request to request.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Bytes that were received and are not yet part of a response.
    received: Vec<u8>,
}

/// A client of one server: opens a connection when it has none, and keeps it open as long as the
/// server does.
#[derive(Debug)]
pub struct Client {
    server: SocketAddr,
    connection: Option<Connection>,
}

// === impl Request ===

impl Request {
    /// A GET request of `path`, which is written unchanged.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A POST request with `body` as JSON.
    #[must_use]
    pub fn post(path: &str, body: &Value) -> Self {
        Self::new("POST", path).header("content-type", "application/json").body(body.to_string())
    }

    /// A request with any method; method and path are written unchanged.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            head: format!("{method} {path} HTTP/1.1\r\nhost: sluice.test\r\n"),
            body: Vec::new(),
        }
    }

    /// Adds a header field, which is written unchanged.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Sets the body, and the header field `content-length`.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.header("content-length", &length)
    }

    /// Returns the bytes of the request.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), b"\r\n", &self.body].concat()
    }
}

// === impl Response ===

impl Response {
    /// Returns a header field's value; `None` when it is absent.
    ///
    /// # Panics
    /// When there are two such fields, or the value is not ASCII.
    #[must_use]
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "two header fields `{name}`: {self}");
        Some(value.to_str().expect("our header fields are ASCII"))
    }

    /// Returns a header field's value as a number.
    ///
    /// # Panics
    /// When it is absent or not a number.
    #[must_use]
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        let value = self.header(name).unwrap_or_else(|| panic!("no header `{name}`: {self}"));
        value.parse().unwrap_or_else(|_| panic!("header `{name}` is not a number: {self}"))
    }

    /// Returns the body as JSON.
    ///
    /// # Panics
    /// When the body is not JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    /// Returns the last part of the problem's type, such as `malformed-body`; `None` when the
    /// response is not a problem.
    #[must_use]
    #[track_caller]
    pub fn problem(&self) -> Option<String> {
        if self.header("content-type") != Some("application/problem+json") {
            return None;
        }
        let kind = self.json()["type"].as_str().unwrap_or_default().to_owned();
        Some(kind.strip_prefix("urn:sluice:problem:").map_or(kind.clone(), str::to_owned))
    }

    /// Returns the body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the server keeps the connection open.
    #[must_use]
    pub fn keeps_connection(&self) -> bool {
        self.header("connection") != Some("close")
    }

    /// Reads the head of the response at the start of `bytes`, and where its body begins; `None`
    /// while it is incomplete.
    pub(crate) fn parse_head(bytes: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(start) =
            head.parse(bytes).map_err(|error| invalid(&error.to_string(), bytes))?
        else {
            return Ok(None);
        };
        let mut headers = HeaderMap::new();
        for field in &*head.headers {
            let name = field
                .name
                .parse::<http::HeaderName>()
                .map_err(|error| invalid(&error.to_string(), bytes))?;
            let value = http::HeaderValue::from_bytes(field.value)
                .map_err(|error| invalid(&error.to_string(), bytes))?;
            headers.append(name, value);
        }
        let status = head.code.expect("a complete head has a status");
        Ok(Some((Self { status, headers, body: Vec::new() }, start)))
    }

    /// Reads the response at the start of `bytes`, and its length; `None` while it is incomplete.
    fn parse(bytes: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let Some((head, start)) = Self::parse_head(bytes)? else { return Ok(None) };
        let headers = &head.headers;
        let body = match (headers.get("content-length"), headers.get("transfer-encoding")) {
            (Some(length), None) => {
                let length: usize = length
                    .to_str()
                    .ok()
                    .and_then(|length| length.parse().ok())
                    .ok_or_else(|| invalid("no length", bytes))?;
                bytes.get(start..start + length).map(|body| (body.to_vec(), start + length))
            }
            (None, Some(coding)) if coding == "chunked" => chunked_body(bytes, start)?,
            _ => return Err(invalid("a length that this client cannot read", bytes)),
        };
        Ok(body.map(|(body, end)| (Self { body, ..head }, end)))
    }
}

impl std::fmt::Display for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.text())
    }
}

/// Reads a chunked body without trailers that starts at `at`. Returns the body and its end; `None`
/// while it is incomplete.
fn chunked_body(bytes: &[u8], mut at: usize) -> io::Result<Option<(Vec<u8>, usize)>> {
    let mut body = Vec::new();
    loop {
        let size =
            httparse::parse_chunk_size(&bytes[at..]).map_err(|_| invalid("not a chunk", bytes))?;
        let httparse::Status::Complete((start, size)) = size else { return Ok(None) };
        let size = usize::try_from(size).map_err(|_| invalid("a chunk too large", bytes))?;
        let Some(chunk) = bytes.get(at + start..at + start + size + 2) else { return Ok(None) };
        body.extend_from_slice(
            chunk.strip_suffix(b"\r\n").ok_or_else(|| invalid("a chunk without an end", bytes))?,
        );
        at += start + size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

fn invalid(what: &str, bytes: &[u8]) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("{what}: {}", bytes.escape_ascii()))
}

// === impl Connection ===

impl Connection {
    /// Opens a connection.
    ///
    /// # Errors
    /// When no server listens.
    pub async fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = in_time(TcpStream::connect(server)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Opens a connection from an address of this machine: `127.0.0.2` is another client than
    /// `127.0.0.1`.
    ///
    /// # Errors
    /// When no server listens, or the address is not one of this machine.
    pub async fn open_from(client: IpAddr, server: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((client, 0).into())?;
        let stream = in_time(socket.connect(server)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Sends any bytes.
    ///
    /// # Errors
    /// When the server has closed the connection.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        in_time(self.stream.write_all(bytes)).await
    }

    /// Closes the sending half of the connection.
    ///
    /// # Errors
    /// When the server has closed the connection.
    pub async fn finish_sending(&mut self) -> io::Result<()> {
        in_time(self.stream.shutdown()).await
    }

    /// Waits for the next response.
    ///
    /// # Errors
    /// When the server closes the connection before the response is complete (`UnexpectedEof`, or
    /// `ConnectionReset`), or when the bytes are not HTTP.
    pub async fn response(&mut self) -> io::Result<Response> {
        self.response_or_end()
            .await?
            .ok_or_else(|| io::Error::new(ErrorKind::UnexpectedEof, "closed without a response"))
    }

    /// Waits for the next response; `None` when the server closes the connection instead.
    ///
    /// # Errors
    /// When the server closes the connection in the middle of a response, or when the bytes are not
    /// HTTP.
    pub async fn response_or_end(&mut self) -> io::Result<Option<Response>> {
        loop {
            if let Some((response, length)) = Response::parse(&self.received)? {
                self.received.drain(..length);
                return Ok(Some(response));
            }
            if in_time(self.stream.read_buf(&mut self.received)).await? == 0 {
                return if self.received.is_empty() {
                    Ok(None)
                } else {
                    Err(invalid("closed in the middle", &self.received))
                };
            }
        }
    }

    /// Waits for the head of the next response, and returns it without the body, which may never
    /// come.
    ///
    /// # Errors
    /// As [`response`](Self::response).
    pub async fn response_head(&mut self) -> io::Result<Response> {
        loop {
            if let Some((head, start)) = Response::parse_head(&self.received)? {
                self.received.drain(..start);
                return Ok(head);
            }
            if in_time(self.stream.read_buf(&mut self.received)).await? == 0 {
                return Err(invalid("closed without a head", &self.received));
            }
        }
    }

    /// Waits for these bytes, and drops everything before them.
    ///
    /// # Errors
    /// When the server closes the connection instead.
    pub async fn receive_until(&mut self, expected: &[u8]) -> io::Result<()> {
        loop {
            if let Some(at) =
                self.received.windows(expected.len()).position(|window| window == expected)
            {
                self.received.drain(..at + expected.len());
                return Ok(());
            }
            if in_time(self.stream.read_buf(&mut self.received)).await? == 0 {
                return Err(invalid("closed too early", &self.received));
            }
        }
    }

    /// Waits until the server closes the connection, and ignores what it sends before. Returns
    /// false when the server does not close it in time.
    pub async fn ends(&mut self) -> bool {
        loop {
            match in_time(self.stream.read_buf(&mut self.received)).await {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != ErrorKind::TimedOut,
            }
        }
    }

    /// Sends a request and waits for the response.
    ///
    /// # Errors
    /// As [`Connection::write`] and [`Connection::response`].
    pub async fn send(&mut self, request: &Request) -> io::Result<Response> {
        self.write(&request.to_bytes()).await?;
        self.response().await
    }
}

// === impl Client ===

impl Client {
    /// Makes a client of the server at this address; it is not connected yet.
    #[must_use]
    pub fn of(server: SocketAddr) -> Self {
        Self { server, connection: None }
    }

    /// Sends a request and waits for the response.
    ///
    /// # Errors
    /// As [`Connection::open`] and [`Connection::send`]. The next request then opens a new
    /// connection.
    pub async fn try_send(&mut self, request: &Request) -> io::Result<Response> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.server).await?,
        };
        let response = connection.send(request).await?;
        if response.keeps_connection() {
            self.connection = Some(connection);
        }
        Ok(response)
    }

    /// Sends a request and waits for the response.
    ///
    /// # Panics
    /// When there is no response.
    pub async fn send(&mut self, request: &Request) -> Response {
        let response = self.try_send(request).await;
        response.unwrap_or_else(|error| {
            panic!(
                "no response from {} to {}: {error}",
                self.server,
                request.to_bytes().escape_ascii()
            )
        })
    }

    /// Sends a GET request.
    ///
    /// # Panics
    /// When there is no response.
    pub async fn get(&mut self, path: &str) -> Response {
        self.send(&Request::get(path)).await
    }

    /// Sends a POST request with JSON.
    ///
    /// # Panics
    /// When there is no response.
    pub async fn post(&mut self, path: &str, body: &Value) -> Response {
        self.send(&Request::post(path, body)).await
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late =
        || io::Error::new(ErrorKind::TimedOut, format!("nothing happened within {TIMEOUT:?}"));
    tokio::time::timeout(TIMEOUT, work).await.unwrap_or_else(|_| Err(late()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_unchanged() {
        let bytes = Request::new("PUT", "/a%2fb?c").header("X-Key", "k").body("xy").to_bytes();
        assert_eq!(
            bytes.escape_ascii().to_string(),
            r"PUT /a%2fb?c HTTP/1.1\r\nhost: sluice.test\r\nX-Key: k\r\ncontent-length: 2\r\n\r\nxy"
        );
    }

    #[test]
    fn a_response_is_read_once_it_is_complete() {
        let bytes =
            b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\n{}\
                      HTTP/1.1 200";
        for cut in 0..bytes.len() - 12 {
            assert!(Response::parse(&bytes[..cut]).unwrap().is_none(), "{cut}");
        }
        let (response, length) = Response::parse(bytes).unwrap().unwrap();
        assert_eq!(
            (response.status, response.number("retry-after"), response.text().as_str()),
            (429, 7, "{}")
        );
        assert_eq!(&bytes[length..], b"HTTP/1.1 200");
    }

    #[test]
    fn a_chunked_body_is_joined() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                      3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nHTTP/1.1 200";
        for cut in 0..bytes.len() - 12 {
            assert!(Response::parse(&bytes[..cut]).unwrap().is_none(), "{cut}");
        }
        let (response, length) = Response::parse(bytes).unwrap().unwrap();
        assert_eq!((response.text().as_str(), &bytes[length..]), ("abcde", &b"HTTP/1.1 200"[..]));
    }

    #[test]
    fn bytes_that_are_not_http_are_an_error() {
        for bytes in [&b"+PONG\r\n"[..], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"] {
            assert_eq!(Response::parse(bytes).unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }
}
