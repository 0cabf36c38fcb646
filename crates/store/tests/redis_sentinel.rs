//! A store behind real Sentinels.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use sluice_store::{
    RedisError, RedisHandle, RedisSettings, RedisStore, SentinelSettings, Store, StoreError,
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
