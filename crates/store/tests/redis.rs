//! What is true of Redis alone: its keys, its expiry, and what happens to it.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sluice_core::{
    Action, Algorithm, Check, Cost, Decision, Limit, Rate, Retry, Subject, Tag, Tagger,
};
use sluice_store::{RedisSettings, RedisStore, Replica, RoundTrip, Store, StoreError};
use sluice_testkit::{RedisOptions, RedisServer, Reply, eventually_async};

fn settings(url: String) -> RedisSettings {
    // Long enough for a busy machine: what is tested here is not how long anything takes.
    RedisSettings { timeout: Duration::from_secs(5), ..RedisSettings::new(url) }
}

fn connect(server: &RedisServer) -> RedisStore {
    RedisStore::new(&settings(server.url()), ()).unwrap()
}

fn limit(rate: &str, burst: u64) -> Arc<Limit> {
    named("default", rate, burst)
}

fn named(name: &str, rate: &str, burst: u64) -> Arc<Limit> {
    let numbers = Rate::new(rate.parse().unwrap(), burst).unwrap();
    Arc::new(Limit::new(name, Algorithm::TokenBucket(numbers)).unwrap())
}

fn client(name: &str) -> Tag {
    Tagger::new(b"secret").tag(Subject::Client(name.as_bytes()))
}

fn take(limit: &Arc<Limit>, client: Tag, cost: u64) -> Check {
    Check::new(Action::Take).with(limit, client, Cost::new(cost).unwrap())
}

async fn decide(store: &RedisStore, check: &Check) -> Decision {
    store.decide(check).await.unwrap()
}

fn keys(server: &RedisServer) -> Vec<String> {
    server.command(&["KEYS", "*"]).texts()
}

#[tokio::test]
async fn no_client_is_readable_in_redis_and_all_buckets_of_one_share_a_slot() {
    let server = RedisServer::start();
    let store = connect(&server);
    let api_key = "sk-live-0123456789";
    let check = take(&limit("1/day", 10), client(api_key), 1).with(
        &named("/api/v1/tools/execute", "1/day", 5),
        client(api_key),
        Cost::ONE,
    );
    assert!(decide(&store, &check).await.is_allowed());
    let keys = keys(&server);
    assert_eq!(keys.len(), 2, "{keys:?}");
    let tag = format!("sluice:{{{}}}:", client(api_key));
    for key in &keys {
        assert!(key.starts_with(&tag), "{key} does not start with {tag}");
        assert!(key.len() <= 30, "{key} is longer than 30 bytes");
        assert!(!key.contains("0123456789"));
    }
    assert!(keys.contains(&format!("{tag}default")));
}

#[tokio::test]
async fn a_bucket_expires_when_it_is_full_again_and_not_before() {
    let server = RedisServer::start();
    let store = connect(&server);
    for (rate, burst, cost) in [
        ("1/day", 10, 3),
        ("60/minute", 10, 1),
        ("90/minute", 10, 7),
        ("100000000/minute", 10_000_000, 9_999_999),
    ] {
        let limit = named(rate, rate, burst);
        let who = client(rate);
        let taken = decide(&store, &take(&limit, who, cost)).await;
        let full_at = taken.verdicts()[0].reset_at(taken.at()).unix_micros();
        let key = format!("sluice:{{{who}}}:{}", limit.key().as_str());
        let expires_ms = server.command(&["PEXPIRETIME", &key]).integer();
        assert_eq!(
            expires_ms,
            full_at.div_euclid(1_000) + i64::from(full_at % 1_000 > 0),
            "{rate}"
        );
    }
    // What is full leaves nothing behind.
    let limit = limit("1/day", 10);
    decide(&store, &take(&limit, client("full"), 10)).await;
    let before = keys(&server).len();
    decide(
        &store,
        &Check::new(Action::GiveBack).with(&limit, client("full"), Cost::new(10).unwrap()),
    )
    .await;
    assert_eq!(keys(&server).len(), before - 1);
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_told_again_unseen_by_callers() {
    let server = RedisServer::start();
    let store = connect(&server);
    let limit = limit("1/day", 10);
    for left in (0..10).rev() {
        server.command(&["SCRIPT", "FLUSH"]);
        assert_eq!(
            decide(&store, &take(&limit, client("alice"), 1)).await.verdicts()[0].remaining,
            left
        );
        server.command(&["SCRIPT", "FLUSH"]);
        store.announce(&Replica::new("one", "1")).await.unwrap();
    }
}

#[tokio::test]
async fn a_restarted_server_is_unseen_by_callers_and_keeps_what_it_wrote_down() {
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = connect(&server);
    let limit = limit("1/day", 10);
    for round in 1..=3 {
        assert_eq!(
            decide(&store, &take(&limit, client("alice"), 2)).await.verdicts()[0].remaining,
            10 - 2 * round
        );
        server.restart();
    }
    assert_eq!(decide(&store, &take(&limit, client("alice"), 2)).await.verdicts()[0].remaining, 2);
}

#[tokio::test]
async fn checks_that_arrive_together_travel_together() {
    let server = RedisServer::start();
    let (trips, carried) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let observe = {
        let (trips, carried) = (Arc::clone(&trips), Arc::clone(&carried));
        move |trip: &RoundTrip<'_>| {
            trips.fetch_add(1, Ordering::SeqCst);
            carried.fetch_add(trip.checks, Ordering::SeqCst);
        }
    };
    let store = RedisStore::new(&settings(server.url()), observe).unwrap();
    let hot = limit("1/day", 500);
    let checks: Vec<_> = (0..1_000).map(|_| take(&hot, client("alice"), 1)).collect();
    let decisions = store.decide_all(&checks).await;
    assert_eq!(
        decisions.iter().filter(|decision| decision.as_ref().unwrap().is_allowed()).count(),
        500
    );
    assert_eq!(
        (trips.load(Ordering::SeqCst), carried.load(Ordering::SeqCst)),
        (1, 1_000),
        "a thousand checks are one round trip"
    );

    // A hot bucket is read once and written once a call, however many checks ask it.
    let calls = |command: &str| -> usize {
        let stats = server.command(&["INFO", "commandstats"]).text();
        let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
        line.map_or(0, |line| line.split(['=', ',']).nth(1).unwrap().parse().unwrap())
    };
    assert_eq!((calls("mget"), calls("set")), (1, 1));
}

#[tokio::test]
async fn a_paused_server_is_a_timeout_and_decides_again_when_it_wakes() {
    let server = RedisServer::start();
    let store = RedisStore::new(
        &RedisSettings { timeout: Duration::from_millis(200), ..settings(server.url()) },
        (),
    )
    .unwrap();
    let limit = limit("1/day", 10);
    decide(&store, &take(&limit, client("alice"), 1)).await;
    server.pause();
    let error = store.decide(&take(&limit, client("alice"), 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Timeout { .. }), "{error:?}");
    server.resume();
    let seen = eventually_async("the store decides again", async || {
        store.decide(&take(&limit, client("alice"), 0)).await.ok()
    })
    .await;
    // The check that timed out had left for the server, which may have run it when it woke, before
    // or after this one.
    assert!(matches!(seen.verdicts()[0].remaining, 8 | 9), "{seen:?}");
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_that_says_so_and_comes_back_by_itself() {
    let server = RedisServer::start();
    let store = connect(&server);
    let limit = limit("1/day", 10);
    decide(&store, &take(&limit, client("alice"), 1)).await;
    server.kill();
    let error = store.decide(&take(&limit, client("alice"), 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    assert!(store.probe().await.is_err());
    server.restart();
    assert!(decide(&store, &take(&limit, client("alice"), 1)).await.is_allowed());
    store.probe().await.unwrap();
}

#[tokio::test]
async fn a_primary_that_became_read_only_refuses_and_fails_its_probe() {
    let server = RedisServer::start();
    let store = connect(&server);
    let limit = limit("1/day", 10);
    decide(&store, &take(&limit, client("alice"), 1)).await;
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let error = store.decide(&take(&limit, client("alice"), 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert!(matches!(store.probe().await, Err(StoreError::Refused(_))));
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    store.probe().await.unwrap();
    assert_eq!(decide(&store, &take(&limit, client("alice"), 1)).await.verdicts()[0].remaining, 8);
}

/// A state as layout 1 stores it.
fn compact(empty_us: i64, interval_us: u32) -> Vec<u8> {
    [&[1][..], &empty_us.to_be_bytes()[1..], &interval_us.to_be_bytes()].concat()
}

#[tokio::test]
async fn a_clock_that_stepped_back_freezes_a_bucket_for_a_second_at_most() {
    let server = RedisServer::start();
    let store = connect(&server);
    let limit = limit("10/second", 10);
    let now = decide(&store, &take(&limit, client("bob"), 1)).await.at();
    // As if written an hour from now: the bucket's line crosses zero then.
    let key = format!("sluice:{{{}}}:default", client("alice"));
    server.command(&[
        b"SET".as_slice(),
        key.as_bytes(),
        &compact(now.unix_micros() + 3_600_000_000, 100_000),
    ]);
    let decision = decide(&store, &take(&limit, client("alice"), 1)).await;
    assert!(decision.is_denied(), "nothing extra is granted");
    let Retry::After(wait) = decision.retry() else { panic!("{decision:?}") };
    assert_eq!(wait, Duration::from_millis(1_100), "a second, and the token");
}

#[tokio::test]
async fn a_layout_of_a_later_version_is_neither_read_nor_forgotten() {
    let server = RedisServer::start();
    let store = connect(&server);
    let limit = limit("1/day", 10);
    let key = format!("sluice:{{{}}}:default", client("alice"));
    for state in [&[9, 1, 2, 3][..], &[1, 2, 3], &[6; 12], b"1700000000000000", b""] {
        server.command(&[b"SET".as_slice(), key.as_bytes(), state]);
        let (alice, bob) = (take(&limit, client("alice"), 1), take(&limit, client("bob"), 1));
        let decisions = store.decide_all(&[alice, bob]).await;
        assert!(matches!(decisions[0], Err(StoreError::Unreadable { .. })), "{:?}", decisions[0]);
        assert!(decisions[1].as_ref().unwrap().is_allowed(), "another's bucket does not suffer");
        let Reply::Bulk(kept) = server.command(&["GET", &key]) else { panic!("the state is gone") };
        assert_eq!(kept, state);
    }
}

#[tokio::test]
async fn a_bucket_takes_at_most_a_hundred_and_fifty_bytes() {
    // One token in whole seconds, and seven.
    for rate in ["20/day", "7/hour"] {
        a_bucket_is_small(&named("/api/v1/conversation/chat-stream", rate, 10)).await;
    }
}

async fn a_bucket_is_small(limit: &Arc<Limit>) {
    let server = RedisServer::start();
    let store = connect(&server);
    let used = || -> u64 { server.info("used_memory").parse().unwrap() };
    decide(&store, &take(limit, client("first"), 1)).await;
    let before = used();
    // Just above a power of two the hash tables are at their emptiest, and a bucket's share of them
    // at its largest; a million fill them less badly.
    let buckets = 120_000_u64;
    for chunk in (0..buckets).collect::<Vec<_>>().chunks(1_000) {
        let checks: Vec<_> =
            chunk.iter().map(|number| take(limit, client(&number.to_string()), 1)).collect();
        store
            .decide_all(&checks)
            .await
            .into_iter()
            .for_each(|decision| assert!(decision.unwrap().is_allowed()));
    }
    let bytes = (used() - before) / buckets;
    assert!(bytes <= 150, "{bytes} bytes a bucket under {limit}");
}

#[tokio::test]
async fn users_and_passwords_are_spoken_in_tls() {
    let server = RedisOptions::new().tls().user("sluice", "s3cret").start();
    let url = server.url();
    assert!(url.starts_with("rediss://"), "{url}");
    let settings =
        RedisSettings { ca_file: Some(server.ca_file().to_owned()), ..settings(url.clone()) };
    assert!(!format!("{settings:?}").contains("s3cret"));
    let store = RedisStore::new(&settings, ()).unwrap();
    assert!(!format!("{store:?}").contains("s3cret"));
    assert!(decide(&store, &take(&limit("1/day", 10), client("alice"), 1)).await.is_allowed());

    let wrong = RedisSettings { url: url.replace("s3cret", "wr0ng"), ..settings.clone() };
    let error = RedisStore::new(&wrong, ()).unwrap().probe().await.unwrap_err();
    assert!(!format!("{error:?}").contains("wr0ng"), "{error:?}");
    let untrusting = RedisSettings { ca_file: None, ..settings };
    let error = RedisStore::new(&untrusting, ()).unwrap().probe().await.unwrap_err();
    assert!(
        matches!(error, StoreError::Unreachable(_)),
        "a certificate that nobody vouches for is not trusted: {error:?}"
    );
}

#[tokio::test]
async fn a_password_from_a_file_can_rotate() {
    let server = RedisServer::start_with(&["--requirepass", "first"]);
    let file = server.directory().join("password");
    fs::write(&file, "first\n").unwrap();
    let without = format!("redis://127.0.0.1:{}", server.port());
    let store = RedisStore::new(
        &RedisSettings { password_file: Some(file.clone()), ..settings(without) },
        (),
    )
    .unwrap();
    let limit = limit("1/day", 10);
    assert!(decide(&store, &take(&limit, client("alice"), 1)).await.is_allowed());
    fs::write(&file, "second\n").unwrap();
    let store_error = {
        // The server is restarted with the new password: the old connections are gone, the new ones
        // say the new word.
        server.kill();
        store.decide(&take(&limit, client("alice"), 1)).await.unwrap_err()
    };
    assert!(matches!(store_error, StoreError::Unreachable(_)), "{store_error:?}");
    fs::remove_file(&file).unwrap();
    let error = store.probe().await.unwrap_err();
    assert!(format!("{error:?}").contains("File {"), "{error:?}");
}

#[tokio::test]
async fn replicas_that_fall_silent_are_forgotten() {
    let server = RedisServer::start();
    let store = connect(&server);
    let replica = |id: &str| Replica::new(id, "1.0");
    store.announce(&replica("gone")).await.unwrap();
    // As if it had last spoken 15 seconds ago.
    let now =
        decide(&store, &take(&limit("1/day", 1), client("alice"), 1)).await.at().unix_micros();
    server.command(&[
        "HSET",
        "sluice:fleet",
        "gone",
        &format!("{} {} 1.0", now - 60_000_000, now - 15_000_000),
    ]);
    server.command(&[
        "HSET",
        "sluice:fleet",
        "slow",
        &format!("{} {} 1.0 beta", now - 60_000_000, now - 10_000_000),
    ]);
    server.command(&["HSET", "sluice:fleet", "junk", "not what we write"]);
    let fleet = store.announce(&replica("alive")).await.unwrap();
    let seen: Vec<_> = fleet
        .replicas
        .iter()
        .map(|live| (live.replica.id.as_str(), live.replica.version.as_str()))
        .collect();
    assert_eq!(seen, [("slow", "1.0 beta"), ("alive", "1.0")], "oldest first");
    assert!(
        fleet.replicas[0].age >= Duration::from_secs(60)
            && fleet.replicas[0].seen_ago >= Duration::from_secs(10)
    );
    assert_eq!(server.command(&["HLEN", "sluice:fleet"]).integer(), 2);
}
