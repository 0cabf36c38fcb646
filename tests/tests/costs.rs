//! What a fleet costs: exact to the millionth over all replicas, also when one is killed.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use serde_json::{Value, json};
use sluice_testkit::{RedisOptions, RedisServer, eventually_async};
use sluice_tests::{
    fleet::{Fleet, LONG_TIMEOUT, memory_replica},
    http::Client,
    metrics::Metrics,
};

const COSTS: &str = "\
costs:
  currency: USD
  budget: 1
  llm:
    gpt-4.1: { input_per_1m: 2, cached_input_per_1m: 0.5, output_per_1m: 8 }
";

/// 1,000 * 2 + 200 * 0.5 + 300 * 8 = 4,500 micro-units.
fn priced() -> Value {
    json!({
        "type": "llm_request", "model": "gpt-4.1", "operation": "chat", "status": "success",
        "tokens_consumed": 1_200, "tokens_cached": 200, "tokens_generated": 300,
    })
}

fn reported(cost: f64, currency: &str) -> Value {
    json!({
        "type": "llm_request", "model": "in-house", "operation": "chat", "status": "success",
        "cost": cost, "currency": currency,
    })
}

async fn report(client: &mut Client, events: &[Value]) {
    let response = client.post("/v1/events", &Value::from(events)).await.json();
    assert_eq!(response, json!({ "accepted": events.len(), "refused": [] }));
}

/// The costs of the month, in millionths: of this model or kind in this currency, or of all.
async fn month(client: &mut Client, name: Option<&str>, currency: &str) -> u64 {
    let summary = client.get("/monitoring/metrics/summary").await;
    assert_eq!(summary.status, 200, "{summary}");
    let costs = summary.json()["costs"].clone();
    let list = if name.is_some() { &costs["parts"] } else { &costs["totals"] };
    let is_wanted = |cost: &&Value| {
        cost["currency"] == currency && name.is_none_or(|name| cost["name"] == name)
    };
    let cost = list.as_array().unwrap().iter().find(is_wanted);
    let Some(units) = cost.and_then(|cost| cost["month_to_date"].as_f64()) else { return 0 };
    format!("{:.0}", units * 1e6).parse().unwrap()
}

#[tokio::test]
async fn the_costs_of_all_replicas_add_up_exactly() {
    let fleet = Fleet::start(2, RedisServer::start(), LONG_TIMEOUT, COSTS);
    let [mut one, mut two] = <[Client; 2]>::try_from(fleet.clients()).unwrap();
    for client in [&mut one, &mut two] {
        // A tenth cannot be written as a binary fraction; a hundred of them are ten all the same.
        let tenths = vec![reported(0.1, "EUR"); 50];
        report(client, &tenths).await;
        report(client, &vec![priced(); 100]).await;
    }
    let deployment = json!({
        "type": "deployment", "operation": "create", "status": "success", "kind": "small",
        "cost": 1.5,
    });
    report(&mut one, &[deployment]).await;

    let metrics = Metrics::of(&mut two).await;
    assert!(
        metrics.text().contains("\nllm_cost_total{currency=\"EUR\",model=\"in-house\"} 5\n")
            && metrics
                .text()
                .contains("\nllm_cost_total{currency=\"USD\",model=\"gpt-4.1\"} 0.45\n")
            && metrics.text().contains("\nsluice_cost_budget{currency=\"USD\"} 1\n"),
        "{}",
        metrics.text()
    );
    // A page contains what its own replica has counted; the other flushes within a second.
    for client in [&mut one, &mut two] {
        eventually_async("a page shows the costs of both replicas", async || {
            let all = [
                month(client, None, "EUR").await,
                month(client, Some("gpt-4.1"), "USD").await,
                month(client, Some("small"), "USD").await,
                month(client, None, "USD").await,
            ];
            if all == [10_000_000, 900_000, 1_500_000, 2_400_000] {
                Ok(())
            } else {
                Err(format!("{all:?}"))
            }
        })
        .await;
    }
    // The page also records the gauges of its replica.
    let metrics = Metrics::of(&mut two).await;
    assert!(
        metrics.text().contains("\nsluice_cost_month{currency=\"USD\"} 2.4\n"),
        "{}",
        metrics.text()
    );
}

#[tokio::test]
async fn what_a_killed_replica_has_flushed_stays() {
    let fleet = Fleet::start(2, RedisServer::start(), LONG_TIMEOUT, COSTS);
    let [mut one, mut two] = <[Client; 2]>::try_from(fleet.clients()).unwrap();
    report(&mut one, &vec![priced(); 1_000]).await;
    report(&mut two, &vec![priced(); 10]).await;
    eventually_async("the first replica has flushed", async || {
        match month(&mut two, Some("gpt-4.1"), "USD").await {
            4_545_000 => Ok(()),
            sum => Err(format!("{sum}")),
        }
    })
    .await;
    fleet.replicas[0].sigkill();
    report(&mut two, &[priced()]).await;
    eventually_async("the second replica has flushed", async || {
        match month(&mut two, Some("gpt-4.1"), "USD").await {
            4_549_500 => Ok(()),
            sum => Err(format!("{sum}")),
        }
    })
    .await;
}

#[tokio::test]
async fn wrong_costs_are_rejected_and_unknown_ones_are_counted() {
    let sluice = memory_replica(COSTS);
    let mut client = Client::of(sluice.http_addr());
    let with = |member: &str, value: Value| {
        let mut event = priced();
        event[member] = value;
        event
    };
    let mut lowercase = reported(1.0, "usd");
    lowercase["model"] = json!("a");
    let started = json!({
        "type": "deployment", "operation": "create", "phase": "start", "cost": 1,
    });
    let events = [
        with("cost", json!(-0.5)),
        with("cost", json!(1_000_001)),
        with("cost", json!("1")),
        with("currency", json!("EUR")),
        lowercase,
        with("tokens_cached", json!(1_201)),
        started,
        with("model", json!("unheard-of")),
    ];
    let response = client.post("/v1/events", &Value::from(events.to_vec())).await.json();
    let errors: Vec<&str> = response["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|refused| refused["error"].as_str().unwrap())
        .collect();
    assert_eq!(
        errors,
        [
            "cost: -0.5 is not an amount of money: write a number that is not below 0",
            "cost: 1000001 is too much: at most 1000000",
            "cost: must be a number, not the string \"1\"",
            "currency: the cost is missing: add `cost`, or remove `currency`",
            "currency: `usd` is not a currency: write three capital letters, as in `USD`",
            "tokens_cached: 1201 tokens from the cache and 0 to it are more than the 1200 tokens \
             that were consumed, whose parts they are",
            "cost: a deployment that starts has no cost yet: send it with the finish",
        ]
    );
    let metrics = Metrics::of(&mut client).await;
    assert_eq!(
        metrics.count("sluice_cost_unknown_total", &[("source", "llm"), ("name", "unheard-of")]),
        1
    );
    let costs = client.get("/monitoring/metrics/summary").await.json()["costs"].clone();
    assert_eq!((&costs["totals"], &costs["parts"]), (&json!([]), &json!([])));
    assert!(!metrics.text().contains("NaN"), "{}", metrics.text());
}

#[tokio::test]
async fn changed_prices_apply_to_later_requests() {
    let sluice = memory_replica(COSTS);
    let mut client = Client::of(sluice.http_addr());
    report(&mut client, &[priced()]).await;
    sluice.rewrite_config(
        "costs: { currency: EUR, llm: { gpt-4.1: { input_per_1m: 1, output_per_1m: 0 } } }",
    );
    sluice.sighup();
    eventually_async("the budget is gone", async || {
        let metrics = Metrics::of(&mut client).await;
        !metrics.text().contains("\nsluice_cost_budget{")
    })
    .await;
    report(&mut client, &[priced()]).await;
    // The 200 tokens from the cache have no price of their own any more.
    eventually_async("the page shows both costs", async || {
        let mut of = async |currency| month(&mut client, Some("gpt-4.1"), currency).await;
        match (of("USD").await, of("EUR").await) {
            (4_500, 1_200) => Ok(()),
            costs => Err(format!("{costs:?}")),
        }
    })
    .await;
}

/// All that deployments have cost, as the store has it, in millionths.
fn deployments(redis: &RedisServer) -> u64 {
    let days = redis.command(&["KEYS", "sluice:{mm}:stats:day:*"]).texts();
    let sums = days.iter().flat_map(|day| {
        let fields = redis.command(&["HGETALL", day]).texts();
        let sums = fields.chunks(2).filter(|sum| sum[0].contains("cost.deployment"));
        sums.map(|sum| sum[1].parse::<u64>().unwrap()).collect::<Vec<_>>()
    });
    sums.sum()
}

/// Waits until deployments have cost this many hours, and what the test takes.
async fn eventually_hours(client: &mut Client, redis: &RedisServer, hours: u64) -> u64 {
    eventually_async("the deployments are charged", async || {
        // A page that is read charges them; so does each replica once a minute.
        client.get("/monitoring/metrics/summary").await;
        let sum = deployments(redis);
        let range = hours * 1_000_000..hours * 1_000_000 + 200_000;
        if range.contains(&sum) { Ok(sum) } else { Err(format!("{sum} instead of {range:?}")) }
    })
    .await
}

#[tokio::test]
async fn a_deployment_costs_by_the_hour_until_it_is_deleted_whichever_replica_is_killed() {
    const HOUR_US: i64 = 3_600_000_000;
    let redis = RedisOptions::new().movable_clock().start();
    let costs = "costs: { deployment: { small: { per_hour: 1 } } }\n";
    let fleet = Fleet::start(2, redis, LONG_TIMEOUT, costs);
    let [mut one, mut two] = <[Client; 2]>::try_from(fleet.clients()).unwrap();
    let finished = |operation: &str, status: &str| {
        json!({
            "type": "deployment", "operation": operation, "phase": "finish", "id": "d-1",
            "kind": "small", "status": status,
        })
    };
    report(&mut one, &[finished("create", "failure"), finished("create", "success")]).await;
    eventually_async("both replicas know the deployment", async || {
        for client in [&mut one, &mut two] {
            client.get("/monitoring/metrics/summary").await;
            let metrics = Metrics::of(client).await;
            if metrics.count("sluice_cost_running_deployments", &[]) != 1 {
                return Err(metrics.text().to_owned());
            }
        }
        Ok(())
    })
    .await;
    fleet.redis.step_clock(5 * HOUR_US);
    eventually_hours(&mut one, &fleet.redis, 5).await;
    fleet.replicas[0].sigkill();
    fleet.redis.step_clock(2 * HOUR_US);
    eventually_hours(&mut two, &fleet.redis, 7).await;
    report(&mut two, &[finished("delete", "failure"), finished("delete", "success")]).await;
    eventually_async("the deployment has ended", async || {
        two.get("/monitoring/metrics/summary").await;
        Metrics::of(&mut two).await.count("sluice_cost_running_deployments", &[]) == 0
    })
    .await;
    let sum = eventually_hours(&mut two, &fleet.redis, 7).await;
    fleet.redis.step_clock(3 * HOUR_US);
    eventually_hours(&mut two, &fleet.redis, 7).await;
    assert_eq!(deployments(&fleet.redis), sum);
}
