//! Calls whose callers wait for less than the store's timeout.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use http::Request;
use http_body_util::{BodyExt, Full};
use prost::Message;
use sluice_core::{Check, Decision};
use sluice_store::{Failover, StoreError, StoreFuture};
use tokio::time::Instant;

use super::*;

const RULES: &str =
    "domain: edge\ndescriptors: [{ key: ip, rate_limit: { unit: day, requests_per_unit: 2 } }]";

/// A store that never replies.
#[derive(Debug)]
struct Hanging;

impl Store for Hanging {
    fn decide<'a>(&'a self, _: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        StoreFuture::pending(std::future::pending())
    }
}

fn over_a_hanging_store() -> EnvoyRls {
    let store = Arc::new(Failover::over(Hanging, STORE_TIMEOUT));
    with_store(&rules(RULES), store, OnStoreFailure::Local, &Recorders::disabled())
}

/// Calls with this `grpc-timeout`. Returns the code of the response, and the time it took on the
/// runtime's clock.
async fn call(rls: &EnvoyRls, timeout: &str) -> (Code, Duration) {
    let (reply, waited) = send(rls, timeout, request([of([("ip", "a")])])).await;
    let code = reply.unwrap_or_else(|status| panic!("{timeout}: gRPC status {status}"));
    (code, waited)
}

/// Sends `request`. Returns the code of the response or the gRPC status, and the time it took.
async fn send(
    rls: &EnvoyRls,
    timeout: &str,
    request: RateLimitRequest,
) -> (Result<Code, String>, Duration) {
    let message = request.encode_to_vec();
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(message.len().try_into().unwrap());
    body.put_slice(&message);
    let mut call =
        Request::builder().header("grpc-timeout", timeout).body(Full::new(body.freeze())).unwrap();
    let start = Instant::now();
    let response = rls.respond_grpc(&mut call).await;
    let waited = start.elapsed();
    if let Some(status) = response.headers().get("grpc-status") {
        return (Err(status.to_str().unwrap().to_owned()), waited);
    }
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0", "{timeout}");
    let body = body.to_bytes();
    (Ok(RateLimitResponse::decode(&body[5..]).unwrap().overall_code()), waited)
}

#[tokio::test(start_paused = true)]
async fn a_call_is_decided_locally_before_its_caller_gives_up() {
    let rls = over_a_hanging_store();
    let (code, waited) = call(&rls, "20m").await;
    assert_eq!(code, Code::Ok);
    assert!(waited <= Duration::from_millis(18), "{waited:?}");
    for too_late in ["2m", "0n"] {
        let (_, waited) = call(&rls, too_late).await;
        assert_eq!(waited, Duration::ZERO, "{too_late}");
    }
    assert_eq!(call(&rls, "20m").await.0, Code::OverLimit, "the limit holds without the store");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_is_longer_or_cannot_be_read_leaves_the_stores_own() {
    for timeout in ["99999999H", "2M", "soon", "999999999m", ""] {
        let (code, waited) = call(&over_a_hanging_store(), timeout).await;
        assert_eq!((code, waited.as_secs()), (Code::Ok, STORE_TIMEOUT.as_secs()), "{timeout}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_steps_of_a_call_share_its_deadline() {
    // A charge, a take, and tokens that are given back.
    let steps = || {
        let descriptor = |value: &str| of([("ip", value)]);
        request([descriptor("a").hits(2), descriptor("b"), descriptor("c").back()])
    };
    for (timeout, most) in [("20m", Duration::from_millis(18)), ("", STORE_TIMEOUT)] {
        let (reply, waited) = send(&over_a_hanging_store(), timeout, steps()).await;
        assert!(waited <= most, "{timeout}: {waited:?}");
        // Nobody knows whether the tokens were given back.
        assert_eq!(reply, Err("14".to_owned()), "UNAVAILABLE");
    }
}
