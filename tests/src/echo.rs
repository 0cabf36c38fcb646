//! An API that says what it was asked, to see what a proxy in front of it lets through.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Answers below this path say `RateLimit: "own";r=7`.
pub const OWN_LIMIT: &str = "/own-limit";
const MAX_FIELDS: usize = 64;

/// An HTTP/1.1 server on a port of its own that answers every request 200, with its method, target and body as JSON.
///
/// Below [`OWN_LIMIT`] it also claims to have a limit of its own.
///
/// It lives as long as the test's runtime.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Echo {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                // A proxy that breaks off has had what it wanted.
                tokio::spawn(async move { drop(answer_all(stream, &count).await) });
            }
        });
        Self { address, asked }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it has answered.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Answers what comes over one connection, until it ends.
async fn answer_all(mut stream: TcpStream, asked: &AtomicUsize) -> io::Result<()> {
    let mut received = Vec::new();
    loop {
        while let Some((answer, length)) = parse(&received)? {
            received.drain(..length);
            asked.fetch_add(1, Ordering::SeqCst);
            stream.write_all(answer.as_bytes()).await?;
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

/// What to answer to the request at the start of `bytes`, and how long it is; `None` while it is not whole.
fn parse(bytes: &[u8]) -> io::Result<Option<(String, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let parsed = head.parse(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    let httparse::Status::Complete(start) = parsed else { return Ok(None) };
    let length = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok()).unwrap_or(0);
    let Some(body) = bytes.get(start..start + length) else { return Ok(None) };
    let target = head.path.unwrap_or_default();
    let own = if target.starts_with(OWN_LIMIT) { "RateLimit: \"own\";r=7\r\n" } else { "" };
    let told = json!({ "method": head.method, "target": target, "body": String::from_utf8_lossy(body) }).to_string();
    let fields = format!("content-type: application/json\r\n{own}content-length: {}\r\n", told.len());
    Ok(Some((format!("HTTP/1.1 200 OK\r\n{fields}\r\n{told}"), start + length)))
}
