//! Quotas, limits for any span of time and limits on requests in flight, over HTTP. The periods are
//! so long that none ends during a test, unless the test is about that.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sluice_testkit::Sluice;
use sluice_tests::{
    command::CommandLine,
    fleet::memory_replica,
    http::{Client, Response},
};

const HOUR_S: u64 = 60 * 60;
const DAY_S: u64 = 24 * HOUR_S;

/// A replica without other limits than these.
fn replica(limits: &str) -> Sluice {
    memory_replica(&format!("defaults: off\nendpoints: {{}}\nlimits:\n{limits}"))
}

async fn check(client: &mut Client, path: &str) -> Response {
    client.post("/v1/check", &json!({ "client": "alice", "path": path })).await
}

async fn reserve(client: &mut Client, body: Value) -> Response {
    let mut body = body;
    body["client"] = json!("alice");
    body["costs"] = json!({});
    client.post("/v1/reserve", &body).await
}

fn reservation(held: &Response) -> Value {
    assert_eq!(held.status, 200, "{held}");
    json!({ "reservation": held.json()["reservation"], "costs": {} })
}

/// Returns what the response says of the limit with this name.
fn limit(response: &Response, name: &str) -> Value {
    let body = response.json();
    let limits = body["limits"].as_array().unwrap();
    limits.iter().find(|limit| limit["name"] == name).unwrap().clone()
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Waits until windows of a day and shorter do not end within a minute.
async fn away_from_midnight() {
    let left = DAY_S - unix_s() % DAY_S;
    if left < 60 {
        tokio::time::sleep(Duration::from_secs(left + 1)).await;
    }
}

#[tokio::test]
async fn a_quota_is_used_up_until_its_window_ends() {
    let replica = replica("  - { name: daily, quota: 3/day }\n");
    let mut client = Client::of(replica.http_addr());
    away_from_midnight().await;
    let midnight = (unix_s() / DAY_S + 1) * DAY_S;
    for left in [2, 1, 0] {
        let allowed = check(&mut client, "/").await;
        assert_eq!(allowed.status, 200, "{allowed}");
        assert_eq!(allowed.number("x-ratelimit-limit"), 3);
        assert_eq!(allowed.number("x-ratelimit-remaining"), left);
        assert_eq!(allowed.number("x-ratelimit-reset"), midnight);
    }
    let denied = check(&mut client, "/").await;
    assert_eq!(denied.status, 429, "{denied}");
    assert_eq!(denied.number("x-ratelimit-reset"), midnight);
    assert!(denied.number("retry-after").abs_diff(midnight - unix_s()) <= 5, "{denied}");
    assert_eq!(denied.header("ratelimit-policy"), Some("\"daily\";q=3;w=86400"));
    let daily = limit(&denied, "daily");
    assert_eq!(daily["algorithm"], "quota", "{daily}");
    assert_eq!((&daily["limit"], &daily["window"]), (&json!(3), &json!(DAY_S)), "{daily}");
    for absent in ["burst", "requests_per_minute"] {
        assert_eq!(daily.get(absent), None, "{daily}");
    }
}

#[tokio::test]
async fn a_quota_begins_anew_with_its_window() {
    let replica = replica("  - { name: secondly, quota: 2/second }\n");
    let mut client = Client::of(replica.http_addr());
    let mut denials = 0;
    // A second that the whole test is in has a denial; the one after it has none at its start.
    while denials < 1 {
        denials += u32::from(check(&mut client, "/").await.status == 429);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(check(&mut client, "/").await.status, 200);
}

#[tokio::test]
async fn a_quota_counts_what_it_denies_where_it_should() {
    let replica = replica(
        "  - { name: strict, quota: 3/day, count_denied: true, when: { path: /strict } }\n  \
         - { name: mild, quota: 3/day, when: { path: /mild } }\n",
    );
    let mut client = Client::of(replica.http_addr());
    away_from_midnight().await;
    for (path, left) in [("/strict", 0), ("/mild", 3)] {
        let costly = json!({ "client": "alice", "path": path, "cost": 4 });
        assert_eq!(client.post("/v1/check", &costly).await.status, 429);
        let look = json!({ "client": "alice", "path": path, "cost": 0 });
        let looked = client.post("/v1/check", &look).await;
        assert_eq!(looked.number("x-ratelimit-remaining"), left, "{path}: {looked}");
    }
}

#[tokio::test]
async fn a_smooth_quota_is_two_limits() {
    let replica =
        replica("  - { name: monthly, quota: 100/month, smooth: { rate: 1/day, burst: 2 } }\n");
    let mut client = Client::of(replica.http_addr());
    for _ in 0..2 {
        assert_eq!(check(&mut client, "/").await.status, 200);
    }
    let denied = check(&mut client, "/").await;
    assert_eq!(denied.status, 429);
    assert_eq!(denied.json()["limits"][0]["name"], "monthly:smooth", "it binds: {denied}");
    // What the second limit denies takes nothing of the quota.
    assert_eq!(limit(&denied, "monthly")["remaining"], 98, "{denied}");
    assert_eq!(limit(&denied, "monthly:smooth")["algorithm"], "token_bucket");
}

#[tokio::test]
async fn at_most_so_many_are_admitted_in_any_span() {
    let replica = replica("  - { name: exports, at_most: 2 per 1h }\n");
    let mut client = Client::of(replica.http_addr());
    for left in [1, 0] {
        let allowed = check(&mut client, "/").await;
        assert_eq!(allowed.number("x-ratelimit-remaining"), left, "{allowed}");
    }
    let denied = check(&mut client, "/").await;
    assert_eq!(denied.status, 429, "{denied}");
    // A token comes back when its slice has left: up to a tenth of the period later.
    let wait = denied.number("retry-after");
    assert!((HOUR_S - 60..=HOUR_S + HOUR_S / 10).contains(&wait), "{denied}");
    let exports = limit(&denied, "exports");
    assert_eq!(exports["algorithm"], "at_most", "{exports}");
    assert_eq!(exports["window"], HOUR_S, "{exports}");
    assert_eq!(exports.get("burst"), None, "{exports}");
}

#[tokio::test]
async fn a_slot_is_held_until_it_is_settled() {
    let replica = replica("  - { name: flights, concurrent: 2, hold_for: 1h }\n");
    let mut client = Client::of(replica.http_addr());
    let first = reserve(&mut client, json!({})).await;
    let flights = limit(&first, "flights");
    assert_eq!(flights["algorithm"], "concurrent", "{flights}");
    assert_eq!((&flights["limit"], &flights["remaining"]), (&json!(2), &json!(1)), "{flights}");
    for absent in ["window", "burst", "requests_per_minute"] {
        assert_eq!(flights.get(absent), None, "{flights}");
    }
    assert_eq!(first.header("ratelimit-policy"), Some(r#""flights";q=2;qu="concurrent-requests""#));
    let second = reserve(&mut client, json!({})).await;
    assert_eq!(second.status, 200, "{second}");
    let denied = reserve(&mut client, json!({})).await;
    assert_eq!((denied.status, denied.number("retry-after")), (429, 1), "{denied}");
    let extended = client.post("/v1/extend", &reservation(&second)).await;
    assert_eq!(extended.status, 200, "an extension renews the slot, and takes none: {extended}");
    let settled = client.post("/v1/settle", &reservation(&first)).await;
    assert_eq!(settled.json()["state"], "settled", "{settled}");
    assert_eq!(reserve(&mut client, json!({})).await.status, 200, "the slot is free again");
    let settled = client.post("/v1/settle", &reservation(&extended)).await;
    assert_eq!(settled.json()["state"], "settled", "{settled}");
    assert_eq!(limit(&reserve(&mut client, json!({})).await, "flights")["remaining"], 0);
    // A check sees no end of a request, and so the limit does not apply to it.
    assert_eq!(check(&mut client, "/").await.json()["limits"], json!([]));
}

#[tokio::test]
async fn a_slot_that_is_not_renewed_is_free_again() {
    let replica = replica("  - { name: flights, concurrent: 1, hold_for: 1s }\n");
    let mut client = Client::of(replica.http_addr());
    let lost = reserve(&mut client, json!({})).await;
    assert_eq!(lost.status, 200, "{lost}");
    let mut next = reserve(&mut client, json!({})).await;
    while next.status == 429 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        next = reserve(&mut client, json!({})).await;
    }
    let extended = client.post("/v1/extend", &reservation(&lost)).await;
    assert_eq!(extended.status, 429, "another request has the slot: {extended}");
}

#[tokio::test]
async fn a_check_of_all_algorithms_takes_from_all_or_from_none() {
    let replica = replica(
        "  - { name: bucket, rate: 1/day, burst: 9 }\n  \
         - { name: quota, quota: 9/year }\n  \
         - { name: span, at_most: 9 per 366d }\n  \
         - { name: flights, concurrent: 9, hold_for: 1day }\n  \
         - { name: tight, quota: 1/year, when: { path: /tight } }\n",
    );
    let mut client = Client::of(replica.http_addr());
    let all = ["bucket", "quota", "span", "flights"];
    let tight = || json!({ "path": "/tight" });
    let first = reserve(&mut client, tight()).await;
    assert_eq!(first.status, 200, "{first}");
    let denied = reserve(&mut client, tight()).await;
    assert_eq!(denied.status, 429, "{denied}");
    assert_eq!(denied.json()["limits"][0]["name"], "tight", "it binds: {denied}");
    for name in all {
        assert_eq!(limit(&first, name)["remaining"], 8, "{first}");
        assert_eq!(limit(&denied, name)["remaining"], 8, "{denied}");
    }
}

#[test]
fn the_commands_show_the_limits_of_all_algorithms() {
    const FILE: &str = "\
defaults: off
endpoints: {}
gateway: { upstream: 'http://127.0.0.1:1' }
limits:
  - name: budget
    counts: cost
    quota: 500/month
    timezone: Europe/Rome
    count_denied: true
    smooth: { rate: 5/hour, burst: 20 }
  - { name: exports, at_most: 100 per 60s }
  - { name: streams, concurrent: 20, hold_for: 30s }
";
    let explained =
        CommandLine::new(&["explain", "GET", "/", "--config", "a.yaml"]).file("a.yaml", FILE).run();
    for line in [
        "    quota   500/month in Europe/Rome, what is denied counts too\n",
        "  budget:smooth (general)\n    rate    5/hour, burst 20\n",
        "    at_most 100 per 60s\n",
        "    concurrent 20, each kept for 30s unless it is renewed\n",
    ] {
        assert!(explained.out.contains(line), "{line}{}", explained.out);
    }
    let changed = FILE.replace("500/month", "600/month").replace("hold_for: 30s", "hold_for: 1m");
    let changed = changed.replace("at_most: 100 per 60s", "rate: 2/second, burst: 5");
    let diff = CommandLine::new(&["config", "diff", "a.yaml", "b.yaml"])
        .file("a.yaml", FILE)
        .file("b.yaml", &changed)
        .run();
    for line in [
        "  budget: quota 500/month in Europe/Rome -> 600/month in Europe/Rome, for everyone\n",
        "  exports: at most 100 per 60s -> 2/second, burst 5, for everyone\n",
        "  streams: hold_for 30s -> 1m, for everyone\n",
    ] {
        assert!(diff.out.contains(line), "{line}{}", diff.out);
    }
}
