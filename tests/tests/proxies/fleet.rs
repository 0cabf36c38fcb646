//! Several proxies and replicas.

use sluice_testkit::{RedisServer, ReservedPort, eventually_async};
use sluice_tests::{
    concurrent::{Counts, send_concurrently},
    echo::Echo,
    fleet::{Fleet, MAX_TIMEOUT, memory_replica},
    http::Client,
    metrics::Metrics,
};

use crate::example::Example;
use crate::setup::{RunningProxy, order};

pub(crate) async fn two_proxies_and_three_replicas_share_one_limit(example: Example) {
    const BURST: usize = 20;
    const KEYS: [&str; 3] = ["alice", "bob", "carol"];
    const CLIENTS: usize = 24;
    const TURNS: usize = 3;
    let fleet = Fleet::start(
        3,
        RedisServer::start(),
        MAX_TIMEOUT,
        &example.sluice(&format!("defaults: {{ rate: 1/day, burst: {BURST} }}")),
    );
    let api = Echo::start().await;
    let start = || {
        RunningProxy::start(
            example,
            &example.with_long_timeout(),
            &fleet.addresses(),
            api.address(),
        )
    };
    let proxies = [start(), start()];
    let before = api.requests();

    let counts =
        send_concurrently(&proxies.each_ref().map(RunningProxy::addr), CLIENTS, &KEYS, TURNS).await;

    let exactly = Counts { allowed: BURST, denied: CLIENTS * TURNS - BURST };
    assert_eq!(counts, KEYS.map(|key| (key, exactly)).into());
    assert_eq!(
        api.requests(),
        before + KEYS.len() * BURST,
        "a denied request does not reach the API"
    );
    let mut decided_by_redis = 0;
    for client in &mut fleet.clients() {
        let metrics = Metrics::of(client).await;
        assert!(metrics.count("sluice_decisions_total", &[]) > 0, "every replica decides");
        for source in ["store", "cache"] {
            decided_by_redis += metrics.count("sluice_decisions_total", &[("source", source)]);
        }
    }
    assert_eq!(
        decided_by_redis,
        (KEYS.len() * CLIENTS * TURNS) as u64,
        "each request is decided once, by Redis or what it said before"
    );
}

pub(crate) async fn requests_pass_when_one_replica_is_gone(example: Example) {
    let sluice = memory_replica(&example.sluice("defaults: { rate: 1/day, burst: 1 }"));
    let (api, stopped) = (Echo::start().await, ReservedPort::new());
    let replicas = [([127, 0, 0, 1], stopped.number()).into(), sluice.http_addr()];
    let proxy =
        RunningProxy::start(example, &example.with_long_timeout(), &replicas, api.address());
    let mut client = Client::of(proxy.addr());
    let mut denied = async |times| {
        let mut statuses = Vec::new();
        for _ in 0..times {
            statuses.push(client.send(&order()).await.status);
        }
        if statuses.iter().all(|status| *status == 429) {
            Ok(())
        } else {
            Err(format!("{statuses:?}"))
        }
    };
    // Some proxies notice by a failed request, some by a periodic health check.
    eventually_async(
        "the limit is spent and the proxy uses only the running replica",
        async || denied(4).await,
    )
    .await;
    assert_eq!(denied(20).await, Ok(()), "every response is from the running replica");
}
