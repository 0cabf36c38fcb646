//! A replica whose clients are denied, and the Prometheus that scrapes it.

use serde_json::{Value, json};
use sluice_testkit::{Sluice, eventually_async};
use sluice_tests::{http::Client, prometheus::Prometheus};

/// Returns a configuration with one check a minute for `/spent`.
pub(crate) fn soon_exceeded() -> Value {
    json!({ "endpoints": { "/spent": { "requests_per_minute": 1, "burst_size": 1 } } })
}

/// Makes Prometheus see so many denials that there were twenty a second in the last five minutes,
/// however short the time between them.
pub(crate) async fn deny_many(replica: &Sluice, prometheus: &Prometheus) {
    let mut client = Client::of(replica.http_addr());
    // A rate is a difference: Prometheus must have scraped a counter before it grows.
    check(&mut client, 2).await;
    eventually_async("Prometheus has seen the counter", async || {
        !prometheus.query("rate_limit_hits_total{endpoint='/spent'} > 0").await.is_empty()
    })
    .await;
    for _ in 0..6 {
        check(&mut client, 1_000).await;
    }
}

async fn check(client: &mut Client, checks: usize) {
    let check = json!({ "client": "greedy", "path": "/spent" });
    let response = client.post("/v1/check/batch", &json!({ "checks": vec![check; checks] })).await;
    assert_eq!(response.status, 200, "{response}");
}
