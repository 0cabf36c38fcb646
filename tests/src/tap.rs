//! A tap between a program and a server, which records what they send each other.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{http::Response, received_request::ReceivedRequest};

/// A port whose connections lead to a server. It passes on every byte as it comes, and records each
/// request and the head of its response.
///
/// It reads only clients that wait for a response before they send the next request, which all
/// known SDKs do. It runs until the test's runtime ends.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

/// A request, and the head of its response.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The request.
    pub request: ReceivedRequest,
    /// When it was complete.
    pub asked: Instant,
    /// The response, without its body; `None` until it comes.
    pub response: Option<Response>,
    /// How long the client waited for it.
    pub answered_after: Duration,
}

/// One connection.
struct Connection {
    exchanges: Arc<Mutex<Vec<Exchange>>>,
    /// The request that has no response yet.
    open: Arc<Mutex<Option<usize>>>,
}

// === impl Tap ===

impl Tap {
    /// Opens the port in front of this server.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let exchanges = Arc::<Mutex<Vec<Exchange>>>::default();
        let shared = Arc::clone(&exchanges);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let exchanges = Arc::clone(&shared);
                tokio::spawn(async move {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = TcpStream::connect(server).await?.into_split();
                    let connection = Connection { exchanges, open: Arc::default() };
                    // Either side may end first.
                    tokio::try_join!(
                        connection.requests(from_client, to_server),
                        connection.responses(from_server, to_client)
                    )
                });
            }
        });
        Self { address, exchanges }
    }

    /// Returns the address of the port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what was recorded so far, in the order of the requests.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// === impl Connection ===

impl Connection {
    async fn requests(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
        let (mut received, mut buffer) = (Vec::new(), [0; 1 << 14]);
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return to.shutdown().await;
            }
            received.extend_from_slice(&buffer[..read]);
            if let Some(request) = ReceivedRequest::parse(&received)? {
                received.drain(..request.bytes.len());
                self.opens(request);
            }
            to.write_all(&buffer[..read]).await?;
        }
    }

    async fn responses(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
        let (mut received, mut buffer) = (Vec::new(), [0; 1 << 14]);
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return to.shutdown().await;
            }
            // The bytes of a body belong to no request that is open.
            if self.is_open() {
                received.extend_from_slice(&buffer[..read]);
                if let Some((response, _)) = Response::parse_head(&received)? {
                    received.clear();
                    self.closes(response);
                }
            }
            to.write_all(&buffer[..read]).await?;
        }
    }

    fn opens(&self, request: ReceivedRequest) {
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(exchanges.len());
        let (asked, answered_after) = (Instant::now(), Duration::ZERO);
        exchanges.push(Exchange { request, asked, response: None, answered_after });
    }

    fn is_open(&self) -> bool {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn closes(&self, response: Response) {
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(exchange) = open.and_then(|open| exchanges.get_mut(open)) {
            exchange.answered_after = exchange.asked.elapsed();
            exchange.response = Some(response);
        }
    }
}
