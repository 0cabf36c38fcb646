//! Clients' names, addresses and keys, and the store's password, appear neither in the log, nor in
//! metrics, nor in the store.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{collections::HashSet, fs, path::Path};

use serde_json::json;
use sluice_testkit::{RedisOptions, RedisServer, SluiceOptions, built_sluice, eventually_async};
use sluice_tests::{
    command::CommandLine,
    http::{Client, Connection, Request},
};

const API_KEY: &str = "api-key-Zm9vYmFyYmF6";
const BEARER: &str = "bearer-token-cXV1eHF1dXg";
const ADDRESS: &str = "203.0.113.77";
const NAME: &str = "client-name-Y29yZ2U";
const ORGANISATION: &str = "organisation-Z3JhdWx0";
const PATH_TOKEN: &str = "path-token-Z2FycGx5";
const REDIS_PASSWORD: &str = "redis-password-d2FsZG8";
const HASHING_SECRET: &str = "hashing-secret-ZnJlZA-of-some-length";
const IN_TIER: &str = "key-in-a-tier-cGx1Z2g";

const ALL: [&str; 9] = [
    API_KEY,
    BEARER,
    ADDRESS,
    NAME,
    ORGANISATION,
    PATH_TOKEN,
    REDIS_PASSWORD,
    HASHING_SECRET,
    IN_TIER,
];

const CONFIG: &str = "\
clients: { secret_file: hashing-secret, trusted_proxies: [127.0.0.1] }
tiers: { pro: { multiply: 2, clients: [key-in-a-tier-cGx1Z2g] } }
limits:
  - { name: clients, per: client, rate: 3/day, burst: 3 }
  - { name: organisations, per: header:x-org, rate: 20/day, burst: 20 }
  - { name: addresses, per: ip, rate: 20/day, burst: 20 }
log: { format: json, level: trace, decisions: { allowed: 1 } }
";

#[track_caller]
fn assert_no_secret_in(what: &str, bytes: &[u8]) {
    for secret in ALL {
        let found = bytes.windows(secret.len()).position(|window| window == secret.as_bytes());
        let around = found.map(|at| {
            bytes[at.saturating_sub(200)..(at + 200).min(bytes.len())].escape_ascii().to_string()
        });
        assert!(around.is_none(), "{secret} is in {what}: {}", around.unwrap_or_default());
    }
}

/// Returns the contents of all files in `directory` and its subdirectories.
fn contents_of_files_in(directory: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            bytes.append(&mut contents_of_files_in(&entry.path()));
        } else if entry.file_type().unwrap().is_file() {
            bytes.append(&mut fs::read(entry.path()).unwrap());
        }
    }
    bytes
}

/// Sends every kind of information about a client, in requests that are allowed, denied and
/// invalid.
async fn send_every_kind_of_request(client: &mut Client) {
    let path = format!("/reset/{PATH_TOKEN}?token={PATH_TOKEN}");
    let request =
        || Request::get(&path).header("x-forwarded-for", ADDRESS).header("x-org", ORGANISATION);
    let check = json!({
        "client": NAME, "ip": ADDRESS, "path": path, "attributes": { "x-org": ORGANISATION },
    });
    let bearer = format!("Bearer {BEARER}");
    let requests = [
        request(),
        request().header("x-api-key", API_KEY),
        request().header("x-api-key", IN_TIER),
        request().header("authorization", &bearer),
        request().header("x-api-key", API_KEY).header("x-api-key", BEARER),
        request().header("x-api-key", &API_KEY.repeat(1_000)),
        Request::get("/v1/forward-auth")
            .header("x-forwarded-uri", &path)
            .header("x-api-key", API_KEY)
            .header("x-forwarded-for", ADDRESS),
        Request::get("/v1/forward-auth")
            .header("x-forwarded-uri", PATH_TOKEN)
            .header("x-api-key", API_KEY),
        Request::get(&format!("/{PATH_TOKEN}%2f")).header("x-api-key", API_KEY),
        Request::post("/v1/check", &check),
        Request::post(
            "/v1/check/batch",
            &json!({ "checks": [check, { "client": API_KEY, "cost": -1 }] }),
        ),
        Request::post("/v1/check", &json!({ "client": API_KEY, "key": BEARER })),
        Request::new("POST", "/v1/check")
            .header("content-type", "application/json")
            .body(format!("{{\"client\":\"{API_KEY}")),
    ];
    for request in requests.iter().chain(&requests) {
        let response = client.send(request).await;
        assert!(response.status < 500, "{response}");
    }
}

/// Sends bytes with a key that are not valid HTTP.
async fn send_invalid_http(client: &mut Connection) {
    client
        .write(
            format!("GET / HTTP/1.1\r\nx-api-key: {API_KEY}\r\nnonsense {API_KEY}\r\n\r\n")
                .as_bytes(),
        )
        .await
        .unwrap();
    assert_eq!(client.response().await.unwrap().status, 400);
}

/// Sends a request over HTTP/2, whose libraries log header fields at the level `trace`.
async fn send_over_http2(client: &mut Connection) {
    // Header fields as literals (RFC 7541, 6.2.2), after the indexed fields `:method: GET`,
    // `:scheme: http` and `:path: /`.
    let literal = |name: &str, value: &str| {
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        [vec![0], text(name), text(value)].concat()
    };
    let fields = [
        vec![0x82, 0x86, 0x84],
        literal(":authority", "x"),
        literal("x-api-key", API_KEY),
        literal("x-forwarded-for", ADDRESS),
    ]
    .concat();
    let length = u8::try_from(fields.len()).unwrap();
    // The preface, empty settings, and one request: a HEADERS frame with END_HEADERS and
    // END_STREAM.
    let frames = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0"[..],
        &[length],
        b"\x01\x05\0\0\0\x01",
        &fields,
    ]
    .concat();
    client.write(&frames).await.unwrap();
    client.receive_until(b"\"allowed\":").await.unwrap();
}

#[tokio::test]
async fn log_metrics_and_redis_contain_no_client_and_no_password() {
    let redis =
        RedisOptions::new().args(&["--appendonly", "yes"]).user("sluice", REDIS_PASSWORD).start();
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("hashing-secret"), HASHING_SECRET).unwrap();
    fs::write(files.path().join("redis-password"), REDIS_PASSWORD).unwrap();
    let store = format!(
        "store: {{ url: \"redis://sluice@127.0.0.1:{}\", password_file: redis-password }}\n",
        redis.port()
    );
    let file = files.path().join("sluice.yaml");
    fs::write(&file, format!("{store}{CONFIG}")).unwrap();
    let sluice = SluiceOptions::new(built_sluice())
        .identify_by_key()
        .args(&["--config", file.to_str().unwrap()])
        .start();
    let mut client = Client::of(sluice.http_addr());
    eventually_async("the replica is connected to Redis", async || {
        client.get("/ready").await.json()["status"] == "ready"
    })
    .await;

    send_every_kind_of_request(&mut client).await;
    send_invalid_http(&mut Connection::open(sluice.http_addr()).await.unwrap()).await;
    send_over_http2(&mut Connection::open(sluice.http_addr()).await.unwrap()).await;
    let keys = redis.command(&["KEYS", "sluice:{*}[^:]*"]);
    assert!(keys.items().len() >= 5, "the clients have buckets: {keys:?}");

    redis.kill();
    send_every_kind_of_request(&mut client).await;
    redis.restart();
    eventually_async("the replica is ready again", async || {
        client.get("/ready").await.json()["status"] == "ready"
    })
    .await;
    fs::write(&file, format!("{store}{CONFIG}\nclients: {{ secret: {HASHING_SECRET} }}")).unwrap();
    let ready = eventually_async("readiness reports the rejected configuration", async || {
        let ready = client.get("/ready").await;
        if ready.json()["configuration"]["refused"].is_string() {
            Ok(ready)
        } else {
            Err(ready.to_string())
        }
    })
    .await;

    for path in ["/metrics", "/ready", "/monitoring/rate-limit/stats", "/monitoring/stats/overview"]
    {
        assert_no_secret_in(path, client.get(path).await.text().as_bytes());
    }
    assert_no_secret_in("/ready", ready.text().as_bytes());
    sluice.sigterm();
    assert!(sluice.wait_exit(std::time::Duration::from_secs(20)).success());
    let log = sluice.log();
    for level in ["TRACE", "WARN", "ERROR"] {
        assert!(log.contains(level), "the log has records of every level: {log}");
    }
    assert_no_secret_in("the log", log.as_bytes());
    let stored = contents_of_files_in(redis.directory());
    assert!(
        stored.windows(8).any(|window| window == b"sluice:{"),
        "the files of Redis have the buckets"
    );
    // Redis stores only a hash of the password in its files.
    assert_no_secret_in("Redis", &stored);
}

#[tokio::test]
async fn without_the_secret_no_client_can_be_found_in_redis() {
    let redis = RedisServer::start();
    let mut tags = HashSet::new();
    for secret in ["one-secret-of-some-length", "another-secret-of-some-length"] {
        let config = format!(
            "store: {{ url: \"{}\" }}\n\
             clients: {{ secret: {secret} }}\n\
             defaults: {{ rate: 10/day, burst: 10 }}",
            redis.url()
        );
        let sluice = SluiceOptions::new(built_sluice()).identify_by_key().config(config).start();
        let mut client = Client::of(sluice.http_addr());
        for _ in 0..2 {
            assert_eq!(client.post("/v1/check", &json!({ "client": NAME })).await.status, 200);
        }
        let keys = redis.command(&["KEYS", "sluice:{*}*default"]);
        tags.extend(keys.items().iter().map(|key| key.text()));
    }
    assert_eq!(tags.len(), 2, "one client, two secrets, two tags: {tags:?}");
}

#[tokio::test]
async fn config_show_prints_no_secrets() {
    let config = format!(
        "store: {{ url: \"redis://sluice:{REDIS_PASSWORD}@cache:6379\" }}\n\
         clients: {{ secret: {HASHING_SECRET} }}\n\
         tiers: {{ pro: {{ multiply: 2, clients: [{IN_TIER}, {API_KEY}] }} }}\n"
    );
    let shown = CommandLine::new(&["config", "show"]).file("sluice.yaml", &config).run();
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.contains("redis://sluice:***@cache:6379"), "{}", shown.out);
    assert_no_secret_in("the output", shown.out.as_bytes());
    assert_no_secret_in("the error output", shown.err.as_bytes());

    // An error quotes the wrong value, and a wrong value is often next to a secret.
    let broken = config.replace("6379", "63790000").replace("multiply: 2", "multiply: two");
    let checked =
        CommandLine::new(&["config", "check", "sluice.yaml"]).file("sluice.yaml", &broken).run();
    assert_eq!(checked.code, 78, "{}", checked.out);
    assert!(checked.err.contains("store.url") && checked.err.contains("tiers"), "{}", checked.err);
    assert_no_secret_in("the errors", checked.err.as_bytes());
    let variables = CommandLine::new(&["config", "show"])
        .env("SLUICE__STORE__URL", &format!("redis://sluice:{REDIS_PASSWORD}@cache:63790000"))
        .env("SLUICE__CLIENTS__SECRET", HASHING_SECRET)
        .run();
    assert_eq!(variables.code, 78);
    assert_no_secret_in("the errors", variables.err.as_bytes());
}
