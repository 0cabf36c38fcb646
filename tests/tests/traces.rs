//! Traces of real replicas. A collector receives the span of a request, with the decision and the
//! store's round trip nested in it, as part of the caller's trace.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a failed unwrap is a failed test"
)]

use std::time::Duration;

use envoy_types::pb::envoy::{
    extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor::Entry},
    service::ratelimit::v3::{RateLimitRequest, rate_limit_service_client::RateLimitServiceClient},
};
use serde_json::json;
use sluice_testkit::{RedisServer, Sluice, SluiceOptions, built_sluice, eventually_async};
use sluice_tests::{
    collector::{Collector, Span},
    fleet::{LONG_TIMEOUT, memory_replica},
    http::{Client, Request},
    request_recorder::RequestRecorder,
    rotel::Rotel,
};
use tempfile::TempDir;

const SECRET: &str = "api-key-c2VjcmV0LW9mLWFsaWNl";
const ADDRESS: &str = "203.0.113.77";
const PATH_TOKEN: &str = "path-token-Z2FycGx5";

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

const ORDERS: &str = "clients: { trusted_proxies: [127.0.0.1] }\n\
                      endpoints: { /orders: { requests_per_minute: 1, burst_size: 1 } }\n";

fn traceparent(sampled: bool) -> String {
    format!("00-{TRACE}-{CALLER}-0{}", u8::from(sampled))
}

/// A replica that exports its spans to `collector` at once, with this configuration and these
/// environment variables.
fn traced(
    collector: &Collector,
    store: &str,
    yaml: &str,
    environment: &[(&str, &str)],
) -> SluiceOptions {
    let store = format!("store: {{ url: \"{store}\", timeout: {}ms }}\n", LONG_TIMEOUT.as_millis());
    let options = SluiceOptions::new(built_sluice())
        .identify_by_key()
        .config(store + yaml)
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let options = options.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
    environment.iter().fold(options, |options, (name, value)| options.env(name, *value))
}

/// A request of the client with the secret key, as part of the caller's trace.
fn order(sampled: bool) -> Request {
    let order = Request::get(&format!("/orders/{PATH_TOKEN}?token={PATH_TOKEN}"))
        .header("x-api-key", SECRET);
    order.header("x-forwarded-for", ADDRESS).header("traceparent", &traceparent(sampled))
}

/// Waits for `count` spans of this name, and returns them.
async fn spans(collector: &Collector, name: &str, count: usize) -> Vec<Span> {
    eventually_async(&format!("{count} spans `{name}` arrive"), async || {
        let all = collector.spans();
        let named: Vec<Span> = all.iter().filter(|span| span.name == name).cloned().collect();
        if named.len() == count { Ok(named) } else { Err(format!("there are {all:#?}")) }
    })
    .await
}

fn child_of<'s>(spans: &'s [Span], parent: &Span) -> &'s Span {
    spans
        .iter()
        .find(|span| span.parent == parent.id)
        .unwrap_or_else(|| panic!("no child of {parent:?}: {spans:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn request_decision_and_round_trip_are_nested_spans_in_the_callers_trace() {
    let (collector, redis) = (Collector::start().await, RedisServer::start());
    let sluice = traced(&collector, &redis.url(), ORDERS, &[]).start();
    let mut client = Client::of(sluice.http_addr());
    for status in [200, 429] {
        assert_eq!(client.send(&order(true)).await.status, status);
    }

    let requests = spans(&collector, "GET /orders", 2).await;
    let decisions = spans(&collector, "decision", 2).await;
    let trips = spans(&collector, "store round trip", 2).await;
    for (request, (status, outcome)) in requests.iter().zip([("200", "allowed"), ("429", "denied")])
    {
        assert_eq!((request.trace.as_str(), request.parent.as_str()), (TRACE, CALLER));
        let attributes = ["http.request.method", "http.route", "http.response.status_code"]
            .map(|name| request.attribute(name));
        assert_eq!(attributes, ["GET", "/orders", status]);
        let decision = child_of(&decisions, request);
        let attributes = ["action", "limit", "endpoint", "outcome", "source"]
            .map(|name| decision.attribute(&format!("sluice.{name}")));
        assert_eq!(attributes, ["take", "/orders", "/orders", outcome, "store"]);
        let trip = child_of(&trips, decision);
        assert_eq!(
            (trip.attribute("db.system.name"), trip.attribute("db.operation.batch.size")),
            ("redis", "1")
        );
        assert!(trip.attribute("sluice.gathered_us").parse::<u64>().is_ok(), "{trip:?}");
        for (inner, outer) in [(trip, decision), (decision, request)] {
            assert_eq!(inner.trace, TRACE);
            assert!(
                outer.time.0 <= inner.time.0 && inner.time.1 <= outer.time.1,
                "{inner:?} is not within {outer:?}"
            );
            assert!(!inner.failed && !outer.failed);
        }
        assert!(
            request.service.contains(&("service.name".to_owned(), "sluice".to_owned())),
            "{:?}",
            request.service
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exported_spans_do_not_identify_the_client() {
    let (collector, redis) = (Collector::start().await, RedisServer::start());
    let sluice =
        traced(&collector, &redis.url(), ORDERS, &[("OTEL_METRIC_EXPORT_INTERVAL", "100")]).start();
    let mut client = Client::of(sluice.http_addr());
    client.send(&order(true)).await;
    client.send(&order(true)).await;
    client
        .post(
            "/v1/check",
            &json!({ "client": SECRET, "path": format!("/reset/{PATH_TOKEN}"), "ip": ADDRESS }),
        )
        .await;
    let checks = json!([{ "client": SECRET }, { "client": SECRET, "klient": PATH_TOKEN }]);
    client.post("/v1/check/batch", &json!({ "checks": checks })).await;
    client
        .send(&Request::get("/elsewhere").header("authorization", &format!("Bearer {SECRET}")))
        .await;
    spans(&collector, "POST /v1/check", 1).await;
    spans(&collector, "POST /v1/check/batch", 1).await;
    eventually_async("metrics arrive too", async || {
        collector.metrics().iter().any(|name| name == "sluice_decisions_total")
    })
    .await;
    let bytes = collector.bytes();
    for secret in [SECRET, ADDRESS, PATH_TOKEN, "127.0.0.1:"] {
        // Each request to the collector has the collector's own address in its head.
        let own = format!("host: {}", collector.endpoint().trim_start_matches("http://"));
        let text = String::from_utf8_lossy(&bytes).replace(&own, "");
        let found = text.find(secret);
        assert!(
            found.is_none(),
            "{secret} was sent: {}",
            text.chars().skip(found.unwrap_or(0).saturating_sub(200)).take(500).collect::<String>()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_the_caller_does_not_sample_is_not_exported() {
    let collector = Collector::start().await;
    let sluice = traced(&collector, "memory://", ORDERS, &[]).start();
    let mut client = Client::of(sluice.http_addr());
    for _ in 0..20 {
        client.send(&order(false)).await;
    }
    // Spans are sent in the order in which they end.
    client.send(&Request::get("/last")).await;
    spans(&collector, "GET", 1).await;
    assert!(collector.spans().iter().all(|span| span.trace != TRACE), "{:#?}", collector.spans());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configured_sampler_decides_about_requests_without_a_trace() {
    let collector = Collector::start().await;
    let sampler =
        [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.0")];
    let sluice = traced(&collector, "memory://", ORDERS, &sampler)
        .env("OTEL_SERVICE_NAME", "edge")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test");
    let sluice = sluice.start();
    let mut client = Client::of(sluice.http_addr());
    for _ in 0..20 {
        client.send(&Request::get("/orders")).await;
    }
    client.send(&order(true)).await;
    let request = spans(&collector, "GET /orders", 1).await.remove(0);
    assert_eq!(request.trace, TRACE);
    assert_eq!(
        collector.spans().len(),
        2,
        "a request and its decision, without a round trip: {:#?}",
        collector.spans()
    );
    for (name, value) in [("service.name", "edge"), ("deployment.environment", "test")] {
        assert!(
            request.service.contains(&(name.to_owned(), value.to_owned())),
            "{:?}",
            request.service
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exporter_headers_and_compression_come_from_the_environment() {
    let collector = Collector::start().await;
    let wanted = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=edge"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
    ];
    let sluice = traced(&collector, "memory://", ORDERS, &wanted).start();
    Client::of(sluice.http_addr()).send(&order(true)).await;
    eventually_async("a request with both arrives", async || {
        let received = String::from_utf8_lossy(&collector.bytes()).to_lowercase();
        if received.contains("x-team: edge\r\n") && received.contains("content-encoding: gzip\r\n")
        {
            Ok(())
        } else {
            Err(received)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_from_envoy_continues_the_trace_in_its_metadata() {
    let (collector, redis, rules) =
        (Collector::start().await, RedisServer::start(), TempDir::new().unwrap());
    let rule = "domain: edge\n\
                descriptors: [{ key: api_key, rate_limit: { unit: day, requests_per_unit: 1 } }]\n";
    std::fs::write(rules.path().join("edge.yaml"), rule).unwrap();
    let yaml = format!("rls: {{ files: [\"{}/*.yaml\"] }}\n", rules.path().display());
    let sluice = traced(&collector, &redis.url(), &yaml, &[]).grpc().start();
    let channel = tonic::transport::Endpoint::new(format!("http://{}", sluice.grpc_addr()))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = RateLimitServiceClient::new(channel);
    let entries = vec![Entry { key: "api_key".to_owned(), value: SECRET.to_owned() }];
    let descriptors = vec![RateLimitDescriptor { entries, ..RateLimitDescriptor::default() }];
    let mut call = tonic::Request::new(RateLimitRequest {
        domain: "edge".to_owned(),
        descriptors,
        hits_addend: 2,
    });
    call.metadata_mut().insert("traceparent", traceparent(true).parse().unwrap());
    client.should_rate_limit(call).await.unwrap();

    let request =
        spans(&collector, "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", 1)
            .await
            .remove(0);
    assert_eq!((request.trace.as_str(), request.parent.as_str()), (TRACE, CALLER));
    assert_eq!(
        (request.attribute("rpc.system"), request.attribute("rpc.grpc.status_code")),
        ("grpc", "0")
    );
    let decisions = spans(&collector, "decision", 1).await;
    let decision = child_of(&decisions, &request);
    assert_eq!(
        (decision.attribute("sluice.limit"), decision.attribute("sluice.outcome")),
        ("edge.api_key", "denied")
    );
    child_of(&spans(&collector, "store round trip", 1).await, decision);
    let text = String::from_utf8_lossy(&collector.bytes()).into_owned();
    assert!(!text.contains(SECRET), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_collector_understands_metrics_and_traces_over_grpc_and_http() {
    for protocol in ["grpc", "http/protobuf"] {
        let rotel = Rotel::start();
        let endpoint =
            format!("http://{}", if protocol == "grpc" { rotel.grpc() } else { rotel.http() });
        let options =
            SluiceOptions::new(built_sluice()).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        let options = options
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
        let sluice = options
            .env("OTEL_BSP_SCHEDULE_DELAY", "50")
            .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
            .start();
        assert_eq!(Client::of(sluice.http_addr()).send(&order(true)).await.status, 200);
        eventually_async("the collector has logged every metric and span", async || {
            let log = rotel.log();
            let wanted = [
                TRACE,
                CALLER,
                "Name           : decision",
                "sluice.outcome: Str(allowed)",
                "Name: sluice_decisions_total",
            ];
            let missing: Vec<_> = wanted.into_iter().filter(|text| !log.contains(text)).collect();
            if missing.is_empty() {
                Ok(())
            } else {
                Err(format!("{protocol}: {missing:?} is missing from {log}"))
            }
        })
        .await;
        assert!(!rotel.log().contains(SECRET));
    }
}

/// Returns the values of this header field in the requests to the upstream.
fn upstream_fields(upstream: &RequestRecorder, field: &str) -> Vec<String> {
    let requests = upstream.requests();
    let heads = requests.iter().map(|request| String::from_utf8_lossy(&request.bytes).into_owned());
    heads
        .flat_map(|head| {
            head.lines()
                .filter_map(|line| Some(line.strip_prefix(field)?.strip_prefix(": ")?.to_owned()))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_gets_the_gateways_span_as_parent() {
    let (collector, upstream) = (Collector::start().await, RequestRecorder::start().await);
    let yaml = format!("gateway: {{ upstream: \"http://{}\" }}\n", upstream.address());
    let sluice = traced(&collector, "memory://", &yaml, &[]).start();
    let mut client = Client::of(sluice.http_addr());
    assert_eq!(client.send(&order(true).header("tracestate", "vendor=opaque")).await.status, 200);
    assert_eq!(client.send(&order(false)).await.status, 200);
    let request = spans(&collector, "GET", 1).await.remove(0);
    let parents = upstream_fields(&upstream, "traceparent");
    assert_eq!(parents[0], format!("00-{TRACE}-{}-01", request.id));
    assert!(
        parents[1].starts_with(&format!("00-{TRACE}-")) && parents[1].ends_with("-00"),
        "a trace that is not sampled stays so: {parents:?}"
    );
    assert_eq!(parents.len(), 2);
    assert_eq!(upstream_fields(&upstream, "tracestate"), ["vendor=opaque"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_the_trace_headers_are_forwarded_unchanged() {
    let upstream = RequestRecorder::start().await;
    let sluice =
        memory_replica(&format!("gateway: {{ upstream: \"http://{}\" }}\n", upstream.address()));
    assert_eq!(Client::of(sluice.http_addr()).send(&order(true)).await.status, 200);
    assert_eq!(upstream_fields(&upstream, "traceparent"), [traceparent(true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_decisions_without_the_store_are_marked() {
    let (collector, redis) = (Collector::start().await, RedisServer::start());
    let failing = "limits: [{ name: writes, when: { path: /writes }, rate: 1/minute, burst: 1, \
                   on_store_failure: error }]\n";
    let config = format!("store: {{ url: \"{}\", timeout: 25ms }}\n{failing}", redis.url());
    let options =
        SluiceOptions::new(built_sluice()).config(config).env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let sluice: Sluice = options
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("{}/v1/traces", collector.endpoint()))
        .start();
    redis.pause();
    let mut client = Client::of(sluice.http_addr());
    assert_eq!(client.send(&Request::get("/orders")).await.status, 200);
    assert_eq!(client.send(&Request::get("/writes")).await.status, 503);
    let decisions = spans(&collector, "decision", 2).await;
    assert_eq!(
        (decisions[0].attribute("sluice.outcome"), decisions[0].attribute("sluice.source")),
        ("allowed", "local")
    );
    assert_eq!((decisions[1].attribute("sluice.outcome"), decisions[1].failed), ("error", true));
    let requests = spans(&collector, "GET", 2).await;
    assert_eq!(requests.iter().filter(|request| request.failed).count(), 1, "{requests:#?}");
    let trips = spans(&collector, "store round trip", 2).await;
    assert!(trips.iter().all(|trip| trip.failed), "{trips:#?}");
    redis.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_collector_delays_no_request() {
    // A port without a listener, which only privileged programs could open.
    let options =
        SluiceOptions::new(built_sluice()).env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let sluice = options.env("OTEL_BSP_SCHEDULE_DELAY", "10").start();
    let mut client = Client::of(sluice.http_addr());
    for _ in 0..200 {
        assert!(matches!(client.send(&order(true)).await.status, 200 | 429));
    }
    sluice.sigterm();
    assert!(sluice.wait_exit(Duration::from_secs(30)).success());
}
