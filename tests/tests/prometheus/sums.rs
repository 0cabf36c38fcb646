//! The sums in Prometheus equal the responses that clients got.

use serde_json::Value;
use sluice_testkit::{RedisServer, eventually_async};
use sluice_tests::{
    fleet::{Fleet, LONG_TIMEOUT, memory_replica},
    http::{Client, Request},
    metrics::Metrics,
    prometheus::{Prometheus, Series},
};

use crate::traffic::{Counts, LISTED, send_all_requests};

/// Selects the requests of the test, to the API and to Sluice's own endpoints; Prometheus requests
/// only `/metrics`.
const NOT_METRICS: &str = "endpoint!='/metrics'";
/// Selects the requests of the test in a metric and in its twin for Sluice's own endpoints.
fn both(metric: &str) -> String {
    format!("{{__name__=~'(sluice_)?{metric}',{NOT_METRICS}}}")
}

async fn counts_in(prometheus: &Prometheus) -> Counts {
    let series = prometheus
        .query(&format!("sum by (endpoint, method, status) ({}) > 0", both("http_requests_total")))
        .await;
    let key = |label: &str, one: &Series| one.label(label).to_owned();
    series
        .iter()
        .map(|one| {
            ((key("endpoint", one), key("method", one), key("status", one)), whole(one.value))
        })
        .collect()
}

fn whole(value: f64) -> u64 {
    format!("{value:.0}").parse().unwrap()
}

async fn sum(prometheus: &Prometheus, query: &str) -> u64 {
    prometheus.query(query).await.first().map_or(0, |series| whole(series.value))
}

#[tokio::test]
async fn the_sums_in_prometheus_equal_the_responses_to_clients() {
    let fleet = Fleet::start(3, RedisServer::start(), LONG_TIMEOUT, LISTED);
    let prometheus = Prometheus::start(&fleet.addresses(), &[]).await;
    let mut sent = Counts::new();
    for client in fleet.clients() {
        send_all_requests(client, &mut sent).await;
    }
    // The test kit also requested `/health`, until each replica was up.
    sent.remove(&("/health".to_owned(), "GET".to_owned(), "200".to_owned()));
    eventually_async("Prometheus has scraped every request", async || {
        let mut seen = counts_in(&prometheus).await;
        let health = seen.remove(&("/health".to_owned(), "GET".to_owned(), "200".to_owned()));
        if seen == sent && health >= Some(45) {
            Ok(())
        } else {
            Err(format!("{seen:?}\nin place of {sent:?}"))
        }
    })
    .await;

    let batches: u64 = sent
        .iter()
        .filter(|((endpoint, ..), _)| endpoint == "/v1/check/batch")
        .map(|(_, count)| count)
        .sum();
    let of_status = |wanted: &str| {
        sent.iter()
            .filter(|((.., status), _)| status == wanted)
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    assert!(of_status("429") > 100, "{sent:?}");
    // A batch of two checks is one request, whose status is 200 whatever its checks decide.
    let decisions = of_status("200") + of_status("429") - batches + 2 * batches;
    assert_eq!(sum(&prometheus, "sum(sluice_decisions_total)").await, decisions);
    assert_eq!(sum(&prometheus, "sum(sluice_decisions_total{source='local'})").await, 0);
    let denied = sum(&prometheus, "sum(sluice_decisions_total{outcome='denied'})").await;
    assert!(
        (of_status("429") + 1..of_status("429") + 2 * batches).contains(&denied),
        "{denied}: checks in batches are denied too"
    );
    assert_eq!(sum(&prometheus, "sum(rate_limit_hits_total)").await, denied);
    for histogram in
        ["http_request_duration_seconds", "http_request_size_bytes", "http_response_size_bytes"]
    {
        let counts = both(&format!("{histogram}_count"));
        let difference = format!("sum({counts}) - sum({})", both("http_requests_total"));
        assert_eq!(sum(&prometheus, &difference).await, 0, "{histogram}");
    }
    let of_api = sum(&prometheus, "sum(http_requests_total)").await;
    let to_api = |endpoint: &str| ["other", "/a/path"].contains(&endpoint);
    let expected =
        sent.iter().filter(|((endpoint, ..), _)| to_api(endpoint) || endpoint.starts_with("/api/"));
    assert_eq!(of_api, expected.map(|(_, count)| count).sum::<u64>(), "{sent:?}");

    eventually_async("every replica is healthy in Prometheus", async || {
        let targets = prometheus.api("targets").await["data"]["activeTargets"].clone();
        let healthy = |target: &Value| target["health"] == "up" && target["lastError"] == "";
        if targets.as_array().unwrap().iter().all(healthy) {
            Ok(())
        } else {
            Err(targets.to_string())
        }
    })
    .await;
    assert_eq!(prometheus.query("sluice_build_info").await.len(), 3);
}

#[tokio::test]
async fn unknown_clients_and_paths_make_no_series() {
    let sluice =
        memory_replica("limits: [{ name: each_org, per: header:x-org, rate: 1/day, burst: 1 }]");
    let mut client = Client::of(sluice.http_addr());
    let series = async |client: &mut Client| {
        Metrics::of(client).await.text().lines().filter(|line| !line.starts_with('#')).count()
    };
    let mut counts = Vec::new();
    // The first scrape adds series for itself, which the second one has.
    for round in 0..3 {
        for number in 0..200 {
            let unique = format!("{round}-{number}");
            let request =
                Request::new(&format!("M{unique}"), &format!("/path/{unique}?query={unique}"));
            let request = request
                .header("x-api-key", &unique)
                .header("x-org", &unique)
                .header("user-agent", &unique);
            assert_eq!(client.send(&request).await.status, 200);
        }
        counts.push(series(&mut client).await);
    }
    assert_eq!(counts[1], counts[2], "unknown methods, paths and clients add no series");
}
