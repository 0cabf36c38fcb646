//! A store behind real Sentinels.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use sluice_core::{
    Action, Algorithm, Check, Cost, CostsDigest, Decision, Guarded, Hold, HoldId, HoldStep, Limit,
    Part, Rate, Subject, Tag, Tagger, Timestamp,
};
use sluice_store::{
    RedisError, RedisHandle, RedisSettings, RedisStore, Replica, SentinelSettings, Store,
    StoreError,
};
use sluice_testkit::{Program, RedisServer, ReservedPort, eventually, eventually_async};
use tempfile::TempDir;

const REDIS_SERVER: Program = Program {
    name: "redis-server",
    variable: "SLUICE_REDIS_SERVER",
    remedy: "apt-get install --no-install-recommends redis-server",
};

/// A Sentinel that watches the service `main`, and is killed on drop.
struct Sentinel {
    child: Child,
    port: ReservedPort,
    directory: TempDir,
}

impl Sentinel {
    /// Starts a Sentinel that fails over by itself soon after `primary` is gone; `lines` are added
    /// to its configuration.
    fn watch(primary: &RedisServer, lines: &[&str]) -> Self {
        let (directory, port) = (TempDir::new().unwrap(), ReservedPort::new());
        let file = directory.path().join("sentinel.conf");
        let text = format!(
            "port {}\nbind 127.0.0.1\ndir {}\nprotected-mode no\n\
             sentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n{}\n",
            port.number(),
            directory.path().display(),
            primary.port(),
            lines.join("\n"),
        );
        fs::write(&file, text).unwrap();
        let child = Command::new(REDIS_SERVER.path())
            .arg(&file)
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let sentinel = Self { child, port, directory };
        eventually("the Sentinel accepts connections", || sentinel.connect());
        sentinel
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.port.number()))
    }

    /// Returns the first line of the reply to `command`.
    fn ask(&self, command: &str) -> std::io::Result<String> {
        let mut stream = self.connect()?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Waits until the Sentinel knows a replica, to which it can fail over.
    fn knows_a_replica(&self) {
        eventually("the Sentinel knows the replica", || {
            self.ask("SENTINEL REPLICAS main").is_ok_and(|line| line == "*1")
        });
    }

    fn at(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a primary and a replica of it that has its data.
fn pair() -> [RedisServer; 2] {
    let servers = [RedisServer::start(), RedisServer::start()];
    let port = servers[0].port().to_string();
    servers[1].command(&["REPLICAOF", "127.0.0.1", &port]);
    eventually("the replica has the primary's data", || {
        servers[1].info("master_link_status") == "up"
    });
    servers
}

/// Ends replication between the two for good. They stay up, and a Sentinel may promote the replica.
///
/// The connection is closed, so that no write is left in a buffer which the replica could read
/// later, and the replica cannot log in to open another one.
fn cut_replication([primary, replica]: &[RedisServer; 2]) {
    eventually("the replica has every write", || {
        replica.info("slave_repl_offset") == primary.info("master_repl_offset")
    });
    replica.command(&["CONFIG", "SET", "masteruser", "nobody"]);
    replica.command(&["CONFIG", "SET", "masterauth", "wrong"]);
    primary.command(&["CLIENT", "KILL", "TYPE", "replica"]);
    eventually("the replica is left behind", || {
        primary.info("connected_slaves") == "0" && replica.info("master_link_status") == "down"
    });
}

fn settings(url: impl Into<String>) -> RedisSettings {
    RedisSettings::new(url).timeout(Duration::from_secs(5))
}

fn set(value: &str) -> redis::Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.cmd("SET").arg("key").arg(value);
    pipeline
}

fn handle(settings: &RedisSettings) -> RedisHandle {
    RedisHandle::new(settings, Duration::ZERO).unwrap()
}

/// After a failover by command, the former primary decides on until it is demoted, and what it
/// admits is lost.
#[tokio::test]
async fn calls_leave_a_former_primary_before_it_is_demoted() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let [first, sentinel] = [(); 2].map(|()| Sentinel::watch(&servers[0], &[]));
    let url = format!("redis+sentinel://{},{}/main", first.at(), sentinel.at());
    let (store, handle) = (RedisStore::new(&settings(&url), ()).unwrap(), handle(&settings(&url)));
    store.probe().await.unwrap();
    handle.run(&set("before")).await.unwrap();
    // The Sentinel that was asked may be on the host that is left.
    drop(first);
    sentinel.ask("SENTINEL REMOVE main").unwrap();
    sentinel.ask(&format!("SENTINEL MONITOR main 127.0.0.1 {} 1", servers[1].port())).unwrap();
    eventually_async("calls reach the other primary", async || {
        store.probe().await.unwrap();
        handle.run(&set("after")).await.unwrap();
        servers[1].command(&["EXISTS", "sluice:{mm}:epoch", "key"]).integer() == 2
    })
    .await;
    assert_eq!(servers[0].info("role"), "master", "nobody demoted it");
}

#[tokio::test]
async fn calls_follow_the_primary_through_a_failover() {
    let [first, second] = pair();
    let sentinel = Sentinel::watch(&first, &[]);
    sentinel.knows_a_replica();
    let unused = ReservedPort::new();
    // The first Sentinel is down, so the second one is asked.
    let url = format!("redis+sentinel://127.0.0.1:{},{}/main", unused.number(), sentinel.at());
    let store = RedisStore::new(&settings(&url), ()).unwrap();
    let handle = handle(&settings(&url));
    store.probe().await.unwrap();
    handle.run(&set("before")).await.unwrap();
    assert_eq!(first.command(&["GET", "key"]).text(), "before");
    assert_eq!(store.open_connections(), 1);

    first.kill();
    assert!(store.probe().await.is_err());
    eventually_async("the new primary is used", async || store.probe().await).await;
    eventually_async("the handle uses it too", async || handle.run(&set("after")).await).await;
    assert_eq!(second.command(&["GET", "key"]).text(), "after");
    assert_eq!(second.info("role"), "master");
}

#[tokio::test]
async fn a_new_primary_is_found_by_calls_that_nobody_waits_for_to_the_end() {
    let [first, second] = pair();
    let sentinel = Sentinel::watch(&first, &[]);
    sentinel.knows_a_replica();
    let url = format!("redis+sentinel://{}/main", sentinel.at());
    let store = RedisStore::new(&settings(&url), ()).unwrap();
    store.probe().await.unwrap();
    // A connection stays open, and nothing is refused: only time says that the server is away.
    first.pause();
    let given_up_after = Duration::from_millis(200);
    let given_up_early = async || tokio::time::timeout(given_up_after, store.probe()).await;
    assert!(given_up_early().await.is_err());
    eventually_async("the probes reach the new primary", async || {
        given_up_early().await.is_ok_and(|probe| probe.is_ok())
    })
    .await;
    assert_eq!(second.info("role"), "master");
}

#[tokio::test]
async fn a_sentinel_that_hangs_is_passed_over_by_calls_that_nobody_waits_for_to_the_end() {
    let server = RedisServer::start();
    let sentinel = Sentinel::watch(&server, &[]);
    // Connections to it are accepted by the system, and nobody reads from them.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hanging.local_addr().unwrap();
    let url = format!("redis+sentinel://{address},{}/main", sentinel.at());
    let store = RedisStore::new(&settings(&url), ()).unwrap();
    eventually_async("a probe asks the other Sentinel", async || {
        let probe = tokio::time::timeout(Duration::from_millis(200), store.probe()).await;
        probe.is_ok_and(|probe| probe.is_ok())
    })
    .await;
}

#[tokio::test]
async fn a_demoted_primary_lets_the_sentinels_be_asked_again() {
    let [first, second] = pair();
    let sentinel = Sentinel::watch(&first, &[]);
    sentinel.knows_a_replica();
    let url = format!("redis+sentinel://{}/main", sentinel.at());
    let handle = handle(&settings(&url));
    handle.run(&set("before")).await.unwrap();
    eventually("the Sentinel fails over", || {
        sentinel.ask("SENTINEL FAILOVER main").is_ok_and(|line| line == "+OK")
    });
    eventually("the second server is the primary", || second.info("role") == "master");
    // The Sentinel does this too, but only after many seconds.
    first.command(&["REPLICAOF", "127.0.0.1", &second.port().to_string()]);
    let error = handle.run(&set("lost")).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    eventually_async("the new primary is used", async || handle.run(&set("after")).await).await;
    assert_eq!(second.command(&["GET", "key"]).text(), "after");
}

#[tokio::test]
async fn sentinels_have_a_login_of_their_own() {
    let server = RedisServer::start_with(&["--requirepass", "of-the-server"]);
    let sentinel = Sentinel::watch(
        &server,
        &["requirepass of-the-sentinel", "sentinel auth-pass main of-the-server"],
    );
    let url = format!("redis+sentinel://:of-the-server@{}/main", sentinel.at());
    let error = RedisStore::new(&settings(&url), ()).unwrap().probe().await.unwrap_err();
    let StoreError::WrongSettings(cause) = &error else { panic!("{error:?}") };
    assert!(cause.to_string().contains("service `main`"), "{cause}");
    assert!(cause.to_string().contains("Authentication"), "{cause}");

    let password = sentinel.directory.path().join("password");
    fs::write(&password, "of-the-sentinel\n").unwrap();
    for login in [
        SentinelSettings::new().password("of-the-sentinel".to_owned()),
        SentinelSettings::new().user("default".to_owned()).password_file(password),
    ] {
        let settings = settings(&url).sentinel(login);
        let store = RedisStore::new(&settings, ()).unwrap();
        let shown = format!("{settings:?} {store:?}");
        assert!(!shown.contains("of-the"), "{shown}");
        store.probe().await.unwrap();
    }
}

#[tokio::test]
async fn sentinels_that_cannot_help_are_named_with_the_reason_of_each() {
    let server = RedisServer::start();
    let sentinel = Sentinel::watch(&server, &[]);
    let unused = ReservedPort::new();
    let url = format!("redis+sentinel://{},127.0.0.1:{}/other", sentinel.at(), server.port());
    let error = RedisStore::new(&settings(&url), ()).unwrap().probe().await.unwrap_err();
    let StoreError::WrongSettings(cause) = &error else { panic!("{error:?}") };
    assert!(matches!(cause.downcast_ref(), Some(RedisError::NoPrimary { .. })), "{cause:?}");
    let cause = cause.to_string();
    assert!(cause.contains(&format!("{}: does not know the service", sentinel.at())), "{cause}");
    assert!(cause.contains(&format!("127.0.0.1:{}: is no Sentinel", server.port())), "{cause}");

    // One that cannot be reached may know the service.
    let url = format!("redis+sentinel://{},127.0.0.1:{}/other", sentinel.at(), unused.number());
    let error = RedisStore::new(&settings(&url), ()).unwrap().probe().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_sentinel_in_the_place_of_a_server_is_named() {
    let server = RedisServer::start();
    let sentinel = Sentinel::watch(&server, &[]);
    let url = format!("redis://{}", sentinel.at());
    let error = RedisStore::new(&settings(&url), ()).unwrap().probe().await.unwrap_err();
    let StoreError::WrongSettings(cause) = &error else { panic!("{error:?}") };
    assert!(cause.to_string().contains(": the server is a Sentinel"), "{cause}");
    assert!(cause.to_string().contains("`redis+sentinel://h1:26379"), "{cause}");
}

/// A limit that does not refill while a test runs.
fn tokens() -> Arc<Limit> {
    let rate = Rate::new("1/day".parse().unwrap(), 100).unwrap();
    Arc::new(Limit::new("tokens", Algorithm::TokenBucket(rate)).unwrap())
}

fn alice() -> Tag {
    Tagger::new(b"").tag(Subject::Client(b"alice"))
}

fn of_hold(id: u8, step: HoldStep) -> Check {
    Check::of_hold(Hold::new(HoldId::from_bytes([id; 16]), Duration::from_secs(600), step))
}

fn reserve(id: u8, cost: u64) -> Check {
    let costs = CostsDigest::from_number(cost);
    of_hold(id, HoldStep::Reserve { costs }).with(&tokens(), alice(), Cost::new(cost).unwrap())
}

fn settle(id: u8, held: u64, used: u64, reserved_at: Timestamp) -> Check {
    let actual = CostsDigest::from_number(used);
    let mut check = of_hold(id, HoldStep::Settle { actual, reserved_at });
    let [held, used] = [held, used].map(|tokens| Cost::new(tokens).unwrap());
    check.push(Part::settling(tokens(), alice(), held, used));
    check
}

async fn take(store: &RedisStore, cost: u64) -> Result<Decision, StoreError> {
    let cost = Cost::new(cost).unwrap();
    store.decide(&Check::new(Action::Take).with(&tokens(), alice(), cost)).await
}

/// Returns the tokens that alice has.
async fn remaining(store: &RedisStore) -> u64 {
    take(store, 0).await.unwrap().verdicts()[0].remaining
}

/// The row "store (lost writes)" of the failures of holds: the reservation or its record may be
/// gone, and each lost write gives back at most one hold too much.
#[tokio::test]
async fn writes_of_holds_that_a_failover_loses_make_at_most_one_hold_each() {
    let servers = pair();
    let sentinel = Sentinel::watch(&servers[0], &[]);
    sentinel.knows_a_replica();
    let url = format!("redis+sentinel://{}/main", sentinel.at());
    let store = RedisStore::new(&settings(&url), ()).unwrap();
    store.announce(&Replica::new("one", "1")).await.unwrap();
    let decide = async |check: Check| store.decide(&check).await.unwrap();

    take(&store, 50).await.unwrap();
    let kept_at = decide(reserve(1, 10)).await.at();
    cut_replication(&servers);
    // The first hold's settlement is lost, and the second hold with its record.
    decide(settle(1, 10, 4, kept_at)).await;
    let lost_at = decide(reserve(2, 30)).await.at();
    assert_eq!(remaining(&store).await, 100 - 50 - 4 - 30);

    servers[0].kill();
    eventually_async("the new primary decides", async || take(&store, 0).await).await;
    assert_eq!(servers[1].info("role"), "master");
    assert_eq!(remaining(&store).await, 100 - 50 - 10, "neither write has reached it");

    // A lost settlement that is sent again is made up for exactly, and once.
    let settled =
        [decide(settle(1, 10, 4, kept_at)).await, decide(settle(1, 10, 4, kept_at)).await];
    let guarded = settled.map(|settled| settled.guarded());
    assert_eq!(guarded, [Some(Guarded::First), Some(Guarded::Repeated)]);
    assert_eq!(remaining(&store).await, 100 - 50 - 4);

    // The settlement of a lost hold gives back what it did not use, of what nothing was taken. So
    // there are 30 tokens too many, which is the hold, however often it is sent.
    for expected in [Guarded::Late, Guarded::Repeated] {
        assert_eq!(decide(settle(2, 30, 20, lost_at)).await.guarded(), Some(expected));
        assert_eq!(remaining(&store).await, 100 - 50 - 4 - 20 + 30);
    }
}
