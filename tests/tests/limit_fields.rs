//! The rate limit fields: on every response of a decision, whatever the front end, the decision and
//! the upstream's response are; on no other.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{fs, net::SocketAddr};

use envoy_types::pb::envoy::{
    extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor::Entry},
    service::ratelimit::v3::{RateLimitRequest, rate_limit_service_client::RateLimitServiceClient},
};
use serde_json::{Value, json};
use sluice_testkit::{ReservedPort, Sluice, SluiceOptions, built_sluice};
use sluice_tests::{
    echo::{BREAKS_OFF, DENIES, Echo, FAILS, HANGS_UP, STREAMS, UPGRADES},
    fleet::memory_replica,
    http::{Connection, Request, Response},
};
use tempfile::TempDir;

/// The fields of every decision. A denial has `retry-after` too.
const FIELDS: [&str; 5] = [
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-policy",
    "ratelimit",
];

/// Of each client, one request is allowed. Nothing comes back during the test.
const ONE_A_DAY: &str = "defaults: { rate: 1/day, burst: 1 }\n\
                         endpoints: { /open: off }\n\
                         exempt: [/exempt]\n\
                         preflights: limited\n\
                         clients: { trusted_proxies: [127.0.0.0/8] }\n";

/// Sends a request of one client on a connection of its own, and returns the head of the response.
async fn head(server: SocketAddr, client: &str, request: Request) -> Response {
    let mut connection = Connection::open(server).await.unwrap();
    let request = request.header("x-forwarded-for", client);
    connection.write(&request.to_bytes()).await.unwrap();
    connection.response_head().await.unwrap()
}

#[track_caller]
fn assert_fields(what: &str, response: &Response, is_allowed: bool) {
    for name in FIELDS {
        assert!(response.header(name).is_some(), "{what}: no `{name}`: {response}");
    }
    assert_eq!(response.number("x-ratelimit-limit"), 1, "{what}");
    assert_eq!(response.number("x-ratelimit-remaining"), 0, "{what}");
    assert_eq!(response.header("retry-after").is_some(), !is_allowed, "{what}: {response}");
    assert_eq!(response.status == 429, !is_allowed, "{what}: {response}");
}

#[track_caller]
fn assert_none(what: &str, response: &Response) {
    for name in FIELDS {
        assert_eq!(response.header(name), None, "{what}: {response}");
    }
}

fn check(client: &str) -> Request {
    Request::post("/v1/check", &json!({ "client": client }))
}

#[tokio::test]
async fn every_decision_of_the_http_port_has_the_fields() {
    let sluice = memory_replica(ONE_A_DAY);
    let preflight = || {
        Request::new("OPTIONS", "/orders")
            .header("origin", "https://shop.test")
            .header("access-control-request-method", "PUT")
    };
    let forwarded = || Request::get("/v1/forward-auth").header("x-forwarded-uri", "/orders");
    let cases: [(&str, &dyn Fn() -> Request); 8] = [
        ("/v1/check", &|| check("alice")),
        ("forward-auth", &forwarded),
        ("forward-auth by HEAD", &|| {
            Request::new("HEAD", "/v1/forward-auth").header("x-forwarded-uri", "/orders")
        }),
        ("any path", &|| Request::get("/orders")),
        ("any path by HEAD", &|| Request::new("HEAD", "/orders")),
        ("any path by POST", &|| Request::post("/orders", &json!({}))),
        ("any path by OPTIONS", &|| Request::new("OPTIONS", "/orders")),
        ("a preflight", &preflight),
    ];
    for (number, (what, request)) in cases.into_iter().enumerate() {
        let client = format!("192.0.2.{number}");
        for is_allowed in [true, false] {
            let response = head(sluice.http_addr(), &client, request()).await;
            assert_fields(what, &response, is_allowed);
        }
    }
    for path in ["/exempt", "/open", "/health", "/metrics", "/v1/chekc"] {
        assert_none(path, &head(sluice.http_addr(), "192.0.2.100", Request::get(path)).await);
    }
    let broken = Request::post("/v1/check", &json!({ "klient": "alice" }));
    assert_none("an invalid check", &head(sluice.http_addr(), "192.0.2.100", broken).await);
}

#[tokio::test]
async fn every_decision_of_the_gateway_has_the_fields_whatever_the_upstream_responds() {
    let api = Echo::start().await;
    let sluice = memory_replica(&format!(
        "gateway: {{ upstream: \"http://{}\" }}\n{ONE_A_DAY}",
        api.address()
    ));
    let upgrade = |path: &str| {
        Request::get(path).header("connection", "upgrade").header("upgrade", "websocket")
    };
    let cases = [
        (200, Request::get("/orders")),
        (200, Request::new("HEAD", "/orders")),
        (200, Request::post("/orders", &json!({}))),
        (200, Request::new("OPTIONS", "/orders").header("origin", "https://shop.test")),
        (200, Request::get(STREAMS)),
        (200, Request::get(BREAKS_OFF)),
        (500, Request::get(FAILS)),
        (502, Request::get(HANGS_UP)),
        (101, upgrade(UPGRADES)),
        (200, upgrade("/orders")),
    ];
    for (number, (status, request)) in cases.into_iter().enumerate() {
        let (client, what) = (format!("192.0.2.{number}"), format!("{request:?}"));
        let allowed = head(sluice.http_addr(), &client, request.clone()).await;
        assert_eq!(allowed.status, status, "{what}: {allowed}");
        assert_fields(&what, &allowed, true);
        assert_fields(&what, &head(sluice.http_addr(), &client, request).await, false);
    }

    // The upstream denies: that it has a limit, our fields do not say. Ours are there all the same.
    let denied_there = head(sluice.http_addr(), "192.0.2.200", Request::get(DENIES)).await;
    assert_eq!((denied_there.status, denied_there.header("retry-after")), (429, None));
    for name in FIELDS {
        assert!(denied_there.header(name).is_some(), "{denied_there}");
    }
    for path in ["/exempt", "/open", "/health"] {
        assert_none(path, &head(sluice.http_addr(), "192.0.2.100", Request::get(path)).await);
    }
}

/// Starts a replica with one rule, which may repeat the fields in its responses.
fn with_rules(more: &str) -> (Sluice, TempDir) {
    let rules = TempDir::new().unwrap();
    let rule = "domain: edge\n\
                descriptors: [{ key: user, rate_limit: { unit: day, requests_per_unit: 1 } }]\n";
    fs::write(rules.path().join("edge.yaml"), rule).unwrap();
    let yaml = format!("rls: {{ files: [\"{}/*.yaml\"]{more} }}\n", rules.path().display());
    let sluice = SluiceOptions::new(built_sluice()).config(yaml).grpc().start();
    (sluice, rules)
}

#[tokio::test]
async fn json_has_the_fields_in_its_header_and_grpc_where_it_is_asked_for_them() {
    for (more, is_asked) in [("", false), (", response_headers: true", true)] {
        let (sluice, _rules) = with_rules(more);
        let body = json!({
            "domain": "edge",
            "descriptors": [{ "entries": [{ "key": "user", "value": "alice" }] }],
        });
        let mut connection = Connection::open(sluice.http_addr()).await.unwrap();
        for is_allowed in [true, false] {
            let response = connection.send(&Request::post("/json", &body)).await.unwrap();
            assert_fields("/json", &response, is_allowed);
            let body = response.json();
            assert_eq!(body.get("responseHeadersToAdd").is_some(), is_asked, "{body}");
        }

        let address = format!("http://{}", sluice.grpc_addr());
        let channel = tonic::transport::Endpoint::new(address).unwrap().connect().await.unwrap();
        let mut client = RateLimitServiceClient::new(channel);
        for expected in [5, 6] {
            let entries = vec![Entry { key: "user".to_owned(), value: "bob".to_owned() }];
            let call = RateLimitRequest {
                domain: "edge".to_owned(),
                descriptors: vec![RateLimitDescriptor { entries, ..Default::default() }],
                hits_addend: 1,
            };
            let response = client.should_rate_limit(call).await.unwrap().into_inner();
            let names: Vec<_> =
                response.response_headers_to_add.iter().map(|field| field.key.as_str()).collect();
            assert_eq!(names.len(), if is_asked { expected } else { 0 }, "{names:?}");
            assert!(!is_asked || FIELDS.iter().all(|name| names.contains(name)), "{names:?}");
        }
    }
}

#[tokio::test]
async fn each_result_of_a_batch_says_in_the_body_what_the_fields_say() {
    let sluice = memory_replica(ONE_A_DAY);
    let checks = json!({ "checks": [
        { "client": "alice" }, { "client": "alice" }, { "client": "alice", "path": "/exempt" },
    ] });
    let mut connection = Connection::open(sluice.http_addr()).await.unwrap();
    let response = connection.send(&Request::post("/v1/check/batch", &checks)).await.unwrap();
    assert_none("a batch", &response);
    let results = response.json()["results"].clone();
    for (number, is_denied) in [(0, false), (1, true)] {
        let result = &results[number];
        for member in ["limit", "remaining", "reset"] {
            assert!(result[member].is_u64(), "{member}: {result}");
        }
        assert_eq!(result["retry_after"].is_u64(), is_denied, "{result}");
    }
    assert_eq!(results[2].get("limit").filter(|limit| **limit != Value::Null), None, "{results}");
}

#[tokio::test]
async fn a_decision_without_the_store_has_the_fields_too() {
    for (on_failure, is_allowed) in [("local", true), ("allow", true), ("deny", false)] {
        let nowhere = ReservedPort::new();
        let store = format!(
            "store: {{ url: \"redis://127.0.0.1:{}\", on_failure: {on_failure} }}",
            nowhere.number()
        );
        let sluice = memory_replica(&format!("{store}\n{ONE_A_DAY}"));
        let response = head(sluice.http_addr(), "192.0.2.1", Request::get("/orders")).await;
        assert_eq!(response.status == 200, is_allowed, "{on_failure}: {response}");
        for name in FIELDS {
            assert!(response.header(name).is_some(), "{on_failure}: no `{name}`: {response}");
        }
    }
}
