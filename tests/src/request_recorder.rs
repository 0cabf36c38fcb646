//! A server that takes whatever is posted to it, to see what a program sends.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const MAX_FIELDS: usize = 64;

/// An HTTP/1.1 server on a port of its own that keeps every request and answers 200.
///
/// It lives as long as the test's runtime.
#[derive(Debug)]
pub struct RequestRecorder {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<RecordedRequest>>>,
}

/// A request that was received.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: Vec<u8>,
    /// The whole of it, as it stood on the wire.
    pub wire: Vec<u8>,
}

impl RequestRecorder {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let requests = Arc::<Mutex<Vec<RecordedRequest>>>::default();
        let received = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let received = Arc::clone(&received);
                // Whoever breaks off sends again.
                tokio::spawn(async move { drop(take_all(stream, &received).await) });
            }
        });
        Self { address, requests }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived so far, in its order.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Takes what comes over one connection, until it ends.
async fn take_all(mut stream: TcpStream, requests: &Mutex<Vec<RecordedRequest>>) -> io::Result<()> {
    let mut received = Vec::new();
    loop {
        while let Some((path, start, end)) = parse(&received)? {
            let wire: Vec<u8> = received.drain(..end).collect();
            requests.lock().unwrap_or_else(PoisonError::into_inner).push(RecordedRequest {
                path,
                body: wire[start..].to_vec(),
                wire,
            });
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

/// The path of the request at the start of `bytes`, and where its body starts and ends; `None`
/// while it is not whole.
fn parse(bytes: &[u8]) -> io::Result<Option<(String, usize, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let parsed = head
        .parse(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    let httparse::Status::Complete(start) = parsed else { return Ok(None) };
    let length =
        head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length =
        length.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok()).unwrap_or(0);
    let path = head.path.unwrap_or_default().to_owned();
    Ok((bytes.len() >= start + length).then_some((path, start, start + length)))
}
