//! Gateways in front of an API that streams, under a limit on requests in flight.

use std::net::SocketAddr;

use sluice_testkit::eventually_async;
use sluice_tests::{
    echo::{Echo, FIRST_EVENT, LAST_EVENT, STREAMS},
    http::{Client, Connection, Request, Response},
};

/// Two requests of each client at a time, whose slots are renewed once in `term`.
pub(crate) fn two_at_a_time(term: &str, more: &str) -> String {
    format!(
        "defaults: off\nendpoints: {{}}\nlimits:\n  \
         - {{ name: streams, concurrent: 2, hold_for: {term}{more} }}\n"
    )
}

pub(crate) fn before(api: SocketAddr, more: &str) -> String {
    format!("gateway: {{ upstream: \"http://{api}\", doors: on }}\n{more}")
}

pub(crate) fn stream_of(client: &str) -> Request {
    Request::get(STREAMS).header("x-api-key", client)
}

/// A stream of `alice` that has begun.
pub(crate) struct Stream(Connection);

impl Stream {
    pub(crate) async fn begin(replica: SocketAddr) -> Self {
        let mut connection = Connection::open(replica).await.unwrap();
        connection.write(&stream_of("alice").to_bytes()).await.unwrap();
        let head = connection.response_head().await.unwrap();
        assert_eq!(head.status, 200, "{head}");
        connection.receive_until(FIRST_EVENT.as_bytes()).await.unwrap();
        Self(connection)
    }

    /// Has the stream end, which is the only one.
    pub(crate) async fn end(mut self, api: &Echo) {
        api.send_last_event();
        self.0.receive_until(LAST_EVENT.as_bytes()).await.unwrap();
        self.0.receive_until(b"0\r\n\r\n").await.unwrap();
    }

    /// Waits until the stream is cut off. Returns whether it was.
    pub(crate) async fn is_cut(&mut self) -> bool {
        let cut = self.0.receive_until(b"0\r\n\r\n").await;
        cut.is_err_and(|error| error.kind() != std::io::ErrorKind::TimedOut)
    }
}

/// Asks for one more request of `alice`, which costs nothing if it passes.
pub(crate) async fn asks(replica: SocketAddr) -> Response {
    let mut client = Client::of(replica);
    client.send(&Request::get("/orders").header("x-api-key", "alice")).await
}

/// Waits until a replica lets `alice` begin another request.
pub(crate) async fn frees_a_slot(replica: SocketAddr) {
    eventually_async("a slot is free", async || asks(replica).await.status == 200).await;
}
