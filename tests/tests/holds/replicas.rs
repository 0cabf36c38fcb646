//! One replica reserves, and another one settles.

use serde_json::json;
use sluice_testkit::{RedisServer, Sluice, SluiceOptions, built_sluice, eventually_async};
use sluice_tests::{
    fleet::{Fleet, LONG_TIMEOUT, memory_replica},
    metrics::Metrics,
};

use crate::desk::{BUDGET, Desk, with_secret};

/// Gives every replica other limits, and waits until each has them.
async fn reload(fleet: &Fleet, limits: &str) {
    let store = format!("store: {{ url: \"{}\", timeout: 10s }}\n", fleet.redis.url());
    for replica in &fleet.replicas {
        replica.rewrite_config(&format!("{store}{limits}"));
        let mut desk = Desk::of(replica.http_addr());
        eventually_async("the replica has read its configuration again", async || {
            Metrics::of(&mut desk.0)
                .await
                .count("sluice_config_reloads_total", &[("result", "applied")])
                > 0
        })
        .await;
    }
}

fn replica(redis: &RedisServer, prefix: &str) -> Sluice {
    let store =
        format!("store: {{ url: \"{}\", timeout: 10s, prefix: \"{prefix}\" }}\n", redis.url());
    SluiceOptions::new(built_sluice())
        .config(format!("{store}{}", with_secret("a secret of the fleet", BUDGET)))
        .start()
}

#[tokio::test]
async fn any_replica_settles_what_another_one_has_reserved() {
    let limits = with_secret("a secret of the fleet", BUDGET);
    let fleet = Fleet::start(2, RedisServer::start(), LONG_TIMEOUT, &limits);
    let [mut one, mut two] = [0, 1].map(|index| Desk::of(fleet.addresses()[index]));
    let held = one.reserve(1_000).await;
    assert_eq!(two.left().await, 2_000);
    let more = json!({ "reservation": held, "costs": { "output_tokens": 500 } });
    let grown = two.0.post("/v1/extend", &more).await;
    let grown = crate::desk::reservation(&grown);
    assert_eq!(one.left().await, 1_500);
    assert_eq!(two.settled(&grown, 400).await, "settled");
    assert_eq!(one.settled(&grown, 400).await, "repeated");
    assert_eq!((one.left().await, two.left().await), (2_600, 2_600));
    assert_eq!(one.settle(&grown, 401).await.problem().as_deref(), Some("hold-conflict"));

    let (one, two) = (Metrics::of(&mut one.0).await, Metrics::of(&mut two.0).await);
    let count = |metrics: &Metrics, name, labels: &[(&str, &str)]| metrics.count(name, labels);
    let held = [("outcome", "held")];
    assert_eq!(count(&one, "sluice_holds_total", &[held[0], ("step", "reserve")]), 1);
    assert_eq!(count(&two, "sluice_holds_total", &[held[0], ("step", "extend")]), 1);
    assert_eq!(count(&two, "sluice_settlements_total", &[("state", "settled")]), 1);
    assert_eq!(count(&one, "sluice_settlements_total", &[("state", "repeated")]), 1);
    assert_eq!(count(&one, "sluice_settlements_total", &[("state", "conflict")]), 1);
    let tokens = |metrics, kind| {
        count(metrics, "sluice_hold_tokens_total", &[("kind", kind), ("limit", "tokens")])
    };
    assert_eq!(tokens(&one, "held") + tokens(&two, "held"), 1_500);
    assert_eq!((tokens(&two, "charged"), tokens(&two, "given_back")), (400, 1_100));
}

#[tokio::test]
async fn a_hold_is_settled_after_its_limit_has_changed_or_gone() {
    let limits = with_secret("a secret of the fleet", BUDGET);
    let fleet = Fleet::start(2, RedisServer::start(), LONG_TIMEOUT, &limits);
    let [mut one, mut two] = [0, 1].map(|index| Desk::of(fleet.addresses()[index]));
    let [first, second] = [one.reserve(1_000).await, one.reserve(500).await];

    let more = limits.replace("burst: 3000", "burst: 5000");
    reload(&fleet, &more).await;
    let before = two.left().await;
    assert_eq!(two.settled(&first, 400).await, "settled");
    assert_eq!(two.left().await, before + 600);

    // Its place has another limit, or none.
    for others in [
        limits.replace("name: tokens", "name: others"),
        with_secret("a secret of the fleet", "defaults: off\nendpoints: {}\n"),
    ] {
        fleet.replicas[1].rewrite_config(&format!(
            "store: {{ url: \"{}\", timeout: 10s }}\n{others}",
            fleet.redis.url()
        ));
        eventually_async("the limit is gone", async || {
            let looked = two.0.post("/v1/check", &json!({ "client": "alice", "cost": 0 })).await;
            looked.json()["limits"]
                .as_array()
                .unwrap()
                .iter()
                .all(|limit| limit["name"] != "tokens")
        })
        .await;
        let settled = two.settle(&second, 700).await;
        assert_eq!(settled.json()["charged"], json!({ "tokens": 700 }), "{settled}");
        assert_eq!(settled.json()["overrun"], json!({ "tokens": 200 }), "{settled}");
    }
    assert_eq!(one.left().await, before + 600 - 200);
}

#[tokio::test]
async fn a_reservation_is_of_one_prefix_and_late_in_another_redis() {
    let [here, there] = [RedisServer::start(), RedisServer::start()];
    let replicas = [replica(&here, "a"), replica(&here, "b"), replica(&there, "a")];
    let [mut own, mut other_prefix, mut other_redis] =
        replicas.each_ref().map(|replica| Desk::of(replica.http_addr()));
    let held = own.reserve(1_000).await;

    let unknown = other_prefix.settle(&held, 400).await;
    assert_eq!(
        (unknown.status, unknown.problem().as_deref()),
        (404, Some("reservation-unknown")),
        "{unknown}"
    );
    assert_eq!(other_prefix.refused("unknown_reservation", "settle").await, 1);
    assert_eq!((own.left().await, other_prefix.left().await), (2_000, 3_000), "nothing is lost");

    // The difference is charged there, once.
    assert_eq!(other_redis.settled(&held, 1_200).await, "late");
    assert_eq!(other_redis.settled(&held, 1_200).await, "repeated");
    assert_eq!(other_redis.left().await, 2_800);
    assert_eq!(own.settled(&held, 400).await, "settled", "here it is still held");
    assert_eq!(own.left().await, 2_600);
}

#[tokio::test]
async fn a_single_replica_needs_no_redis() {
    let sluice = memory_replica(&with_secret("a secret", BUDGET));
    let mut desk = Desk::of(sluice.http_addr());
    let held = desk.reserve(1_000).await;
    assert_eq!(desk.settled(&held, 400).await, "settled");
    assert_eq!(desk.settled(&held, 400).await, "repeated");
    let held = desk.reserve(1_000).await;
    assert_eq!(desk.left().await, 1_600);

    // With the process, its memory is gone: what was used beyond the estimate is charged anew.
    sluice.sigkill();
    sluice.restart();
    let mut desk = Desk::of(sluice.http_addr());
    assert_eq!(desk.settled(&held, 1_100).await, "late");
    assert_eq!(desk.left().await, 2_900);
}

#[tokio::test]
async fn requests_without_a_limit_of_usage_are_checked_and_settled_as_nothing() {
    let limits = "defaults: { rate: 1/day, burst: 2 }\nendpoints: {}\nexempt: [/free]\n";
    let sluice = memory_replica(limits);
    let mut desk = Desk::of(sluice.http_addr());
    let held = desk.reserve(1_000_000).await;
    assert_eq!(desk.left().await, 1, "a request is one request");
    let settled = desk.settle(&held, 5).await;
    assert_eq!((settled.status, &settled.json()["charged"]), (200, &json!({})), "{settled}");
    assert_eq!(desk.left().await, 1);
    desk.reserve(1).await;
    assert_eq!(desk.ask(1).await.status, 429);

    let free = json!({ "client": "alice", "path": "/free", "costs": { "input_tokens": 1 } });
    let held = desk.0.post("/v1/reserve", &free).await;
    assert_eq!(held.json().get("decided_by"), None, "{held}");
    let held = crate::desk::reservation(&held);
    assert_eq!(desk.settled(&held, 5).await, "settled");
}
