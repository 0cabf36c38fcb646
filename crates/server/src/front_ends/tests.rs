//! The HTTP port without a socket: requests in, responses out.

use http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};
use sluice::{MemoryStore, Per, Policy, Rate, Rule, identify::Identifier};

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, Request, Version};

use super::{
    FrontEnd,
    check::{Batch, Check},
    fixtures::{Away, Port, by_key, json_post},
    forward_auth::ForwardAuth,
};
use sluice_testkit::policies;

const BATCH: &str = Batch::PATH;
const CHECK: &str = Check::PATH;
const FORWARD_AUTH: &str = ForwardAuth::PATH;

#[tokio::test]
async fn all_front_ends_share_a_bucket_and_report_the_same_state() {
    const TARGET: &str = "/api/v1/conversation/chat-stream";
    let port = Port::new();
    let check = json!({ "client": "alice", "path": TARGET, "method": "POST" });
    let requests_by_front_end: [&dyn Fn() -> Request<Body>; 3] = [
        &|| json_post(CHECK, check.to_string()),
        &|| Request::post(TARGET).header("x-api-key", "alice").body(Body::empty()).unwrap(),
        &|| {
            Request::get(FORWARD_AUTH)
                .header("x-api-key", "alice")
                .header("x-forwarded-uri", TARGET)
                .body(Body::empty())
                .unwrap()
        },
    ];
    for left in (0..10).rev() {
        let got = port.send(requests_by_front_end[left % requests_by_front_end.len()]()).await;
        assert_eq!(
            (got.status, got.header("x-ratelimit-remaining")),
            (StatusCode::OK, Some(left.to_string().as_str()))
        );
        assert_eq!(got.header("x-ratelimit-limit"), Some("20"));
        assert_eq!(
            got.header("ratelimit-policy"),
            Some("\"/api/v1/conversation/chat-stream\";q=20;w=60")
        );
        assert!(
            got.header("ratelimit")
                .unwrap()
                .starts_with(&format!("\"/api/v1/conversation/chat-stream\";r={left};t="))
        );
        assert!(got.header("x-ratelimit-reset").is_some());
    }
    for request in requests_by_front_end {
        let got = port.send(request()).await;
        assert_eq!(
            (got.status, got.problem()),
            (StatusCode::TOO_MANY_REQUESTS, Some("urn:sluice:problem:rate-limited"))
        );
        assert_eq!((got.header("retry-after"), &got.body["retry_after"]), (Some("3"), &json!(3)));
        assert_eq!(
            (&got.body["limit"], &got.body["window"], &got.body["never"]),
            (&json!(20), &json!(60), &json!(false))
        );
    }
    let got = port.post(BATCH, json!({ "checks": [check] })).await;
    assert_eq!((got.status, &got.body["results"][0]["status"]), (StatusCode::OK, &json!(429)));
}

#[tokio::test]
async fn a_check_is_allowed_until_its_bucket_is_empty() {
    let port = Port::new();
    let check = json!({ "client": "alice", "method": "POST", "path": "/api/v1/tools/execute" });
    for left in (0..10).rev() {
        let got = port.post(CHECK, &check).await;
        assert_eq!((got.status, got.problem()), (StatusCode::OK, None));
        assert_eq!(got.body["allowed"], true);
        assert_eq!(got.body["remaining"], left);
        assert_eq!(got.body["limits"][0]["name"], "/api/v1/tools/execute");
        assert_eq!(got.header("x-ratelimit-limit"), Some("40"));
        assert_eq!(got.header("x-ratelimit-remaining"), Some(left.to_string().as_str()));
        assert_eq!(got.header("ratelimit-policy"), Some("\"/api/v1/tools/execute\";q=40;w=60"));
        assert_eq!(got.header("retry-after"), None);
    }
    let got = port.post(CHECK, &check).await;
    assert_eq!(
        (got.status, got.problem()),
        (StatusCode::TOO_MANY_REQUESTS, Some("urn:sluice:problem:rate-limited"))
    );
    assert_eq!(got.body["error"], "rate_limit_exceeded");
    assert_eq!(got.body["retry_after"], 2, "40 a minute is one every 1.5 seconds");
    assert_eq!((&got.body["limit"], &got.body["window"]), (&json!(40), &json!(60)));
    assert_eq!(got.header("retry-after"), Some("2"));
    assert_eq!(port.remaining("bob").await, 10, "another client has a bucket of its own");
}

#[tokio::test]
async fn a_repeated_field_that_decides_is_refused_everywhere_and_takes_nothing() {
    let per_org = Rule::new("per-org", "60/minute, burst 10".parse::<Rate>().unwrap())
        .per(Per::Header("x-org".to_owned()));
    let port =
        Port::with(Policy::builder().limit(per_org).build().unwrap(), Arc::new(MemoryStore::new()));
    assert_eq!(*port.engine.fields_read(), ["authorization", "x-api-key", "x-org"]);
    let to = |path: &str, fields: &[(&'static str, &'static str)]| {
        fields
            .iter()
            .fold(Request::get(path), |request, (name, value)| request.header(*name, *value))
            .body(Body::empty())
            .unwrap()
    };
    let json = |attributes: &str| {
        json_post(CHECK, format!(r#"{{"client": "a", "attributes": {attributes}}}"#))
    };
    let refused = [
        (to("/a", &[("x-org", "random"), ("x-org", "acme")]), "x-org"),
        (to("/a", &[("x-org", "acme"), ("x-org", "random")]), "x-org"),
        (to(FORWARD_AUTH, &[("x-org", "random"), ("x-org", "acme")]), "x-org"),
        (json(r#"{"x-org": "random", "X-Org": "acme"}"#), "x-org"),
        (to("/a", &[("x-org", "acme"), ("x-api-key", "1"), ("x-api-key", "2")]), "x-api-key"),
        (
            to("/a", &[("authorization", "Basic eA=="), ("authorization", "Bearer 1")]),
            "authorization",
        ),
        (
            to(FORWARD_AUTH, &[("x-forwarded-uri", "/a"), ("x-forwarded-uri", "/b")]),
            "x-forwarded-uri",
        ),
        (
            to(FORWARD_AUTH, &[("x-forwarded-method", "GET"), ("x-forwarded-method", "PUT")]),
            "x-forwarded-method",
        ),
    ];
    for (request, field) in refused {
        let asked = format!("{request:?}");
        let got = port.send(request).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{asked}");
        let detail = got.body["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("`{field}`")), "{detail}");
        assert!(!detail.contains("random") && !detail.contains("acme"), "{detail}");
    }
    for (used, request) in [
        to("/a", &[("x-org", "acme"), ("x-org", "acme")]),
        to(FORWARD_AUTH, &[("x-org", "acme"), ("x-org", "acme")]),
        json(r#"{"x-org": "acme", "X-Org": "acme"}"#),
        to("/a", &[("x-org", "acme"), ("x-other", "1"), ("x-other", "2")]),
    ]
    .into_iter()
    .enumerate()
    {
        let got = port.send(request).await;
        let left = (9 - used).to_string();
        assert_eq!(
            (got.status, got.header("x-ratelimit-remaining")),
            (StatusCode::OK, Some(&*left)),
            "what was refused took nothing, and equal values are one"
        );
    }
}

#[tokio::test]
async fn invented_keys_are_bounded_wherever_sluice_reads_them() {
    const TARGET: &str = "/api/v1/conversation/chat-stream";
    let bounded = || by_key().with_unverified("5/day, burst 5".parse::<Rate>().unwrap());
    for path in [TARGET, FORWARD_AUTH] {
        let port = Port::new();
        port.engine.replace(policies::document(), bounded());
        let mut passed = 0;
        for number in 0..100 {
            let request = Request::get(path)
                .header("x-api-key", format!("invented-{number}"))
                .header("x-forwarded-uri", TARGET);
            let got = port.send(request.body(Body::empty()).unwrap()).await;
            passed += usize::from(got.status == StatusCode::OK);
            if number == 99 {
                assert_eq!(got.problem(), Some("urn:sluice:problem:rate-limited"));
                assert_eq!(got.body["limits"][0]["name"], "clients.unverified");
                // A fifth of a day, but for what the test has taken so far.
                let retry_after: u64 = got.header("retry-after").unwrap().parse().unwrap();
                assert!((17_000..=17_280).contains(&retry_after), "{retry_after}");
            }
        }
        assert_eq!(passed, 5, "{path}");
        for number in 0..20 {
            let check = json!({ "client": format!("named-{number}"), "ip": "192.0.2.7" });
            let got = port.post(CHECK, check).await;
            assert_eq!(got.status, StatusCode::OK, "a caller is trusted to know its clients");
        }
        port.engine.replace(policies::document(), by_key());
        let request = Request::get(path).header("x-api-key", "invented");
        let got = port.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(got.status, StatusCode::OK, "the setting changes at run time");
    }
}

#[tokio::test]
async fn a_cost_above_the_burst_is_denied_as_never_and_takes_nothing() {
    let port = Port::new();
    let got = port.post(CHECK, json!({ "client": "alice", "cost": 11 })).await;
    assert_eq!(
        (got.status, got.problem()),
        (StatusCode::TOO_MANY_REQUESTS, Some("urn:sluice:problem:cost-above-burst"))
    );
    assert_eq!((&got.body["never"], got.header("retry-after")), (&json!(true), None));
    assert_eq!(port.remaining("alice").await, 10);
}

#[tokio::test]
async fn batch_results_are_in_order_and_errors_are_separate() {
    let port = Port::new();
    let checks = json!({ "checks": [
        { "client": "alice", "cost": 6 },
        { "client": "alice", "cost": -1 },
        { "client": "alice", "cost": 6 },
        { "klient": "alice" },
        { "client": "alice", "path": "/a%2fb" },
        5,
        { "client": "alice", "path": "/health" },
        { "client": "alice", "cost": 4 },
    ] });
    let got = port.post(BATCH, checks).await;
    assert_eq!(got.status, StatusCode::OK);
    let results = got.body["results"].as_array().unwrap();
    let statuses: Vec<_> =
        results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 400, 429, 400, 400, 400, 200, 200]);
    assert_eq!(
        (&results[0]["remaining"], &results[2]["remaining"], &results[7]["remaining"]),
        (&json!(4), &json!(4), &json!(0))
    );
    assert_eq!(results[1]["field"], "cost");
    assert_eq!(results[2]["type"], "urn:sluice:problem:rate-limited");
    assert_eq!(results[3]["type"], "urn:sluice:problem:malformed-body");
    assert_eq!(results[4]["type"], "urn:sluice:problem:invalid-request");
    assert_eq!(results[6], json!({ "status": 200, "allowed": true, "limits": [] }));
}

#[tokio::test]
async fn a_batch_has_at_most_a_thousand_checks() {
    let port = Port::new();
    let batch = |count: usize| json!({ "checks": vec![json!({ "client": "alice" }); count] });
    let got = port.post(BATCH, batch(1_000)).await;
    let allowed = got.body["results"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|result| result["allowed"] == true)
        .count();
    assert_eq!((got.body["results"].as_array().unwrap().len(), allowed), (1_000, 10));
    let got = port.post(BATCH, batch(1_001)).await;
    assert_eq!(
        (got.status, got.problem()),
        (StatusCode::BAD_REQUEST, Some("urn:sluice:problem:too-many-checks"))
    );
    assert_eq!(port.post(BATCH, batch(0)).await.body, json!({ "results": [] }));
}

#[tokio::test]
async fn any_other_path_is_decided_about() {
    let port = Port::new();
    let mut statuses = Vec::new();
    for _ in 0..70 {
        statuses.push(port.get("/api/v1/blueprints").await.status);
    }
    let expected: Vec<_> = (0..70)
        .map(|index| if index < 10 { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS })
        .collect();
    assert_eq!(statuses, expected);
    let denied = port.get("/api/v1/blueprints").await;
    assert_eq!(denied.body["limit"], 100);
    assert_eq!(port.get("/").await.body["remaining"], 9, "the default bucket is a separate one");
    let other = Request::get("/").header("x-api-key", "k").body(Body::empty()).unwrap();
    assert_eq!(port.send(other).await.body["remaining"], 9, "another client has its own bucket");
}

#[tokio::test]
async fn admin_routes_are_never_limited() {
    let port = Port::new();
    for _ in 0..20 {
        assert_eq!(port.get("/health").await.body, json!({ "status": "alive" }));
        let ready = port.get("/ready").await;
        assert_eq!(
            (ready.status, &ready.body["status"], &ready.body["store"]),
            (StatusCode::OK, &json!("ready"), &json!({ "name": "memory", "status": "up" }))
        );
        assert_eq!(ready.header("x-ratelimit-limit"), None);
    }
    assert_eq!(port.get("/").await.body["remaining"], 9);
    let got = port.get("/monitoring/nothing").await;
    assert_eq!(
        (got.status, got.problem()),
        (StatusCode::NOT_FOUND, Some("urn:sluice:problem:not-found"))
    );
    let got = port.post("/health", "{}").await;
    assert_eq!(
        (got.status, got.problem()),
        (StatusCode::METHOD_NOT_ALLOWED, Some("urn:sluice:problem:method-not-allowed"))
    );
    assert_eq!(got.header("allow"), Some("GET,HEAD"));
}

#[tokio::test]
async fn a_stopping_process_is_not_ready_and_closes_connections() {
    let port = Port::new();
    assert_eq!(port.get("/").await.header("connection"), None);
    port.health.stop();
    let ready = port.get("/ready").await;
    assert_eq!(
        (ready.status, &ready.body["status"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("stopping"))
    );
    assert_eq!(port.get("/health").await.status, StatusCode::OK);
    let got = port.get("/").await;
    assert_eq!((got.status, got.header("connection")), (StatusCode::OK, Some("close")));
    let over_http2 = Request::get("/").version(Version::HTTP_2).body(Body::empty()).unwrap();
    assert_eq!(port.send(over_http2).await.header("connection"), None, "HTTP/2 has no such field");
}

#[tokio::test]
async fn forward_auth_decides_about_the_request_that_the_proxy_holds() {
    let port = Port::new();
    let ask = |fields: &[(&str, &str)]| {
        let mut request = Request::put(FORWARD_AUTH);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    };
    let forwarded = [
        ("x-forwarded-method", "POST"),
        ("x-forwarded-uri", "/api/v1/tools/execute?x=1"),
        ("x-forwarded-for", "203.0.113.9"),
    ];
    for left in (0..10).rev() {
        let got = port.send_from("10.1.1.1", ask(&forwarded)).await;
        assert_eq!((got.status, &got.body), (StatusCode::OK, &Value::Null));
        assert_eq!(got.header("x-ratelimit-remaining"), Some(left.to_string().as_str()));
        assert_eq!(got.header("ratelimit-policy"), Some("\"/api/v1/tools/execute\";q=40;w=60"));
    }
    let got = port.send_from("10.1.1.1", ask(&forwarded)).await;
    assert_eq!(
        (got.status, got.problem(), got.header("retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, Some("urn:sluice:problem:rate-limited"), Some("2"))
    );

    let got = port
        .send_from(
            "10.1.1.1",
            ask(&[("x-original-url", "https://host/other"), ("x-forwarded-for", "203.0.113.9")]),
        )
        .await;
    assert_eq!((got.status, got.header("x-ratelimit-limit")), (StatusCode::OK, Some("60")));
    let got = port.send_from("198.51.100.1", ask(&forwarded)).await;
    assert_eq!(
        (got.status, got.header("x-ratelimit-remaining")),
        (StatusCode::OK, Some("9")),
        "addresses from an untrusted peer are ignored"
    );
}

/// Returns invalid requests, with the status and the type of the problem that they get.
fn bad_requests() -> Vec<(&'static str, Request<Body>, u16, &'static str)> {
    let plain =
        |path: &str| Request::get(path).header("x-api-key", "alice").body(Body::empty()).unwrap();
    let check = |body: &str| json_post(CHECK, body.replace('\'', "\""));
    let text = |content_type: &str| {
        Request::post(CHECK)
            .header("content-type", content_type)
            .body(Body::from(r#"{"client":"alice"}"#))
            .unwrap()
    };
    let forward = |name: &'static str, value: &[u8]| {
        let value = HeaderValue::from_bytes(value).unwrap();
        Request::get(FORWARD_AUTH)
            .header("x-api-key", "alice")
            .header(name, value)
            .body(Body::empty())
            .unwrap()
    };
    let mut long_head = plain("/");
    long_head.headers_mut().insert("x-long", HeaderValue::from_str(&"x".repeat(64 << 10)).unwrap());
    let mut two_keys = plain("/");
    two_keys.headers_mut().append("x-api-key", HeaderValue::from_static("bob"));
    let (malformed, invalid) = ("malformed-body", "invalid-request");
    vec![
        ("no body", check(""), 400, malformed),
        ("not JSON", check("client=alice"), 400, malformed),
        ("incomplete", check("{'client':'alice'"), 400, malformed),
        ("trailing", check("{'client':'alice'} {}"), 400, malformed),
        ("a list", check("['alice']"), 400, malformed),
        ("an unknown field", check("{'client':'alice','costs':1}"), 400, malformed),
        ("a field twice", check("{'client':'alice','cost':1,'cost':2}"), 400, malformed),
        ("a wrong type", check("{'client':'alice','path':7}"), 400, malformed),
        ("a negative cost", check("{'client':'alice','cost':-1}"), 400, malformed),
        ("half a token", check("{'client':'alice','cost':0.5}"), 400, malformed),
        ("an absurd cost", check("{'client':'alice','cost':1000000000001}"), 400, malformed),
        ("an endless cost", check("{'client':'alice','cost':1e400}"), 400, malformed),
        (
            "a cost beyond 64 bits",
            check("{'client':'alice','cost':99999999999999999999}"),
            400,
            malformed,
        ),
        ("no address", check("{'client':'alice','ip':'300.1.1.1'}"), 400, malformed),
        ("not UTF-8", json_post(CHECK, &b"{\"client\":\"alice\xff\"}"[..]), 400, malformed),
        ("half a surrogate", check("{'client':'alice\\ud800'}"), 400, malformed),
        (
            "deep nesting",
            json_post(CHECK, format!("{{\"client\":{}", "[".repeat(50_000))),
            400,
            malformed,
        ),
        ("an empty client", check("{'client':''}"), 400, invalid),
        ("no client", check("{}"), 400, invalid),
        ("no method", check("{'client':'alice','method':'G T'}"), 400, invalid),
        ("no path", check("{'client':'alice','path':''}"), 400, invalid),
        ("a path without a root", check("{'client':'alice','path':'api'}"), 400, invalid),
        ("an encoded slash", check("{'client':'alice','path':'/a%2Fb'}"), 400, invalid),
        ("an encoded backslash", check("{'client':'alice','path':'/a%5cb'}"), 400, invalid),
        ("a path that is not UTF-8", check("{'client':'alice','path':'/%ff'}"), 400, invalid),
        ("half an escape", check("{'client':'alice','path':'/%f'}"), 400, invalid),
        ("a NUL", check("{'client':'alice','path':'/%00'}"), 400, invalid),
        ("no checks", json_post(BATCH, "{}"), 400, malformed),
        ("checks that are not a list", json_post(BATCH, r#"{"checks":{}}"#), 400, malformed),
        ("a broken batch", json_post(BATCH, r#"{"checks":[{"client":"alice"}"#), 400, malformed),
        ("more beside the checks", json_post(BATCH, r#"{"checks":[],"cost":1}"#), 400, malformed),
        ("a form", text("application/x-www-form-urlencoded"), 415, "unsupported-media-type"),
        ("a text", text("text/plain; charset=utf-8"), 415, "unsupported-media-type"),
        (
            "a body without a type",
            Request::post(CHECK).body(Body::from("{}")).unwrap(),
            415,
            "unsupported-media-type",
        ),
        ("a check by GET", plain(CHECK), 405, "method-not-allowed"),
        (
            "a batch by PUT",
            Request::put(BATCH).body(Body::empty()).unwrap(),
            405,
            "method-not-allowed",
        ),
        (
            "a large check",
            json_post(CHECK, format!(r#"{{"client":"alice","tier":"{}"}}"#, "x".repeat(64 << 10))),
            413,
            "body-too-large",
        ),
        ("a large batch", json_post(BATCH, vec![b' '; (1 << 20) + 1]), 413, "body-too-large"),
        ("a huge body", json_post(CHECK, vec![b'x'; 10_000_000]), 413, "body-too-large"),
        ("a long head", long_head, 431, "headers-too-large"),
        ("two keys", two_keys, 400, invalid),
        ("a requested path with an encoded slash", plain("/a%2fb"), 400, invalid),
        ("a requested path that is not UTF-8", plain("/%c3%28"), 400, invalid),
        ("a requested path with a NUL", plain("/a%00"), 400, invalid),
        ("a forwarded path that is not a path", forward("x-forwarded-uri", b"api"), 400, invalid),
        (
            "a forwarded path with an encoded slash",
            forward("x-original-uri", b"/a%2fb"),
            400,
            invalid,
        ),
        ("a forwarded path that is not UTF-8", forward("x-original-url", b"/\xff"), 400, invalid),
        (
            "a forwarded method that is not a method",
            forward("x-forwarded-method", b"G T"),
            400,
            invalid,
        ),
    ]
}

#[tokio::test]
async fn invalid_requests_get_a_problem_and_change_no_bucket() {
    let port = Port::new();
    port.post(CHECK, json!({ "client": "alice" })).await;
    for (what, request, status, problem) in bad_requests() {
        let got = port.send(request).await;
        assert_eq!(got.status.as_u16(), status, "{what}: {}", got.body);
        assert_eq!(got.problem(), Some(format!("urn:sluice:problem:{problem}").as_str()), "{what}");
        assert_eq!(got.body["status"], status, "{what}");
        assert!(got.body["detail"].as_str().unwrap().len() > 10, "{what}: {}", got.body);
        assert_eq!(got.header("allow"), (status == 405).then_some("POST"), "{what}");
        assert_eq!(port.remaining("alice").await, 9, "{what}");
    }
}

#[tokio::test]
async fn an_invalid_cost_is_named() {
    let port = Port::new();
    for cost in ["-1", "1.5", "1e99", "\"1\"", "[]", "1000000000001"] {
        let got = port.post(CHECK, format!(r#"{{"client":"alice","cost":{cost}}}"#)).await;
        assert_eq!(
            (got.status, &got.body["field"]),
            (StatusCode::BAD_REQUEST, &json!("cost")),
            "{cost}: {}",
            got.body
        );
    }
}

#[tokio::test]
async fn a_check_that_the_store_cannot_decide_is_a_503() {
    let port = Port::with(policies::document(), Arc::new(Away));
    for got in [
        port.post(CHECK, json!({ "client": "alice" })).await,
        port.get("/").await,
        port.get(FORWARD_AUTH).await,
    ] {
        assert_eq!(
            (got.status, got.problem()),
            (StatusCode::SERVICE_UNAVAILABLE, Some("urn:sluice:problem:store-unavailable"))
        );
        assert_eq!(got.header("retry-after"), None);
    }
    let checks = json!([{ "client": "alice" }, {}, { "client": "alice", "path": "/health" }]);
    let got = port.post(BATCH, json!({ "checks": checks })).await;
    let statuses: Vec<_> = got.body["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["status"].clone())
        .collect();
    assert_eq!((got.status, statuses), (StatusCode::OK, vec![json!(503), json!(400), json!(200)]));
}

#[tokio::test]
async fn rules_can_be_replaced_at_run_time() {
    let port = Port::new();
    assert_eq!(port.get("/").await.header("x-ratelimit-limit"), Some("60"));
    let unlimited = Policy::builder().build().unwrap();
    port.engine.replace(unlimited, Identifier::default());
    assert_eq!(port.get("/").await.body, json!({ "status": 200, "allowed": true, "limits": [] }));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let name = prop_oneof![
        Just("client".to_owned()),
        Just("cost".to_owned()),
        Just("path".to_owned()),
        Just("ip".to_owned()),
        Just("checks".to_owned()),
        Just("attributes".to_owned()),
        Just("method".to_owned()),
        Just("tier".to_owned()),
        ".{0,6}",
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_body_and_every_path_gets_a_response(
        value in any_json(),
        raw in prop::collection::vec(any::<u8>(), 0..64),
        path in "/[!-~]{0,24}",
    ) {
        let port = Port::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let batch = json!({ "checks": [value] });
            let bodies = [value.to_string().into_bytes(), batch.to_string().into_bytes(), raw];
            let posts = |body: &Vec<u8>| [CHECK, BATCH].map(|path| json_post(path, body.clone()));
            let mut requests: Vec<_> = bodies.iter().flat_map(posts).collect();
            if let Ok(request) = Request::get(&path).body(Body::empty()) {
                requests.push(request);
            }
            if let Ok(value) = HeaderValue::from_bytes(&bodies[2]) {
                let request = Request::get(FORWARD_AUTH).header("x-forwarded-uri", value);
                requests.push(request.body(Body::empty()).unwrap());
            }
            for request in requests {
                let got = port.send(request).await;
                assert!(got.status.as_u16() < 500, "{}", got.body);
                assert_eq!(got.status.is_client_error(), got.problem().is_some(), "{}", got.body);
            }
        });
    }
}
