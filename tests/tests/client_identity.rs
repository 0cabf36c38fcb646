//! Clients cannot choose their own identity.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::net::IpAddr;

use serde_json::json;
use sluice_testkit::{SluiceOptions, built_sluice, eventually_async};
use sluice_tests::{
    fleet::memory_replica,
    http::{Client, Connection, Request},
    metrics::Metrics,
};

/// Header fields with which clients claim to be another client, to have another address, or to be
/// in a higher tier.
const FORGED_FIELDS: [(&str, &str); 14] = [
    ("x-forwarded-for", "203.0.113.7"),
    ("x-forwarded-for", "127.0.0.2, 10.0.0.1"),
    ("forwarded", "for=203.0.113.8;proto=https"),
    ("x-real-ip", "203.0.113.9"),
    ("x-client-ip", "203.0.113.10"),
    ("true-client-ip", "203.0.113.11"),
    ("cf-connecting-ip", "203.0.113.12"),
    ("x-tier", "enterprise"),
    ("tier", "enterprise"),
    ("x-forwarded-user", "root"),
    ("x-forwarded-proto", "https"),
    ("x-cost", "0"),
    ("host", "localhost"),
    ("via", "1.1 127.0.0.1"),
];

/// Trusts a proxy that is not the test's own address, and has tiers that are worth claiming.
const TRUSTS_ANOTHER_PROXY: &str = "\
clients: { trusted_proxies: [192.0.2.0/24], tier_header: x-tier }
tiers: { enterprise: { unlimited: true } }
defaults: { rate: 10/day, burst: 20 }
";

/// Trusts the test's own address as a proxy.
const TRUSTS_THIS_HOST: &str = "\
clients: { trusted_proxies: [127.0.0.0/8, 10.0.0.0/8], tier_header: x-tier }
tiers: { enterprise: { unlimited: true }, pro: { multiply: 2 } }
defaults: { rate: 10/day, burst: 20 }
";

#[tokio::test]
async fn headers_from_an_untrusted_client_are_ignored() {
    let sluice = memory_replica(TRUSTS_ANOTHER_PROXY);
    let mut client = Client::of(sluice.http_addr());
    let mut left = 20;
    for (name, value) in FORGED_FIELDS {
        let mut response = client.send(&Request::get("/").header(name, value)).await;
        if name == "host" {
            assert_eq!(response.status, 400, "a second host");
            response = client.send(&Request::get("/")).await;
        }
        left -= 1;
        assert_eq!(
            (response.status, response.number("x-ratelimit-remaining")),
            (200, left),
            "{name}: {value}"
        );
    }
    for (name, value) in &FORGED_FIELDS[..5] {
        // For forward-auth too the sender is not trusted: its own address identifies the client.
        let response = client.send(&Request::get("/v1/forward-auth").header(name, value)).await;
        left -= 1;
        assert_eq!(
            (response.status, response.number("x-ratelimit-remaining")),
            (200, left),
            "{name}: {value}"
        );
    }
    let all_at_once = FORGED_FIELDS
        .iter()
        .filter(|(name, _)| *name != "host")
        .fold(Request::get("/"), |ask, (name, value)| ask.header(name, value));
    assert_eq!(client.send(&all_at_once).await.number("x-ratelimit-remaining"), 0);
    assert_eq!(client.send(&all_at_once).await.status, 429);
}

#[tokio::test]
async fn only_what_a_trusted_proxy_appended_is_trusted() {
    let sluice = memory_replica(TRUSTS_THIS_HOST);
    let mut client = Client::of(sluice.http_addr());
    // The last hop that is not trusted is the client, whatever precedes it.
    for (left, chain) in (0..20).rev().zip([
        "198.51.100.1",
        "1.1.1.1, 198.51.100.1",
        "1.1.1.2,198.51.100.1 , 10.9.9.9",
        "::1, 127.0.0.1, 198.51.100.1",
    ]) {
        let response = client.send(&Request::get("/").header("x-forwarded-for", chain)).await;
        assert_eq!(
            (response.status, response.number("x-ratelimit-remaining")),
            (200, left),
            "{chain}"
        );
    }
    let lines = Request::get("/")
        .header("x-forwarded-for", "1.1.1.3")
        .header("x-forwarded-for", "198.51.100.1");
    assert_eq!(client.send(&lines).await.number("x-ratelimit-remaining"), 15);
    let other = Request::get("/").header("x-forwarded-for", "198.51.100.1, 198.51.100.2");
    assert_eq!(
        client.send(&other).await.number("x-ratelimit-remaining"),
        19,
        "another client has another bucket"
    );
    let response = client.post("/v1/check", &json!({ "ip": "198.51.100.1", "cost": 0 })).await;
    assert_eq!(response.number("x-ratelimit-remaining"), 15, "`/v1/check` uses the same bucket");
}

#[tokio::test]
async fn a_tier_is_accepted_only_from_a_trusted_proxy() {
    let sluice = memory_replica(TRUSTS_THIS_HOST);
    let mut client = Client::of(sluice.http_addr());
    let of_tier =
        |tier: &str| Request::get("/").header("x-api-key", "alice").header("x-tier", tier);
    assert_eq!(
        client.send(&of_tier("pro")).await.header("ratelimit-policy"),
        Some("\"default\";q=20;w=86400")
    );
    assert_eq!(client.send(&of_tier("enterprise")).await.header("x-ratelimit-limit"), None);
    assert_eq!(
        client.send(&of_tier("nonsense")).await.header("ratelimit-policy"),
        Some("\"default\";q=10;w=86400")
    );
}

#[tokio::test]
async fn an_unknown_tier_is_counted_and_each_name_is_logged_once_without_the_client() {
    let sluice = memory_replica(TRUSTS_THIS_HOST);
    let mut client = Client::of(sluice.http_addr());
    for tier in ["gold", "gold", "Pro", "pro", ""] {
        let request = Request::get("/").header("x-api-key", "alice").header("x-tier", tier);
        assert_eq!(client.send(&request).await.status, 200, "{tier}");
    }
    client.post("/v1/check", &json!({ "client": "alice", "tier": "gold" })).await;
    let checks = json!({ "checks": [{ "client": "alice", "tier": "gold" }] });
    client.post("/v1/check/batch", &checks).await;

    let metrics = Metrics::of(&mut client).await;
    assert_eq!(metrics.count("sluice_unknown_tiers_total", &[]), 5);
    let log = sluice.log();
    for tier in ["gold", "Pro"] {
        let named = |line: &&str| line.contains("tier") && line.contains(tier);
        let lines: Vec<_> = log.lines().filter(named).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains("WARN") && !lines[0].contains("alice"), "{log}");
    }
    for number in 0..100 {
        let tier = format!("plan-{number}");
        client.post("/v1/check", &json!({ "client": "bob", "tier": tier })).await;
    }
    let lines = sluice.log().lines().filter(|line| line.contains("plan-")).count();
    assert!(lines <= 30, "{lines} lines: callers cannot fill the log");
}

#[tokio::test]
async fn an_unverified_token_identifies_a_client_and_gives_no_tier() {
    let sluice = memory_replica(TRUSTS_ANOTHER_PROXY);
    let mut client = Client::of(sluice.http_addr());
    // {"alg":"none"} . {"sub":"alice","tier":"enterprise"} .
    let token = "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsInRpZXIiOiJlbnRlcnByaXNlIn0.";
    for left in [19, 18] {
        let response = client.send(&Request::get("/").header("authorization", token)).await;
        assert_eq!((response.status, response.number("x-ratelimit-remaining")), (200, left));
    }
    assert_eq!(
        client.get("/").await.number("x-ratelimit-remaining"),
        19,
        "the bucket of the client's own address"
    );
}

#[tokio::test]
async fn an_invented_key_for_each_request_gains_nothing() {
    const TARGET: &str = "/api/v1/conversation/chat-stream";
    let passed = async |client: &mut Client, path: &str| {
        let mut passed = 0;
        for number in 0..100 {
            let request = Request::get(path)
                .header("x-api-key", &format!("invented-{number}"))
                .header("authorization", &format!("Bearer invented-{number}"));
            passed += usize::from(client.send(&request).await.status == 200);
        }
        passed
    };
    let by_address = SluiceOptions::new(built_sluice()).start();
    let mut client = Client::of(by_address.http_addr());
    // The burst, and what comes back in the meantime.
    let allowed = passed(&mut client, TARGET).await;
    assert!((10..100).contains(&allowed), "{allowed}");

    let bounded = "clients: { identify: [header:x-api-key, bearer, ip], \
                   unverified: { per_ip: 7/day } }\n";
    let by_key = SluiceOptions::new(built_sluice()).config(bounded).start();
    let mut client = Client::of(by_key.http_addr());
    assert_eq!(passed(&mut client, TARGET).await, 7);
    let denied = client.send(&Request::get(TARGET).header("x-api-key", "another")).await;
    assert_eq!((denied.status, denied.problem().as_deref()), (429, Some("rate-limited")));
    assert_eq!(denied.header("ratelimit-policy"), Some("\"clients.unverified\";q=7;w=86400"));
    assert_eq!(client.get("/health").await.status, 200);
    let metrics = Metrics::of(&mut client).await;
    let decided = |outcome| {
        let labels = [("limit", "clients.unverified"), ("outcome", outcome), ("source", "store")];
        metrics.count("sluice_decisions_total", &labels)
    };
    assert_eq!((decided("allowed"), decided("denied")), (7, 94));
    by_key.rewrite_config(&bounded.replace("{ per_ip: 7/day }", "off"));
    eventually_async("the setting changes at run time", async || {
        client.send(&Request::get(TARGET).header("x-api-key", "new")).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_logged_once_and_counted() {
    let sluice = memory_replica("");
    for client in ["127.0.0.2", "127.0.0.3"] {
        let client: IpAddr = client.parse().unwrap();
        let mut connection = Connection::open_from(client, sluice.http_addr()).await.unwrap();
        for number in 0..3 {
            let forwarded = format!("198.51.100.{number}");
            let request = Request::get("/").header("x-forwarded-for", &forwarded);
            assert_eq!(connection.send(&request).await.unwrap().status, 200);
        }
    }
    let log = sluice.log();
    for client in ["127.0.0.2", "127.0.0.3"] {
        let lines = log.lines().filter(|line| line.contains(client));
        let lines: Vec<_> = lines.filter(|line| line.contains("clients.trusted_proxies")).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains("WARN"), "{log}");
    }
    let metrics = Metrics::of(&mut Client::of(sluice.http_addr())).await;
    assert_eq!(metrics.count("sluice_untrusted_forwarding_total", &[]), 6);
}

#[tokio::test]
async fn a_mapped_network_is_a_trusted_proxy() {
    for network in ["::ffff:127.0.0.0/104", "::ffff:127.0.0.1"] {
        let config = format!("clients: {{ trusted_proxies: [\"{network}\"] }}\n");
        let sluice = memory_replica(&format!("{config}defaults: {{ rate: 1/day, burst: 1 }}"));
        let mut client = Client::of(sluice.http_addr());
        for address in ["198.51.100.1", "198.51.100.2", "::ffff:198.51.100.3"] {
            let request = Request::get("/").header("x-forwarded-for", address);
            assert_eq!(client.send(&request).await.status, 200, "{network} {address}");
        }
        let again = Request::get("/").header("x-forwarded-for", "198.51.100.3");
        assert_eq!(client.send(&again).await.status, 429, "{network}");
    }
}
