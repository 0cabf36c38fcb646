//! A replica whose user of Redis may do nothing but what `docs/redis.md` lists, and what is lost
//! without some of that.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use serde_json::{Value, json};
use sluice_testkit::{
    ClusterOptions, RedisCluster, RedisOptions, RedisServer, SentinelOptions, Sluice,
    SluiceOptions, built_sluice, documented_user, eventually_async,
};
use sluice_tests::{
    http::Client,
    metrics::Metrics,
    redis_monitor::{RedisMonitor, SentCommand},
};

const PASSWORD: &str = "a-password";
const POLICY: &str = "\
endpoints: { /a: { rate: 1/day, burst: 2 } }
defaults: { rate: 1/day, burst: 5 }
costs: { deployment: { small: { per_hour: 1000000 } } }
";
/// Far more than a stop takes.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// A server that would evict buckets, which a replica that may see it reports.
const EVICTING: [&str; 4] = ["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"];

fn start(store: &str) -> Sluice {
    SluiceOptions::new(built_sluice())
        .config(format!("store: {{ timeout: 10s, {store} }}\n{POLICY}"))
        .start()
}

async fn get(sluice: &Sluice, path: &str) -> (u16, Value) {
    let response = Client::of(sluice.http_addr()).get(path).await;
    (response.status, response.json())
}

async fn post(sluice: &Sluice, path: &str, body: &Value) -> Value {
    Client::of(sluice.http_addr()).post(path, body).await.json()
}

/// Decides checks of many clients, alone and in batches.
async fn decides(sluice: &Sluice) {
    let check = |client: &str| json!({ "client": client, "path": "/a" });
    for remaining in [1, 0, 0] {
        let response = post(sluice, "/v1/check", &check("alice")).await;
        assert_eq!(response["remaining"], remaining, "{response}");
    }
    let checks: Vec<Value> = (0..500).map(|number| check(&format!("client {number}"))).collect();
    let response = post(sluice, "/v1/check/batch", &json!({ "checks": checks })).await;
    let results = response["results"].as_array().unwrap();
    assert_eq!(results.len(), 500);
    assert!(results.iter().all(|result| result["remaining"] == 1), "{response}");
}

/// Reports events of every kind that the statistics keep.
async fn reports_events(sluice: &Sluice) {
    let events = json!([
        { "type": "deployment", "operation": "create", "phase": "start", "id": "a" },
        { "type": "deployment", "operation": "create", "phase": "start", "id": "b" },
        { "type": "deployment", "operation": "create", "phase": "finish", "id": "a",
          "status": "success", "kind": "small" },
        { "type": "deployment", "operation": "delete", "status": "success", "id": "a" },
        { "type": "deployment", "operation": "delete", "status": "success", "id": "c" },
        { "type": "deployment", "operation": "create", "status": "success", "id": "c",
          "kind": "small" },
        { "type": "deployment", "operation": "create", "status": "success", "id": "d",
          "kind": "small" },
        { "type": "llm_request", "model": "a", "operation": "chat", "status": "success",
          "cost": 0.5 },
        { "type": "deployment", "operation": "create", "phase": "start" },
        { "type": "cache", "cache": "plans", "hit_rate": 0.5, "instance": "one" },
        { "type": "tool_execution", "tool_name": "scale", "status": "success" },
    ]);
    let response = post(sluice, "/v1/events", &events).await;
    assert_eq!((&response["accepted"], &response["refused"]), (&json!(11), &json!([])));
}

async fn wait_for_stats(sluice: &Sluice) {
    eventually_async("the fleet's statistics have all requests", async || {
        let (status, stats) = get(sluice, "/monitoring/rate-limit/stats").await;
        let (_, summary) = get(sluice, "/monitoring/metrics/summary").await;
        let counts = (stats["total_clients"].as_u64(), stats["rate_limited_clients"].as_u64());
        // Clients are estimated.
        match counts {
            (Some(490..=510), Some(1)) if status == 200 => Ok(()),
            _ => Err(format!("{stats} {summary}")),
        }
    })
    .await;
}

async fn wait_for_status(sluice: &Sluice, status: &str) -> Value {
    eventually_async("the replica has the status", async || {
        let (_, ready) = get(sluice, "/ready").await;
        if ready["status"] == status { Ok(ready) } else { Err(ready.to_string()) }
    })
    .await
}

/// Everything that a replica does, from its start to its end.
async fn works(store: &str, servers: &[&RedisServer]) {
    for server in servers {
        server.command(&documented_user("sluice", PASSWORD));
        server.command(&["ACL", "LOG", "RESET"]);
        server.command(&EVICTING);
    }
    let sluice = start(store);
    decides(&sluice).await;
    reports_events(&sluice).await;
    wait_for_stats(&sluice).await;
    let ready = wait_for_status(&sluice, "degraded").await;
    let warning = ready["store"]["warning"].as_str().unwrap();
    assert!(warning.starts_with("the server may evict buckets"), "{warning}");
    assert!(!warning.contains("Also"), "{warning}");
    let metrics = Metrics::of(&mut Client::of(sluice.http_addr())).await;
    assert_eq!(metrics.count("sluice_replicas_live", &[]), 1);
    sluice.sigterm();
    assert!(sluice.wait_exit(STOP_TIMEOUT).success(), "{}", sluice.log());
    for server in servers {
        let log = server.command(&["ACL", "LOG"]);
        assert!(log.items().is_empty(), "{log:?}");
    }
}

#[tokio::test]
async fn the_documented_user_is_enough_on_a_single_server() {
    let redis = RedisOptions::new().user("sluice", PASSWORD).start();
    works(&format!("url: \"{}\"", redis.url()), &[&redis]).await;
    assert!(redis.command(&["HKEYS", "sluice:{mm}:fleet"]).items().is_empty(), "it has left");
}

#[tokio::test]
async fn the_documented_user_is_enough_on_a_cluster() {
    let cluster = ClusterOptions::new(3).user("sluice", PASSWORD).start();
    let nodes: Vec<&RedisServer> = cluster.nodes().iter().collect();
    works(&format!("url: \"{}\"", cluster.url()), &nodes).await;
}

#[tokio::test]
async fn the_documented_users_are_enough_behind_sentinels() {
    let options = SentinelOptions::new(1, 1).user("sluice", PASSWORD);
    let group = options.sentinel_user("finder", PASSWORD).start();
    let sentinel = &group.sentinels()[0];
    sentinel.command(&documented_user("finder", PASSWORD));
    let login = format!("sentinel: {{ user: finder, password: {PASSWORD} }}");
    let servers: Vec<&RedisServer> = group.servers().iter().collect();
    works(&format!("url: \"{}\", {login}", group.url()), &servers).await;
    assert!(sentinel.command(&["ACL", "LOG"]).items().is_empty());
}

/// Starts a replica on a Redis whose user may not do what `is_forbidden` says of a rule.
async fn without(is_forbidden: impl Fn(&str) -> bool) -> (RedisServer, Sluice) {
    let redis = RedisOptions::new().user("sluice", PASSWORD).start();
    let mut rules = documented_user("sluice", PASSWORD);
    let all = rules.len();
    rules.retain(|rule| !rule.strip_prefix('+').is_some_and(&is_forbidden));
    assert!(rules.len() < all, "{rules:?}");
    redis.command(&rules);
    redis.command(&EVICTING);
    let sluice = start(&format!("url: \"{}\"", redis.url()));
    decides(&sluice).await;
    (redis, sluice)
}

#[tokio::test]
async fn without_info_the_risk_of_evictions_is_not_seen() {
    let (_redis, sluice) = without(|command| command == "info").await;
    wait_for_stats(&sluice).await;
    wait_for_status(&sluice, "ready").await;
    let metrics = Metrics::of(&mut Client::of(sluice.http_addr())).await;
    assert_eq!(metrics.count("sluice_store_may_evict", &[]), 0);
}

#[tokio::test]
async fn without_client_setname_connections_have_no_name() {
    let (redis, sluice) = without(|command| command == "client|setname").await;
    wait_for_stats(&sluice).await;
    let clients = redis.command(&["CLIENT", "LIST"]).text();
    assert!(clients.contains("user=sluice ") && !clients.contains("name=sluice "), "{clients}");
}

#[tokio::test]
async fn without_ping_connections_are_not_used_again() {
    let (_redis, sluice) = without(|command| ["ping", "unwatch"].contains(&command)).await;
    wait_for_stats(&sluice).await;
    wait_for_status(&sluice, "degraded").await;
}

#[tokio::test]
async fn without_the_commands_of_statistics_there_are_none() {
    let (_redis, sluice) = without(|command| command == "hsetnx").await;
    eventually_async("the log says why", async || {
        let log = sluice.log();
        log.contains("the stats could not be flushed") && log.contains("`ACL LOG`")
    })
    .await;
    let ready = wait_for_status(&sluice, "degraded").await;
    let warning = ready["store"]["warning"].as_str().unwrap();
    assert!(!warning.contains("Also"), "decisions and announcements need it not: {warning}");
}

#[tokio::test]
async fn without_the_commands_of_announcements_the_replica_says_so() {
    let (_redis, sluice) = without(|command| command == "pexpire").await;
    eventually_async("a warning is about announcements", async || {
        let (_, ready) = get(&sluice, "/ready").await;
        let warning = ready["store"]["warning"].as_str().unwrap_or_default().to_owned();
        if warning.contains("announce") { Ok(()) } else { Err(warning) }
    })
    .await;
    assert!(sluice.log().to_lowercase().contains("pexpire"), "{}", sluice.log());
}

/// Returns the commands that the scripts call, whether or not a test makes them.
fn called_in_scripts() -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lua");
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let texts: Vec<String> = files.map(|file| fs::read_to_string(file).unwrap()).collect();
    let calls = texts.iter().flat_map(|text| text.split("call('").skip(1));
    calls.map(|call| call.split('\'').next().unwrap().to_lowercase()).collect()
}

/// Returns the commands that the document's user may run.
fn documented() -> BTreeSet<String> {
    let rules = documented_user("sluice", PASSWORD);
    rules.iter().filter_map(|rule| rule.strip_prefix('+')).map(str::to_owned).collect()
}

fn names<'a>(commands: impl IntoIterator<Item = &'a SentCommand>) -> BTreeSet<String> {
    let names = commands.into_iter().map(SentCommand::name);
    // Every user may log in, and ask what the server is.
    names.filter(|name| !["hello", "auth"].contains(&&**name)).collect()
}

/// What servers of others allow: declared keys, few arguments, and no command that walks over all
/// keys or changes the database.
fn assert_modest(commands: &[SentCommand]) {
    assert!(!commands.is_empty());
    for command in commands.iter().filter(|command| !command.is_in_script) {
        let (name, shown) = (command.name(), format!("{:.500}", format!("{:?}", command.words)));
        assert!(command.words.len() <= 3_900, "{shown}");
        assert!(
            !["keys", "scan", "select", "eval", "multi", "config"].contains(&&*name),
            "{shown}"
        );
        if let Some(keys) = command.script_keys() {
            assert!(!keys.is_empty(), "{shown}");
        }
    }
}

fn assert_named(redis: &RedisServer) {
    let clients = redis.command(&["CLIENT", "LIST"]).text();
    let over_tcp = |line: &&str| line.contains(" addr=127.0.0.1:");
    let mut of_sluice = 0;
    for line in clients.lines().filter(over_tcp).filter(|line| !line.contains(" cmd=monitor ")) {
        assert!(line.contains(" name=sluice "), "{line}");
        of_sluice += 1;
    }
    assert!(of_sluice > 0, "{clients}");
}

/// Uses a replica in every way, and ends it.
async fn use_everything(sluice: &Sluice) {
    decides(sluice).await;
    reports_events(sluice).await;
    wait_for_stats(sluice).await;
}

#[tokio::test]
async fn the_document_lists_the_commands_that_are_sent_and_no_others() {
    let (redis, cluster) = (RedisServer::start(), RedisCluster::start(3));
    let monitor = RedisMonitor::start(&redis);
    let monitors: Vec<RedisMonitor> = cluster.nodes().iter().map(RedisMonitor::start).collect();

    let sluice = start(&format!("url: \"{}\"", redis.url()));
    use_everything(&sluice).await;
    assert_named(&redis);
    sluice.sigterm();
    assert!(sluice.wait_exit(STOP_TIMEOUT).success());

    let sluice = start(&format!("url: \"{}\"", cluster.url()));
    use_everything(&sluice).await;
    cluster.nodes().iter().for_each(assert_named);
    // New clients are where the slot moves to.
    let slot = cluster.slot_of("{mm}");
    let from = cluster.primary_of(slot).port();
    let primaries = cluster.primaries();
    cluster.begin_move(slot, primaries.iter().find(|node| node.port() != from).unwrap());
    let checks: Vec<Value> =
        (0..1_000).map(|number| json!({ "client": format!("new {number}") })).collect();
    let response = post(&sluice, "/v1/check/batch", &json!({ "checks": checks })).await;
    let results = response["results"].as_array().unwrap();
    assert!(results.iter().all(|result| result["remaining"] == 4), "{response}");
    sluice.sigterm();
    assert!(sluice.wait_exit(STOP_TIMEOUT).success());

    let alone = monitor.commands();
    let of_nodes: Vec<Vec<SentCommand>> = monitors.iter().map(RedisMonitor::commands).collect();
    assert_modest(&alone);
    for commands in &of_nodes {
        assert_modest(commands);
        for keys in commands.iter().filter_map(SentCommand::script_keys) {
            let tags: BTreeSet<&str> =
                keys.iter().map(|key| &key[..key.find('}').unwrap()]).collect();
            assert_eq!(tags.len(), 1, "one call has keys in several slots: {keys:?}");
        }
    }
    let of_cluster = names(of_nodes.iter().flatten());
    let only_in_clusters: BTreeSet<_> = of_cluster.difference(&names(&alone)).cloned().collect();
    assert_eq!(
        only_in_clusters,
        ["asking", "cluster|info", "cluster|slots"].map(str::to_owned).into()
    );
    let sent: BTreeSet<_> = names(&alone).union(&of_cluster).cloned().collect();
    let used: BTreeSet<_> = sent.union(&called_in_scripts()).cloned().collect();
    assert_eq!(used, documented());
}
