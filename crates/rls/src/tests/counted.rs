//! What metrics say about calls.

use std::convert::Infallible;

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use prost::Message;
use sluice::Telemetry;

use super::*;

const ONE_A_DAY: &str =
    "domain: edge\ndescriptors: [{ key: ip, rate_limit: { unit: day, requests_per_unit: 1 } }]";

/// A service with rules whose metrics can be read.
struct Counted {
    rls: EnvoyRls,
    telemetry: Telemetry,
}

impl Counted {
    fn new() -> Self {
        let telemetry = Telemetry::builder().build().unwrap();
        let rls = Fixture::recording(ONE_A_DAY, telemetry.recorders()).rls;
        Self { rls, telemetry }
    }

    /// Calls over gRPC with a message of these bytes.
    async fn grpc(&self, message: &[u8]) {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let body = [&[0][..], &length, message].concat();
        let mut request = Request::new(Full::new(Bytes::from(body)));
        let response = self.rls.respond_grpc(&mut request).await;
        assert_eq!(response.headers()["grpc-accept-encoding"], "identity,gzip");
    }

    async fn json(&self, body: &str) -> Option<StatusCode> {
        let request = Request::post("/json").header("content-type", "application/json");
        let (head, mut body) = request.body(Body::from(body.to_owned())).unwrap().into_parts();
        self.rls.respond_json(&head, &mut body).await.ok().map(|response| response.status())
    }

    /// Returns the value of the series, written as on `/metrics`; 0 if there is none.
    fn count(&self, series: &str) -> u64 {
        let text = self.telemetry.prometheus().render().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |count| count.parse().unwrap())
    }

    fn requests(&self, domain: &str, code: &str) -> u64 {
        self.count(&format!("sluice_rls_requests_total{{code=\"{code}\",domain=\"{domain}\"}}"))
    }

    fn descriptors(&self, result: &str) -> u64 {
        let series = "sluice_rls_descriptors_total{domain=\"edge\",result=";
        self.count(&format!("{series}\"{result}\"}}"))
    }
}

#[tokio::test]
async fn calls_are_counted_by_domain_and_code() {
    let counted = Counted::new();
    let call = request([of([("ip", "a")])]).encode_to_vec();
    counted.grpc(&call).await;
    counted.grpc(&call).await;
    let json = r#"{"domain":"edge","descriptors":[{"entries":[{"key":"ip","value":"b"}]}]}"#;
    assert_eq!(counted.json(json).await, Some(StatusCode::OK));
    assert_eq!(counted.json(json).await, Some(StatusCode::TOO_MANY_REQUESTS));
    assert_eq!((counted.requests("edge", "OK"), counted.requests("edge", "OVER_LIMIT")), (2, 2));

    counted.grpc(b"\xff\xff").await;
    counted.grpc(&request([]).encode_to_vec()).await;
    assert_eq!(counted.json("no JSON").await, None);
    let invalid = |domain| counted.requests(domain, "INVALID_ARGUMENT");
    assert_eq!((invalid("other"), invalid("edge")), (2, 1), "one of them has a domain");

    counted.rls.replace(None, OnStoreFailure::Local, &Tagger::new(b""));
    counted.grpc(&call).await;
    assert_eq!(counted.requests("other", "FAILED_PRECONDITION"), 1);
    assert_eq!(counted.count("sluice_rls_request_duration_seconds_count"), 8);
}

#[tokio::test]
async fn what_nothing_limits_is_counted() {
    let counted = Counted::new();
    let elsewhere =
        RateLimitRequest { domain: Bytes::from_static(b"egde"), ..request([of([("ip", "a")])]) };
    for _ in 0..3 {
        counted.grpc(&elsewhere.encode_to_vec()).await;
    }
    assert_eq!(counted.count("sluice_rls_unknown_domains_total"), 3);
    assert_eq!(counted.requests("other", "OK"), 3, "no label has the name that a call brings");
    assert_eq!((counted.descriptors("matched"), counted.descriptors("unmatched")), (0, 0));

    let brought = of([("pi", "a")]).bringing(1, Unit::Day);
    let mixed = request([of([("ip", "a")]), of([("pi", "a")]), of([]), brought]);
    counted.grpc(&mixed.encode_to_vec()).await;
    assert_eq!((counted.descriptors("matched"), counted.descriptors("unmatched")), (2, 2));
    assert_eq!(counted.count("sluice_rls_unknown_domains_total"), 3);
}

#[tokio::test]
async fn a_call_that_its_caller_gives_up_is_counted_as_cancelled() {
    let counted = Counted::new();
    let never = tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>();
    let mut request = Request::new(StreamBody::new(never));
    let call = counted.rls.respond_grpc(&mut request);
    assert!(tokio::time::timeout(Duration::ZERO, call).await.is_err());
    assert_eq!(counted.requests("other", "CANCELLED"), 1);
}
