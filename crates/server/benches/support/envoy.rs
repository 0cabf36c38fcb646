//! The client side of Envoy's rate limit service: calls over a shared connection.

use std::{net::SocketAddr, time::Instant};

use bytes::{BufMut, Bytes, BytesMut};
use envoy_types::pb::envoy::{
    extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor::Entry},
    service::ratelimit::v3::{RateLimitRequest, RateLimitResponse, rate_limit_response::Code},
};
use h2::client::SendRequest;
use prost::Message;
use tokio::net::TcpStream;

use crate::support::Answer;

/// A connection; clones share it.
#[derive(Clone)]
pub(crate) struct Caller {
    sender: SendRequest<Bytes>,
}

impl Caller {
    /// Connects to `server`.
    pub(crate) async fn connect(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move { connection.await.unwrap() });
        Self { sender }
    }

    /// Sends a call for this client.
    pub(crate) async fn ask(&mut self, client: usize) -> Answer {
        let head = http::Request::post(
            "http://sluice/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit",
        )
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "250m")
        .header("x-envoy-internal", "true")
        .body(())
        .unwrap();
        let message = message(client);
        let mut sender = self.sender.clone().ready().await.unwrap();
        let sent = Instant::now();
        let (response, mut stream) = sender.send_request(head, false).unwrap();
        stream.send_data(message, true).unwrap();
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
        let answer = RateLimitResponse::decode(&received[5..]).unwrap();
        Answer { is_allowed: answer.overall_code() == Code::Ok, took_us }
    }
}

/// Returns a request for one client, with its gRPC prefix.
fn message(client: usize) -> Bytes {
    let entries = vec![Entry { key: "api_key".to_owned(), value: format!("client-{client:06}") }];
    let descriptors = vec![RateLimitDescriptor { entries, ..RateLimitDescriptor::default() }];
    let request = RateLimitRequest { domain: "edge".to_owned(), descriptors, hits_addend: 0 };
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(request.encoded_len()).unwrap());
    request.encode(&mut bytes).unwrap();
    bytes.freeze()
}
