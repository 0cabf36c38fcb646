//! The document at `/openapi.json`, compared with the front ends that it describes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, sync::LazyLock, thread};

use axum::body::{Body, to_bytes};
use http::{HeaderMap, Method, Request, header::CONTENT_TYPE};
use serde_json::{Map, Value, json};
use sluice_config::Loader;
use sluice_server::app::App;

/// Enables every front end, and declares every metric in the document's examples.
const CONFIGURATION: &str = r#"
defaults: { rate: 1/day, burst: 4 }
endpoints: { /api/v1/tools/execute: off }
exempt: [/free]
limits: [{ name: shadow, per: nothing, rate: 1/day, burst: 1, mode: shadow }]
rls: { files: [rules.yaml], response_headers: true }
metrics:
  custom:
    - { name: my_feature_total, kind: counter, labels: [operation] }
    - { name: queue_depth, kind: gauge }
    - { name: job_seconds, kind: histogram, labels: [job] }
"#;

const RULES: &str = "\
domain: edge
descriptors:
  - key: api_key
    rate_limit: { unit: minute, requests_per_unit: 3, name: per_key }
    metadata: { plan: [1, free] }
  - { key: open, rate_limit: { unlimited: true } }
";

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    // Some tests run in a runtime, which cannot block on another one in its own thread.
    let asking = thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { ask(&app(&[]), "GET", "/openapi.json").await.json() })
    });
    asking.join().unwrap()
});

fn app(variables: &[(&str, &str)]) -> App {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sluice.yaml");
    fs::write(&file, CONFIGURATION).unwrap();
    fs::write(directory.path().join("rules.yaml"), RULES).unwrap();
    App::open(Loader::new().file(file).variables(variables.iter().copied()).load().unwrap())
        .unwrap()
}

struct AppResponse {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl AppResponse {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn media_type(&self) -> Option<&str> {
        self.headers
            .get(CONTENT_TYPE)
            .map(|value| value.to_str().unwrap().split(';').next().unwrap())
    }
}

async fn send(app: &App, request: Request<Body>) -> AppResponse {
    let (head, body) = app.http().respond("192.0.2.7".parse().unwrap(), request).await.into_parts();
    AppResponse {
        status: head.status.as_u16(),
        headers: head.headers,
        body: to_bytes(body, usize::MAX).await.unwrap().to_vec(),
    }
}

async fn ask(app: &App, method: &str, path: &str) -> AppResponse {
    send(app, Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
}

async fn post(app: &App, path: &str, media_type: &str, body: impl Into<Body>) -> AppResponse {
    send(app, Request::post(path).header(CONTENT_TYPE, media_type).body(body.into()).unwrap()).await
}

/// Returns every operation of the document: its path, its method in upper case, and itself.
fn operations() -> Vec<(&'static str, Method, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let of_path = |(path, item): (&'static String, &'static Value)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| {
            (path.as_str(), method.to_uppercase().parse().unwrap(), operation)
        })
    };
    paths.iter().flat_map(of_path).collect()
}

fn operation(path: &str, method: &str) -> &'static Value {
    let operation = &DOCUMENT["paths"][path][method.to_ascii_lowercase()];
    assert!(operation.is_object(), "{method} {path} is not described");
    operation
}

/// Returns the schema together with the document's other schemas. Members without a schema are
/// errors here, although clients have to accept them.
fn whole(schema: &Value) -> Value {
    let mut components = DOCUMENT["components"].clone();
    close(&mut components);
    let mut schema = schema.clone();
    close(&mut schema);
    schema["components"] = components;
    schema
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(parts) = members.remove("allOf") {
                *members = merged(parts.as_array().unwrap());
            }
            if members.get("properties").is_some_and(Value::is_object)
                && !members.contains_key("additionalProperties")
            {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Merges objects that apply together. Closed separately, they would exclude each other's members.
fn merged(parts: &[Value]) -> Map<String, Value> {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for part in parts {
        let part = part["$ref"]
            .as_str()
            .map_or(part, |reference| DOCUMENT.pointer(reference.trim_start_matches('#')).unwrap());
        properties.extend(part["properties"].as_object().unwrap().clone());
        required.extend(part["required"].as_array().into_iter().flatten().cloned());
    }
    Map::from_iter([
        ("type".to_owned(), json!("object")),
        ("properties".to_owned(), properties.into()),
        ("required".to_owned(), required.into()),
    ])
}

fn assert_fits(schema: &Value, value: &Value, what: &str) {
    let validator = jsonschema::draft202012::new(&whole(schema)).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}\n{value:#}");
}

/// Asserts that the operation describes the response: its status, media type, header fields and
/// body.
fn assert_described(path: &str, method: &str, got: &AppResponse) {
    let what = format!("{method} {path} {}: {}", got.status, String::from_utf8_lossy(&got.body));
    let response = &operation(path, method)["responses"][got.status.to_string()];
    assert!(response.is_object(), "no such status in the document: {what}");
    for name in got
        .headers
        .keys()
        .filter(|name| name.as_str().contains("ratelimit") || *name == "retry-after")
    {
        assert!(
            response["headers"][name.as_str()].is_object(),
            "{name} is not in the document: {what}"
        );
    }
    let Some(media_type) = got.media_type() else {
        assert!(response.get("content").is_none() && got.body.is_empty(), "{what}");
        return;
    };
    let content = &response["content"][media_type];
    assert!(content.is_object(), "{media_type} is not in the document: {what}");
    if media_type.ends_with("json") {
        assert_fits(&content["schema"], &got.json(), &what);
    }
}

/// Returns the examples of an operation's body, by media type.
fn examples(operation: &'static Value) -> Vec<(&'static str, &'static str, &'static Value)> {
    let contents = operation["requestBody"]["content"].as_object();
    let of_content = |(media_type, content): (&'static String, &'static Value)| {
        let examples = content["examples"].as_object().unwrap().iter();
        examples.map(move |(name, example)| (media_type.as_str(), name.as_str(), &example["value"]))
    };
    contents.into_iter().flatten().flat_map(of_content).collect()
}

/// Returns the example as it is sent.
fn text(example: &Value) -> String {
    example.as_str().map_or_else(|| example.to_string(), str::to_owned)
}

#[test]
fn the_document_is_complete() {
    assert_eq!(DOCUMENT["openapi"], "3.1.0");
    assert_eq!(DOCUMENT["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut names: Vec<&str> = operations()
        .iter()
        .map(|(.., operation)| operation["operationId"].as_str().unwrap())
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "operation identifiers are unique");
    let tags: Vec<&Value> =
        DOCUMENT["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    for (path, method, operation) in operations() {
        let what = format!("{method} {path}");
        assert!(tags.contains(&&operation["tags"][0]), "{what}");
        assert!(
            operation["summary"]
                .as_str()
                .is_some_and(|text| !text.ends_with('.') && !text.is_empty()),
            "{what}"
        );
        assert!(
            operation["description"].as_str().is_some_and(|text| text.ends_with('.')),
            "{what}"
        );
        assert_eq!(
            operation["requestBody"].is_object(),
            !examples(operation).is_empty(),
            "{what}: every body has examples"
        );
    }
}

#[test]
fn every_schema_is_valid_and_its_references_resolve() {
    let schemas = DOCUMENT["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{name}: {schema:#}");
        jsonschema::draft202012::new(&whole(schema)).unwrap();
        for link in ["[`", "`None`", "Self::", "# Errors"] {
            assert!(!schema.to_string().contains(link), "{name} refers to the code: {schema:#}");
        }
    }
    let text = DOCUMENT.to_string();
    for name in schemas.keys() {
        assert!(
            text.contains(&format!("\"#/components/schemas/{name}\"")),
            "no schema or operation refers to {name}"
        );
    }
}

#[tokio::test]
async fn every_documented_path_responds() {
    let app = app(&[]);
    for (path, method, _) in operations() {
        let got = ask(&app, method.as_str(), path).await;
        assert!(got.status != 404 && got.status != 405, "{method} {path}: {}", got.status);
        assert_described(path, method.as_str(), &got);
    }
}

#[tokio::test]
async fn a_method_that_is_not_documented_is_not_allowed() {
    let app = app(&[]);
    for path in DOCUMENT["paths"].as_object().unwrap().keys() {
        let got = ask(&app, "TRACE", path).await;
        // Forward-auth accepts every method.
        let expected = if path == "/v1/forward-auth" { 200 } else { 405 };
        assert_eq!(got.status, expected, "{path}");
        if expected == 405 {
            assert_fits(&json!({ "$ref": "#/components/schemas/Problem" }), &got.json(), path);
            assert!(got.headers.contains_key("allow"), "{path}");
        }
    }
}

#[tokio::test]
async fn every_example_is_accepted_and_matches_its_schema() {
    let app = app(&[]);
    for (path, method, operation) in operations() {
        for (media_type, name, example) in examples(operation) {
            let what = format!("{method} {path} {name}");
            assert_fits(&operation["requestBody"]["content"][media_type]["schema"], example, &what);
            let mut sent = example.clone();
            if sent.get("reservation").is_some() {
                // That of an example is signed by nobody.
                let estimate = json!({ "client": "alice", "costs": { "requests": 0 } });
                let held = post(&app, "/v1/reserve", "application/json", text(&estimate)).await;
                sent["reservation"] = held.json()["reservation"].clone();
            }
            let got = post(&app, path, media_type, text(&sent)).await;
            assert!(got.status == 200 || got.status == 202, "{what}: {}", got.json());
            assert_described(path, method.as_str(), &got);
            if path == "/v1/events" {
                let count =
                    if name == "lines" { 2 } else { example.as_array().map_or(1, Vec::len) };
                assert_eq!(got.json(), json!({ "accepted": count, "refused": [] }), "{what}");
            }
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            for (media_type, content) in response["content"].as_object().into_iter().flatten() {
                if let Some(example) = content.get("example") {
                    assert_fits(
                        &content["schema"],
                        example,
                        &format!("{method} {path} {status} {media_type}"),
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn every_type_of_event_has_an_example() {
    let examples = examples(operation("/v1/events", "POST"));
    let types: Vec<&Value> = examples.iter().map(|(.., event)| &event["type"]).collect();
    let mapping =
        DOCUMENT["components"]["schemas"]["Event"]["discriminator"]["mapping"].as_object().unwrap();
    assert_eq!(mapping.len(), 12);
    for (kind, reference) in mapping {
        assert!(types.contains(&&json!(kind)), "{kind}");
        let schema =
            &DOCUMENT.pointer(reference.as_str().unwrap().trim_start_matches('#')).unwrap();
        assert_eq!(schema["properties"]["type"]["enum"], json!([kind]));
    }
}

#[tokio::test]
async fn every_response_to_a_check_is_described() {
    let app = app(&[]);
    let json = "application/json";
    let mut seen = Vec::new();
    for body in [
        json!({ "client": "alice" }),
        json!({ "client": "alice", "cost": 0 }),
        json!({ "client": "alice", "cost": 4 }),
        json!({ "client": "alice", "cost": 5 }),
        json!({ "client": "alice", "path": "/free" }),
        json!({ "client": "alice", "path": "/api/v1/tools/execute" }),
        json!({ "client": "" }),
        json!({ "client": "alice", "path": "api" }),
        json!([]),
    ] {
        let got = post(&app, "/v1/check", json, body.to_string()).await;
        assert_described("/v1/check", "POST", &got);
        seen.push(got.status);
        let got = post(
            &app,
            "/v1/check/batch",
            json,
            json!({ "checks": [body, { "client": "bob" }, { "klient": "bob" }] }).to_string(),
        )
        .await;
        assert_eq!(got.status, 200);
        assert_described("/v1/check/batch", "POST", &got);
    }
    assert_eq!(seen, [200, 200, 429, 429, 200, 200, 400, 400, 400]);
    for _ in 0..5 {
        for method in ["GET", "POST", "PATCH"] {
            assert_described(
                "/v1/forward-auth",
                method,
                &ask(&app, method, "/v1/forward-auth").await,
            );
        }
    }
    assert_eq!(ask(&app, "GET", "/v1/forward-auth").await.status, 429);
}

#[tokio::test]
async fn every_response_of_the_rate_limit_service_is_described() {
    let app = app(&[]);
    let descriptor = |key: &str| json!({ "entries": [{ "key": key, "value": "alice" }] });
    let mut seen = Vec::new();
    for descriptors in [
        json!([descriptor("api_key"), descriptor("open"), descriptor("unknown")]),
        json!([{ "entries": [{ "key": "api_key", "value": "alice" }], "hitsAddend": 3 }]),
        json!([{
            "entries": [{ "key": "a", "value": "b" }],
            "limit": { "requestsPerUnit": 0, "unit": "DAY" },
        }]),
        json!([{ "entries": [{ "key": "api_key", "value": "alice" }], "isNegativeHits": true }]),
        json!([{ "limit": { "requestsPerUnit": 1 } }]),
        json!([]),
        json!(5),
    ] {
        let got = post(
            &app,
            "/json",
            "application/json",
            json!({ "domain": "edge", "descriptors": descriptors }).to_string(),
        )
        .await;
        assert_described("/json", "POST", &got);
        seen.push(got.status);
    }
    assert_eq!(seen, [200, 429, 429, 200, 400, 400, 400]);
}

#[tokio::test]
async fn every_rejection_of_a_body_is_described() {
    let app = app(&[]);
    for (path, method, operation) in operations() {
        if examples(operation).is_empty() {
            continue;
        }
        let huge = vec![b' '; (1 << 20) + 1];
        let mut seen = Vec::new();
        for (media_type, body) in
            [("application/json", &b"{"[..]), ("application/json", &huge), ("text/plain", b"{}")]
        {
            let got = post(&app, path, media_type, body.to_vec()).await;
            assert_described(path, method.as_str(), &got);
            seen.push(got.status);
        }
        let long =
            Request::post(path).header("x-long", "x".repeat(64 << 10)).body(Body::empty()).unwrap();
        let got = send(&app, long).await;
        assert_described(path, method.as_str(), &got);
        seen.push(got.status);
        let of_type = if path == "/json" { 400 } else { 415 };
        assert_eq!(seen, [400, 413, of_type, 431], "{path}");
    }
    let checks = json!({ "checks": vec![json!({ "client": "a" }); 1_001] }).to_string();
    let got = post(&app, "/v1/check/batch", "application/json", checks).await;
    assert_described("/v1/check/batch", "POST", &got);
    let events = format!("[{}]", vec!["0"; 10_001].join(","));
    assert_described(
        "/v1/events",
        "POST",
        &post(&app, "/v1/events", "application/json", events).await,
    );
    let refused = post(&app, "/v1/events", "application/json", r#"[{"type":"cache"},{}]"#).await;
    assert_eq!(refused.json()["refused"].as_array().unwrap().len(), 2);
    assert_described("/v1/events", "POST", &refused);
}

#[tokio::test]
async fn every_response_without_the_store_is_described() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = format!("{{ url: \"redis://{unused}\", on_failure: error }}");
    let app = app(&[("SLUICE__STORE", &store)]);
    let check = json!({ "client": "alice" }).to_string();
    let descriptor = json!({ "entries": [{ "key": "api_key", "value": "a" }] });
    let call = json!({ "domain": "edge", "descriptors": [descriptor] }).to_string();
    let batch = json!({ "checks": [{ "client": "alice" }] }).to_string();
    let json = "application/json";
    for (path, method, got, status) in [
        ("/v1/check", "POST", post(&app, "/v1/check", json, check).await, 503),
        ("/v1/check/batch", "POST", post(&app, "/v1/check/batch", json, batch).await, 200),
        ("/v1/forward-auth", "GET", ask(&app, "GET", "/v1/forward-auth").await, 503),
        ("/json", "POST", post(&app, "/json", json, call).await, 503),
        ("/ready", "GET", ask(&app, "GET", "/ready").await, 503),
        (
            "/monitoring/stats/overview",
            "GET",
            ask(&app, "GET", "/monitoring/stats/overview").await,
            503,
        ),
        (
            "/monitoring/health/detailed",
            "GET",
            ask(&app, "GET", "/monitoring/health/detailed").await,
            200,
        ),
    ] {
        assert_eq!(got.status, status, "{path}: {}", got.json());
        assert_described(path, method, &got);
    }
}

#[tokio::test]
async fn unauthorized_requests_get_the_described_response() {
    let app = app(&[
        ("SLUICE__ADMIN", "{ bearer: { token: t0ken }, basic: { user: a, password: b } }"),
        ("SLUICE__ACCESS__TOKENS", "token-of-a-caller"),
    ]);
    for (path, method, operation) in operations() {
        let got = ask(&app, method.as_str(), path).await;
        assert_eq!(got.status == 401, operation["security"].is_array(), "{path}");
        assert_described(path, method.as_str(), &got);
        let schemes = operation["security"].to_string();
        if schemes.contains("callerToken") {
            let shown = Request::builder()
                .method(method.as_str())
                .uri(path)
                .header("x-sluice-token", "token-of-a-caller")
                .body(Body::empty())
                .unwrap();
            let got = send(&app, shown).await;
            assert_ne!(got.status, 401, "{path}");
            assert_described(path, method.as_str(), &got);
        } else if got.status == 401 {
            let shown = Request::get(path)
                .header("authorization", "Bearer t0ken")
                .body(Body::empty())
                .unwrap();
            let got = send(&app, shown).await;
            assert_eq!(got.status, 200, "{path}");
            assert_described(path, "GET", &got);
        }
    }
}

/// Returns the page as text.
async fn page() -> (HeaderMap, String) {
    let got = ask(&app(&[]), "GET", "/openapi").await;
    assert_eq!((got.status, got.media_type()), (200, Some("text/html")));
    (got.headers, String::from_utf8(got.body).unwrap())
}

/// Returns the text between every `start` and the `end` after it.
fn between<'t>(text: &'t str, start: &str, end: &str) -> Vec<&'t str> {
    text.split(start).skip(1).map(|rest| rest.split_once(end).unwrap().0).collect()
}

#[tokio::test]
async fn the_page_shows_every_operation_response_example_and_schema() {
    let (_, page) = page().await;
    let escaped = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;")
    };
    for (path, method, operation) in operations() {
        assert!(page.contains(&format!("<code>{path}</code></h3>")), "{path}");
        assert!(page.contains(method.as_str()), "{method} {path}");
        assert!(page.contains(&escaped(operation["summary"].as_str().unwrap())), "{method} {path}");
        for (_, name, example) in examples(operation) {
            assert!(
                page.contains(&format!("--data-binary &#39;{}&#39;", escaped(&text(example)))),
                "{path} {name}"
            );
        }
        for status in operation["responses"].as_object().unwrap().keys() {
            assert!(page.contains(&format!(">{status}</b>")), "{method} {path} {status}");
        }
    }
    for name in DOCUMENT["components"]["schemas"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("<article id=\"schema-{name}\">")), "{name}");
    }
}

#[tokio::test]
async fn the_page_is_well_formed_and_its_links_resolve() {
    let (_, page) = page().await;
    let mut open: Vec<&str> = Vec::new();
    for tag in between(&page, "<", ">") {
        let name = tag.split([' ', '\n']).next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "{open:?}"),
            None if ["!doctype", "meta"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert_eq!(open, [""; 0]);
    let mut ids = between(&page, " id=\"", "\"");
    for link in between(&page, "href=\"", "\"") {
        assert!(link == "openapi.json" || ids.contains(&link.strip_prefix('#').unwrap()), "{link}");
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "identifiers on the page are unique");
}

#[tokio::test]
async fn the_page_has_no_scripts_and_loads_nothing() {
    let (headers, page) = page().await;
    for loading in
        ["<script", "src=", "url(", "@import", "<link", "onclick", "style=\"", "javascript:"]
    {
        assert!(!page.contains(loading), "{loading}");
    }
    let style = between(&page, "<style>", "</style>");
    let digest = ring::digest::digest(&ring::digest::SHA256, style[0].as_bytes());
    let digest = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(
        policy.contains(&format!("style-src 'sha256-{digest}';")) && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!((style.len(), &headers["x-content-type-options"]), (1, &"nosniff".parse().unwrap()));
}
