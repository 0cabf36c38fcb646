//! Which requests and header fields are forwarded, and how.

use axum::body::Body;
use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

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
        r#"http_requests_total{endpoint="/orders",method="POST",status="200"} 1"#,
        r#"http_requests_total{endpoint="/orders",method="POST",status="429"} 1"#,
        r#"http_request_size_bytes_sum{endpoint="/orders",method="POST"} 12"#,
        r#"sluice_http_requests_total{endpoint="/health",method="GET",status="200"} 1"#,
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
    let token = "Bearer token-of-an-application";
    let request = get("/v1/checks").header("authorization", token).body(Body::empty()).unwrap();
    let got = client.ask(request).await;
    assert_eq!(got.status, StatusCode::OK, "a mistyped path is the upstream's");
    assert!(!got.text.contains("token-of-an-application"), "{}", got.text);
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
async fn what_cannot_be_forwarded_takes_no_tokens() {
    let upstream = Upstream::start(echo).await;
    let section = format!("{{ upstream: '{}' }}", upstream.url());
    let gateway = Gateway::with(&section, &[ONE_A_DAY]).await;
    for (status, head) in [
        (400, "GET / HTTP/1.1\r\n"),
        (400, "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n"),
        (400, "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n"),
        (400, "GET / HTTP/1.1\r\nhost: a b\r\n"),
        (400, "GET / HTTP/1.1\r\nhost: u:p@a\r\n"),
        (400, "GET / HTTP/1.1\r\nhost:\r\n"),
        (400, "GET http://a/ HTTP/1.1\r\nhost: b\r\n"),
        (400, "GET http://u:p@a/ HTTP/1.1\r\nhost: a\r\n"),
        (400, "GET http://a/ HTTP/1.1\r\n"),
        (400, "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n"),
        (501, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n"),
        (
            501,
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\
             transfer-encoding: chunked\r\n",
        ),
        (501, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n"),
        (400, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n"),
        (400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n"),
        (400, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n"),
        (400, "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n"),
    ] {
        let got = first_line(&gateway, head).await;
        assert!(got.contains(&format!(" {status} ")), "{head}: {got}");
    }
    assert_eq!(upstream.requests(), 0);
    let got = first_line(&gateway, "GET http://API.test:80/x HTTP/1.1\r\nhost: api.test\r\n").await;
    assert!(got.contains(" 200 "), "the only token is still there: {got}");
}

/// Sends the head of a request, and returns the first line of the response.
async fn first_line(gateway: &Gateway, head: &str) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let ended = if head.starts_with("POST") { "0\r\n\r\n" } else { "" };
    let request = format!("{head}connection: close\r\n\r\n{ended}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    String::from_utf8_lossy(&response).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_upstream_gets_the_fields_that_decided() {
    let upstream = Upstream::start(echo).await;
    let section = format!("{{ upstream: '{}' }}", upstream.url());
    let elsewhere = ("SLUICE__CLIENTS__TRUSTED_PROXIES", "10.0.0.0/8");
    let variables = [
        ("SLUICE__CLIENTS__IDENTIFY", "header:x-api-key,ip"),
        ("SLUICE__CLIENTS__TIER_HEADER", "x-tier"),
        (
            "SLUICE__LIMITS",
            "[{ name: org, rate: 9/second, burst: 9, per: header:x-org, cost: header:x-cost }, \
             { name: beta, rate: 9/second, burst: 9, when: { header: { x-beta: [\"yes\"] } } }]",
        ),
    ];
    let gateway = Gateway::with(&section, &[&variables[..], &[elsewhere]].concat()).await;
    let named = "x-api-key, X-Org, x-cost, x-beta, x-tier, x-other";
    let send = async |gateway: &Gateway| {
        let request = get("/")
            .header("connection", named)
            .header("x-api-key", "key")
            .header("x-org", "acme")
            .header("x-cost", "2")
            .header("x-beta", "yes")
            .header("x-tier", "pro")
            .header("x-other", "1")
            .header("x_api_key", "twin")
            .header("x-api_key", "twin")
            .header("x_org", "twin")
            .header("x.beta", "twin");
        gateway.client().await.ask(request.body(Body::empty()).unwrap()).await
    };
    let got = send(&gateway).await;
    for kept in ["x-api-key: key", "x-org: acme", "x-cost: 2", "x-beta: yes"] {
        assert!(got.echoes(kept), "{kept}: {got:?}");
    }
    for absent in ["twin", "x-other", "x-tier"] {
        assert!(!got.text.contains(absent), "{absent}: {got:?}");
    }
    let mut trusting = variables.to_vec();
    trusting.push(("SLUICE__CLIENTS__TRUSTED_PROXIES", "127.0.0.0/8"));
    let got = send(&Gateway::with(&section, &trusting).await).await;
    assert!(got.echoes("x-tier: pro") && !got.text.contains("twin"), "{got:?}");
}

#[tokio::test]
async fn twins_of_fields_for_the_route_are_not_forwarded() {
    let upstream = Upstream::start(echo).await;
    let gateway = Gateway::to(&upstream, "").await;
    let request = get("/")
        .header("x_forwarded_for", "127.0.0.9")
        .header("x-real_ip", "127.0.0.9")
        .header("content_length", "7")
        .header("transfer_encoding", "chunked")
        .header("proxy", "http://evil.test")
        .header("proxy-authorization", "Basic YTpi")
        .header("connection", "x-real-ip, authorization, forwarded, content-type")
        .header("authorization", "Bearer abc")
        .header("content-type", "text/plain")
        .header("x_other", "kept")
        .body(Body::empty())
        .unwrap();
    let got = gateway.client().await.ask(request).await;
    for absent in ["127.0.0.9", "content_length", "transfer_encoding", "evil", "Basic"] {
        assert!(!got.text.contains(absent), "{absent}: {}", got.text);
    }
    for kept in ["authorization: Bearer abc", "content-type: text/plain", "x_other: kept"] {
        assert!(got.echoes(kept), "{kept}: {}", got.text);
    }
}

#[tokio::test]
async fn cookies_that_http2_splits_are_one_line() {
    let upstream = Upstream::start(echo).await;
    for protocol in ["http1", "http2"] {
        let gateway = Gateway::to(&upstream, &format!("protocol: {protocol}")).await;
        let mut client = gateway.http2_client().await;
        let mut request = Request::get("http://api.test/").version(Version::HTTP_2);
        for (name, value) in [
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("cookie", "c=3"),
            ("x-list", "1"),
            ("x-list", "2"),
        ] {
            request = request.header(name, value);
        }
        let response = client.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
        let got = GatewayResponse::read(response).await;
        let lines = |start: &str| got.text.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!((lines("cookie: "), lines("x-list: ")), (1, 2), "{}", got.text);
        assert!(got.echoes("cookie: a=1; b=2; c=3"), "{}", got.text);
    }
}

#[tokio::test]
async fn a_redirect_to_the_upstreams_own_address_names_the_gateway() {
    let upstream = Upstream::start(async |request: Request<Incoming>| {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        let response = Response::builder().status(302);
        response.header("location", format!("http://{host}/login")).body(Body::empty()).unwrap()
    })
    .await;
    for mode in ["keep", "replace"] {
        let gateway = Gateway::to(&upstream, &format!("host: {mode}")).await;
        let got = gateway.get("/").await;
        assert_eq!(got.header("location").as_deref(), Some("http://api.test/login"), "{mode}");
    }
    let section = format!("{{ upstream: '{}', host: replace }}", upstream.url());
    let trusting =
        Gateway::with(&section, &[("SLUICE__CLIENTS__TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let request = get("/")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "shop.test")
        .body(Body::empty())
        .unwrap();
    let got = trusting.client().await.ask(request).await;
    assert_eq!(got.header("location").as_deref(), Some("https://shop.test/login"));
}

#[tokio::test]
async fn a_denial_of_the_upstream_keeps_its_own_fields() {
    let upstream = Upstream::start(async |request: Request<Incoming>| {
        let mut response = Response::builder().status(429).header("retry-after", "9");
        if request.uri().path() == "/own" {
            response =
                response.header("x-ratelimit-remaining", "0").header("ratelimit", "\"o\";r=0");
        }
        response.body(Body::empty()).unwrap()
    })
    .await;
    for (mode, own) in [("replace", Some("0")), ("keep", Some("0")), ("remove", None)] {
        let gateway = Gateway::to(&upstream, &format!("rate_limit_headers: {mode}")).await;
        let ours = (mode != "remove").then_some("8");
        for (path, remaining) in [("/own", own), ("/none", ours)] {
            let got = gateway.get(path).await;
            assert_eq!(got.header("x-ratelimit-remaining").as_deref(), remaining, "{mode} {path}");
            let has_ours = got.header("ratelimit-policy").is_some();
            assert_eq!(has_ours, path == "/none" && ours.is_some(), "{mode} {path}");
            assert_eq!(got.header("retry-after").as_deref(), Some("9"), "{mode} {path}");
        }
    }
}

#[tokio::test]
async fn an_upstreams_own_limits_are_replaced_kept_or_removed() {
    let upstream = Upstream::start(async |_| {
        let response = Response::builder()
            .header("x-ratelimit-limit", "7")
            .header("X-RateLimit-Used", "3")
            .header("ratelimit", "\"own\";r=4");
        response.status(503).header("retry-after", "9").body(Body::empty()).unwrap()
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
        let request = Request::post("http://api.test/b")
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
