//! The decisions of limiters appear in the statistics of their fleet.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use sluice::{
    Client, Limiter, Policy, Rate, Recorders, Request,
    stats::{MemoryStats, Reporter, StatsCounters},
};

/// A policy with an endpoint and an exempt path. Its rates are so low that no token is refilled
/// during a test.
fn ten_per_day() -> Policy {
    let rate: Rate = "1/day, burst 10".parse().unwrap();
    let builder = Policy::builder()
        .default_limit(rate)
        .endpoint("/api/v1/tools/execute", rate)
        .exempt("/health");
    builder.build().unwrap()
}

#[tokio::test]
async fn decisions_are_counted_by_endpoint_and_client() {
    let store = Arc::new(MemoryStats::new());
    let replicas = ["one", "two"].map(|name| {
        let recorders = Recorders::disabled();
        let counters = StatsCounters::new(&recorders);
        let limiter =
            Limiter::builder(ten_per_day()).recorders(&recorders).stats(&counters).build();
        (limiter, Reporter::new(counters, Arc::clone(&store) as _, name))
    });
    let path = "/api/v1/tools/execute";
    for (limiter, _) in &replicas {
        for client in ["alice", "bob"] {
            for _ in 0..12 {
                limiter
                    .check(&Request::new(Client::Key(client.as_bytes()), "POST", path))
                    .await
                    .unwrap();
            }
            let request = Request::new(Client::Key(client.as_bytes()), "GET", "/elsewhere");
            limiter.check_all(&[request, request]).await;
            limiter.peek(&request).await.unwrap();
        }
        limiter.check(&Request::new(Client::Key(b"carol"), "GET", "/health")).await.unwrap();
    }
    let [(_, one), (_, two)] = &replicas;
    one.flush().await.unwrap();
    let fleet = two.read().await.unwrap();
    let counted = |endpoint: &str| {
        let stats = fleet.endpoints[endpoint];
        (stats.requests, stats.rejected, stats.active_clients)
    };
    assert_eq!(counted(path), (48, 8, 2));
    assert_eq!(counted("other"), (8, 0, 2));
    assert_eq!(
        (fleet.clients, fleet.limited_clients),
        (2, 2),
        "a request that no limit applies to is not counted"
    );
    assert_eq!(fleet.top_limited.iter().map(|(_, denials)| *denials).collect::<Vec<_>>(), [4, 4]);
    assert!(!fleet.endpoints.contains_key("/health"));
}
