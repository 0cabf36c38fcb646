//! The client side of a decision over HTTP/1.1: one request after another over a connection.

use std::{net::SocketAddr, time::Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::Answer;

/// How a server is asked, in JSON, and how its responses are read.
#[derive(Clone, Copy)]
pub(crate) struct Dialect {
    pub(crate) path: &'static str,
    /// Returns the body of a request for a client.
    pub(crate) body: fn(usize) -> String,
    /// Returns whether a response allows the request; `None` if it is neither that nor a denial.
    pub(crate) is_allowed: fn(&[u8]) -> Option<bool>,
}

impl Dialect {
    /// `POST /v1/check` of Sluice.
    pub(crate) const CHECK: Self = Self {
        path: "/v1/check",
        body: |client| {
            format!(r#"{{"client":"client-{client:06}","method":"GET","path":"/api/v1/things"}}"#)
        },
        is_allowed: allowed_by_status,
    };
}

/// Reads a response of a server whose denial is the status 429.
pub(crate) fn allowed_by_status(response: &[u8]) -> Option<bool> {
    match response.get(..12)? {
        b"HTTP/1.1 200" => Some(true),
        b"HTTP/1.1 429" => Some(false),
        _ => None,
    }
}

/// A connection that has one request in flight at a time.
pub(crate) struct HttpCaller {
    dialect: Dialect,
    stream: TcpStream,
    response: Vec<u8>,
}

impl HttpCaller {
    /// Connects to `server`.
    pub(crate) async fn connect(server: SocketAddr, dialect: Dialect) -> Self {
        let stream = TcpStream::connect(server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { dialect, stream, response: vec![0; 8_192] }
    }

    /// Connects as many callers as requests will be in flight.
    #[allow(dead_code, reason = "each benchmark has the whole module, and connects in its own way")]
    pub(crate) async fn connect_many(
        server: SocketAddr,
        dialect: Dialect,
        callers: usize,
    ) -> Vec<Self> {
        let mut connected = Vec::with_capacity(callers);
        for _ in 0..callers {
            connected.push(Self::connect(server, dialect).await);
        }
        connected
    }

    /// Sends a check for this client.
    pub(crate) async fn ask(&mut self, client: usize) -> Answer {
        let Dialect { path, body, is_allowed } = self.dialect;
        let body = body(client);
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: sluice\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let sent = Instant::now();
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut length = 0;
        while !is_whole(&self.response[..length]) {
            let read = self.stream.read(&mut self.response[length..]).await.unwrap();
            assert!(read > 0, "the server closed the connection");
            length += read;
        }
        let took_us = u32::try_from(sent.elapsed().as_micros()).unwrap();
        let response = &self.response[..length];
        let decision = is_allowed(response);
        assert!(decision.is_some(), "not a decision: {}", String::from_utf8_lossy(response));
        Answer { is_allowed: decision == Some(true), took_us }
    }
}

/// Returns whether the response is complete: its head, and as much body as the head announces.
fn is_whole(response: &[u8]) -> bool {
    let Some(end) = response.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = std::str::from_utf8(&response[..end]).unwrap();
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    response.len()
        == end + 4 + announced.expect("every answer announces its length").parse::<usize>().unwrap()
}
