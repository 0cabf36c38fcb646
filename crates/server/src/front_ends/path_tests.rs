//! All front ends read a path alike, however a client spells it.

use axum::body::Body;
use http::{Request, StatusCode, Uri};
use serde_json::json;
use sluice::{MemoryStore, Policy, Rate};
use sluice_testkit::paths::{Reading, spellings};

use std::sync::Arc;

use super::fixtures::{Port, PortResponse};

/// Returns a port whose policy has a limit of its own for `/login`.
fn port() -> Port {
    let per_minute = |tokens| Rate::per_minute(tokens).unwrap();
    let policy = Policy::builder()
        .default_limit(per_minute(1_000))
        .endpoint("/login", per_minute(100))
        .exempt("/free")
        .build();
    Port::with(policy.unwrap(), Arc::new(MemoryStore::new()))
}

fn any_path(path: &str) -> Option<Request<Body>> {
    // What is no target cannot arrive at the port: the listener refuses it.
    let uri = Uri::try_from(path).ok()?;
    Some(Request::get(uri).body(Body::empty()).unwrap())
}

fn absolute_form(path: &str) -> Option<Request<Body>> {
    let uri = Uri::try_from(format!("http://api.test{path}")).ok()?;
    Some(Request::get(uri).body(Body::empty()).unwrap())
}

fn forwarded(name: &'static str, prefix: &str, path: &str) -> Option<Request<Body>> {
    let target = format!("{prefix}{path}");
    Some(Request::get("/v1/forward-auth").header(name, target).body(Body::empty()).unwrap())
}

/// The same question to every front end that reads paths.
fn questions(path: &str) -> Vec<(&'static str, Request<Body>)> {
    let check = json!({ "client": "a", "path": path }).to_string();
    [
        ("any path", any_path(path)),
        ("absolute form", absolute_form(path)),
        ("x-forwarded-uri", forwarded("x-forwarded-uri", "", path)),
        ("x-original-url", forwarded("x-original-url", "https://api.test", path)),
        ("/v1/check", Some(super::fixtures::json_post("/v1/check", check))),
    ]
    .into_iter()
    .filter_map(|(name, request)| Some((name, request?)))
    .collect()
}

fn read_by(got: &PortResponse) -> Reading {
    match got.status {
        StatusCode::BAD_REQUEST => {
            assert_eq!(got.problem(), Some("urn:sluice:problem:invalid-request"), "{}", got.body);
            Reading::Refused
        }
        _ if got.header("x-ratelimit-limit") == Some("100") => Reading::Same,
        _ => Reading::Other,
    }
}

#[tokio::test]
async fn every_front_end_reads_a_spelling_alike() {
    let port = port();
    for (path, reading) in spellings("login") {
        let questions = questions(&path);
        assert!(questions.len() >= 3, "{path}");
        for (front_end, request) in questions {
            let got = port.send(request).await;
            assert_eq!(read_by(&got), reading, "{front_end}: {path}: {}", got.body);
        }
    }
}

#[tokio::test]
async fn a_dot_segment_with_parameters_does_not_leave_an_exempt_path() {
    let port = port();
    for path in ["/free/..;/login", "/free/%2e%2e;a/login", "/free/;/../login", "/free/.;/x"] {
        for (front_end, request) in questions(path) {
            let got = port.send(request).await;
            assert_eq!(got.status, StatusCode::BAD_REQUEST, "{front_end}: {path}");
        }
    }
}

#[tokio::test]
async fn every_spelling_of_an_admin_route_is_the_route_itself() {
    let port = port();
    for (path, reading) in spellings("health") {
        let Some(request) = any_path(&path) else { continue };
        let got = port.send(request).await;
        match reading {
            Reading::Same => {
                assert_eq!(got.body, json!({ "status": "alive" }), "{path}");
                assert_eq!(got.header("x-ratelimit-limit"), None, "{path}");
            }
            Reading::Other => assert!(got.header("x-ratelimit-limit").is_some(), "{path}"),
            Reading::Refused => assert_eq!(got.status, StatusCode::BAD_REQUEST, "{path}"),
        }
    }
    let got = port.get("/monitoring/%20%22%C3%A9").await;
    assert_eq!(got.status, StatusCode::NOT_FOUND, "a path below an admin route is Sluice's");
}

#[tokio::test]
async fn a_target_that_is_not_a_path_is_refused() {
    let port = port();
    for target in ["*", "example.org:443"] {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = target.parse().unwrap();
        let got = port.send(request).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{target}");
    }
}

#[tokio::test]
async fn a_mistyped_path_of_the_api_is_not_found() {
    let port = port();
    let body = r#"{"client":"alice"}"#;
    for path in [
        "/v1/checks",
        "/v1/check/",
        "//v1/check",
        "/v1//check",
        "/V1/check",
        "/v1/Check",
        "/v1",
        "/v1/",
        "/v1/chec%6b",
        "/v1/./check",
        "/json/",
        "/JSON",
        "/check",
        "/report",
        "/check_and_report",
        "/v1/check/x",
        "/v1/forward-auth/",
    ] {
        let got = port.post(path, body).await;
        assert_eq!(
            (got.status, got.problem()),
            (StatusCode::NOT_FOUND, Some("urn:sluice:problem:not-found")),
            "{path}"
        );
        let detail = got.body["detail"].as_str().unwrap();
        let names = ["/v1/", "/json", "/openapi"];
        assert!(names.iter().any(|name| detail.contains(name)), "{path}: {detail}");
        assert_eq!(got.header("x-ratelimit-limit"), None, "{path}: no bucket is asked");
    }
    let got = port.post("/v1/check?trace=1", body).await;
    assert_eq!((got.status, &got.body["allowed"]), (StatusCode::OK, &json!(true)));
}

#[tokio::test]
async fn healthcheck_is_never_limited() {
    let policy = Policy::builder().default_limit(Rate::per_minute(1).unwrap()).build();
    let port = Port::with(policy.unwrap(), Arc::new(MemoryStore::new()));
    for _ in 0..5 {
        let got = port.get("/healthcheck").await;
        assert_eq!((got.status, &got.body), (StatusCode::OK, &json!({ "status": "alive" })));
    }
    assert_eq!(port.post("/healthcheck", "{}").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(port.get("/").await.status, StatusCode::OK, "no token is gone");
}

#[tokio::test]
async fn without_any_path_only_sluices_own_paths_exist() {
    let port = Port::without_any_path();
    for path in ["/", "/login", "/api/v1/blueprints", "/free"] {
        let got = port.get(path).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{path}");
        assert!(got.body["detail"].as_str().unwrap().contains("listen.any_path"), "{path}");
    }
    assert_eq!(port.get("/health").await.status, StatusCode::OK);
    assert_eq!(port.get("/v1/forward-auth").await.status, StatusCode::OK);
    assert_eq!(port.post("/v1/check", r#"{"client":"a"}"#).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_browser_gets_a_page_that_takes_no_token() {
    let policy = Policy::builder().default_limit(Rate::per_minute(1).unwrap()).build();
    let port = Port::with(policy.unwrap(), Arc::new(MemoryStore::new()));
    for _ in 0..3 {
        let request = Request::get("/").header("accept", "text/html,*/*;q=0.8");
        let request = request.body(Body::empty()).unwrap();
        let response = port.http.respond([192, 0, 2, 7].into(), request).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    }
    assert_eq!(port.get("/").await.body["remaining"], 0, "any other program gets a decision");
}
