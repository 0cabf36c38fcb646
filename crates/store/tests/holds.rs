//! Holds in Redis: their records, older replicas, and the wrappers.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Action, Algorithm, Check, Cost, CostsDigest, Decision, Guarded, Hold, HoldId, HoldStep, Limit,
    Part, Precision, Rate, Source, Subject, Tag, Tagger, Timestamp,
};
use sluice_store::{
    BreakerState, Denials, Failover, Formats, Leasing, RedisSettings, RedisStore, Replica, Store,
    StoreError,
};
use sluice_testkit::{RedisServer, Reply, eventually_async};

const HOLD_FOR: Duration = Duration::from_secs(600);

fn settings(server: &RedisServer) -> RedisSettings {
    RedisSettings::new(server.url()).timeout(Duration::from_secs(60))
}

async fn joined(server: &RedisServer) -> RedisStore {
    let store = RedisStore::new(&settings(server), ()).unwrap();
    store.announce(&Replica::new("one", "1")).await.unwrap();
    store
}

fn daily(burst: u64) -> Limit {
    let rate = Rate::new("1/day".parse().unwrap(), burst).unwrap();
    Limit::new("daily", Algorithm::TokenBucket(rate)).unwrap()
}

fn alice() -> Tag {
    Tagger::new(b"secret").tag(Subject::Client(b"alice"))
}

fn tokens(cost: u64) -> Cost {
    Cost::new(cost).unwrap()
}

fn take(limit: &Arc<Limit>, cost: u64) -> Check {
    Check::new(Action::Take).with(limit, alice(), tokens(cost))
}

fn of_hold(id: u8, step: HoldStep) -> Check {
    Check::of_hold(Hold::new(HoldId::from_bytes([id; 16]), HOLD_FOR, step))
}

fn reserve(limit: &Arc<Limit>, id: u8, cost: u64) -> Check {
    let costs = CostsDigest::from_number(cost + 1);
    of_hold(id, HoldStep::Reserve { costs }).with(limit, alice(), tokens(cost))
}

fn settle(limit: &Arc<Limit>, id: u8, held: u64, actual: u64, reserved_at: Timestamp) -> Check {
    let digest = CostsDigest::from_number(actual + 1);
    let mut check = of_hold(id, HoldStep::Settle { actual: digest, reserved_at });
    check.push(Part::settling(Arc::clone(limit), alice(), tokens(held), tokens(actual)));
    check
}

async fn decide(store: &impl Store, check: &Check) -> Decision {
    store.decide(check).await.unwrap()
}

/// Returns the keys of records.
fn records(server: &RedisServer) -> Vec<String> {
    let rest = &alice().to_string()[1..];
    let keys = server.command(&["KEYS", &format!("sluice:{{??}}{rest}*")]).texts();
    keys.into_iter().filter(|key| key.len() == 44).collect()
}

/// Returns how often something was published.
fn publish_calls(server: &RedisServer) -> u32 {
    let stats = server.command(&["INFO", "commandstats"]).text();
    let line = stats.lines().find(|line| line.starts_with("cmdstat_publish:")).unwrap();
    line.split(['=', ',']).nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_record_lasts_for_twice_the_time_of_its_hold_in_the_slot_of_its_buckets() {
    let server = RedisServer::start();
    let store = joined(&server).await;
    let daily = Arc::new(daily(100));
    let reserved = decide(&store, &reserve(&daily, 1, 60)).await;
    let [record] = &records(&server)[..] else { panic!("one record") };
    let expires_ms = server.command(&["PEXPIRETIME", record]).integer();
    let end = reserved.at().after(HOLD_FOR * 2).unix_micros();
    assert_eq!(expires_ms, (end + 999) / 1_000);
    let Reply::Bulk(state) = server.command(&["GET", record]) else { panic!("it has a state") };
    assert_eq!((state.len(), &state[..2]), (19, &[7, 1][..]));

    let settlement = settle(&daily, 1, 60, 10, reserved.at());
    assert_eq!(decide(&store, &settlement).await.guarded(), Some(Guarded::First));
    let Reply::Bulk(state) = server.command(&["GET", record]) else { panic!("it has a state") };
    assert_eq!((state.len(), &state[..2]), (19, &[7, 2][..]));
    assert_eq!(server.command(&["PEXPIRETIME", record]).integer(), expires_ms);
    assert_eq!(decide(&store, &take(&daily, 0)).await.verdicts()[0].remaining, 90);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_an_error_and_is_kept() {
    let server = RedisServer::start();
    let store = joined(&server).await;
    let daily = Arc::new(daily(100));
    let reserved = decide(&store, &reserve(&daily, 1, 60)).await;
    let record = records(&server).remove(0);
    for state in ["9unknown", "\u{7}", "\u{1}\0\0\0\0\0\0\0\0\u{f}B@"] {
        server.command(&["SET", &record, state]);
        for check in [reserve(&daily, 1, 60), settle(&daily, 1, 60, 10, reserved.at())] {
            let error = store.decide(&check).await.unwrap_err();
            assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
        }
        assert_eq!(server.command(&["GET", &record]).text(), state);
    }
    // A record in the place of a bucket is none.
    let bucket = record.replace(&record[22..], daily.key().as_str());
    server.command(&["SET", &bucket, "\u{7}\u{1}abcdef\0\0\0\0"]);
    for check in [take(&daily, 1), reserve(&daily, 2, 1)] {
        let error = store.decide(&check).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
    }
}

#[tokio::test]
async fn nothing_is_held_while_a_replica_is_live_that_reads_no_records() {
    let server = RedisServer::start();
    let store =
        Failover::over(RedisStore::new(&settings(&server), ()).unwrap(), Duration::from_secs(60));
    let daily = Arc::new(daily(100));
    let replica = Replica::new("new", "2");
    let fails = async || {
        for _ in 0..5 {
            let error = store.decide(&reserve(&daily, 1, 60)).await.unwrap_err();
            assert!(matches!(error, StoreError::NoHolds { .. }), "{error}");
            let both = [take(&daily, 0), reserve(&daily, 1, 60)];
            let results = store.decide_all(&both).await;
            assert!(results[0].is_ok());
            assert!(matches!(results[1], Err(StoreError::NoHolds { .. })), "{results:?}");
        }
        assert_eq!(store.state().breaker, BreakerState::Closed);
        assert_eq!(decide(&store, &take(&daily, 0)).await.verdicts()[0].remaining, 100);
    };
    fails().await;
    store.announce(&replica).await.unwrap();
    let reserved = decide(&store, &reserve(&daily, 2, 60)).await;
    assert_eq!(reserved.guarded(), Some(Guarded::First));

    let older = RedisStore::new(&settings(&server).formats(Formats::BASELINE), ()).unwrap();
    older.announce(&Replica::new("older", "1")).await.unwrap();
    store.announce(&replica).await.unwrap();
    let settlement = settle(&daily, 2, 60, 0, reserved.at());
    assert_eq!(decide(&store, &settlement).await.guarded(), Some(Guarded::First));
    assert_eq!(decide(&store, &settlement).await.guarded(), Some(Guarded::Repeated));
    fails().await;
    older.depart(&Replica::new("older", "1")).await.unwrap();
    store.announce(&replica).await.unwrap();
    assert_eq!(decide(&store, &reserve(&daily, 1, 60)).await.guarded(), Some(Guarded::First));
}

#[tokio::test]
async fn a_cached_denial_answers_a_reservation_until_a_settlement_returns_tokens() {
    let server = RedisServer::start();
    let stores = [Denials::over(joined(&server).await), Denials::over(joined(&server).await)];
    for store in &stores {
        eventually_async("the replica listens", async || {
            let _ = store.probe().await;
            store.state().reported_partitions == 64
        })
        .await;
    }
    let daily = Arc::new(daily(100));
    let reserved = decide(&stores[0], &reserve(&daily, 1, 100)).await;
    eventually_async("the denial is cached", async || {
        let decision = decide(&stores[1], &reserve(&daily, 2, 10)).await;
        assert!(decision.is_denied());
        decision.source() == Source::Cache
    })
    .await;
    assert_eq!(decide(&stores[1], &take(&daily, 1)).await.source(), Source::Cache);
    // What settles a hold is always decided by the store.
    let settlement = settle(&daily, 1, 100, 40, reserved.at());
    let before = publish_calls(&server);
    assert_eq!(decide(&stores[0], &settlement).await.source(), Source::Store);
    assert_eq!(publish_calls(&server), before + 1, "a denial would end by itself, after seconds");
    eventually_async("the other replica hears of it", async || {
        decide(&stores[1], &reserve(&daily, 2, 10)).await.is_allowed()
    })
    .await;
}

#[tokio::test]
async fn a_hold_takes_from_the_store_what_is_not_leased() {
    let server = RedisServer::start();
    let store = Leasing::over(joined(&server).await);
    let daily = Arc::new(daily(10_000).with_precision(Precision::Leased));
    let mut taken = 0;
    eventually_async("the replica has a lease", async || {
        for _ in 0..40 {
            taken += 1;
            if decide(&store, &take(&daily, 1)).await.source() == Source::Lease {
                return true;
            }
        }
        false
    })
    .await;
    let reserved = decide(&store, &reserve(&daily, 1, 4_000)).await;
    assert_eq!((reserved.source(), reserved.is_allowed()), (Source::Store, true));
    let settled = decide(&store, &settle(&daily, 1, 4_000, 1_000, reserved.at())).await;
    assert_eq!(settled.guarded(), Some(Guarded::First));
    store.depart(&Replica::new("one", "1")).await.unwrap();
    let left = decide(store.inner(), &take(&daily, 0)).await.verdicts()[0].remaining;
    assert!(left <= 9_000 - taken, "{left} after {taken}");
}
