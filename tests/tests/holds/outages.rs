//! Holds while Redis is away.

use std::time::Duration;

use serde_json::json;
use sluice_testkit::{RedisServer, eventually_async};
use sluice_tests::{
    fleet::{Fleet, LONG_TIMEOUT},
    metrics::Metrics,
};

use crate::desk::{BUDGET, Desk, reservation, with_secret};

/// A Redis that keeps its data over a restart.
fn persistent_redis() -> RedisServer {
    RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
}

/// Ends Redis, and makes every replica notice it.
async fn lose(fleet: &Fleet) {
    fleet.redis.kill();
    for address in fleet.addresses() {
        let mut desk = Desk::of(address);
        for _ in 0..3 {
            desk.left().await;
        }
    }
    fleet.wait_for_breakers("open").await;
}

#[tokio::test]
async fn holds_of_an_outage_are_charged_to_the_token_when_redis_is_back() {
    let limits = with_secret("a secret of the fleet", BUDGET);
    let fleet = Fleet::start(2, persistent_redis(), LONG_TIMEOUT, &limits);
    fleet.wait_for_each_other().await;
    let [mut one, mut two] = [0, 1].map(|index| Desk::of(fleet.addresses()[index]));
    let before = one.reserve(500).await;
    assert_eq!(two.left().await, 2_500);

    lose(&fleet).await;
    let mut local = Vec::new();
    for (is_first, tokens) in [(true, 400), (true, 300), (true, 200), (false, 600)] {
        let desk = if is_first { &mut one } else { &mut two };
        let held = desk.ask(tokens).await;
        assert_eq!(held.json()["decided_by"], "local", "{held}");
        local.push(reservation(&held));
    }
    assert_eq!(one.ask(601).await.status, 429, "half of the budget is its share");
    for state in ["settled", "repeated"] {
        let settled = one.settle(&local[0], 150).await;
        assert_eq!((&settled.json()["state"], settled.status), (&json!(state), 200), "{settled}");
        assert_eq!(settled.json()["decided_by"], "local", "{settled}");
    }
    assert_eq!(one.settle(&local[0], 151).await.status, 409);
    assert_eq!(one.settled(&local[1], 310).await, "settled", "an overrun");
    // Only the replica that has reserved it can settle it now.
    let elsewhere = two.settle(&local[2], 50).await;
    assert_eq!(
        (elsewhere.status, elsewhere.problem().as_deref()),
        (503, Some("store-unavailable"))
    );

    fleet.redis.restart();
    fleet.wait_for_breakers("closed").await;
    let charged = 500 + 150 + 310 + 200 + 600;
    assert_eq!(two.left().await, 3_000 - charged);
    // Redis knows of none of them: the difference is made up for, once.
    let settled = one.settle(&local[2], 50).await;
    assert_eq!(settled.json()["state"], "late", "{settled}");
    assert_eq!(settled.json().get("decided_by"), None, "{settled}");
    assert_eq!(two.settled(&local[2], 50).await, "repeated");
    assert_eq!(two.settled(&local[3], 700).await, "late");
    assert_eq!(one.settled(&local[3], 700).await, "repeated");
    // What was settled in the outage is remembered where that was. Elsewhere, nothing comes back.
    assert_eq!(one.settled(&local[0], 150).await, "repeated");
    let elsewhere = two.settle(&local[0], 150).await;
    assert_eq!(elsewhere.json()["state"], "late", "{elsewhere}");
    assert_eq!(elsewhere.json()["charged"]["tokens"], 400, "{elsewhere}");
    assert_eq!(two.settled(&before, 100).await, "settled");
    assert_eq!(one.left().await, 3_000 - (100 + 150 + 310 + 50 + 700));
}

#[tokio::test]
async fn a_hold_of_the_store_cannot_be_settled_without_it_and_stays_charged() {
    let fleet = Fleet::start(1, persistent_redis(), LONG_TIMEOUT, BUDGET);
    let mut desk = Desk::of(fleet.addresses()[0]);
    let held = desk.reserve(1_000).await;
    lose(&fleet).await;
    let failed = desk.settle(&held, 400).await;
    assert_eq!(
        (failed.status, failed.problem().as_deref()),
        (503, Some("store-unavailable")),
        "{failed}"
    );
    let count = async |desk: &mut Desk, state| {
        Metrics::of(&mut desk.0).await.count("sluice_settlements_total", &[("state", state)])
    };
    assert_eq!(count(&mut desk, "failed").await, 1, "three tries are one settlement");
    fleet.redis.restart();
    fleet.wait_for_breakers("closed").await;
    assert_eq!(desk.left().await, 2_000, "it stays charged");
    assert_eq!(desk.settled(&held, 400).await, "settled");
    assert_eq!(desk.left().await, 2_600);
    assert_eq!(count(&mut desk, "settled").await, 1);
}

#[tokio::test]
async fn what_was_held_without_redis_is_used_of_a_quota_that_releases_too() {
    let quotas = |unsettled| {
        let limit = "{ name: tokens, counts: total_tokens, quota: 3000/year, hold_for: 1s";
        format!("defaults: off\nendpoints: {{}}\nlimits: [{limit}, unsettled: {unsettled} }}]\n")
    };
    for unsettled in ["charge", "release"] {
        let fleet = Fleet::start(1, RedisServer::start(), LONG_TIMEOUT, &quotas(unsettled));
        let mut desk = Desk::of(fleet.addresses()[0]);
        lose(&fleet).await;
        let settled_there = desk.reserve(600).await;
        let settled_later = desk.reserve(800).await;
        assert_eq!(desk.settled(&settled_there, 500).await, "settled", "{unsettled}");
        fleet.redis.restart();
        fleet.wait_for_breakers("closed").await;
        assert_eq!(desk.left().await, 3_000 - 500 - 800, "{unsettled}");
        // Twice the time for which it is held: else it would be released by then.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(desk.left().await, 3_000 - 500 - 800, "{unsettled}");
        assert_eq!(desk.settled(&settled_later, 900).await, "late", "{unsettled}");
        assert_eq!(desk.left().await, 3_000 - 500 - 900, "{unsettled}");
    }
}

#[tokio::test]
async fn a_hold_that_redis_makes_too_late_counts_once() {
    // Long enough for a slow machine to answer in time, where Redis does.
    let timeout = Duration::from_secs(2);
    let fleet = Fleet::start(1, RedisServer::start(), timeout, BUDGET);
    let mut desk = Desk::of(fleet.addresses()[0]);
    let before = desk.reserve(500).await;
    fleet.redis.pause();
    let late = desk.ask(700).await;
    assert_eq!(late.json()["decided_by"], "local", "{late}");
    fleet.redis.resume();
    let charged = "sluice_store_charged_tokens_total";
    eventually_async("it is charged", async || {
        Metrics::of(&mut desk.0).await.count(charged, &[]) == 700
    })
    .await;
    assert_eq!(desk.left().await, 3_000 - 500 - 700);
    assert_eq!(desk.settled(&reservation(&late), 100).await, "late");
    assert_eq!(desk.settled(&before, 200).await, "settled");
    assert_eq!(desk.left().await, 3_000 - 100 - 200);
}

#[tokio::test]
async fn limits_say_whether_a_hold_is_made_without_the_store() {
    for (rule, status) in [("error", 503), ("deny", 429), ("allow", 200)] {
        let limits = BUDGET.replace("hold_for: 1h", &format!("on_store_failure: {rule}"));
        let fleet = Fleet::start(1, RedisServer::start(), Duration::from_secs(2), &limits);
        let mut desk = Desk::of(fleet.addresses()[0]);
        desk.reserve(1).await;
        fleet.redis.kill();
        let held = desk.ask(100).await;
        assert_eq!(held.status, status, "{rule}: {held}");
        let outcome = match status {
            503 => "failed",
            429 => "denied",
            _ => "held",
        };
        let metrics = Metrics::of(&mut desk.0).await;
        assert!(metrics.count("sluice_holds_total", &[("outcome", outcome)]) > 0, "{rule}");
    }
}
