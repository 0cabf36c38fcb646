//! `access.tokens`: who may use the front ends.

use axum::body::Body;
use http::{HeaderValue, Request, StatusCode};

use super::{FRONT_ENDS, fixtures::Port, front_end::Registration};

const TOKEN: &str = "token-of-a-caller";

fn port() -> Port {
    let port = Port::new();
    port.access.replace([TOKEN, "the-next-token"]);
    port
}

fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request =
        Request::builder().method(method).uri(path).header("content-type", "application/json");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::from(r#"{"client":"alice"}"#)).unwrap()
}

#[tokio::test]
async fn every_front_end_and_any_path_require_a_token() {
    let port = port();
    let paths = FRONT_ENDS.iter().map(Registration::path);
    for path in paths.chain(["/", "/api/v1/blueprints", "/health/../x"]) {
        for fields in [
            &[][..],
            &[("x-sluice-token", "token-of-a-calle")],
            &[("authorization", "Bearer wrong")],
            &[("x-sluice-token", "wrong"), ("authorization", "Bearer token-of-a-caller")],
        ] {
            let got = port.send(request("POST", path, fields)).await;
            assert_eq!(
                (got.status, got.problem()),
                (StatusCode::UNAUTHORIZED, Some("urn:sluice:problem:unauthorized")),
                "{path}: {fields:?}"
            );
            assert!(got.header("www-authenticate").is_some(), "{path}");
            assert!(got.body["detail"].as_str().unwrap().contains("X-Sluice-Token"), "{path}");
        }
        for token in [TOKEN, "the-next-token"] {
            let got = port.send(request("POST", path, &[("x-sluice-token", token)])).await;
            assert_ne!(got.status, StatusCode::UNAUTHORIZED, "{path}: {}", got.body);
        }
    }
    let fresh = self::port();
    let bearer = [("authorization", "Bearer token-of-a-caller")];
    assert_eq!(fresh.send(request("POST", "/v1/check", &bearer)).await.body["remaining"], 9);
}

#[tokio::test]
async fn forward_auth_does_not_read_the_clients_authorization_as_a_token() {
    let port = port();
    let bearer = format!("Bearer {TOKEN}");
    let path = "/v1/forward-auth";
    let got = port.send(request("GET", path, &[("authorization", &bearer)])).await;
    assert_eq!(got.status, StatusCode::UNAUTHORIZED);
    for (client, left) in [("Bearer one", "9"), ("Bearer one", "8"), ("Bearer two", "9")] {
        let fields = [("authorization", client), ("x-sluice-token", TOKEN)];
        let got = port.send(request("GET", path, &fields)).await;
        assert_eq!(got.header("x-ratelimit-remaining"), Some(left), "{client}");
    }
}

#[tokio::test]
async fn a_token_of_sluice_is_not_the_client_of_a_request() {
    let port = port();
    let other = "Bearer the-next-token";
    for (field, value) in [("authorization", "Bearer token-of-a-caller"), ("authorization", other)]
    {
        port.send(request("GET", "/a", &[(field, value)])).await;
    }
    let got = port.send(request("GET", "/a", &[("x-sluice-token", TOKEN)])).await;
    assert_eq!(got.body["remaining"], 7, "all three came from one address: {}", got.body);
    let own = [("x-sluice-token", TOKEN), ("authorization", "Bearer of-alice")];
    assert_eq!(port.send(request("GET", "/a", &own)).await.body["remaining"], 9);
}

#[tokio::test]
async fn probes_and_the_document_need_no_token() {
    let port = port();
    for path in ["/health", "/healthcheck", "/ready", "//health/"] {
        let got = port.get(path).await;
        assert_eq!(got.status, StatusCode::OK, "{path}");
    }
    port.access.replace([]);
    assert_eq!(port.get("/").await.status, StatusCode::OK, "tokens can be removed at run time");
}

#[tokio::test]
async fn a_repeated_token_is_rejected() {
    let port = port();
    let mut twice = request("GET", "/a", &[("x-sluice-token", TOKEN)]);
    twice.headers_mut().append("x-sluice-token", HeaderValue::from_static(TOKEN));
    assert_eq!(port.send(twice).await.status, StatusCode::UNAUTHORIZED);
}
