//! Pages of other origins: what they can read of Sluice's own responses, and what their preflights
//! cost.

use axum::body::Body;
use http::{Request, Response, StatusCode};

use crate::fixtures::{Gateway, GatewayResponse, Upstream, echo};

const ONE_A_DAY: (&str, &str) = ("SLUICE__DEFAULTS", "{ rate: 1/day, burst: 1 }");

fn from_page(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "api.test")
        .header("origin", "https://app.example.org")
}

fn preflight(path: &str) -> Request<Body> {
    let request = from_page("OPTIONS", path).header("access-control-request-method", "POST");
    request.body(Body::empty()).unwrap()
}

fn section(upstream: &Upstream, more: &str) -> String {
    format!("{{ upstream: '{}', {more} }}", upstream.url())
}

fn allowed_origin(got: &GatewayResponse) -> Option<String> {
    got.header("access-control-allow-origin")
}

#[tokio::test]
async fn a_page_can_read_every_response_of_sluices_own() {
    let upstream = Upstream::start(echo).await;
    let gateway = Gateway::with(&section(&upstream, ""), &[ONE_A_DAY]).await;
    let mut client = gateway.client().await;
    let ask = |path: &str| from_page("GET", path).body(Body::empty()).unwrap();
    let forwarded = client.ask(ask("/orders")).await;
    assert_eq!(forwarded.status, StatusCode::OK);
    assert_eq!(allowed_origin(&forwarded), None, "the upstream's responses are its own");

    for (path, status) in [("/orders", 429), ("/a%2fb", 400), ("/..;/a", 400)] {
        let got = client.ask(ask(path)).await;
        assert_eq!(got.status.as_u16(), status, "{path}");
        assert_eq!(allowed_origin(&got).as_deref(), Some("https://app.example.org"), "{path}");
        assert_eq!(got.header("access-control-allow-credentials"), None, "{path}");
        assert_eq!(got.header("vary").as_deref(), Some("Origin"), "{path}");
        let exposed = got.header("access-control-expose-headers").unwrap();
        for name in ["Retry-After", "RateLimit", "X-RateLimit-Remaining"] {
            assert!(exposed.split(", ").any(|known| known == name), "{path}: {exposed}");
        }
    }
    assert_eq!(allowed_origin(&gateway.get("/orders").await), None, "no page asked");

    drop(upstream);
    let unlimited = [("SLUICE__DEFAULTS", "off")];
    let away = Gateway::with("{ upstream: 'http://127.0.0.1:1' }", &unlimited).await;
    let got = away.client().await.ask(ask("/orders")).await;
    assert_eq!(got.status, StatusCode::BAD_GATEWAY);
    assert_eq!(allowed_origin(&got).as_deref(), Some("https://app.example.org"));
}

#[tokio::test]
async fn listed_origins_may_send_credentials_and_others_read_nothing() {
    let upstream = Upstream::start(echo).await;
    let listed = Gateway::with(&section(&upstream, "cors: ['https://app.example.org']"), &[]).await;
    let mut client = listed.client().await;
    let mine = from_page("GET", "/a%2fb").body(Body::empty()).unwrap();
    let got = client.ask(mine).await;
    assert_eq!(allowed_origin(&got).as_deref(), Some("https://app.example.org"));
    assert_eq!(got.header("access-control-allow-credentials").as_deref(), Some("true"));
    let other = Request::get("/a%2fb").header("host", "api.test").header("origin", "https://evil");
    let got = client.ask(other.body(Body::empty()).unwrap()).await;
    assert_eq!((allowed_origin(&got), got.header("vary").as_deref()), (None, Some("Origin")));

    let off = Gateway::with(&section(&upstream, "cors: off"), &[]).await;
    let got = off.client().await.ask(from_page("GET", "/a%2fb").body(Body::empty()).unwrap()).await;
    assert_eq!((allowed_origin(&got), got.header("vary")), (None, None));
}

#[tokio::test]
async fn preflights_take_no_tokens_and_are_answered_by_the_upstream() {
    let upstream = Upstream::start(|request: Request<_>| async move {
        let response = Response::builder().header("access-control-allow-origin", "*");
        let is_preflight = request.method() == "OPTIONS";
        response.status(if is_preflight { 204 } else { 200 }).body(Body::empty()).unwrap()
    })
    .await;
    let gateway = Gateway::with(&section(&upstream, ""), &[ONE_A_DAY]).await;
    let mut client = gateway.client().await;
    for _ in 0..3 {
        let got = client.ask(preflight("/orders")).await;
        assert_eq!(got.status, StatusCode::NO_CONTENT);
        assert_eq!(allowed_origin(&got).as_deref(), Some("*"), "the upstream's own");
    }
    let post = || from_page("POST", "/orders").body(Body::empty()).unwrap();
    assert_eq!(client.ask(post()).await.status, StatusCode::OK, "the token is still there");
    assert_eq!(client.ask(post()).await.status, StatusCode::TOO_MANY_REQUESTS);
    let got = client.ask(preflight("/orders")).await;
    assert_eq!(got.status, StatusCode::NO_CONTENT, "a denied client can still ask");
    let options = from_page("OPTIONS", "/orders").body(Body::empty()).unwrap();
    let got = client.ask(options).await;
    assert_eq!(got.status, StatusCode::TOO_MANY_REQUESTS, "this one is no preflight");

    let limited =
        Gateway::with(&section(&upstream, ""), &[ONE_A_DAY, ("SLUICE__PREFLIGHTS", "limited")])
            .await;
    let mut client = limited.client().await;
    assert_eq!(client.ask(preflight("/orders")).await.status, StatusCode::NO_CONTENT);
    let got = client.ask(preflight("/orders")).await;
    assert_eq!(got.status, StatusCode::TOO_MANY_REQUESTS);
}
