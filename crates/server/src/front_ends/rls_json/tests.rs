//! `POST /json` through the HTTP port.

use http::StatusCode;
use serde_json::{Value, json};

use std::sync::Arc;

use sluice_core::{OnStoreFailure, Tagger};
use sluice_testkit::policies;

use crate::front_ends::fixtures::{Away, Port, PortResponse, rls_rules as rules};

const RULES: &str = "domain: edge\ndescriptors:\n\
    - key: ip\n\
   \x20 rate_limit: { unit: minute, requests_per_unit: 2, name: per_ip }\n\
   \x20 metadata: { a: [1, x] }\n\
    - { key: open, rate_limit: { unlimited: true } }\n";

fn port() -> Port {
    let port = Port::new();
    port.rls.replace(Some(&rules(RULES)), OnStoreFailure::Local, &Tagger::new(b""));
    port
}

async fn ask(port: &Port, body: Value) -> PortResponse {
    port.post("/json", body).await
}

#[tokio::test]
async fn a_call_gets_200_or_429_and_the_rate_limit_fields() {
    let port = port();
    let body = json!({
        "domain": "edge",
        "descriptors": [
            { "entries": [{ "key": "ip", "value": "a" }] },
            { "entries": [{ "key": "open" }] },
        ],
    });
    let got = ask(&port, body.clone()).await;
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(got.header("content-type"), Some("application/json"));
    assert_eq!(got.header("ratelimit-policy"), Some("\"per_ip\";q=2;w=60"));
    assert_eq!(got.body["overallCode"], "OK");
    let status = &got.body["statuses"][0];
    assert_eq!(status["code"], "OK");
    assert_eq!(
        status["currentLimit"],
        json!({ "requestsPerUnit": 2, "unit": "MINUTE", "name": "per_ip" })
    );
    assert_eq!(status["limitRemaining"], 1);
    assert_eq!(status["durationUntilReset"], "30s");
    assert_eq!(got.body["statuses"][1], json!({ "code": "OK", "limitRemaining": u32::MAX }));
    assert_eq!(got.body["dynamicMetadata"]["metadata"], json!({ "a": [1.0, "x"] }));
    assert_eq!(
        got.body["responseHeadersToAdd"][1],
        json!({ "key": "x-ratelimit-remaining", "value": "1" })
    );

    assert_eq!(ask(&port, body.clone()).await.status, StatusCode::OK);
    let got = ask(&port, body).await;
    assert_eq!(
        (got.status, &got.body["overallCode"]),
        (StatusCode::TOO_MANY_REQUESTS, &json!("OVER_LIMIT"))
    );
    assert!(got.header("retry-after").is_some());
    assert_eq!(got.body["statuses"][0].get("limitRemaining"), None, "what is zero is left out");
}

#[tokio::test]
async fn names_and_numbers_have_two_forms() {
    let port = port();
    let left = async |descriptor: Value| {
        ask(&port, json!({ "domain": "edge", "descriptors": [descriptor] })).await.body["statuses"]
            [0]["limitRemaining"]
            .clone()
    };
    let entries = json!([{ "key": "ip", "value": "a" }]);
    for (descriptor, expected) in [
        (
            json!({
                "entries": entries,
                "limit": { "requestsPerUnit": 9, "unit": "HOUR" },
                "hitsAddend": "2",
            }),
            7,
        ),
        (
            json!({
                "entries": entries,
                "limit": { "requests_per_unit": "9", "unit": 3 },
                "hits_addend": 1,
            }),
            6,
        ),
        (
            json!({
                "entries": entries,
                "limit": { "requestsPerUnit": 9, "unit": 3 },
                "isNegativeHits": true,
            }),
            7,
        ),
        (json!({ "entries": entries, "hitsAddend": null }), 1),
    ] {
        assert_eq!(left(descriptor).await, expected);
    }
    let got = ask(
        &port,
        json!({ "domain": "edge", "descriptors": [{ "entries": entries }], "hits_addend": "2" }),
    )
    .await;
    assert_eq!(got.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_whole_number_may_have_a_fraction_of_zero_or_an_exponent() {
    let port = port();
    let entries = json!([{ "key": "a", "value": "b" }]);
    let left = async |hits: &str| {
        let limit = r#"{"requestsPerUnit":1000.0,"unit":"HOUR"}"#;
        let body = format!(
            r#"{{"domain":"edge","descriptors":[
                {{"entries":{entries},"limit":{limit},"hitsAddend":{hits}}}
            ]}}"#
        );
        ask(&port, serde_json::from_str(&body).unwrap()).await.body["statuses"][0]["limitRemaining"]
            .clone()
    };
    assert_eq!(
        [left("1.0").await, left("1e1").await, left("\"1e2\"").await, left("\"5.0\"").await],
        [999, 989, 889, 884]
    );
    for hits in ["0.5", "-1.0", "1e300", "\"0.5\"", "\"\"", "\"nan\"", "true"] {
        assert_eq!(left(hits).await, Value::Null, "{hits}");
    }
    assert_eq!(left("0").await, 884, "a rejected request takes nothing");
}

#[tokio::test]
async fn an_invalid_body_is_a_problem_that_names_the_member() {
    let port = port();
    for (body, detail) in [
        ("[]", "the body must be a JSON object"),
        ("{", "EOF while parsing"),
        ("{\"domain\": 5}", "domain: must be a string, not the number 5"),
        ("{\"domains\": \"edge\"}", "unknown field `domains`"),
        ("{\"domain\": \"edge\"}", "descriptors is empty: send at least one"),
        (
            "{\"domain\": \"edge\", \"descriptors\": [{\"entries\": [{\"keys\": \"ip\"}]}]}",
            "descriptors[0].entries[0].keys: unknown field",
        ),
        (
            "{\"domain\": \"edge\", \"descriptors\": [{\"hitsAddend\": -1}]}",
            "descriptors[0].hitsAddend: must be a whole number",
        ),
        (
            "{\"domain\": \"edge\", \"descriptors\": [{\"hitsAddend\": \"x\"}]}",
            "`x` is not a whole number",
        ),
        ("{\"domain\": \"edge\", \"hitsAddend\": 4294967296}", "the number is too large"),
        (
            "{\"domain\": \"edge\", \"descriptors\": [{\"limit\": {\"unit\": \"FORTNIGHT\"}}]}",
            "a unit of time, as in \"MINUTE\"",
        ),
        (
            "{\"domain\": \"edge\", \"descriptors\": [{\"limit\": {}}]}",
            "descriptors[0].limit.unit: 0 is not a unit of time",
        ),
    ] {
        let got = port.post("/json", body).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(got.problem().is_some(), "{body}");
        let actual = got.body["detail"].as_str().unwrap();
        assert!(actual.contains(detail), "{body}: {actual}");
    }
    let got = port.get("/json").await;
    assert_eq!((got.status, got.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("POST")));
    let got = port.post("/json", " ".repeat(300 << 10)).await;
    assert_eq!(got.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_body_needs_no_content_type() {
    let request = http::Request::post("/json")
        .body(axum::body::Body::from("{\"domain\":\"edge\",\"descriptors\":[{}]}"))
        .unwrap();
    assert_eq!(port().send(request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn without_the_store_the_status_is_503() {
    let port = Port::with(policies::document(), Arc::new(Away));
    port.rls.replace(Some(&rules(RULES)), OnStoreFailure::Error, &Tagger::new(b""));
    let got =
        ask(&port, json!({ "domain": "edge", "descriptors": [{ "entries": [{ "key": "ip" }] }] }))
            .await;
    assert_eq!(
        (got.status, got.problem()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("urn:sluice:problem:store-unavailable"))
    );
}

#[tokio::test]
async fn without_rules_the_status_is_404_with_the_remedy() {
    let port = Port::new();
    let got = port.post("/json", json!({ "domain": "edge", "descriptors": [{}] })).await;
    assert_eq!(
        (got.status, got.problem()),
        (StatusCode::NOT_FOUND, Some("urn:sluice:problem:no-rules"))
    );
    assert!(got.body["detail"].as_str().unwrap().contains("`rls.files`"), "{}", got.body);
    let got = port.get("/json").await;
    assert_eq!((got.status, got.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("POST")));
}
