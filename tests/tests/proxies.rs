//! The proxies of `deploy/examples`, each with its example file as it is, but for the ports.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{net::IpAddr, time::Duration};

use serde_json::json;
use sluice_testkit::{Proxy, ProxyKind, ReservedPort, Sluice, SluiceOptions, built_sluice, eventually_async};
use sluice_tests::{
    echo::{Echo, OWN_LIMIT},
    http::{Answer, Client, Connection, Request},
};
use tokio::task::JoinSet;

/// A path that is never limited, to see that all is up.
const EXEMPT: &str = "/health";
const ON_EVERY_ANSWER: [&str; 5] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit-policy", "ratelimit"];

/// One proxy's example, and what its page promises.
#[derive(Clone, Copy, Debug)]
struct Example {
    kind: ProxyKind,
    file: &'static str,
    sluice_yaml: &'static str,
    /// How a person changes the file so that requests are refused while Sluice is away.
    refuse: fn(&str) -> String,
    /// Whether the client of an allowed request sees where it stands.
    tells_the_allowed: bool,
}

const NGINX: Example = Example {
    kind: ProxyKind::Nginx,
    file: include_str!("../../deploy/examples/nginx/sluice.conf"),
    sluice_yaml: include_str!("../../deploy/examples/nginx/sluice.yaml"),
    refuse: |file| once(file, "replace this line by: return 503;\n        proxy_pass http://api;", "\n        return 503;"),
    tells_the_allowed: true,
};

const CADDY: Example = Example {
    kind: ProxyKind::Caddy,
    file: include_str!("../../deploy/examples/caddy/Caddyfile"),
    sluice_yaml: include_str!("../../deploy/examples/caddy/sluice.yaml"),
    refuse: |file| {
        let (before, block) = file.split_once("\thandle_errors {").unwrap();
        let (_, after) = block.split_once("\n\t}\n").unwrap();
        format!("{before}{after}")
    },
    tells_the_allowed: true,
};

const TRAEFIK: Example = Example {
    kind: ProxyKind::Traefik,
    file: include_str!("../../deploy/examples/traefik/traefik.yaml"),
    sluice_yaml: include_str!("../../deploy/examples/traefik/sluice.yaml"),
    refuse: |file| once(file, "service: sluice-or-allow }", "service: sluice }"),
    tells_the_allowed: false,
};

/// Every promise, of every proxy.
macro_rules! promised {
    ($($promise:ident,)*) => {
        mod nginx { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $promise() { super::$promise(super::NGINX).await })* }
        mod caddy { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $promise() { super::$promise(super::CADDY).await })* }
        mod traefik { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $promise() { super::$promise(super::TRAEFIK).await })* }
    };
}

promised! {
    requests_reach_the_api_until_the_limit_is_spent,
    what_a_client_forges_changes_nothing,
    many_clients_get_exactly_the_limit,
    requests_pass_while_sluice_is_away,
    requests_are_refused_while_sluice_is_away_where_the_file_says_so,
}

/// A proxy between a client and an API, and the Sluice that it asks.
struct Scene {
    proxy: Proxy,
    sluice: Sluice,
    api: Echo,
}

impl Scene {
    /// Starts everything; `file` is the example's, perhaps changed, and `limits` are added to its `sluice.yaml`.
    async fn start(example: Example, file: &str, limits: &str) -> Self {
        let sluice = SluiceOptions::new(built_sluice()).config(config(example, limits)).start();
        let api = Echo::start().await;
        let door = ReservedPort::new();
        let file = once(file, ":8080", &format!(":{}", door.number()));
        let file = once(&file, "127.0.0.1:8000", &sluice.http_addr().to_string());
        let file = file.replace("127.0.0.1:9000", &api.address().to_string());
        let inner = ReservedPort::new();
        let file = file.replace("127.0.0.1:8081", &format!("127.0.0.1:{}", inner.number()));
        let proxy = tokio::task::block_in_place(|| Proxy::start(example.kind, &file, door, EXEMPT));
        Self { proxy, sluice, api }
    }

    fn client(&self) -> Client {
        Client::of(self.proxy.addr())
    }
}

fn config(example: Example, limits: &str) -> String {
    format!("{}\n{limits}\n", example.sluice_yaml)
}

/// The example's file with so much patience that a busy machine is not taken for a Sluice that is away.
fn patient(example: Example) -> String {
    let file = once(example.file, "100ms", "60s");
    once(&file, "250ms", "60s")
}

/// `text` with `to` in place of `from`, which it holds once.
#[track_caller]
fn once(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "`{from}` stands once in\n{text}");
    text.replace(from, to)
}

/// A request of `alice`, with a body.
fn order() -> Request {
    Request::post("/orders?page=2", &json!({ "item": "book" })).header("x-api-key", "alice")
}

#[track_caller]
fn assert_passed(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer}");
    let asked = answer.json();
    assert_eq!(asked, json!({ "method": "POST", "target": "/orders?page=2", "body": "{\"item\":\"book\"}" }));
}

async fn requests_reach_the_api_until_the_limit_is_spent(example: Example) {
    let scene = Scene::start(example, &patient(example), "defaults: { rate: 10/day, burst: 2 }").await;
    let before = scene.api.asked();
    let mut client = scene.client();

    for left in [1, 0] {
        let allowed = client.ask(&order()).await;
        assert_passed(&allowed);
        assert_eq!(allowed.header("retry-after"), None);
        for name in ON_EVERY_ANSWER {
            assert_eq!(allowed.header(name).is_some(), example.tells_the_allowed, "{name}: {allowed}");
        }
        if example.tells_the_allowed {
            assert_eq!(allowed.number("x-ratelimit-remaining"), left);
        }
    }
    let denied = client.ask(&order()).await;
    assert_eq!((denied.status, denied.problem().as_deref()), (429, Some("rate-limited")), "{denied}");
    assert!((1..=8640).contains(&denied.number("retry-after")), "a tenth of a day: {denied}");
    assert_eq!(denied.number("x-ratelimit-remaining"), 0);
    for name in ON_EVERY_ANSWER {
        assert!(denied.header(name).is_some(), "{name}: {denied}");
    }
    assert_eq!(scene.api.asked(), before + 2, "what is denied never reaches the API");

    let unreadable = client.ask(&Request::get("/a%2fb").header("x-api-key", "bob")).await;
    assert_eq!((unreadable.status, unreadable.problem().as_deref()), (400, Some("invalid-request")), "{unreadable}");
    let limited_twice = client.ask(&Request::get(OWN_LIMIT).header("x-api-key", "carol")).await;
    let teller = if example.tells_the_allowed { "\"default\"" } else { "\"own\"" };
    assert!(limited_twice.header("ratelimit").is_some_and(|field| field.starts_with(teller)), "one limiter speaks: {limited_twice}");
    let exempt = client.get(EXEMPT).await;
    assert_eq!((exempt.status, exempt.header("ratelimit")), (200, None), "{exempt}");
}

async fn what_a_client_forges_changes_nothing(example: Example) {
    let scene = Scene::start(example, &patient(example), "defaults: { rate: 10/day, burst: 1 }").await;
    let from = async |client: &str, request: &Request| {
        let mut connection = Connection::open_from(client.parse::<IpAddr>().unwrap(), scene.proxy.addr()).await.unwrap();
        connection.ask(request).await.unwrap().status
    };
    let plain = Request::get("/orders");
    assert_eq!(from("127.0.0.2", &plain).await, 200);
    assert_eq!(from("127.0.0.2", &plain).await, 429);

    for (name, value) in [
        ("X-Forwarded-For", "127.0.0.3"),
        ("Forwarded", "for=127.0.0.3"),
        ("X-Real-IP", "127.0.0.3"),
        ("X-Forwarded-Uri", EXEMPT),
        ("X-Original-URI", EXEMPT),
        ("X-Original-URL", EXEMPT),
        ("X-Forwarded-Method", "OPTIONS"),
        ("X-Original-Method", "OPTIONS"),
    ] {
        assert_eq!(from("127.0.0.2", &plain.clone().header(name, value)).await, 429, "{name}: {value}");
    }
    let forged = Request::get("/orders").header("X-Forwarded-For", "127.0.0.2").header("X-Original-URI", "/other");
    assert_eq!(from("127.0.0.3", &forged).await, 200, "the bucket of the address that was claimed is as it was, and so is one's own");
    assert_eq!(from("127.0.0.3", &forged).await, 429);
}

async fn many_clients_get_exactly_the_limit(example: Example) {
    const BURST: usize = 50;
    let scene = Scene::start(example, &patient(example), &format!("defaults: {{ rate: 1/day, burst: {BURST} }}")).await;
    let mut crowd = JoinSet::new();
    for _ in 0..10 {
        let mut client = scene.client();
        crowd.spawn(async move {
            let mut statuses = Vec::new();
            for _ in 0..12 {
                statuses.push(client.ask(&order()).await.status);
            }
            statuses
        });
    }
    let statuses = crowd.join_all().await.concat();
    let count = |status| statuses.iter().filter(|one| **one == status).count();
    assert_eq!((count(200), count(429)), (BURST, 120 - BURST));
}

/// The three ways in which Sluice can be away, one after the other; `holds` says what is true of every answer meanwhile.
async fn while_sluice_is_away(example: Example, file: &str, holds: fn(&Answer)) {
    let limits = "defaults: { rate: 1/day, burst: 1 }";
    let scene = Scene::start(example, file, limits).await;
    let ask = async || scene.client().ask(&order()).await;
    let decided = async || ask().await.status == 429;
    eventually_async("the limit is spent", decided).await;

    scene.sluice.pause();
    eventually_async("Sluice hangs", async || !decided().await).await;
    holds(&ask().await);
    scene.sluice.resume();
    eventually_async("a Sluice that hung decides again", decided).await;

    scene.sluice.sigkill();
    let _ended = scene.sluice.wait_exit(Duration::from_secs(10));
    holds(&ask().await);
    holds(&ask().await);

    let nobody = ReservedPort::new();
    let store = format!("store: {{ url: \"redis://127.0.0.1:{}\", on_failure: error }}", nobody.number());
    scene.sluice.rewrite_config(&config(example, &format!("{limits}\n{store}")));
    scene.sluice.restart();
    holds(&ask().await);
    holds(&ask().await);

    scene.sluice.rewrite_config(&config(example, limits));
    scene.sluice.restart();
    eventually_async("a Sluice that was gone decides again", decided).await;
}

async fn requests_pass_while_sluice_is_away(example: Example) {
    while_sluice_is_away(example, example.file, assert_passed).await;
}

async fn requests_are_refused_while_sluice_is_away_where_the_file_says_so(example: Example) {
    let file = (example.refuse)(example.file);
    while_sluice_is_away(example, &file, |answer| assert!(matches!(answer.status, 502..=504), "{answer}")).await;
}

/// nginx asks the next replica when one does not answer, and then speaks of both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_takes_the_word_of_the_replica_that_answers() {
    let gone = ReservedPort::new();
    // Else nginx would leave out the one that is gone after its first failure.
    let servers = format!("server 127.0.0.1:{} max_fails=0; server 127.0.0.1:8000 max_fails=0;", gone.number());
    let file = once(&patient(NGINX), "server 127.0.0.1:8000;", &servers);
    let scene = Scene::start(NGINX, &file, "defaults: { rate: 1/day, burst: 1 }").await;
    let mut client = scene.client();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(client.ask(&order()).await.status);
    }
    assert_eq!(statuses, [200, 429, 429, 429]);
}
