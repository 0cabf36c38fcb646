//! The denial cache over Redis: what it saves, and what ends it.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sluice_core::{
    Action, Algorithm, Check, Cost, Decision, Limit, Partition, Rate, Source, Subject, Tag, Tagger,
    Term,
};
use sluice_store::{Denials, RedisSettings, RedisStore, RoundTrip, Store};
use sluice_testkit::{
    ClusterOptions, RedisCluster, RedisOptions, RedisServer, SentinelOptions, documented_user,
    eventually_async,
};

/// Settings with a timeout that no call reaches, however slow the machine is.
fn settings(url: &str) -> RedisSettings {
    RedisSettings::new(url).timeout(Duration::from_secs(60))
}

/// A replica, which counts the checks that it sends to Redis.
struct Replica {
    denials: Denials<RedisStore>,
    sent: Arc<AtomicUsize>,
}

impl Replica {
    fn at(settings: &RedisSettings) -> Self {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let observer = move |round_trip: &RoundTrip<'_>| {
            count.fetch_add(round_trip.checks, Ordering::Relaxed);
        };
        Self { denials: Denials::over(RedisStore::new(settings, observer).unwrap()), sent }
    }

    async fn listening(settings: &RedisSettings) -> Self {
        let replica = Self::at(settings);
        replica.listens().await;
        replica
    }

    async fn listens(&self) {
        eventually_async("the replica listens at every server", async || {
            // The first call finds the servers of a cluster.
            let _ = self.denials.probe().await;
            self.denials.state().reported_partitions == 64
        })
        .await;
    }

    async fn decide(&self, check: &Check) -> Decision {
        self.denials.decide(check).await.unwrap()
    }

    async fn source(&self, check: &Check) -> Source {
        self.decide(check).await.source()
    }

    /// Returns how many checks Redis decides while `work` runs.
    async fn sends(&self, work: impl Future<Output = ()>) -> usize {
        let before = self.sent.load(Ordering::Relaxed);
        work.await;
        self.sent.load(Ordering::Relaxed) - before
    }

    /// Denies `check` until that is cached.
    async fn caches(&self, check: &Check) {
        eventually_async("the denial is cached", async || {
            let decision = self.decide(check).await;
            assert!(decision.is_denied(), "{decision:?}");
            decision.source() == Source::Cache
        })
        .await;
    }
}

fn daily(burst: u64) -> Arc<Limit> {
    let rate = Rate::new("1/day".parse().unwrap(), burst).unwrap();
    Arc::new(Limit::new("daily", Algorithm::TokenBucket(rate)).unwrap())
}

fn client(number: u32) -> Tag {
    Tagger::new(b"secret").tag(Subject::Client(&number.to_be_bytes()))
}

fn of(action: Action, limit: &Arc<Limit>, number: u32) -> Check {
    Check::new(action).with(limit, client(number), Cost::ONE)
}

fn take(limit: &Arc<Limit>, number: u32) -> Check {
    of(Action::Take, limit, number)
}

/// Returns a client in each of the partitions.
fn clients_everywhere() -> Vec<u32> {
    Partition::all()
        .map(|partition| (0..).find(|&number| client(number).partition() == partition).unwrap())
        .collect()
}

#[tokio::test]
async fn a_thousand_denials_cost_one_call() {
    let server = RedisServer::start();
    let replica = Replica::listening(&settings(&server.url())).await;
    let take = take(&daily(1), 0);
    assert!(replica.decide(&take).await.is_allowed());
    let sent = replica
        .sends(async {
            for _ in 0..1_000 {
                assert!(replica.decide(&take).await.is_denied());
            }
        })
        .await;
    // Each ten seconds cost one more, where a thousand denials take that long.
    assert!((1..=3).contains(&sent), "{sent}");
}

#[tokio::test]
async fn tokens_that_one_replica_returns_end_it_on_the_other() {
    let server = RedisServer::start();
    let one = Replica::listening(&settings(&server.url())).await;
    let other = Replica::listening(&settings(&server.url())).await;
    let daily = daily(2);
    let take = take(&daily, 0);
    for action in [Action::GiveBack, Action::Reset, Action::GiveBack] {
        while other.decide(&take).await.is_allowed() {}
        other.caches(&take).await;
        one.decide(&of(action, &daily, 0)).await;
        eventually_async("the other replica admits", async || {
            other.decide(&take).await.is_allowed()
        })
        .await;
    }
}

#[tokio::test]
async fn a_token_that_is_there_is_no_news() {
    let server = RedisServer::start();
    let published = || server.info("pubsub_channels");
    assert_eq!(published(), "0");
    let replica = Replica::listening(&settings(&server.url())).await;
    assert_eq!(published(), "1");
    let daily = daily(3);
    let calls = || publish_calls(&server);
    let before = calls();
    for _ in 0..2 {
        replica.decide(&take(&daily, 0)).await;
    }
    replica.decide(&of(Action::GiveBack, &daily, 0)).await;
    assert_eq!(calls(), before, "one token was left");
    for _ in 0..2 {
        replica.decide(&take(&daily, 0)).await;
    }
    replica.decide(&of(Action::GiveBack, &daily, 0)).await;
    assert_eq!(calls(), before + 1, "none was left");
    replica.decide(&of(Action::Charge, &daily, 0)).await;
    replica.decide(&of(Action::Charge, &daily, 0)).await;
    assert_eq!(calls(), before + 1);
    replica.decide(&of(Action::Reset, &daily, 0)).await;
    assert_eq!(calls(), before + 2, "a debt");
}

#[tokio::test]
async fn nothing_is_cached_while_the_connection_is_away() {
    let server = RedisServer::start();
    let settings = settings(&server.url());
    let (one, other) = (Replica::listening(&settings).await, Replica::listening(&settings).await);
    let daily = daily(1);
    let take = take(&daily, 0);
    other.decide(&take).await;
    other.caches(&take).await;
    for _ in 0..2 {
        server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        eventually_async("the denial is not cached any more", async || {
            other.source(&take).await == Source::Store
        })
        .await;
        // Nobody hears of this.
        one.decide(&of(Action::GiveBack, &daily, 0)).await;
        assert!(other.decide(&take).await.is_allowed());
        other.listens().await;
        other.caches(&take).await;
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_noticed() {
    let server = RedisServer::start();
    let replica = Replica::listening(&settings(&server.url())).await;
    let take = take(&daily(1), 0);
    replica.decide(&take).await;
    replica.caches(&take).await;
    server.pause();
    eventually_async("nobody listens", async || replica.denials.state().reported_partitions == 0)
        .await;
    server.resume();
    replica.listens().await;
    assert_eq!(replica.source(&take).await, Source::Store);
    assert_eq!(replica.source(&take).await, Source::Cache);
}

#[tokio::test]
async fn a_server_that_starts_anew_has_other_buckets() {
    let server = RedisServer::start();
    let replica = Replica::listening(&settings(&server.url())).await;
    let take = take(&daily(1), 0);
    replica.decide(&take).await;
    replica.caches(&take).await;
    server.kill();
    server.restart();
    eventually_async("the new server's full bucket admits", async || {
        replica.denials.decide(&take).await.is_ok_and(|decision| decision.is_allowed())
    })
    .await;
    replica.listens().await;
    replica.caches(&take).await;
}

#[tokio::test]
async fn a_flush_ends_it_once_it_is_known() {
    let server = RedisOptions::new().movable_clock().start();
    let replica = Replica::listening(&settings(&server.url())).await;
    let take = take(&daily(1), 0);
    // The epochs are known from here on.
    replica.denials.probe().await.unwrap();
    replica.decide(&take).await;
    replica.caches(&take).await;
    // A later epoch is one by more than a second.
    server.step_clock(2_000_000);
    server.command(&["FLUSHALL"]);
    replica.denials.probe().await.unwrap();
    assert!(replica.decide(&take).await.is_allowed());
}

#[tokio::test]
async fn who_may_not_listen_or_publish_asks_each_time() {
    for forbidden in ["+subscribe", "+publish", "&sluice:returned"] {
        let server = RedisOptions::new().user("sluice", "secret").start();
        let mut rules = documented_user("sluice", "secret");
        let all = rules.len();
        rules.retain(|rule| rule != forbidden);
        assert_eq!(rules.len(), all - 1, "{rules:?}");
        server.command(&rules);
        let replica = Replica::at(&settings(&server.url()));
        let daily = daily(1);
        eventually_async("the server has refused to let it listen", async || {
            !server.command(&["ACL", "LOG"]).items().is_empty()
        })
        .await;
        for number in 0..3 {
            replica.decide(&take(&daily, number)).await;
            for _ in 0..3 {
                let decision = replica.decide(&take(&daily, number)).await;
                assert_eq!((decision.is_denied(), decision.source()), (true, Source::Store));
            }
            // Without the right to publish, tokens are given back all the same.
            replica.decide(&of(Action::GiveBack, &daily, number)).await;
            assert!(replica.decide(&take(&daily, number)).await.is_allowed());
        }
        assert_eq!(replica.denials.state().reported_partitions, 0);
        if forbidden == "+subscribe" {
            server.command(&documented_user("sluice", "secret"));
            replica.listens().await;
        }
    }
}

#[tokio::test]
async fn each_server_of_a_cluster_reports() {
    let cluster = RedisCluster::start(3);
    let settings = settings(&cluster.url());
    let one = Replica::listening(&settings).await;
    let other = Replica::listening(&settings).await;
    let daily = daily(1);
    let clients = clients_everywhere();
    for &number in &clients {
        other.decide(&take(&daily, number)).await;
        other.caches(&take(&daily, number)).await;
    }
    let sent = other
        .sends(async {
            for &number in &clients {
                assert_eq!(other.source(&take(&daily, number)).await, Source::Cache);
            }
        })
        .await;
    assert_eq!(sent, 0);
    for &number in &clients {
        one.decide(&of(Action::GiveBack, &daily, number)).await;
        eventually_async("the other replica admits", async || {
            other.decide(&take(&daily, number)).await.is_allowed()
        })
        .await;
    }
}

#[tokio::test]
async fn buckets_of_several_partitions_of_a_cluster_are_not_cached() {
    let cluster = RedisCluster::start(3);
    let replica = Replica::listening(&settings(&cluster.url())).await;
    let daily = daily(1);
    let clients = clients_everywhere();
    let both = take(&daily, clients[0]).with(&daily, client(clients[63]), Cost::ONE);
    replica.decide(&both).await;
    for _ in 0..3 {
        assert_eq!(replica.source(&both).await, Source::Store);
    }
}

#[tokio::test]
async fn a_server_that_takes_over_is_listened_to_anew() {
    let cluster = ClusterOptions::new(3).replicas(1).start();
    let settings = settings(&cluster.url());
    let one = Replica::listening(&settings).await;
    let other = Replica::listening(&settings).await;
    let daily = daily(1);
    let take = take(&daily, 0);
    other.decide(&take).await;
    other.caches(&take).await;
    let slot = cluster.slot_of("{mm}");
    let number = clients_everywhere()[0];
    let primary = cluster.primary_of(slot);
    cluster.failover(cluster.replicas_of(primary)[0]);
    for replica in [&one, &other] {
        // Redirected, the replica learns of it.
        eventually_async("the replica uses the new server", async || {
            let check = of(Action::Peek, &daily, number);
            replica.denials.decide(&check).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        replica.listens().await;
    }
    other.decide(&of(Action::Take, &daily, number)).await;
    other.caches(&of(Action::Take, &daily, number)).await;
    one.decide(&of(Action::GiveBack, &daily, number)).await;
    eventually_async("the other replica admits", async || {
        other.decide(&of(Action::Take, &daily, number)).await.is_allowed()
    })
    .await;
}

#[tokio::test]
async fn the_primary_that_sentinels_name_reports() {
    let group = SentinelOptions::new(1, 1).start();
    let settings = settings(&group.url());
    let one = Replica::listening(&settings).await;
    let other = Replica::listening(&settings).await;
    let daily = daily(1);
    let take = take(&daily, 0);
    other.decide(&take).await;
    other.caches(&take).await;
    one.decide(&of(Action::Reset, &daily, 0)).await;
    eventually_async("the other replica admits", async || other.decide(&take).await.is_allowed())
        .await;
}

#[tokio::test]
async fn what_a_lease_returns_ends_denials_on_other_replicas() {
    let server = RedisServer::start();
    let settings = settings(&server.url());
    let (one, other) = (Replica::listening(&settings).await, Replica::listening(&settings).await);
    one.denials.announce(&sluice_store::Replica::new("one", "1")).await.unwrap();
    let daily = daily(100);
    let lease = one.decide(&of_cost(Action::Lend { least: 8 }, &daily, 50)).await;
    assert_eq!(lease.verdicts()[0].cost.tokens(), 50);
    assert!(one.decide(&of_cost(Action::Take, &daily, 50)).await.is_allowed());
    let take = take(&daily, 0);
    other.caches(&take).await;
    let before = publish_calls(&server);
    let settle = Action::EndLease { term: Term::at(lease.at()), lent: 50 };
    if one.decide(&of_cost(settle, &daily, 20)).await.is_denied() {
        // The machine was so slow that the lease has ended.
        return;
    }
    assert_eq!(
        publish_calls(&server),
        before + 1,
        "a denial would end by itself, but after seconds"
    );
    eventually_async("the other replica hears of it", async || {
        other.decide(&take).await.is_allowed()
    })
    .await;
}

/// Returns how often something was published.
fn publish_calls(server: &RedisServer) -> u32 {
    let stats = server.command(&["INFO", "commandstats"]).text();
    let line = stats.lines().find(|line| line.starts_with("cmdstat_publish:")).unwrap();
    line.split(['=', ',']).nth(1).unwrap().parse().unwrap()
}

fn of_cost(action: Action, limit: &Arc<Limit>, tokens: u64) -> Check {
    Check::new(action).with(limit, client(0), Cost::new(tokens).unwrap())
}
