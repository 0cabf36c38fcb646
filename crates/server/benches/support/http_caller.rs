//! The client side of `POST /v1/check`: one request after another over a connection.

use std::{net::SocketAddr, time::Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::Answer;

/// A connection that has one request in flight at a time.
pub(crate) struct HttpCaller {
    stream: TcpStream,
    response: Vec<u8>,
}

impl HttpCaller {
    /// Connects to `server`.
    pub(crate) async fn connect(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, response: vec![0; 8_192] }
    }

    /// Sends a check for this client.
    pub(crate) async fn ask(&mut self, client: usize) -> Answer {
        let body =
            format!(r#"{{"client":"client-{client:06}","method":"GET","path":"/api/v1/things"}}"#);
        let head = "POST /v1/check HTTP/1.1\r\nhost: sluice\r\ncontent-type: \
                    application/json\r\ncontent-length: ";
        let request = format!("{head}{}\r\n\r\n{body}", body.len());
        let sent = Instant::now();
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut length = 0;
        while !is_whole(&self.response[..length]) {
            let read = self.stream.read(&mut self.response[length..]).await.unwrap();
            assert!(read > 0, "the server closed the connection");
            length += read;
        }
        let took_us = u32::try_from(sent.elapsed().as_micros()).unwrap();
        let is_allowed = self.response.starts_with(b"HTTP/1.1 200");
        assert!(
            is_allowed || self.response.starts_with(b"HTTP/1.1 429"),
            "{}",
            String::from_utf8_lossy(&self.response[..length])
        );
        Answer { is_allowed, took_us }
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
