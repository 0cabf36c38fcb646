//! What concerns only the Redis store: its keys, their expiry, and failures of the server.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sluice_core::{
    Action, Algorithm, Check, Cost, Decision, Limit, Rate, RefillRate, Retry, Subject, Tag, Tagger,
};
use sluice_store::{RedisHandle, RedisSettings, RedisStore, Replica, RoundTrip, Store, StoreError};
use sluice_testkit::{RedisOptions, RedisServer, Reply, eventually_async};
use tokio::net::{TcpListener, TcpStream};

/// Settings with a timeout that no call reaches, however slow the machine is.
fn settings(url: String) -> RedisSettings {
    RedisSettings::new(url).timeout(Duration::from_secs(60))
}

fn connect(server: &RedisServer) -> RedisStore {
    RedisStore::new(&settings(server.url()), ()).unwrap()
}

fn limit(rate: &str, burst: u64) -> Arc<Limit> {
    named("default", rate, burst)
}

fn named(name: &str, rate: &str, burst: u64) -> Arc<Limit> {
    let rate = Rate::new(rate.parse().unwrap(), burst).unwrap();
    Arc::new(Limit::new(name, Algorithm::TokenBucket(rate)).unwrap())
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
async fn keys_hide_the_client_and_put_all_its_buckets_in_one_slot() {
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
    let rest = &client(api_key).to_string()[1..];
    for key in &keys {
        assert!(
            key.starts_with("sluice:{") && key[10..].starts_with(&format!("}}{rest}")),
            "{key}"
        );
        assert!(key.len() <= 30, "{key} is longer than 30 bytes");
        assert!(!key.contains("0123456789"));
    }
    assert_eq!(keys[0][..11], keys[1][..11], "a client's buckets share a partition");
    assert!(keys.iter().any(|key| key.ends_with(&format!("{rest}default"))));
}

/// Returns the key of the bucket of `client`, which exists.
fn key_of(server: &RedisServer, limit: &Limit, client: Tag) -> String {
    let rest = &client.to_string()[1..];
    let pattern = format!("sluice:{{??}}{rest}{}", limit.key().as_str());
    let keys = server.command(&["KEYS", &pattern]).texts();
    let [key] = &*keys else { panic!("{pattern}: {keys:?}") };
    key.clone()
}

#[tokio::test]
async fn a_bucket_expires_when_it_is_full_again() {
    let server = RedisServer::start();
    let store = connect(&server);
    // Each of these buckets needs some minutes to fill, so that its key still exists when the test
    // asks for it.
    for (rate, burst, cost) in [
        ("1/day", 10, 3),
        ("60/minute", 1_000, 301),
        ("90/minute", 1_000, 707),
        ("100000000/minute", 1_000_000_000, 999_999_999),
    ] {
        let limit = named(rate, rate, burst);
        let client = client(rate);
        let taken = decide(&store, &take(&limit, client, cost)).await;
        let full_at = taken.verdicts()[0].reset_at(taken.at()).unwrap().unix_micros();
        let key = key_of(&server, &limit, client);
        let expires_ms = server.command(&["PEXPIRETIME", &key]).integer();
        assert_eq!(
            expires_ms,
            full_at.div_euclid(1_000) + i64::from(full_at % 1_000 > 0),
            "{rate}"
        );
    }
    // A bucket that is filled is deleted.
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
async fn scripts_are_sent_again_when_the_server_has_lost_them() {
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
async fn callers_do_not_notice_that_a_persistent_server_restarts() {
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
async fn checks_of_a_batch_are_sent_in_one_round_trip() {
    let server = RedisServer::start();
    let (round_trips, carried) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let observe = {
        let (round_trips, carried) = (Arc::clone(&round_trips), Arc::clone(&carried));
        move |round_trip: &RoundTrip<'_>| {
            round_trips.fetch_add(1, Ordering::SeqCst);
            carried.fetch_add(round_trip.checks, Ordering::SeqCst);
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
    assert_eq!((round_trips.load(Ordering::SeqCst), carried.load(Ordering::SeqCst)), (1, 1_000));

    // The bucket is read once and written once in the call, however many checks use it.
    assert_eq!((calls(&server, "mget"), calls(&server, "set")), (1, 1));
}

#[tokio::test]
async fn a_server_that_hangs_causes_a_timeout_and_then_decides_again() {
    let server = RedisServer::start();
    let timeout = Duration::from_millis(500);
    let store = RedisStore::new(&settings(server.url()).timeout(timeout), ()).unwrap();
    let limit = limit("1/day", 10);
    // Opens a connection and takes a token, and then only looks until the store is fast enough.
    decide(&connect(&server), &take(&limit, client("alice"), 1)).await;
    eventually_async("the store responds in time", async || {
        store.decide(&take(&limit, client("alice"), 0)).await.is_ok()
    })
    .await;
    server.pause();
    let error = store.decide(&take(&limit, client("alice"), 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Timeout { .. }), "{error:?}");
    server.resume();
    let seen = eventually_async("the store decides again", async || {
        store.decide(&take(&limit, client("alice"), 0)).await.ok()
    })
    .await;
    // The server may run the check that timed out after it resumes, before or after this one.
    assert!(matches!(seen.verdicts()[0].remaining, 8 | 9), "{seen:?}");
}

#[tokio::test]
async fn a_server_that_is_down_is_unreachable_and_used_again_after_a_restart() {
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
async fn a_primary_that_is_read_only_rejects_checks_and_fails_its_probe() {
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

/// Returns a bucket's state in layout 1.
fn compact(empty_us: i64, interval_us: u32) -> Vec<u8> {
    [&[1][..], &empty_us.to_be_bytes()[1..], &interval_us.to_be_bytes()].concat()
}

#[tokio::test]
async fn a_clock_that_stepped_back_freezes_a_bucket_for_at_most_a_second() {
    let server = RedisServer::start();
    let store = connect(&server);
    let limit = limit("10/second", 10);
    let now = decide(&store, &take(&limit, client("alice"), 1)).await.at();
    // A state that seems to be written an hour from now.
    let key = key_of(&server, &limit, client("alice"));
    server.command(&[
        b"SET".as_slice(),
        key.as_bytes(),
        &compact(now.unix_micros() + 3_600_000_000, 100_000),
    ]);
    let decision = decide(&store, &take(&limit, client("alice"), 1)).await;
    assert!(decision.is_denied(), "no token is granted that was not there");
    let Retry::After(wait) = decision.retry() else { panic!("{decision:?}") };
    assert_eq!(wait, Duration::from_millis(1_100), "a second, and then the time of a token");
}

/// Returns how often the server has executed `command`.
fn calls(server: &RedisServer, command: &str) -> usize {
    let stats = server.command(&["INFO", "commandstats"]).text();
    let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
    line.map_or(0, |line| line.split(['=', ',']).nth(1).unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_denied_look_writes_a_repaired_state_once_and_with_its_new_expiry() {
    let server = RedisServer::start();
    let store = connect(&server);
    let daily = limit("1/day", 1);
    let rate = |rate, burst| {
        let rate: RefillRate = str::parse(rate).unwrap();
        Arc::new(daily.with_algorithm(Algorithm::TokenBucket(Rate::new(rate, burst).unwrap())))
    };
    for (raised, look) in [
        (rate("1/hour", 60), Action::Take),
        (rate("1/hour", 60), Action::Peek),
        (rate("7/hour", 60), Action::Take),
        (rate("7/hour", 60), Action::Peek),
    ] {
        let client = client(&format!("{raised} {look:?}"));
        decide(&store, &take(&daily, client, 1)).await;
        let before = calls(&server, "set");
        let check = || Check::new(look).with(&raised, client, Cost::ONE);
        let mut denied = decide(&store, &check()).await;
        for _ in 0..10 {
            assert!(denied.is_denied());
            denied = decide(&store, &check()).await;
        }
        assert_eq!(calls(&server, "set"), before + 1, "one look repairs, the others write nothing");
        let full_at = denied.verdicts()[0].reset_at(denied.at()).unwrap().unix_micros();
        let key = key_of(&server, &raised, client);
        let expires_ms = server.command(&["PEXPIRETIME", &key]).integer();
        assert_eq!(expires_ms, full_at.div_euclid(1_000) + i64::from(full_at % 1_000 > 0));
    }
}

#[tokio::test]
async fn a_state_in_an_unknown_layout_is_an_error_and_is_kept() {
    let server = RedisServer::start();
    let store = connect(&server);
    let limit = limit("1/day", 100);
    decide(&store, &take(&limit, client("alice"), 1)).await;
    let key = key_of(&server, &limit, client("alice"));
    let numbers = |layout: u8, rest: &[u64]| {
        // Each number has the size that the layout gives it.
        let sizes: &[usize] = match layout {
            1 | 2 => &[7, 4],
            3 => &[7, 5, 5, 7],
            4 => &[7, 5, 5, 7, 7],
            _ => &[7, 1, 1, 2],
        };
        let mut state = vec![layout];
        for (size, number) in sizes.iter().zip(rest) {
            state.extend(&number.to_be_bytes()[8 - size..]);
        }
        state
    };
    const SOON: u64 = 4_000_000_000_000_000;
    // No version writes a refill of nothing, of no tokens, or a fraction of one or more.
    let never_written = [
        numbers(1, &[SOON, 0]),
        numbers(2, &[SOON, 0]),
        numbers(3, &[SOON, 0, 0, 1]),
        numbers(3, &[SOON, 0, 1, 0]),
        numbers(3, &[SOON, 2, 2, 1]),
        numbers(4, &[SOON, 0, 0, 0, SOON]),
        numbers(5, &[SOON, 0, 0, 1]),
        numbers(5, &[SOON, 1, 0, 0]),
        numbers(1, &[1 << 55, 1]),
    ];
    let junk = [&[9, 1, 2, 3][..], &[1, 2, 3], &[6; 12], b"1700000000000000", b""];
    for state in junk.into_iter().chain(never_written.iter().map(Vec::as_slice)) {
        server.command(&[b"SET".as_slice(), key.as_bytes(), state]);
        let (alice, bob) = (take(&limit, client("alice"), 1), take(&limit, client("bob"), 1));
        let decisions = store.decide_all(&[alice, bob]).await;
        assert!(matches!(decisions[0], Err(StoreError::Unreadable { .. })), "{:?}", decisions[0]);
        assert!(decisions[1].as_ref().unwrap().is_allowed(), "other buckets are not affected");
        let Reply::Bulk(kept) = server.command(&["GET", &key]) else {
            panic!("the state was deleted")
        };
        assert_eq!(kept, state);
    }
}

#[tokio::test]
async fn a_bucket_takes_at_most_150_bytes() {
    // Layouts 2 and 5.
    for rate in ["20/day", "7/hour"] {
        assert_bucket_is_small(&named("/api/v1/conversation/chat-stream", rate, 10)).await;
    }
}

async fn assert_bucket_is_small(limit: &Arc<Limit>) {
    let server = RedisServer::start();
    let store = connect(&server);
    // Alone in its fleet, the replica writes the newest layouts.
    store.announce(&Replica::new("one", "1")).await.unwrap();
    let used = || -> u64 { server.info("used_memory").parse().unwrap() };
    decide(&store, &take(limit, client("first"), 1)).await;
    let before = used();
    // Redis' hash tables double in size just above a power of two. A bucket's share of them is then
    // at its largest; a million buckets fill them better.
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
    assert!(bytes <= 150, "{bytes} bytes per bucket under {limit}");
}

#[tokio::test]
async fn users_log_in_over_tls() {
    let server = RedisOptions::new().tls().user("sluice", "s3cret").start();
    let url = server.url();
    assert!(url.starts_with("rediss://"), "{url}");
    let with_ca = |url: &str| settings(url.to_owned()).ca_file(server.ca_file().to_owned());
    assert!(!format!("{:?}", with_ca(&url)).contains("s3cret"));
    let store = RedisStore::new(&with_ca(&url), ()).unwrap();
    assert!(!format!("{store:?}").contains("s3cret"));
    assert!(decide(&store, &take(&limit("1/day", 10), client("alice"), 1)).await.is_allowed());

    let wrong_password = with_ca(&url.replace("s3cret", "wr0ng"));
    let error = RedisStore::new(&wrong_password, ()).unwrap().probe().await.unwrap_err();
    assert!(!format!("{error:?}").contains("wr0ng"), "{error:?}");
    let error = RedisStore::new(&settings(url), ()).unwrap().probe().await.unwrap_err();
    assert!(
        matches!(error, StoreError::Unreachable(_)),
        "the system's authorities did not sign the certificate: {error:?}"
    );
}

#[tokio::test]
async fn the_password_file_is_read_again_for_every_connection() {
    let server = RedisServer::start_with(&["--requirepass", "first"]);
    let file = server.directory().join("password");
    fs::write(&file, "first\n").unwrap();
    let without = format!("redis://127.0.0.1:{}", server.port());
    let store = RedisStore::new(&settings(without).password_file(file.clone()), ()).unwrap();
    let limit = limit("1/day", 10);
    assert!(decide(&store, &take(&limit, client("alice"), 1)).await.is_allowed());
    fs::write(&file, "second\n").unwrap();
    // The connections are lost, and a new one needs the file.
    server.kill();
    let error = store.decide(&take(&limit, client("alice"), 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    fs::remove_file(&file).unwrap();
    let error = store.probe().await.unwrap_err();
    assert!(format!("{error:?}").contains("File {"), "{error:?}");
}

#[tokio::test]
async fn silent_replicas_are_forgotten() {
    let server = RedisServer::start();
    let store = connect(&server);
    let replica = |id: &str| Replica::new(id, "1.0");
    store.announce(&replica("gone")).await.unwrap();
    // `gone` seems to have announced itself 15 seconds ago, `slow` one second ago.
    let now =
        decide(&store, &take(&limit("1/day", 1), client("alice"), 1)).await.at().unix_micros();
    server.command(&[
        "HSET",
        "sluice:{mm}:fleet",
        "gone",
        &format!("{} {} 1.0", now - 60_000_000, now - 15_000_000),
    ]);
    server.command(&[
        "HSET",
        "sluice:{mm}:fleet",
        "slow",
        &format!("{} {} 1.0 beta", now - 60_000_000, now - 1_000_000),
    ]);
    server.command(&["HSET", "sluice:{mm}:fleet", "junk", "in another format"]);
    let fleet = store.announce(&replica("alive")).await.unwrap();
    let seen: Vec<_> = fleet
        .replicas
        .iter()
        .map(|live| (live.replica.id.as_str(), live.replica.version.as_str()))
        .collect();
    assert_eq!(seen, [("slow", "1.0 beta"), ("alive", "1.0")], "the oldest first");
    assert!(
        fleet.replicas[0].age >= Duration::from_secs(60)
            && fleet.replicas[0].seen_ago >= Duration::from_secs(1)
    );
    assert_eq!(server.command(&["HLEN", "sluice:{mm}:fleet"]).integer(), 2);
}

/// Forwards connections to a server that can change. Open connections stay where they are, as
/// behind a virtual address.
struct Forwarder {
    port: u16,
    target: Arc<AtomicU16>,
}

impl Forwarder {
    async fn to(server: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::new(AtomicU16::new(server.port()));
        let current = Arc::clone(&target);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let port = current.load(Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Self { port, target }
    }

    fn move_to(&self, server: &RedisServer) {
        self.target.store(server.port(), Ordering::SeqCst);
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// Makes `old` a replica of `new`, which becomes the server behind `address`.
fn fail_over(address: &Forwarder, old: &RedisServer, new: &RedisServer) {
    new.command(&["REPLICAOF", "NO", "ONE"]);
    old.command(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]);
    address.move_to(new);
}

#[tokio::test]
async fn one_refusal_of_a_demoted_primary_moves_every_connection_to_the_new_one() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let address = Forwarder::to(&servers[0]).await;
    let store = RedisStore::new(&settings(address.url()), ()).unwrap();
    let handle = RedisHandle::new(&settings(address.url()), Duration::ZERO).unwrap();
    let mut write = redis::pipe();
    write.cmd("SET").arg("other").arg(1);
    let replica = Replica::new("a", "1");
    let check = take(&limit("1/day", 1_000), client("alice"), 1);
    let use_all = async || {
        let checks = vec![check.clone(); 8];
        let (announced, probed, one, many) = tokio::join!(
            store.announce(&replica),
            store.probe(),
            store.decide(&check),
            store.decide_all(&checks)
        );
        announced?;
        probed?;
        one?;
        many.into_iter().collect::<Result<Vec<_>, _>>()?;
        store.depart(&replica).await
    };
    use_all().await.unwrap();
    handle.run(&write).await.unwrap();

    for (old, new) in [(0, 1), (1, 0)] {
        fail_over(&address, &servers[old], &servers[new]);
        let refused = store.probe().await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused(_)), "{refused:?}");
        use_all().await.unwrap();
        assert!(handle.run(&write).await.is_err(), "the handle has connections of its own");
        handle.run(&write).await.unwrap();
    }
    fail_over(&address, &servers[0], &servers[1]);
    assert!(store.decide(&check).await.is_err());
    use_all().await.unwrap();
}

#[tokio::test]
async fn a_wrong_login_or_database_is_about_the_settings() {
    let server = RedisOptions::new().user("sluice", "right").start();
    for login in ["", "sluice:wrong@", "nobody:right@"] {
        let url = format!("redis://{login}127.0.0.1:{}", server.port());
        let error = RedisStore::new(&settings(url), ()).unwrap().probe().await.unwrap_err();
        assert!(matches!(error, StoreError::WrongSettings(_)), "{login}: {error:?}");
    }
    let url = format!("{}/9999", server.url().trim_end_matches('/'));
    let error = RedisStore::new(&settings(url), ()).unwrap().probe().await.unwrap_err();
    assert!(matches!(error, StoreError::WrongSettings(_)), "{error:?}");
}

#[tokio::test]
async fn a_file_of_authorities_without_a_certificate_is_rejected_by_its_name() {
    let server = RedisServer::start();
    let file = server.directory().join("authorities.pem");
    for text in ["", "junk", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        fs::write(&file, text).unwrap();
        let settings = settings("rediss://127.0.0.1:1".to_owned()).ca_file(file.clone());
        let error = RedisStore::new(&settings, ()).unwrap_err().to_string();
        assert!(error.contains("authorities.pem") && error.contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_server_says_whether_it_evicts_buckets_unless_this_user_may_not_ask() {
    let server = RedisServer::start();
    let store = connect(&server);
    let memory = store.server_memory().await.unwrap().remove(0).1;
    assert_eq!((memory.may_evict(), memory.evicted_keys), (false, 0));
    server.command(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]);
    assert!(store.server_memory().await.unwrap()[0].1.may_evict());

    server.command(&["ACL", "SETUSER", "default", "-info"]);
    assert_eq!(store.server_memory().await.unwrap(), []);
    let limit = limit("1/day", 1);
    assert!(decide(&store, &take(&limit, client("a"), 1)).await.is_allowed());
}

#[tokio::test]
async fn a_replica_that_is_gone_is_forgotten_after_a_clock_stepped_back() {
    let server = RedisServer::start();
    let store = connect(&server);
    let (now, hour) = (server_seconds(&server), 3_600);
    let entry = format!("{0}000000 {0}000000 1", now + hour);
    server.command(&["HSET", "sluice:{mm}:fleet", "gone", &entry]);
    let fleet = store.announce(&Replica::new("one", "1")).await.unwrap();
    assert_eq!(fleet.size(), 2, "it may have announced itself just now");
    let Reply::Bulk(entry) = server.command(&["HGET", "sluice:{mm}:fleet", "gone"]) else {
        panic!("the entry was deleted")
    };
    let seconds: u64 = String::from_utf8(entry).unwrap()[..10].parse().unwrap();
    assert!((now..now + hour).contains(&seconds), "the time to forget it begins now: {seconds}");
}

fn server_seconds(server: &RedisServer) -> u64 {
    server.command(&["TIME"]).texts()[0].parse().unwrap()
}
