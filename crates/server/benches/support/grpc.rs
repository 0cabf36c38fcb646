//! The client side of gRPC: calls of one message for another over a shared connection.

use std::{net::SocketAddr, time::Instant};

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use prost::Message;
use tokio::net::TcpStream;

/// How many calls in flight share a connection.
const CALLS_PER_CONNECTION: usize = 32;

/// A connection; clones share it.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
}

/// A response to a call, and how long it took.
pub(crate) struct Response<M> {
    pub(crate) message: M,
    pub(crate) took_us: u32,
}

impl Connection {
    /// Connects to `server`.
    pub(crate) async fn connect(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move { connection.await.unwrap() });
        Self { sender }
    }

    /// Connects as many callers as calls will be in flight, of which several share a connection.
    #[allow(
        dead_code,
        reason = "each benchmark has the whole module, and not all share in this way"
    )]
    pub(crate) async fn connect_many(server: SocketAddr, callers: usize) -> Vec<Self> {
        let mut connections: Vec<Self> = Vec::with_capacity(callers);
        for number in 0..callers {
            connections.push(match connections.last() {
                Some(last) if number % CALLS_PER_CONNECTION != 0 => last.clone(),
                _ => Self::connect(server).await,
            });
        }
        connections
    }

    /// Calls the method at `url`.
    pub(crate) async fn call<M: Message + Default>(
        &mut self,
        url: &str,
        request: &impl Message,
    ) -> Response<M> {
        let head = http::Request::post(url)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "5000m")
            .header("x-envoy-internal", "true")
            .body(())
            .unwrap();
        let request = with_prefix(request);
        let mut sender = self.sender.clone().ready().await.unwrap();
        let sent = Instant::now();
        let (response, mut stream) = sender.send_request(head, false).unwrap();
        stream.send_data(request, true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let mut received = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            received.put(data);
        }
        let status = body.trailers().await.unwrap().unwrap()["grpc-status"].clone();
        let took_us = u32::try_from(sent.elapsed().as_micros()).unwrap();
        assert_eq!(status, "0");
        Response { message: M::decode(&received[5..]).unwrap(), took_us }
    }
}

/// Returns a message with its gRPC prefix.
fn with_prefix(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut bytes).unwrap();
    bytes.freeze()
}
