//! A path is read once: what is Sluice's is never forwarded, and what is forwarded was decided
//! about.

use axum::body::Body;
use http::{StatusCode, Uri};
use sluice_core::NormalPath;
use sluice_testkit::paths::{Reading, spellings};

use crate::fixtures::{Gateway, Upstream, echo, get};

const LOGIN: (&str, &str) = (
    "SLUICE__ENDPOINTS",
    "{ /login: { rate: 100/minute, burst: 100 }, /metrics: { rate: 90/minute, burst: 90 } }",
);
const NO_DEFAULT: (&str, &str) = ("SLUICE__DEFAULTS", "off");

/// Returns the path that an echoing upstream received, without its query.
fn received(text: &str) -> String {
    let target = text.split(' ').nth(1).unwrap();
    target.split('?').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_hostile_spelling_is_forwarded_as_what_was_decided_about_or_refused() {
    let upstream = Upstream::start(echo).await;
    let section = format!("{{ upstream: '{}' }}", upstream.url());
    let gateway = Gateway::with(&section, &[LOGIN, NO_DEFAULT]).await;
    for (path, reading) in spellings("login") {
        let Ok(uri) = Uri::try_from(&path) else { continue };
        let before = upstream.requests();
        let got = gateway.get(&uri.to_string()).await;
        if reading == Reading::Refused {
            assert_eq!(got.status, StatusCode::BAD_REQUEST, "{path}");
            assert_eq!(upstream.requests(), before, "{path}");
            continue;
        }
        assert_eq!(got.status, StatusCode::OK, "{path}: {}", got.text);
        let is_limited = got.header("x-ratelimit-limit").as_deref() == Some("100");
        assert_eq!(is_limited, reading == Reading::Same, "{path}");
        let forwarded = received(&got.text);
        assert_eq!(
            NormalPath::parse(&forwarded),
            NormalPath::parse(&path),
            "{path}: the upstream got {forwarded}"
        );
        let is_dots = |segment| matches!(segment, "." | "..");
        assert!(!forwarded.contains("//"), "{path}: {forwarded}");
        assert!(!forwarded.split('/').any(is_dots), "{path}: {forwarded}");
    }
}

#[tokio::test]
async fn no_spelling_of_metrics_reaches_the_upstream_or_passes_without_credentials() {
    let upstream = Upstream::start(echo).await;
    let section = format!("{{ upstream: '{}' }}", upstream.url());
    let bearer = ("SLUICE__ADMIN__BEARER__TOKEN", "t0ken-of-prometheus");
    let gateway = Gateway::with(&section, &[LOGIN, NO_DEFAULT, bearer]).await;
    for (path, reading) in spellings("metrics") {
        let Ok(uri) = Uri::try_from(&path) else { continue };
        let before = upstream.requests();
        let got = gateway.get(&uri.to_string()).await;
        match reading {
            Reading::Same => {
                assert_eq!(got.status, StatusCode::UNAUTHORIZED, "{path}: {}", got.text);
                assert_eq!(upstream.requests(), before, "{path}");
                let with_token = get(&uri.to_string())
                    .header("authorization", "Bearer t0ken-of-prometheus")
                    .body(Body::empty())
                    .unwrap();
                let got = gateway.client().await.ask(with_token).await;
                assert_eq!(got.status, StatusCode::OK, "{path}");
                assert!(got.text.contains("sluice_"), "{path}: {}", got.text);
            }
            Reading::Other => {
                let forwarded = received(&got.text);
                assert_eq!(NormalPath::parse(&forwarded), NormalPath::parse(&path), "{path}");
            }
            Reading::Refused => {
                assert_eq!(got.status, StatusCode::BAD_REQUEST, "{path}");
                assert_eq!(upstream.requests(), before, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn the_absolute_form_is_read_like_the_usual_one() {
    let upstream = Upstream::start(echo).await;
    let gateway = Gateway::to(&upstream, "").await;
    let request = |path: &str| get(&format!("http://api.test{path}")).body(Body::empty()).unwrap();
    let mut client = gateway.client().await;
    for own in ["/health", "//health", "/x/../%68ealth/"] {
        let got = client.ask(request(own)).await;
        assert!(got.text.contains("alive"), "{own}: {}", got.text);
    }
    assert_eq!(upstream.requests(), 0);
    let got = client.ask(request("/a/../orders?x=1")).await;
    assert!(got.text.starts_with("GET /orders?x=1 "), "{}", got.text);
}
