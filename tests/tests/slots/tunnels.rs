//! Connections that are upgraded to another protocol.

use std::net::SocketAddr;

use sluice_tests::{
    fleet::memory_replica,
    http::{Connection, Request},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
};

use crate::setting::{asks, before, frees_a_slot, two_at_a_time};

const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\
    connection: upgrade\r\nupgrade: websocket\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// An API that upgrades requests for `/ws`, and keeps these connections until `end` is true.
async fn upgrading(end: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut end = end.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let is_upgrade = head.starts_with(b"GET /ws");
                let _ = stream.write_all(if is_upgrade { HEAD } else { OK }).await;
                if is_upgrade {
                    // It closes when it is told to, or when the client does.
                    tokio::select! {
                        _ = end.wait_for(|end| *end) => {}
                        _ = stream.read_buf(&mut head) => {}
                    }
                }
            });
        }
    });
    address
}

async fn upgraded(replica: SocketAddr) -> Connection {
    let mut connection = Connection::open(replica).await.unwrap();
    let request = Request::get("/ws")
        .header("x-api-key", "alice")
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    connection.write(&request.to_bytes()).await.unwrap();
    assert_eq!(connection.response_head().await.unwrap().status, 101);
    connection
}

#[tokio::test]
async fn an_upgraded_connection_holds_its_slot_until_it_is_closed() {
    let end = watch::Sender::new(false);
    let api = upgrading(end.subscribe()).await;
    let sluice = memory_replica(&before(api, &two_at_a_time("1h", "")));
    let first = upgraded(sluice.http_addr()).await;
    let _second = upgraded(sluice.http_addr()).await;
    assert_eq!(asks(sluice.http_addr()).await.status, 429);
    drop(first);
    frees_a_slot(sluice.http_addr()).await;
    let mut third = upgraded(sluice.http_addr()).await;
    assert_eq!(asks(sluice.http_addr()).await.status, 429);
    end.send_replace(true);
    assert!(third.ends().await);
    assert_eq!(asks(sluice.http_addr()).await.status, 429, "the client has not closed its side");
    drop(third);
    frees_a_slot(sluice.http_addr()).await;
}
