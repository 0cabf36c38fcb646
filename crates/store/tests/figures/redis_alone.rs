//! What is true of figures in Redis alone: its keys, its expiry, and what happens to it.

use std::{sync::Arc, time::Duration};

use sluice_store::{Figures, Flush, Held, RedisFigures, RedisSettings, StoreError, Total};
use sluice_testkit::{RedisServer, eventually_async};

use crate::fixture::{client, connect, limited, requests, total};

fn flush(number: u64) -> Flush {
    Flush {
        replica: Arc::from("one"),
        number,
        held: Held::default(),
        deltas: total(Total::HttpRequests, 1),
    }
}

async fn requests_told(figures: &RedisFigures) -> u64 {
    figures.read().await.unwrap().totals.get(Total::HttpRequests)
}

#[tokio::test]
async fn totals_survive_every_replica() {
    let server = RedisServer::start();
    for replica in ["first", "second", "third"] {
        let figures = connect(&server);
        figures.flush(&Flush { replica: replica.into(), ..flush(1) }).await.unwrap();
        figures.depart(replica).await.unwrap();
    }
    assert_eq!(requests_told(&connect(&server)).await, 3);
}

#[tokio::test]
async fn no_client_is_readable_and_all_keys_share_a_slot() {
    let server = RedisServer::start();
    let figures = connect(&server);
    let mut deltas = requests("/api/{v1}", ["sk-live-0123456789"]);
    deltas.limited = limited([("sk-live-0123456789", 1)]).limited;
    figures.flush(&Flush { deltas, ..flush(1) }).await.unwrap();
    let keys = server.command(&["KEYS", "*"]).texts();
    assert!(keys.len() >= 6, "{keys:?}");
    assert!(
        keys.iter().all(|key| key.starts_with("sluice:{figures}:") && !key.contains("0123456789")),
        "{keys:?}"
    );
    let told = format!("{:?}", figures.read().await.unwrap());
    assert!(
        told.contains(&client("sk-live-0123456789").to_string()) && !told.contains("0123456789"),
        "{told}"
    );
}

#[tokio::test]
async fn what_slices_hold_expires() {
    let server = RedisServer::start();
    let figures = connect(&server);
    let mut deltas = requests("/api", ["alice"]);
    deltas.limited = limited([("alice", 1)]).limited;
    figures.flush(&Flush { deltas, ..flush(1) }).await.unwrap();
    for kind in ["clients", "limited", "active", "top"] {
        let keys = server.command(&["KEYS", &format!("sluice:{{figures}}:{kind}:*")]).texts();
        assert_eq!(keys.len(), 1, "{kind}");
        let left = server.command(&["TTL", &keys[0]]).integer();
        assert!((3_600..=3_900).contains(&left), "{kind} has {left} s left");
    }
}

#[tokio::test]
async fn a_server_that_forgot_the_script_is_told_again_unseen_by_callers() {
    let server = RedisServer::start();
    let figures = connect(&server);
    for number in 1..=3 {
        server.command(&["SCRIPT", "FLUSH"]);
        figures.flush(&flush(number)).await.unwrap();
    }
    assert_eq!(requests_told(&figures).await, 3);
}

#[tokio::test]
async fn a_flush_that_was_added_although_nobody_heard_is_not_added_again() {
    let server = RedisServer::start();
    let hasty = RedisFigures::new(&RedisSettings::new(server.url())).unwrap();
    hasty.flush(&flush(1)).await.unwrap();
    server.pause();
    let error = hasty.flush(&flush(2)).await.unwrap_err();
    assert!(matches!(error, StoreError::Timeout { .. } | StoreError::Unreachable(_)), "{error:?}");
    server.resume();
    // What the paused server had in its sockets, it reads now.
    eventually_async("the server answers again", async || hasty.flush(&flush(2)).await.is_ok())
        .await;
    hasty.flush(&flush(3)).await.unwrap();
    assert_eq!(requests_told(&hasty).await, 3);
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_and_answers_again_when_it_is_back() {
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let figures = RedisFigures::new(&RedisSettings {
        timeout: Duration::from_millis(100),
        ..RedisSettings::new(server.url())
    })
    .unwrap();
    figures.flush(&flush(1)).await.unwrap();
    server.kill();
    assert!(figures.flush(&flush(2)).await.is_err());
    assert!(figures.read().await.is_err());
    server.restart();
    eventually_async("the server answers again", async || figures.flush(&flush(2)).await.is_ok())
        .await;
    assert_eq!(requests_told(&figures).await, 2);
}

#[tokio::test]
async fn a_sum_at_its_end_harms_no_other() {
    let server = RedisServer::start();
    let figures = connect(&server);
    for number in 1..=2 {
        let mut deltas = total(Total::LlmTokensGenerated, u64::MAX);
        deltas.totals.add(Total::ToolExecutions, 1);
        figures.flush(&Flush { deltas, ..flush(number) }).await.unwrap();
    }
    let totals = figures.read().await.unwrap().totals;
    assert_eq!(totals.get(Total::LlmTokensGenerated), i64::MAX as u64);
    assert_eq!(totals.get(Total::ToolExecutions), 2);
}
