//! Requests to every front end that speaks HTTP.

use std::collections::BTreeMap;

use serde_json::json;
use sluice_tests::http::{Client, Request};

/// Labels the requests of the test that no limit covers.
pub(crate) const LISTED: &str = "metrics: { endpoints: [/a/path] }";

/// Requests by endpoint, method and status.
pub(crate) type Counts = BTreeMap<(String, String, String), u64>;

/// Returns requests, each with the endpoint and the method under which it is counted.
fn requests() -> Vec<(&'static str, &'static str, Request)> {
    let keyed = |method, path| Request::new(method, path).header("x-api-key", "alice");
    vec![
        ("/api/v1/blueprints", "GET", keyed("GET", "/api/v1/blueprints")),
        ("/api/v1/blueprints", "GET", keyed("GET", "/api/v1/blueprints/17")),
        ("/api/v1/tools/execute", "POST", keyed("POST", "/api/v1/tools/execute").body("{}")),
        ("/a/path", "GET", keyed("GET", "/a/path/of/alice")),
        ("other", "GET", keyed("GET", "/an%2fencoded/slash")),
        (
            "/v1/check",
            "POST",
            Request::post("/v1/check", &json!({ "client": "bob", "path": "/api/v1/blueprints" })),
        ),
        ("/v1/check", "POST", Request::post("/v1/check", &json!({ "klient": "bob" }))),
        (
            "/v1/check/batch",
            "POST",
            Request::post(
                "/v1/check/batch",
                &json!({ "checks": [{ "client": "bob" }, { "client": "carol" }] }),
            ),
        ),
        (
            "/v1/forward-auth",
            "GET",
            keyed("GET", "/v1/forward-auth").header("x-forwarded-uri", "/x"),
        ),
        ("/health", "GET", Request::get("/health")),
    ]
}

/// Sends each request several times to one replica, and counts the responses.
pub(crate) async fn send_all_requests(mut client: Client, counts: &mut Counts) {
    for (endpoint, method, request) in requests().iter().cycle().take(150) {
        let status = client.send(request).await.status.to_string();
        *counts.entry(((*endpoint).to_owned(), (*method).to_owned(), status)).or_default() += 1;
    }
}
