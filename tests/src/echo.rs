//! An API that responds with the request it received, to see what a proxy in front of it forwards.
//! At some paths it streams, is slow, fails or disconnects.

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
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::received_request::{ReceivedRequest, ServerConnection};

/// Responses below this path have the header field `RateLimit: "own";r=7`.
pub const OWN_LIMIT: &str = "/own-limit";
/// Responses below this path are 429, without a word about limits.
pub const DENIES: &str = "/denies";
/// Requests below this path switch to another protocol, of which nothing follows.
pub const UPGRADES: &str = "/upgrades";
/// Responses below this path are 500.
pub const FAILS: &str = "/fails";
/// Responses below this path take longer than any proxy waits for Sluice.
pub const STALLS: &str = "/stalls";
/// Requests below this path get no response: the connection is closed.
pub const HANGS_UP: &str = "/hangs-up";
/// Below this path the connection is closed in the middle of the response.
pub const BREAKS_OFF: &str = "/breaks-off";
/// Responses below this path are two events; the second one is sent when
/// [`Echo::send_last_event`] is called.
pub const STREAMS: &str = "/streams";

/// The first event of a stream.
pub const FIRST_EVENT: &str = "data: first\n\n";
/// The last event of a stream.
pub const LAST_EVENT: &str = "data: last\n\n";

const STALL: Duration = Duration::from_millis(600);
/// nginx buffers responses unless the API forbids it.
const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\n\
                           content-type: text/event-stream\r\n\
                           x-accel-buffering: no\r\n\
                           transfer-encoding: chunked\r\n\r\n";

/// An HTTP/1.1 server on a port of its own that responds with 200 and, as JSON, the request's
/// method, target and body; but for the paths that this module names.
///
/// It runs until the test's runtime ends.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What the connections share.
#[derive(Debug)]
struct Shared {
    requests: AtomicUsize,
    /// One permit for each stream that may send its last event.
    last_events: Semaphore,
}

// === impl Echo ===

impl Echo {
    /// Starts the server on any port.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts the server on this address.
    ///
    /// # Panics
    /// When the address is in use.
    pub async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared =
            Arc::new(Shared { requests: AtomicUsize::new(0), last_events: Semaphore::new(0) });
        let ours = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                // A proxy may close its connection at any time.
                tokio::spawn(async move { drop(respond_to_all(stream, &shared).await) });
            }
        });
        Self { address, shared: ours }
    }

    /// Returns the address on which the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of requests received so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Lets one stream send its last event.
    pub fn send_last_event(&self) {
        self.shared.last_events.add_permits(1);
    }
}

/// Responds to the requests of one connection until it ends.
async fn respond_to_all(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut connection = ServerConnection::new(stream);
    while let Some(request) = connection.next().await? {
        let stream = &mut connection.stream;
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let below = |path: &str| request.target.starts_with(path);
        if below(HANGS_UP) {
            return Ok(());
        }
        if below(STREAMS) || below(BREAKS_OFF) {
            stream.write_all(format!("{STREAM_HEAD}{}", chunk(FIRST_EVENT)).as_bytes()).await?;
            if below(BREAKS_OFF) {
                return Ok(());
            }
            shared.last_events.acquire().await.expect("it is never closed").forget();
            stream.write_all(format!("{}{}", chunk(LAST_EVENT), chunk("")).as_bytes()).await?;
            continue;
        }
        if below(UPGRADES) {
            let head = "HTTP/1.1 101 Switching Protocols\r\n\
                        connection: upgrade\r\n\
                        upgrade: websocket\r\n\r\n";
            return stream.write_all(head.as_bytes()).await;
        }
        if below(STALLS) {
            tokio::time::sleep(STALL).await;
        }
        stream.write_all(response(&request).as_bytes()).await?;
    }
    Ok(())
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn response(request: &ReceivedRequest) -> String {
    let ReceivedRequest { method, target, body, .. } = request;
    let status = match target {
        target if target.starts_with(FAILS) => "500 Internal Server Error",
        target if target.starts_with(DENIES) => "429 Too Many Requests",
        _ => "200 OK",
    };
    let own = if target.starts_with(OWN_LIMIT) { "RateLimit: \"own\";r=7\r\n" } else { "" };
    let body = String::from_utf8_lossy(body);
    let body = json!({ "method": method, "target": target, "body": body }).to_string();
    let length = body.len();
    let body = if method == "HEAD" { "" } else { &body };
    format!(
        "HTTP/1.1 {status}\r\n\
         content-type: application/json\r\n\
         {own}content-length: {length}\r\n\r\n{body}"
    )
}
