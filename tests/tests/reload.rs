//! A configuration that changes while a replica runs.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{fs, os::unix::fs::symlink, path::Path};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sluice_testkit::{RedisServer, Sluice, SluiceOptions, built_sluice, eventually_async};
use sluice_tests::{
    audit::Audit,
    buckets,
    fleet::{Fleet, LONG_TIMEOUT, memory_replica},
    http::{Client, Request},
    load::Load,
    metrics::Metrics,
};

/// Returns the burst that applies now.
async fn burst(client: &mut Client) -> u64 {
    peek(client, "newcomer").await["burst"].as_u64().unwrap()
}

/// Returns the state of the first limit for `who`, without taking a token.
async fn peek(client: &mut Client, who: &str) -> Value {
    client.post("/v1/check", &json!({ "client": who, "cost": 0 })).await.json()["limits"][0].clone()
}

async fn wait_for_burst(client: &mut Client, expected: u64) {
    eventually_async("the changed configuration applies", async || {
        let burst = burst(client).await;
        if burst == expected { Ok(()) } else { Err(format!("the burst is {burst}")) }
    })
    .await;
}

fn burst_of(burst: u64) -> String {
    format!("defaults: {{ rate: 10/day, burst: {burst} }}")
}

/// Changes the burst from 10 to other values, in a file that begins with `store`.
async fn change_the_burst(sluice: &Sluice, store: &str) {
    let (pid, mut client) = (sluice.pid(), Client::of(sluice.http_addr()));
    let taken = client.post("/v1/check", &json!({ "client": "alice", "cost": 4 })).await;
    assert_eq!((taken.status, &taken.json()["remaining"]), (200, &json!(6)));

    // A bucket never gets more tokens than it had or than the new burst, and keeps what was taken
    // between the changes.
    for (burst, remaining) in [(20, 6), (5, 5), (8, 4)] {
        sluice.rewrite_config(&format!("{store}{}", burst_of(burst)));
        wait_for_burst(&mut client, burst).await;
        assert_eq!(peek(&mut client, "alice").await["remaining"], remaining, "{store}{burst}");
        if burst == 5 {
            assert_eq!(
                client.post("/v1/check", &json!({ "client": "alice" })).await.json()["remaining"],
                4
            );
        }
    }
    assert_eq!(sluice.pid(), pid);
    assert_eq!(
        Metrics::of(&mut client)
            .await
            .count("sluice_config_reloads_total", &[("result", "applied")]),
        3
    );
}

#[tokio::test]
async fn a_changed_file_applies_without_a_restart_and_buckets_keep_their_tokens() {
    let fleet = Fleet::start(1, RedisServer::start(), LONG_TIMEOUT, &burst_of(10));
    let lonely = memory_replica(&burst_of(10));
    let with_redis = format!(
        "store: {{ url: \"{}\", timeout: {}s }}\n",
        fleet.redis.url(),
        LONG_TIMEOUT.as_secs()
    );
    tokio::join!(change_the_burst(&fleet.replicas[0], &with_redis), change_the_burst(&lonely, ""));
}

#[tokio::test]
async fn a_changed_number_of_expected_replicas_divides_the_limits_of_the_next_outage() {
    let redis = RedisServer::start();
    let with = |more: &str| {
        let store = format!("store: {{ url: \"{}\", timeout: 1s{more} }}", redis.url());
        format!("{store}\ndefaults: {{ rate: 1/day, burst: 30 }}\n")
    };
    let sluice = SluiceOptions::new(built_sluice()).config(with("")).start();
    let mut client = Client::of(sluice.http_addr());
    sluice.rewrite_config(&with(", expected_replicas: 3"));
    eventually_async("the changed configuration applies", async || {
        Metrics::of(&mut client).await.count("sluice_replicas_expected", &[]) == 3
    })
    .await;
    assert!(!sluice.log().contains("expected_replicas"), "no restart: {}", sluice.log());

    redis.kill();
    let mut allowed = 0;
    for _ in 0..12 {
        let response = client.post("/v1/check", &json!({ "client": "newcomer" })).await;
        allowed += usize::from(response.status == 200);
    }
    assert_eq!(allowed, 10, "a third of the burst");
}

#[tokio::test]
async fn new_endpoints_tiers_and_identities_apply_together() {
    let sluice = SluiceOptions::new(built_sluice()).config("").start();
    let mut client = Client::of(sluice.http_addr());
    let ask = Request::get("/reports/7").header("x-org", "acme");
    assert_eq!(client.send(&ask).await.header("ratelimit-policy"), Some("\"default\";q=60;w=60"));
    sluice.rewrite_config(
        "endpoints: { /reports: 7 }\n\
         clients: { identify: [header:x-org, ip], unverified: off }\n\
         tiers: { pro: { multiply: 3, clients: [acme] } }\n",
    );
    eventually_async("the changed configuration applies", async || {
        let response = client.send(&ask).await;
        if response.header("ratelimit-policy") == Some("\"/reports\";q=21;w=60") {
            Ok(())
        } else {
            Err(response.to_string())
        }
    })
    .await;
}

#[tokio::test]
async fn an_invalid_file_is_rejected_with_errors_and_the_old_rules_stay() {
    let sluice = memory_replica(&burst_of(10));
    let mut client = Client::of(sluice.http_addr());
    assert_eq!(
        client.post("/v1/check", &json!({ "client": "alice" })).await.json()["remaining"],
        9
    );

    sluice.rewrite_config(
        "defaults: { rate: 10/fortnight, burst: 99 }\nlimits: [{ name: a, rate: 1/day, brust: 1 }]",
    );
    let ready = eventually_async("readiness reports the rejected file", async || {
        let ready = client.get("/ready").await;
        if ready.json()["status"] == "degraded" { Ok(ready) } else { Err(ready.to_string()) }
    })
    .await;
    let path = sluice.config_path();
    let path = path.to_str().unwrap();
    let errors = [
        format!(
            "{path}:1: defaults.rate: `10/fortnight` is not a rate: write `60/minute` \
             (second, minute, hour or day) or `100 per 90s`"
        ),
        format!("{path}:2: limits[0].brust: unknown key: did you mean `burst`?"),
    ];
    assert!(ready.json()["configuration"]["refused"].is_string(), "{ready}");
    assert!(!ready.text().contains(path), "strangers can read /ready: {ready}");
    let detailed = client.get("/monitoring/health/detailed").await.json();
    let refused = detailed["configuration"]["last_reload_error"].as_str().unwrap().to_owned();
    let log = sluice.log();
    for error in &errors {
        assert!(refused.contains(error), "{refused}");
        assert!(log.lines().any(|line| line.contains("ERROR") && line.contains(error)), "{log}");
    }
    assert_eq!(ready.status, 200, "the replica still decides");
    assert_eq!(peek(&mut client, "alice").await["remaining"], 9);
    assert_eq!(burst(&mut client).await, 10);
    assert_eq!(
        Metrics::of(&mut client)
            .await
            .count("sluice_config_reloads_total", &[("result", "refused")]),
        1
    );

    sluice.rewrite_config(&burst_of(11));
    wait_for_burst(&mut client, 11).await;
    assert_eq!(client.get("/ready").await.json()["status"], "ready");
    assert_eq!(peek(&mut client, "alice").await["remaining"], 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_under_load_does_not_affect_other_limits() {
    let fleet = Fleet::start(1, RedisServer::start(), LONG_TIMEOUT, buckets::LIMITS);
    let unchanged = fs::read_to_string(fleet.replicas[0].config_path()).unwrap();
    let audit = Audit::begin(fleet.addresses()[0]).await;
    let load = Load::start(40, &fleet.addresses(), buckets::all());
    let mut client = Client::of(fleet.addresses()[0]);
    for rate in [70, 80] {
        fleet.replicas[0].rewrite_config(&format!(
            "{unchanged}limits: \
                 [{{ name: more, when: {{ path: /more }}, rate: {rate}/day, burst: 9 }}]"
        ));
        eventually_async("the changed configuration applies", async || {
            let response = client
                .post("/v1/check", &json!({ "client": "alice", "path": "/more", "cost": 0 }))
                .await;
            response.json()["limit"] == rate
        })
        .await;
    }
    let record = load.stop().await;
    assert!(
        record.failed.is_empty(),
        "{} requests have no answer: {:?}",
        record.failed.len(),
        record.failed[0]
    );
    buckets::assert_every_window_keeps_its_limit(&record);
    audit.assert_that_tokens_add_up(&record).await;
}

#[tokio::test]
async fn settings_that_need_a_restart_keep_their_values_and_are_reported() {
    let sluice = memory_replica(&burst_of(10));
    let mut client = Client::of(sluice.http_addr());
    sluice.rewrite_config(&format!("store: {{ url: \"redis://127.0.0.1:1\" }}\n{}", burst_of(12)));
    wait_for_burst(&mut client, 12).await;
    eventually_async("the log says what needs a restart", async || {
        let log = sluice.log();
        if log.contains("store.url has changed, which needs a restart") { Ok(()) } else { Err(log) }
    })
    .await;
    assert_eq!(client.get("/ready").await.json()["store"]["name"], "memory");
}

#[tokio::test]
async fn sighup_reloads_the_configuration_and_keeps_connections() {
    let sluice = memory_replica(&burst_of(10));
    let mut client = Client::of(sluice.http_addr());
    assert_eq!(
        client.post("/v1/check", &json!({ "client": "alice" })).await.json()["remaining"],
        9
    );
    let pid = Pid::from_raw(sluice.pid().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    eventually_async("the configuration was read again", async || {
        Metrics::of(&mut client)
            .await
            .count("sluice_config_reloads_total", &[("result", "applied")])
            == 1
    })
    .await;
    assert_eq!(
        (sluice.is_running(), &peek(&mut client, "alice").await["remaining"]),
        (true, &json!(9))
    );
}

/// Writes a configuration as Kubernetes mounts a config map: `sluice.yaml` is a link into `..data`,
/// which is a link to a directory of this version.
fn mount(directory: &Path, version: &str, text: &str) {
    let files = directory.join(format!("..{version}"));
    fs::create_dir(&files).unwrap();
    fs::write(files.join("sluice.yaml"), text).unwrap();
    symlink(format!("..{version}"), directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    if !directory.join("sluice.yaml").exists() {
        symlink("..data/sluice.yaml", directory.join("sluice.yaml")).unwrap();
    }
}

fn started_on(directory: &Path) -> Sluice {
    SluiceOptions::new(built_sluice())
        .args(&["--config", directory.join("sluice.yaml").to_str().unwrap()])
        .start()
}

#[tokio::test]
async fn a_config_map_that_kubernetes_replaces_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    mount(directory.path(), "2026_01", &burst_of(10));
    let sluice = started_on(directory.path());
    let mut client = Client::of(sluice.http_addr());
    assert_eq!(
        client.post("/v1/check", &json!({ "client": "alice" })).await.json()["remaining"],
        9
    );
    // Two swaps: the first is from the file of the start, the second from a file that was swapped
    // in.
    for (version, burst) in [("2026_02", 30), ("2026_03", 40)] {
        mount(directory.path(), version, &burst_of(burst));
        wait_for_burst(&mut client, burst).await;
        assert_eq!(peek(&mut client, "alice").await["remaining"], 9);
    }
    // Kubernetes removes the old version after the swap.
    fs::remove_dir_all(directory.path().join("..2026_01")).unwrap();
    fs::remove_dir_all(directory.path().join("..2026_02")).unwrap();
    assert_eq!(burst(&mut client).await, 40);

    mount(directory.path(), "2026_04", "defaults: [");
    eventually_async("readiness reports the rejected file", async || {
        client.get("/ready").await.json()["status"] == "degraded"
    })
    .await;
    assert_eq!(burst(&mut client).await, 40);
}

#[tokio::test]
async fn a_deleted_file_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    mount(directory.path(), "2026_01", &burst_of(10));
    let sluice = started_on(directory.path());
    let mut client = Client::of(sluice.http_addr());
    fs::remove_file(directory.path().join("sluice.yaml")).unwrap();
    eventually_async("readiness reports the rejected file", async || {
        client.get("/ready").await.json()["status"] == "degraded"
    })
    .await;
    assert!(sluice.log().contains("the file cannot be read"), "{}", sluice.log());
    assert_eq!(burst(&mut client).await, 10);
    assert!(sluice.is_running());
}
