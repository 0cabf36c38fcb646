//! A server that records every request, to see what a program sends.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use crate::received_request::{ReceivedRequest, ServerConnection};

/// An HTTP/1.1 server on a port of its own that records every request and responds with 200.
///
/// It runs until the test's runtime ends.
#[derive(Debug)]
pub struct RequestRecorder {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
}

impl RequestRecorder {
    /// Starts the server.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let requests = Arc::<Mutex<Vec<ReceivedRequest>>>::default();
        let received = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let received = Arc::clone(&received);
                // A client whose connection fails sends its request again.
                tokio::spawn(async move { drop(record_all(stream, &received).await) });
            }
        });
        Self { address, requests }
    }

    /// Returns the address on which the server listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the requests received so far, in their order.
    #[must_use]
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Records the requests of one connection until it ends.
async fn record_all(stream: TcpStream, requests: &Mutex<Vec<ReceivedRequest>>) -> io::Result<()> {
    let mut connection = ServerConnection::new(stream);
    while let Some(request) = connection.next().await? {
        requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        connection.stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
    }
    Ok(())
}
