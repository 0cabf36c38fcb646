//! Responses to clients, and forged headers.

use std::net::IpAddr;

use sluice_tests::{
    echo::OWN_LIMIT,
    http::{Connection, Request},
};

use crate::example::Example;
use crate::setup::{EXEMPT, Setup, assert_passed, order};

const ON_EVERY_ANSWER: [&str; 5] = [
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-policy",
    "ratelimit",
];

pub(crate) async fn requests_reach_the_api_until_the_limit_is_spent(example: Example) {
    let setup =
        Setup::start(example, &example.with_long_timeout(), "defaults: { rate: 10/day, burst: 2 }")
            .await;
    let before = setup.api.requests();
    let mut client = setup.client();

    for left in [1, 0] {
        let allowed = client.send(&order()).await;
        assert_passed(&allowed);
        assert_eq!(allowed.header("retry-after"), None);
        for name in ON_EVERY_ANSWER {
            assert_eq!(
                allowed.header(name).is_some(),
                example.sends_headers_when_allowed,
                "{name}: {allowed}"
            );
        }
        if example.sends_headers_when_allowed {
            assert_eq!(allowed.number("x-ratelimit-remaining"), left);
        }
    }
    let denied = client.send(&order()).await;
    assert_eq!(
        (denied.status, denied.problem().as_deref()),
        (429, Some("rate-limited")),
        "{denied}"
    );
    assert!((1..=8640).contains(&denied.number("retry-after")), "a tenth of a day: {denied}");
    assert_eq!(denied.number("x-ratelimit-remaining"), 0);
    for name in ON_EVERY_ANSWER {
        assert!(denied.header(name).is_some(), "{name}: {denied}");
    }
    assert_eq!(setup.api.requests(), before + 2, "a denied request does not reach the API");

    let unreadable = client.send(&Request::get("/a%2fb").header("x-api-key", "bob")).await;
    assert_eq!(
        (unreadable.status, unreadable.problem().as_deref()),
        (400, Some("invalid-request")),
        "{unreadable}"
    );
    let limited_twice = client.send(&Request::get(OWN_LIMIT).header("x-api-key", "carol")).await;
    let limiter = if example.sends_headers_when_allowed { "\"default\"" } else { "\"own\"" };
    assert!(
        limited_twice.header("ratelimit").is_some_and(|field| field.starts_with(limiter)),
        "the response has the headers of one limiter: {limited_twice}"
    );
    let exempt = client.get(EXEMPT).await;
    assert_eq!((exempt.status, exempt.header("ratelimit")), (200, None), "{exempt}");
}

pub(crate) async fn forged_headers_are_ignored(example: Example) {
    let setup =
        Setup::start(example, &example.with_long_timeout(), "defaults: { rate: 10/day, burst: 1 }")
            .await;
    let from = async |client: &str, request: &Request| {
        let mut connection =
            Connection::open_from(client.parse::<IpAddr>().unwrap(), setup.proxy.addr())
                .await
                .unwrap();
        connection.send(request).await.unwrap().status
    };
    let plain = Request::get("/orders");
    assert_eq!(from("127.0.0.2", &plain).await, 200);
    assert_eq!(from("127.0.0.2", &plain).await, 429);

    for (name, value) in [
        ("X-Forwarded-For", "127.0.0.3"),
        ("Forwarded", "for=127.0.0.3"),
        ("X-Real-IP", "127.0.0.3"),
        ("X-Forwarded-Uri", EXEMPT),
        ("X-Original-URI", EXEMPT),
        ("X-Original-URL", EXEMPT),
        ("X-Forwarded-Method", "OPTIONS"),
        ("X-Original-Method", "OPTIONS"),
    ] {
        assert_eq!(
            from("127.0.0.2", &plain.clone().header(name, value)).await,
            429,
            "{name}: {value}"
        );
    }
    let forged = Request::get("/orders")
        .header("X-Forwarded-For", "127.0.0.2")
        .header("X-Original-URI", "/other");
    assert_eq!(
        from("127.0.0.3", &forged).await,
        200,
        "neither the bucket of the forged address nor the client's own was used"
    );
    assert_eq!(from("127.0.0.3", &forged).await, 429);
}

/// A request that is too large for Sluice must not look like a failure of Sluice, or it would pass.
pub(crate) async fn oversized_requests_do_not_bypass_the_limit(example: Example) {
    let setup =
        Setup::start(example, &example.with_long_timeout(), "defaults: { rate: 1/day, burst: 1 }")
            .await;
    let spent = async |request: Request| {
        // Some proxies close the connection when a request is too large for them.
        let response = setup.client().try_send(&request.header("x-api-key", "alice")).await;
        response.is_err() || response.unwrap().status != 200
    };
    assert_eq!(setup.client().send(&order()).await.status, 200);
    assert!(spent(Request::get("/orders")).await);
    for size in
        [1, 4, 7, 8, 12, 15, 16, 24, 31, 32, 60, 64, 100, 128, 250, 256, 400, 500, 1000, 1100]
    {
        let filling = "x".repeat(size * 1024);
        assert!(spent(Request::get(&format!("/orders?{filling}"))).await, "a target of {size} KiB");
        assert!(
            spent(Request::get("/orders").header("x-filling", &filling)).await,
            "a field of {size} KiB"
        );
        assert!(
            spent(Request::get("/orders").header("authorization", &filling)).await,
            "a credential of {size} KiB"
        );
    }
    for count in [32, 60, 90, 95, 96, 97, 98, 99, 100, 101, 102, 127, 128, 200, 256, 1000, 5000] {
        let fields = |name: &str| {
            (0..count).fold(Request::get("/orders"), |request, _| request.header(name, "x"))
        };
        assert!(spent(fields("x-filling")).await, "{count} fields");
        assert!(spent(fields("authorization")).await, "{count} credentials");
    }
}
