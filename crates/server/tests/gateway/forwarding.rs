//! Which requests and header fields are forwarded, and how.

use axum::body::Body;
use http::{Response, StatusCode, Version};
use http_body_util::BodyExt;

use crate::fixtures::{Gateway, GatewayResponse, Upstream, echo, get, post};

const ONE_A_DAY: (&str, &str) = ("SLUICE__DEFAULTS", "{ rate: 1/day, burst: 1 }");

#[tokio::test]
async fn allowed_requests_are_forwarded_and_denied_ones_are_not() {
    let upstream = Upstream::start(echo).await;
    let gateway =
        Gateway::with(&format!("{{ upstream: '{}' }}", upstream.url()), &[ONE_A_DAY]).await;
    let mut client = gateway.client().await;
    let got = client
        .ask(post("/orders?x=1").header("x-custom", "kept").body(Body::from("a body")).unwrap())
        .await;
    assert_eq!(got.status, StatusCode::OK);
    assert!(
        got.text.starts_with("POST /orders?x=1 HTTP/1.1\n") && got.text.ends_with("\n\na body"),
        "{}",
        got.text
    );
    assert!(
        got.echoes("x-custom: kept")
            && got.echoes("host: api.test")
            && got.echoes("content-length: 6"),
        "{}",
        got.text
    );
    assert_eq!(got.header("x-ratelimit-remaining").as_deref(), Some("0"));
    assert_eq!(got.header("ratelimit-policy").as_deref(), Some("\"default\";q=1;w=86400"));
    assert_eq!(got.header("retry-after"), None);

    let got = client.ask(post("/orders").body(Body::from("a body")).unwrap()).await;
    assert_eq!(
        (got.status, got.problem().as_str()),
        (StatusCode::TOO_MANY_REQUESTS, "rate-limited")
    );
    assert_eq!(got.header("x-ratelimit-remaining").as_deref(), Some("0"));
    assert_eq!(got.header("retry-after").as_deref(), Some("86400"));
    assert_eq!(upstream.requests(), 1);
    let (_, metrics) = (client.get("/health").await, gateway.get("/metrics").await.text);
    for line in [
        r#"http_requests_total{endpoint="other",method="POST",status="200"} 1"#,
        r#"http_requests_total{endpoint="other",method="POST",status="429"} 1"#,
        r#"http_request_size_bytes_sum{endpoint="other",method="POST"} 12"#,
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn tokens_guard_front_ends_beside_a_gateway_and_are_not_forwarded() {
    let upstream = Upstream::start(echo).await;
    let section = format!("{{ upstream: '{}', doors: on }}", upstream.url());
    let token = ("SLUICE__ACCESS__TOKENS", "token-of-an-application");
    let gateway = Gateway::with(&section, &[token]).await;
    let mut client = gateway.client().await;
    let check = |name: &str, value: &str| {
        post("/v1/check")
            .header("content-type", "application/json")
            .header(name, value)
            .body(Body::from(r#"{"client":"alice"}"#))
            .unwrap()
    };
    let got = client.ask(check("x-other", "a")).await;
    assert_eq!((got.status, got.problem().as_str()), (StatusCode::UNAUTHORIZED, "unauthorized"));
    let got = client.ask(check("x-sluice-token", "token-of-an-application")).await;
    assert_eq!(got.status, StatusCode::OK);
    let got = client
        .ask(
            get("/orders")
                .header("x-sluice-token", "token-of-an-application")
                .header("x_sluice_token", "token-of-an-application")
                .header("authorization", "Bearer of-the-client")
                .body(Body::empty())
                .unwrap(),
        )
        .await;
    assert_eq!(got.status, StatusCode::OK, "clients of the gateway need no token");
    assert!(!got.text.contains("token-of-an-application"), "{}", got.text);
    assert!(got.echoes("authorization: Bearer of-the-client"), "{}", got.text);
}

#[tokio::test]
async fn only_sluices_own_paths_are_not_forwarded() {
    let upstream = Upstream::start(echo).await;
    let gateway = Gateway::to(&upstream, "").await;
    for own in ["/health", "/ready", "/metrics", "/monitoring/stats/overview"] {
        gateway.get(own).await;
    }
    assert_eq!(upstream.requests(), 0);
    for theirs in ["/", "/v1/check", "/v1/events", "/json", "/openapi.json", "/healthz"] {
        let got = gateway.get(theirs).await;
        assert!(got.text.starts_with(&format!("GET {theirs} ")), "{theirs}: {got:?}");
    }
    let open = Gateway::to(&upstream, "doors: on").await;
    let check = post("/v1/check")
        .header("content-type", "application/json")
        .body(Body::from(r#"{"client":"alice"}"#))
        .unwrap();
    let got = open.client().await.ask(check).await;
    assert!(got.status == StatusCode::OK && got.text.contains("\"remaining\":9"), "{got:?}");

    let section = format!("{{ upstream: '{}' }}", upstream.url());
    let elsewhere = Gateway::with(&section, &[("SLUICE__ADMIN__LISTEN", "127.0.0.1:0")]).await;
    assert!(
        elsewhere.get("/metrics").await.text.starts_with("GET /metrics "),
        "a path of the admin port is forwarded on the HTTP port"
    );
}

#[tokio::test]
async fn an_exempt_path_is_forwarded_without_limit() {
    let upstream = Upstream::start(echo).await;
    let section = format!("{{ upstream: '{}' }}", upstream.url());
    let gateway = Gateway::with(&section, &[ONE_A_DAY, ("SLUICE__EXEMPT", "[/static]")]).await;
    let mut client = gateway.client().await;
    for _ in 0..5 {
        let got = client.get("/static/logo.png").await;
        assert_eq!((got.status, got.header("x-ratelimit-limit")), (StatusCode::OK, None));
    }
    assert_eq!(upstream.requests(), 5);
}

#[tokio::test]
async fn an_ambiguous_path_is_never_forwarded() {
    let upstream = Upstream::start(echo).await;
    let section = format!("{{ upstream: '{}' }}", upstream.url());
    let gateway = Gateway::with(&section, &[("SLUICE__EXEMPT", "[/free]")]).await;
    let mut client = gateway.client().await;
    for ambiguous in ["/free/..%2fapi", "/free%5c..%5capi", "/free//../api", "/api/%00", "/api%2"] {
        let got = client.get(ambiguous).await;
        assert_eq!(
            (got.status, got.problem().as_str()),
            (StatusCode::BAD_REQUEST, "invalid-request"),
            "{ambiguous}"
        );
    }
    assert_eq!(upstream.requests(), 0);
    for (sent, forwarded) in [
        ("/free/../api?a=/../b", "/api?a=/../b"),
        ("//free//a/", "/free/a/"),
        ("/a/%2e%2E/free", "/free"),
    ] {
        let got = client.get(sent).await;
        assert!(got.text.starts_with(&format!("GET {forwarded} ")), "{sent}: {}", got.text);
    }
}

#[tokio::test]
async fn hop_by_hop_fields_are_not_forwarded() {
    let upstream = Upstream::start(async |request| {
        let mut response = echo(request).await;
        for (name, value) in [
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("x-end", "1"),
        ] {
            response.headers_mut().append(name, value.parse().unwrap());
        }
        response
    })
    .await;
    let gateway = Gateway::to(&upstream, "").await;
    let request = get("/")
        .header("connection", "keep-alive, X-Secret, host")
        .header("x-secret", "1")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive")
        .header("te", "gzip, trailers")
        .header("upgrade", "h2c")
        .header("expect", "nothing");
    let got = gateway.client().await.ask(request.body(Body::empty()).unwrap()).await;
    for absent in ["x-secret", "keep-alive", "proxy-connection", "upgrade", "expect"] {
        assert!(!got.text.lines().any(|line| line.starts_with(absent)), "{absent}: {}", got.text);
    }
    assert!(
        got.echoes("te: trailers") && got.echoes("connection: te") && got.echoes("host: api.test"),
        "{}",
        got.text
    );
    assert_eq!(
        [got.header("x-hop"), got.header("keep-alive"), got.header("proxy-connection")],
        [None, None, None]
    );
    assert_eq!(got.header("x-end").as_deref(), Some("1"));
}

#[tokio::test]
async fn forwarding_fields_are_written_and_cannot_be_forged() {
    let upstream = Upstream::start(echo).await;
    let section = format!("{{ upstream: '{}', via: edge }}", upstream.url());
    let claims = || {
        let request =
            get("/").header("x-forwarded-for", "203.0.113.9").header("x-forwarded-proto", "https");
        request.header("x-real-ip", "203.0.113.9").body(Body::empty()).unwrap()
    };
    let untrusted = Gateway::with(&section, &[]).await.client().await.ask(claims()).await;
    for line in [
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: api.test",
        "via: 1.1 edge",
    ] {
        assert!(untrusted.echoes(line), "{line}: {}", untrusted.text);
    }
    assert!(
        untrusted.echoes("forwarded: for=127.0.0.1;host=\"api.test\";proto=http"),
        "{}",
        untrusted.text
    );
    assert!(!untrusted.text.contains("203.0.113.9"), "{}", untrusted.text);

    let trusting =
        Gateway::with(&section, &[("SLUICE__CLIENTS__TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let trusted = trusting.client().await.ask(claims()).await;
    for line in [
        "x-forwarded-for: 203.0.113.9, 127.0.0.1",
        "x-forwarded-proto: https",
        "forwarded: for=203.0.113.9, for=127.0.0.1;host=\"api.test\";proto=http",
    ] {
        assert!(trusted.echoes(line), "{line}: {}", trusted.text);
    }
}

#[tokio::test]
async fn the_host_is_the_clients_or_the_upstreams() {
    let upstream = Upstream::start(echo).await;
    let gateway = Gateway::to(&upstream, "host: replace").await;
    let got = gateway.get("/").await;
    assert!(
        got.echoes(&format!("host: {}", upstream.address))
            && got.echoes("x-forwarded-host: api.test"),
        "{}",
        got.text
    );
    let twice = get("/").header("host", "other.test").body(Body::empty()).unwrap();
    let got = gateway.client().await.ask(twice).await;
    assert_eq!((got.status, got.problem().as_str()), (StatusCode::BAD_REQUEST, "invalid-request"));
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn an_upstreams_own_limits_are_replaced_kept_or_removed() {
    let upstream = Upstream::start(async |_| {
        let response = Response::builder()
            .header("x-ratelimit-limit", "7")
            .header("X-RateLimit-Used", "3")
            .header("ratelimit", "\"own\";r=4");
        response.status(429).header("retry-after", "9").body(Body::empty()).unwrap()
    })
    .await;
    for (mode, limit, used, state) in [
        ("replace", Some("60"), None, Some("\"default\";r=9;t=1")),
        ("keep", Some("7"), Some("3"), Some("\"own\";r=4")),
        ("remove", None, None, None),
    ] {
        let gateway = Gateway::to(&upstream, &format!("rate_limit_headers: {mode}")).await;
        let got = gateway.get("/").await;
        let fields = [
            got.header("x-ratelimit-limit"),
            got.header("x-ratelimit-used"),
            got.header("ratelimit"),
        ];
        assert_eq!(fields, [limit, used, state].map(|value| value.map(str::to_owned)), "{mode}");
        assert_eq!(
            got.header("retry-after").as_deref(),
            Some("9"),
            "the upstream's own Retry-After is kept"
        );
        assert_eq!(gateway.get("/health").await.header("x-ratelimit-limit"), None);
    }
    let gateway = Gateway::to(&upstream, "").await;
    assert_eq!(gateway.get("/metrics/../metrics/x").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn either_side_may_use_http2_independently() {
    let upstream = Upstream::start(echo).await;
    for (protocol, version) in [("http1", "HTTP/1.1"), ("http2", "HTTP/2.0")] {
        let gateway = Gateway::to(&upstream, &format!("protocol: {protocol}")).await;
        let got = gateway.client().await.ask(post("/a").body(Body::from("one")).unwrap()).await;
        let target = if protocol == "http2" { "http://api.test/a" } else { "/a" };
        assert!(
            got.text.starts_with(&format!("POST {target} {version}\n"))
                && got.text.ends_with("one"),
            "{}",
            got.text
        );

        let mut client = gateway.http2_client().await;
        let request = http::Request::post("http://api.test/b")
            .version(Version::HTTP_2)
            .body(Body::from("two"))
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        let got = GatewayResponse::read(response).await;
        let target = if protocol == "http2" { "http://api.test/b" } else { "/b" };
        assert!(
            got.text.starts_with(&format!("POST {target} {version}\n"))
                && got.text.ends_with("two"),
            "{}",
            got.text
        );
        assert!(got.echoes("x-forwarded-host: api.test"), "{}", got.text);
        assert_eq!(got.header("x-ratelimit-limit").as_deref(), Some("60"));
    }
}

#[tokio::test]
async fn a_get_with_a_body_keeps_it() {
    let upstream = Upstream::start(echo).await;
    let gateway = Gateway::to(&upstream, "").await;
    let (frames, body) = crate::fixtures::Frames::new();
    frames.send(crate::fixtures::Frames::data("asked for")).await.unwrap();
    drop(frames);
    let request =
        get("/search").header("transfer-encoding", "chunked").body(Body::new(body)).unwrap();
    let got = gateway.client().await.ask(request).await;
    assert!(got.text.ends_with("\n\nasked for"), "{}", got.text);
    let response =
        gateway.client().await.send(get("/").method("HEAD").body(Body::empty()).unwrap()).await;
    assert!(response.headers().contains_key("content-length"));
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn upstream_connections_are_reused() {
    let upstream = Upstream::start(echo).await;
    for protocol in ["http1", "http2"] {
        let before = upstream.connections();
        let section = format!("{{ upstream: '{}', protocol: {protocol} }}", upstream.url());
        let gateway = Gateway::with(&section, &[("SLUICE__DEFAULTS", "off")]).await;
        let mut client = gateway.client().await;
        for number in 0..20 {
            assert!(client.get(&format!("/{number}")).await.text.contains(&format!("/{number} ")));
        }
        let used = upstream.connections() - before;
        assert!((1..=3).contains(&used), "{protocol}: {used} connections for 20 requests");
    }
    let before = upstream.connections();
    let gateway = Gateway::to(&upstream, "keep_alive: 0s").await;
    for _ in 0..3 {
        gateway.get("/").await;
    }
    assert_eq!(
        upstream.connections() - before,
        3,
        "no connection is kept for longer than `keep_alive`"
    );
}
