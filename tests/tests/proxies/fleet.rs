//! Two proxies and three replicas.

use sluice_testkit::RedisServer;
use sluice_tests::{
    echo::Echo,
    fleet::{Fleet, STOIC},
    metrics::Metrics,
    rush::{Told, rush},
};

use crate::example::Example;
use crate::scene::InPlace;

pub(crate) async fn two_proxies_and_three_replicas_share_one_limit(example: Example) {
    const BURST: usize = 20;
    const KEYS: [&str; 3] = ["alice", "bob", "carol"];
    const CLIENTS: usize = 24;
    const TURNS: usize = 3;
    let fleet = Fleet::start(3, RedisServer::start(), STOIC, &example.sluice(&format!("defaults: {{ rate: 1/day, burst: {BURST} }}")));
    let api = Echo::start().await;
    let place = || InPlace::start(example, &example.patient(), &fleet.addresses(), api.address());
    let proxies = [place(), place()];
    let before = api.asked();

    let told = rush(&proxies.each_ref().map(InPlace::addr), CLIENTS, &KEYS, TURNS).await;

    let exactly = Told { allowed: BURST, denied: CLIENTS * TURNS - BURST };
    assert_eq!(told, KEYS.map(|key| (key, exactly)).into());
    assert_eq!(api.asked(), before + KEYS.len() * BURST, "what is denied never reaches the API");
    let mut decided_by_redis = 0;
    for client in &mut fleet.clients() {
        let metrics = Metrics::of(client).await;
        assert!(metrics.count("sluice_decisions_total", &[]) > 0, "every replica is asked");
        decided_by_redis += metrics.count("sluice_decisions_total", &[("source", "store")]);
    }
    assert_eq!(decided_by_redis, (KEYS.len() * CLIENTS * TURNS) as u64, "each request is decided about once, and by Redis");
}
