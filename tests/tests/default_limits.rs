//! The limits and responses of a `sluice` without configuration.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::time::Duration;

use sluice_testkit::{SluiceOptions, built_sluice};
use sluice_tests::{
    fleet::memory_replica,
    http::{Client, Request},
    level::Level,
    window_limit::{WindowLimit, now},
};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_curl_loop_sees_200s_and_then_429s() {
    let sluice = SluiceOptions::new(built_sluice()).start();
    let mut client = Client::of(sluice.http_addr());
    let mut level = Level::full(WindowLimit::new(100, MINUTE, 10));
    let mut statuses = Vec::new();
    for _ in 0..70 {
        let sent = now();
        let response = client.get("/api/v1/blueprints").await;
        let received = now();
        statuses.push(response.status);

        let allowed = response.status == 200;
        level.narrow((sent, received), 1, allowed, response.number("x-ratelimit-remaining"));
        assert_eq!(response.number("x-ratelimit-limit"), 100);
        // The bucket is full again after at most the time that an empty bucket takes, in whole
        // seconds, rounded up.
        let reset = i128::from(response.number("x-ratelimit-reset")) * 1_000_000;
        assert!(sent <= reset && reset <= received + 6_000_000 + 1_000_000, "{response}");
        assert_eq!(response.header("ratelimit-policy"), Some("\"/api/v1/blueprints\";q=100;w=60"));
        let state =
            format!("\"/api/v1/blueprints\";r={};t=", response.number("x-ratelimit-remaining"));
        assert!(response.header("ratelimit").unwrap().starts_with(&state), "{response}");

        let body = response.json();
        assert_eq!(body["allowed"], allowed);
        if allowed {
            assert_eq!(response.header("retry-after"), None);
        } else {
            assert_eq!(
                (response.status, response.problem().as_deref()),
                (429, Some("rate-limited"))
            );
            assert_eq!(
                response.header("retry-after"),
                Some("1"),
                "a token comes back every 0.6 seconds"
            );
            assert_eq!(
                (&body["error"], &body["retry_after"]),
                (&"rate_limit_exceeded".into(), &1.into())
            );
            assert_eq!((&body["limit"], &body["window"]), (&100.into(), &60.into()));
            assert!(body["message"].as_str().unwrap().contains("/api/v1/blueprints"), "{body}");
        }
    }
    assert_eq!(statuses[..10], [200; 10], "the burst");
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn the_four_endpoints_and_the_default_have_their_documented_rates() {
    let sluice = SluiceOptions::new(built_sluice()).without_subcommand().identify_by_key().start();
    let mut client = Client::of(sluice.http_addr());
    for (path, limit) in [
        ("/api/v1/conversation/chat-stream", "20"),
        ("/api/v1/blueprints/generate-blueprint", "30"),
        ("/api/v1/tools/execute", "40"),
        ("/api/v1/blueprints", "100"),
        ("/api/v1/blueprints/42", "100"),
        ("/api/v1/blueprintsandmore", "60"),
        ("/", "60"),
    ] {
        let response = client.send(&Request::get(path).header("x-api-key", path)).await;
        assert_eq!(
            (response.status, response.header("x-ratelimit-limit")),
            (200, Some(limit)),
            "{path}"
        );
        assert_eq!(
            response.header("x-ratelimit-remaining"),
            Some("9"),
            "{path}: the burst is 10, for each client its own"
        );
    }
}

#[tokio::test]
async fn a_client_that_waits_for_retry_after_is_allowed() {
    let sluice = memory_replica("defaults: { rate: 1 per 2s, burst: 1 }");
    let mut client = Client::of(sluice.http_addr());
    for _ in 0..2 {
        assert_eq!(client.get("/").await.status, 200);
        let denied = client.get("/").await;
        assert_eq!(denied.status, 429, "{denied}");
        let wait = denied.number("retry-after");
        assert!((1..=2).contains(&wait), "{denied}");
        tokio::time::sleep(Duration::from_secs(wait)).await;
    }
}

#[tokio::test]
async fn health_metrics_and_monitoring_are_never_limited() {
    let sluice = SluiceOptions::new(built_sluice()).start();
    let mut client = Client::of(sluice.http_addr());
    for path in ["/health", "/ready", "/metrics", "/monitoring/rate-limit/stats"] {
        for _ in 0..30 {
            let response = client.get(path).await;
            assert_ne!(response.status, 429, "{path}");
            assert_eq!(response.header("x-ratelimit-limit"), None, "{path}");
        }
    }
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    assert_eq!(
        client.get("/").await.header("x-ratelimit-remaining"),
        Some("9"),
        "nothing was taken"
    );
}
