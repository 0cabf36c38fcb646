//! The example of `deploy/examples/envoy` with a real Envoy. Only the addresses in its files are
//! changed.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{fs, net::SocketAddr, time::Duration};

use serde_json::json;
use sluice_testkit::{
    Proxy, ProxyKind, RedisServer, ReservedPort, Sluice, SluiceOptions, built_sluice,
    eventually_async,
};
use sluice_tests::{
    concurrent::{Counts, send_concurrently},
    echo::{Echo, OWN_LIMIT},
    http::{Client, Connection, Request, Response},
    metrics::Metrics,
    through_proxy,
};
use tempfile::TempDir;

const ENVOY: &str = include_str!("../../deploy/examples/envoy/envoy.yaml");
const SLUICE: &str = include_str!("../../deploy/examples/envoy/sluice.yaml");
const RULES: &str = include_str!("../../deploy/examples/envoy/ratelimit/edge.yaml");

/// A path without a limit, which shows that the proxy and the API are up.
const EXEMPT: &str = "/health";
const ON_EVERY_RESPONSE: [&str; 5] = [
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-policy",
    "ratelimit",
];

/// Two requests a day for each key, and a high limit for each address.
const TWO_A_DAY: &str = "
domain: edge
descriptors:
- { key: api_key, rate_limit: { unit: day, requests_per_unit: 2 } }
- { key: remote_address, rate_limit: { unit: day, requests_per_unit: 1000 } }
";

/// Replicas of Sluice that read the same rule files.
struct Replicas {
    sluices: Vec<Sluice>,
    rules: TempDir,
}

impl Replicas {
    /// Starts `count` replicas; `more` is added to the `sluice.yaml` of the example.
    fn start(count: usize, rules: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("edge.yaml"), rules).unwrap();
        let replicas = Self { sluices: Vec::new(), rules: folder };
        let config = replicas.config(more);
        let start =
            |_| SluiceOptions::new(built_sluice()).identify_by_key().grpc().config(&config).start();
        Self { sluices: (0..count).map(start).collect(), ..replicas }
    }

    fn config(&self, more: &str) -> String {
        let file = SLUICE.replace("ratelimit/", &format!("{}/", self.rules.path().display()));
        assert_ne!(file, SLUICE);
        format!("{file}\n{more}\n")
    }
}

/// An Envoy, the API behind it, and Envoy's admin port, which serves its statistics.
struct Edge {
    envoy: Proxy,
    api: Echo,
    admin: ReservedPort,
}

impl Edge {
    /// Starts an Envoy with `file` and one replica.
    async fn start(file: &str, sluice: &Sluice) -> Self {
        Self::start_with_replicas(file, &[sluice.grpc_addr()]).await
    }

    /// Starts an Envoy with `file` and these replicas.
    async fn start_with_replicas(file: &str, sluices: &[SocketAddr]) -> Self {
        let (address, admin, api) = (ReservedPort::new(), ReservedPort::new(), Echo::start().await);
        let file = once(file, "port_value: 8080", &format!("port_value: {}", address.number()));
        let replica = concat!(
            "              - endpoint: ",
            "{ address: { socket_address: { address: 127.0.0.1, port_value: 8081 } } }\n"
        );
        let placed = |sluice: &SocketAddr| replica.replace("8081", &sluice.port().to_string());
        let file = once(&file, replica, &sluices.iter().map(placed).collect::<String>());
        let file =
            once(&file, "port_value: 9000", &format!("port_value: {}", api.address().port()));
        let file = once(&file, "port_value: 9901", &format!("port_value: {}", admin.number()));
        let envoy =
            tokio::task::block_in_place(|| Proxy::start(ProxyKind::Envoy, &file, address, EXEMPT));
        Self { envoy, api, admin }
    }

    fn client(&self) -> Client {
        Client::of(self.envoy.addr())
    }

    async fn send(&self, key: &str) -> Response {
        self.client().send(&order(key)).await
    }

    /// Returns one of Envoy's rate limit counters, such as `over_limit`.
    async fn counter(&self, what: &str) -> u64 {
        let stats = Client::of(([127, 0, 0, 1], self.admin.number()).into())
            .get("/stats?filter=ratelimit")
            .await
            .text();
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix(&format!("cluster.api.ratelimit.{what}: ")));
        line.map_or(0, |count| count.trim().parse().unwrap())
    }
}

/// Returns the file with a timeout that even a busy machine does not exceed.
fn with_long_timeout() -> String {
    once(ENVOY, " timeout: 0.25s", " timeout: 60s")
}

/// Replaces `from`, which occurs once in `text`, by `to`.
#[track_caller]
fn once(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "`{from}` occurs once in\n{text}");
    text.replace(from, to)
}

fn order(key: &str) -> Request {
    Request::post("/orders?page=2", &json!({ "item": "book" })).header("x-api-key", key)
}

#[track_caller]
fn assert_passed(response: &Response) {
    assert_eq!(response.status, 200, "{response}");
    assert_eq!(
        response.json(),
        json!({ "method": "POST", "target": "/orders?page=2", "body": "{\"item\":\"book\"}" })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_of_the_example_apply() {
    let replicas = Replicas::start(1, RULES, "");
    let edge = Edge::start(&with_long_timeout(), &replicas.sluices[0]).await;
    let of = async |key| edge.send(key).await.header("ratelimit-policy").unwrap().to_owned();
    assert!(of("alice").await.contains("\"edge.api_key\";q=60;w=60"), "{}", of("alice").await);
    assert!(of("partner").await.contains("\"edge.api_key_partner\";q=6000;w=60"));
    let plain = edge.client().get("/orders").await;
    assert!(
        plain
            .header("ratelimit-policy")
            .unwrap()
            .starts_with("\"edge.remote_address\";q=6000;w=60"),
        "{plain}"
    );
    let health = edge.client().get(EXEMPT).await;
    assert_eq!((health.status, health.header("ratelimit")), (200, None), "{health}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_reach_the_api_until_the_limit_is_spent() {
    let replicas = Replicas::start(1, TWO_A_DAY, "");
    let edge = Edge::start(&with_long_timeout(), &replicas.sluices[0]).await;
    let before = edge.api.requests();
    for left in [1, 0] {
        let allowed = edge.send("alice").await;
        assert_passed(&allowed);
        assert_eq!(allowed.number("x-ratelimit-remaining"), left);
        assert_eq!(allowed.header("retry-after"), None);
        for name in ON_EVERY_RESPONSE {
            assert!(allowed.header(name).is_some(), "{name}: {allowed}");
        }
    }
    let denied = edge.send("alice").await;
    assert_eq!(
        (denied.status, denied.header("x-envoy-ratelimited")),
        (429, Some("true")),
        "{denied}"
    );
    assert!((1..=43_200).contains(&denied.number("retry-after")), "half a day: {denied}");
    assert_eq!(denied.number("x-ratelimit-remaining"), 0);
    for name in ON_EVERY_RESPONSE {
        assert!(denied.header(name).is_some(), "{name}: {denied}");
    }
    assert_eq!(edge.api.requests(), before + 2, "a denied request does not reach the API");
    assert_eq!(
        (edge.counter("ok").await, edge.counter("over_limit").await, edge.counter("error").await),
        (2, 1, 0)
    );

    let call = Request::new("POST", "/orders")
        .header("x-api-key", "alice")
        .header("content-type", "application/grpc");
    let grpc = edge.client().send(&call.body("")).await;
    assert_eq!(
        (grpc.status, grpc.header("grpc-status")),
        (200, Some("8")),
        "RESOURCE_EXHAUSTED: {grpc}"
    );
    let address = edge.client().get("/orders").await;
    assert_eq!(
        address.number("x-ratelimit-remaining"),
        997,
        "a request that its key's limit denies takes no token of its address: {address}"
    );
    let limited_twice =
        edge.client().send(&Request::get(OWN_LIMIT).header("x-api-key", "carol")).await;
    assert!(
        limited_twice.header("ratelimit").is_some_and(|field| field.contains("edge.api_key")),
        "the response has the headers of one limiter: {limited_twice}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_not_utf8_has_a_bucket_of_its_own() {
    let replicas = Replicas::start(1, TWO_A_DAY, "");
    let edge = Edge::start(&with_long_timeout(), &replicas.sluices[0]).await;
    let mut bytes = order("??").to_bytes();
    let at = bytes.windows(2).position(|pair| pair == b"??").unwrap();
    bytes[at..at + 2].copy_from_slice(b"\xff\xfe");
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let mut connection = Connection::open(edge.envoy.addr()).await.unwrap();
        connection.write(&bytes).await.unwrap();
        statuses.push(connection.response().await.unwrap().status);
    }
    assert_eq!(statuses, [200, 200, 429, 429], "an invalid key does not bypass the limit");
    assert_eq!(edge.counter("error").await, 0);
}

/// In place of the descriptors of the example: one that looks at a user's budget before the
/// request, and one that charges what the request used once its response ends.
const BUDGET: [(&str, &str); 2] = [
    (
        "                            rate_limits:
                              # Each entry makes one descriptor. It is omitted if the request
                              # does not have the field.
                              - actions:
                                  - request_headers:
                                      { header_name: x-api-key, descriptor_key: api_key }
                              - actions:
                                  - remote_address: {}
",
        // Envoy reads `hits_addend` only here, and not below `route`.
        "                          typed_per_filter_config:
                            envoy.filters.http.ratelimit:
                              \"@type\": type.googleapis.com/envoy.extensions.\
         filters.http.ratelimit.v3.RateLimitPerRoute
                              rate_limits:
                                - actions: &user
                                    - request_headers:
                                        { header_name: x-user, descriptor_key: user }
                                  hits_addend: { number: 0 }
                                - actions: *user
                                  hits_addend: { format: '%DYNAMIC_METADATA(budget:tokens)%' }
                                  apply_on_stream_done: true
",
    ),
    (
        "                  - name: envoy.filters.http.router
",
        "                  - name: envoy.filters.http.set_metadata
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.\
         filters.http.set_metadata.v3.Config
                      metadata: [{ metadata_namespace: budget, value: { tokens: 10 } }]
                  - name: envoy.filters.http.router
",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_that_is_charged_after_each_response_is_spent() {
    let rules = "
domain: edge
descriptors:
- { key: user, rate_limit: { unit: day, requests_per_unit: 21 } }
";
    let replicas = Replicas::start(1, rules, "");
    let file = BUDGET.iter().fold(with_long_timeout(), |file, (from, to)| once(&file, from, to));
    let edge = Edge::start(&file, &replicas.sluices[0]).await;
    let send = async || {
        let response = edge.client().send(&Request::get("/orders").header("x-user", "alice")).await;
        response.status
    };
    // Three requests fit: 11 tokens are left after the first, one after the second, and the third
    // one leaves a debt. Envoy charges after the client has its response, so each charge is
    // waited for before the next request.
    for charged in 1..=3 {
        assert_eq!(send().await, 200);
        eventually_async("the usage is charged", async || {
            let metrics = Metrics::of(&mut Client::of(replicas.sluices[0].http_addr())).await;
            let decided = metrics.count("sluice_decisions_total", &[("limit", "edge.user")]);
            // A look is no decision about tokens.
            if decided == charged { Ok(()) } else { Err(decided) }
        })
        .await;
    }
    for _ in 0..3 {
        assert_eq!(send().await, 429, "the budget is spent");
    }
    let other = edge.client().send(&Request::get("/orders").header("x-user", "bob")).await;
    assert_eq!(other.status, 200, "another user has a budget of their own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_envoys_and_three_replicas_share_one_limit() {
    const BURST: usize = 20;
    const KEYS: [&str; 3] = ["alice", "bob", "carol"];
    const CLIENTS: usize = 24;
    const TURNS: usize = 3;
    let redis = RedisServer::start();
    let rules = TWO_A_DAY.replace("requests_per_unit: 2 ", &format!("requests_per_unit: {BURST} "));
    let replicas =
        Replicas::start(3, &rules, &format!("store: {{ url: \"{}\", timeout: 60s }}", redis.url()));
    let sluices: Vec<_> = replicas.sluices.iter().map(Sluice::grpc_addr).collect();
    let edges = [
        Edge::start_with_replicas(&with_long_timeout(), &sluices).await,
        Edge::start_with_replicas(&with_long_timeout(), &sluices).await,
    ];

    let counts =
        send_concurrently(&edges.each_ref().map(|edge| edge.envoy.addr()), CLIENTS, &KEYS, TURNS)
            .await;

    let exactly = Counts { allowed: BURST, denied: CLIENTS * TURNS - BURST };
    assert_eq!(counts, KEYS.map(|key| (key, exactly)).into());
    for edge in &edges {
        assert_eq!(edge.counter("error").await, 0, "Sluice responded to every request");
    }
    for sluice in &replicas.sluices {
        let metrics = Metrics::of(&mut Client::of(sluice.http_addr())).await;
        let decided = |labels: &[(&str, &str)]| metrics.count("sluice_decisions_total", labels);
        assert!(decided(&[]) > 0, "every replica decides");
        assert_eq!(decided(&[("source", "local")]), 0, "every decision is from Redis");
    }
    let left = edges[0].client().get("/orders").await.number("x-ratelimit-remaining");
    assert_eq!(
        left,
        (1_000 - KEYS.len() * BURST - 1) as u64,
        "a request that its key's limit denies takes no token of its address"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_pass_when_one_replica_is_gone() {
    let replicas = Replicas::start(
        1,
        &TWO_A_DAY.replace("requests_per_unit: 2 ", "requests_per_unit: 1 "),
        "",
    );
    let stopped = ReservedPort::new();
    let edge = Edge::start_with_replicas(
        &with_long_timeout(),
        &[([127, 0, 0, 1], stopped.number()).into(), replicas.sluices[0].grpc_addr()],
    )
    .await;
    let denied = async |times| {
        let mut statuses = Vec::new();
        for _ in 0..times {
            statuses.push(edge.send("alice").await.status);
        }
        if statuses.iter().all(|status| *status == 429) {
            Ok(())
        } else {
            Err(format!("{statuses:?}"))
        }
    };
    eventually_async("the limit is spent and Envoy uses only the running replica", async || {
        denied(4).await
    })
    .await;
    assert_eq!(denied(20).await, Ok(()), "every response is from the running replica");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_and_slow_responses_pass_through_envoy_unchanged() {
    let replicas = Replicas::start(1, RULES, "");
    let edge = Edge::start(ENVOY, &replicas.sluices[0]).await;
    through_proxy::assert_that_events_arrive_as_they_are_sent(edge.envoy.addr(), &edge.api).await;
    through_proxy::assert_that_a_slow_api_is_waited_for(edge.envoy.addr(), &edge.api).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_api_gets_each_request_once() {
    let replicas = Replicas::start(1, RULES, "");
    let edge = Edge::start(ENVOY, &replicas.sluices[0]).await;
    through_proxy::assert_that_a_failing_api_gets_each_request_once(edge.envoy.addr(), &edge.api)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_rules_apply_without_a_restart() {
    let replicas = Replicas::start(1, TWO_A_DAY, "");
    let edge = Edge::start(&with_long_timeout(), &replicas.sluices[0]).await;
    assert_eq!(
        edge.send("alice").await.number("x-ratelimit-limit"),
        2,
        "two a day, as the rule is written"
    );
    fs::write(
        replicas.rules.path().join("edge.yaml"),
        "{ domain: edge, descriptors: [{ key: api_key, rate_limit: { unit: fortnight } }] }",
    )
    .unwrap();
    let error = "`fortnight` is not a unit of time";
    eventually_async("invalid rules are rejected", async || {
        replicas.sluices[0].log().contains(error)
    })
    .await;
    assert_eq!(edge.send("alice").await.status, 200, "the old rules still apply");
    fs::write(
        replicas.rules.path().join("edge.yaml"),
        TWO_A_DAY.replace("unit: day", "unit: minute"),
    )
    .unwrap();
    eventually_async("the changed rules apply", async || {
        edge.send("bob")
            .await
            .header("ratelimit-policy")
            .is_some_and(|policy| policy.contains("\"edge.api_key\";q=2;w=60"))
    })
    .await;
}

/// Makes Sluice unavailable in three ways, one after the other: it hangs, it is killed, it cannot
/// reach its store. Calls `check` with every response of that time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_leaves_soon_after_envoys_start_lets_no_further_request_pass() {
    let rules = TWO_A_DAY.replace("requests_per_unit: 2 ", "requests_per_unit: 1 ");
    let replicas = Replicas::start(3, &rules, "");
    let sluices: Vec<_> = replicas.sluices.iter().map(Sluice::grpc_addr).collect();
    let edge = Edge::start_with_replicas(ENVOY, &sluices).await;
    let denied = async |times| {
        for _ in 0..times {
            if edge.send("alice").await.status != 429 {
                return false;
            }
        }
        true
    };
    eventually_async("every replica has spent its limit", async || denied(9).await).await;
    replicas.sluices[0].sigkill();
    eventually_async("Envoy uses only those that run", async || denied(9).await).await;
    let allowed = edge.counter("failure_mode_allowed").await;
    assert!(denied(30).await);
    assert_eq!(edge.counter("failure_mode_allowed").await, allowed);
}

async fn while_sluice_is_unavailable(file: &str, check: fn(&Response)) {
    let rules = TWO_A_DAY.replace("requests_per_unit: 2 ", "requests_per_unit: 1 ");
    let replicas = Replicas::start(1, &rules, "");
    let sluice = &replicas.sluices[0];
    let edge = Edge::start(file, sluice).await;
    let decided = async || edge.send("alice").await.status == 429;
    eventually_async("the limit is spent", decided).await;

    sluice.pause();
    eventually_async("Sluice hangs", async || !decided().await).await;
    check(&edge.send("alice").await);
    sluice.resume();
    eventually_async("Sluice decides again after it hung", decided).await;

    sluice.sigkill();
    let _ended = sluice.wait_exit(Duration::from_secs(10));
    eventually_async("Envoy has noticed the missing replica", async || !decided().await).await;
    check(&edge.send("alice").await);
    check(&edge.send("alice").await);

    let no_redis = ReservedPort::new();
    let without_store =
        format!("store: {{ url: \"redis://127.0.0.1:{}\", on_failure: error }}", no_redis.number());
    sluice.rewrite_config(&replicas.config(&without_store));
    sluice.restart();
    let errors = edge.counter("error").await;
    check(&edge.send("alice").await);
    check(&edge.send("alice").await);
    assert_eq!(
        edge.counter("error").await,
        errors + 2,
        "Sluice responds with an error, and Envoy decides"
    );

    sluice.rewrite_config(&replicas.config(""));
    sluice.restart();
    eventually_async("a restarted Sluice decides again", decided).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_pass_while_sluice_is_down() {
    while_sluice_is_unavailable(ENVOY, assert_passed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_rejected_while_sluice_is_down_if_so_configured() {
    let file = once(ENVOY, "failure_mode_deny: false", "failure_mode_deny: true");
    while_sluice_is_unavailable(&file, |response| assert_eq!(response.status, 500, "{response}"))
        .await;
}

/// Envoy gives up after a quarter of a second, and the store after a minute. So only a replica that
/// heeds Envoy's own deadline can deny.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_decides_locally_before_envoy_gives_up_on_a_hanging_redis() {
    let redis = RedisServer::start();
    let rules = TWO_A_DAY.replace("requests_per_unit: 2 ", "requests_per_unit: 1 ");
    let store = format!("store: {{ url: \"{}\", timeout: 60s }}", redis.url());
    let replicas = Replicas::start(1, &rules, &store);
    let edge = Edge::start(ENVOY, &replicas.sluices[0]).await;
    eventually_async("a request is decided by Redis", async || {
        edge.send("bob").await;
        edge.counter("ok").await > 0
    })
    .await;
    redis.pause();
    eventually_async("a request is denied", async || edge.send("alice").await.status == 429).await;
    redis.resume();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_decides_locally_while_redis_is_down() {
    let no_redis = ReservedPort::new();
    let replicas = Replicas::start(
        1,
        TWO_A_DAY,
        &format!("store: {{ url: \"redis://127.0.0.1:{}\" }}", no_redis.number()),
    );
    let edge = Edge::start(&with_long_timeout(), &replicas.sluices[0]).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(edge.send("alice").await.status);
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
    assert_eq!(edge.counter("error").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_replica_finishes_requests_in_flight() {
    let rules = TWO_A_DAY
        .replace("requests_per_unit: 2 ", "requests_per_unit: 1000000 ")
        .replace("requests_per_unit: 1000 ", "requests_per_unit: 1000000 ");
    let replicas = Replicas::start(1, &rules, "shutdown_delay: 1s");
    // So that a request fails when Sluice does not respond.
    let file = once(&with_long_timeout(), "failure_mode_deny: false", "failure_mode_deny: true");
    let edge = Edge::start(&file, &replicas.sluices[0]).await;
    assert_eq!(edge.send("alice").await.status, 200);
    replicas.sluices[0].sigterm();
    let mut responses = 0;
    while replicas.sluices[0].is_running() && edge.send("alice").await.status == 200 {
        responses += 1;
    }
    assert!(responses > 0, "requests succeed until the replica exits");
    assert!(
        replicas.sluices[0].wait_exit(Duration::from_secs(30)).success(),
        "the replica exits with code 0"
    );
}
