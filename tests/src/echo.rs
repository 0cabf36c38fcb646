//! An API that says what it was asked, to see what a proxy in front of it lets through; at some
//! paths it streams, stalls, fails and breaks off.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Answers below this path say `RateLimit: "own";r=7`.
pub const OWN_LIMIT: &str = "/own-limit";
/// Answers below this path are 500.
pub const FAILS: &str = "/fails";
/// Requests below this path are answered late, after more time than any proxy gives Sluice.
pub const STALLS: &str = "/stalls";
/// Requests below this path are not answered: the connection ends.
pub const HANGS_UP: &str = "/hangs-up";
/// Below this path the connection ends in the middle of the answer.
pub const BREAKS_OFF: &str = "/breaks-off";
/// Answers below this path are two events, the second of which comes when [`Echo::go_on`] is
/// called.
pub const STREAMS: &str = "/streams";

/// The first event of a stream.
pub const FIRST_EVENT: &str = "data: first\n\n";
/// The last event of a stream.
pub const LAST_EVENT: &str = "data: last\n\n";

const STALL: Duration = Duration::from_millis(600);
const MAX_FIELDS: usize = 64;
/// nginx gathers answers unless the API says that it must not.
const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-accel-buffering: no\r\ntransfer-encoding: chunked\r\n\r\n";

/// An HTTP/1.1 server on a port of its own that answers requests 200, with their method, target and
/// body as JSON.
///
/// Some paths are answered in ways of their own, which this module names.
///
/// It lives as long as the test's runtime.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What the connections have in common.
#[derive(Debug)]
struct Shared {
    asked: AtomicUsize,
    /// A permit for each stream that may go on.
    streams: Semaphore,
}

/// A whole request.
#[derive(Debug)]
struct Asked {
    method: String,
    target: String,
    body: String,
    /// How many bytes it took.
    length: usize,
}

// === impl Echo ===

impl Echo {
    /// Starts it on any port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start() -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts it at this address.
    ///
    /// # Panics
    /// When that is taken.
    pub async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared { asked: AtomicUsize::new(0), streams: Semaphore::new(0) });
        let ours = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                // A proxy that breaks off has had what it wanted.
                tokio::spawn(async move { drop(respond_to_all(stream, &shared).await) });
            }
        });
        Self { address, shared: ours }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it was asked.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Lets a stream send its last event.
    pub fn send_last_event(&self) {
        self.shared.streams.add_permits(1);
    }
}

/// Answers what comes over one connection, until it ends.
async fn respond_to_all(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut received = Vec::new();
    loop {
        while let Some(asked) = Asked::parse(&received)? {
            received.drain(..asked.length);
            shared.asked.fetch_add(1, Ordering::SeqCst);
            let below = |path: &str| asked.target.starts_with(path);
            if below(HANGS_UP) {
                return Ok(());
            }
            if below(STREAMS) || below(BREAKS_OFF) {
                stream.write_all(format!("{STREAM_HEAD}{}", chunk(FIRST_EVENT)).as_bytes()).await?;
                if below(BREAKS_OFF) {
                    return Ok(());
                }
                shared.streams.acquire().await.expect("it is never closed").forget();
                stream.write_all(format!("{}{}", chunk(LAST_EVENT), chunk("")).as_bytes()).await?;
                continue;
            }
            if below(STALLS) {
                tokio::time::sleep(STALL).await;
            }
            stream.write_all(asked.response().as_bytes()).await?;
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

// === impl Asked ===

impl Asked {
    /// Reads the request at the start of `bytes`; `None` while it is not whole.
    fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
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
            body: String::from_utf8_lossy(body).into_owned(),
            length: start + length,
        }))
    }

    fn response(&self) -> String {
        let Self { method, target, body, .. } = self;
        let status = if target.starts_with(FAILS) { "500 Internal Server Error" } else { "200 OK" };
        let own = if target.starts_with(OWN_LIMIT) { "RateLimit: \"own\";r=7\r\n" } else { "" };
        let told = json!({ "method": method, "target": target, "body": body }).to_string();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{own}content-length: {}\r\n\r\n{told}",
            told.len()
        )
    }
}
