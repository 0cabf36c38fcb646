//! Invalid requests: each is rejected with a reason, and takes no tokens.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use serde_json::json;
use sluice_testkit::Sluice;
use sluice_tests::{
    fleet::memory_replica,
    http::{Client, Connection, Request, Response},
    metrics::Metrics,
};

/// Almost no refill, so that the number of remaining tokens is exact.
const TEN: &str = "defaults: { rate: 10/day, burst: 10 }";
const CHECK: &str = "/v1/check";
const BATCH: &str = "/v1/check/batch";
const EVENTS: &str = "/v1/events";
const FORWARD_AUTH: &str = "/v1/forward-auth";

/// A server, and the state of its buckets before the invalid requests.
struct Server {
    sluice: Sluice,
    before: Vec<Response>,
}

impl Server {
    async fn start() -> Self {
        let sluice = memory_replica(TEN);
        let mut client = Client::of(sluice.http_addr());
        for body in
            [json!({ "client": "alice", "cost": 3 }), json!({ "ip": "127.0.0.1", "cost": 2 })]
        {
            assert_eq!(client.post(CHECK, &body).await.status, 200);
        }
        let before = peek(&mut client).await;
        Self { sluice, before }
    }

    async fn connect(&self) -> Connection {
        Connection::open(self.sluice.http_addr()).await.unwrap()
    }

    /// Asserts that the server responds, and that its buckets are unchanged.
    async fn assert_unchanged(&self, what: &str) {
        let after = peek(&mut Client::of(self.sluice.http_addr())).await;
        for (before, after) in self.before.iter().zip(&after) {
            assert_eq!(before.json()["limits"], after.json()["limits"], "{what}");
        }
    }

    /// Asserts that the log has neither a panic nor a warning: clients must not fill the log.
    fn assert_no_warnings(&self) {
        assert!(self.sluice.is_running());
        let log = self.sluice.log();
        for word in ["panick", "WARN", "ERROR"] {
            assert!(!log.contains(word), "{log}");
        }
    }
}

/// Returns the buckets of the two clients in the invalid requests: one has a key, one an address.
async fn peek(client: &mut Client) -> Vec<Response> {
    let mut responses = Vec::new();
    for body in [json!({ "client": "alice", "cost": 0 }), json!({ "ip": "127.0.0.1", "cost": 0 })] {
        responses.push(client.post(CHECK, &body).await);
    }
    responses
}

#[track_caller]
fn assert_problem(what: &str, response: &Response, status: u16, kind: &str) {
    assert_eq!(
        (response.status, response.problem().as_deref()),
        (status, Some(kind)),
        "{what}: {response}"
    );
    let body = response.json();
    assert_eq!(body["status"], status, "{what}");
    assert!(
        body["title"].as_str().unwrap().len() > 5 && body["detail"].as_str().unwrap().len() > 10,
        "{what}: {response}"
    );
}

/// A check with this JSON, in which single quotes stand for double quotes.
fn check(body: &str) -> Request {
    json_post(CHECK, body.replace('\'', "\""))
}

fn json_post(path: &str, body: impl Into<Vec<u8>>) -> Request {
    Request::new("POST", path).header("content-type", "application/json").body(body)
}

fn plain(path: &str) -> Request {
    Request::get(path).header("x-api-key", "alice")
}

fn forwarded(name: &str, value: &str) -> Request {
    plain(FORWARD_AUTH).header(name, value)
}

/// Invalid requests that are valid HTTP.
fn invalid_requests() -> Vec<(&'static str, Request, u16, &'static str)> {
    let (malformed, invalid) = ("malformed-body", "invalid-request");
    let many = json!({ "checks": vec![json!({ "client": "alice" }); 1_001] });
    vec![
        ("no body", check(""), 400, malformed),
        ("no JSON", check("client=alice"), 400, malformed),
        ("JSON that breaks off", check("{'client':'alice'"), 400, malformed),
        ("more behind the JSON", check("{'client':'alice'}{'client':'alice'}"), 400, malformed),
        ("a list", check("['alice']"), 400, malformed),
        ("null", check("null"), 400, malformed),
        ("an unknown field", check("{'client':'alice','costs':1}"), 400, malformed),
        ("a field twice", check("{'client':'alice','cost':1,'cost':2}"), 400, malformed),
        ("a client that is a number", check("{'client':7}"), 400, malformed),
        ("a path that is a list", check("{'client':'alice','path':['/']}"), 400, malformed),
        ("attributes that are a list", check("{'client':'alice','attributes':[]}"), 400, malformed),
        ("a cost below zero", check("{'client':'alice','cost':-1}"), 400, malformed),
        (
            "the least cost of 64 bits",
            check("{'client':'alice','cost':-9223372036854775808}"),
            400,
            malformed,
        ),
        ("half a token", check("{'client':'alice','cost':0.5}"), 400, malformed),
        (
            "a cost beyond counting",
            check("{'client':'alice','cost':1000000000001}"),
            400,
            malformed,
        ),
        (
            "a cost beyond 64 bits",
            check("{'client':'alice','cost':18446744073709551616}"),
            400,
            malformed,
        ),
        ("a cost beyond doubles", check("{'client':'alice','cost':1e999}"), 400, malformed),
        ("a cost that is a text", check("{'client':'alice','cost':'1'}"), 400, malformed),
        ("a cost that is not a number", check("{'client':'alice','cost':NaN}"), 400, malformed),
        ("an address that is none", check("{'client':'alice','ip':'127.0.0.1.'}"), 400, malformed),
        (
            "a client that is no UTF-8",
            json_post(CHECK, b"{\"client\":\"\xff\xfe\"}"),
            400,
            malformed,
        ),
        ("half a surrogate pair", check("{'client':'\\ud800'}"), 400, malformed),
        (
            "a hundred thousand brackets",
            json_post(CHECK, format!("{{\"client\":{}", "[".repeat(60_000))),
            400,
            malformed,
        ),
        ("no client", check("{}"), 400, invalid),
        ("an empty client", check("{'client':''}"), 400, invalid),
        ("an empty method", check("{'client':'alice','method':''}"), 400, invalid),
        ("a method of two words", check("{'client':'alice','method':'GET /'}"), 400, invalid),
        ("an empty path", check("{'client':'alice','path':''}"), 400, invalid),
        ("a path without a slash", check("{'client':'alice','path':'v1'}"), 400, invalid),
        ("an encoded slash", check("{'client':'alice','path':'/a%2fb'}"), 400, invalid),
        ("an encoded backslash", check("{'client':'alice','path':'/a%5Cb'}"), 400, invalid),
        ("an encoded NUL", check("{'client':'alice','path':'/a%00b'}"), 400, invalid),
        (
            "encoded bytes that are no UTF-8",
            check("{'client':'alice','path':'/%c3%28'}"),
            400,
            invalid,
        ),
        ("a percent sign alone", check("{'client':'alice','path':'/100%'}"), 400, invalid),
        ("a batch with an unknown field", json_post(BATCH, "{\"check\":[]}"), 400, malformed),
        (
            "a batch that is no list",
            json_post(BATCH, "{\"checks\":{\"client\":\"alice\"}}"),
            400,
            malformed,
        ),
        (
            "a batch that breaks off",
            json_post(BATCH, "{\"checks\":[{\"client\":\"alice\"},"),
            400,
            malformed,
        ),
        ("a batch of a thousand and one", Request::post(BATCH, &many), 400, "too-many-checks"),
        (
            "a text",
            Request::new("POST", CHECK)
                .header("content-type", "text/plain")
                .body("{\"client\":\"alice\"}"),
            415,
            "unsupported-media-type",
        ),
        (
            "a body of no type",
            Request::new("POST", CHECK).body("{\"client\":\"alice\"}"),
            415,
            "unsupported-media-type",
        ),
        ("a check that is fetched", plain(CHECK), 405, "method-not-allowed"),
        ("a check that is deleted", Request::new("DELETE", BATCH), 405, "method-not-allowed"),
        ("10 MB of a check", json_post(CHECK, vec![b' '; 10_000_000]), 413, "body-too-large"),
        ("10 MB of a batch", json_post(BATCH, vec![b'['; 10_000_000]), 413, "body-too-large"),
        (
            "10 MB behind an encoded slash",
            plain("/a%2fb").body(vec![b'x'; 10_000_000]),
            400,
            invalid,
        ),
        (
            "a header of 64 KB",
            plain("/").header("x-long", &"x".repeat(64 << 10)),
            431,
            "headers-too-large",
        ),
        (
            "a path of 64 KB less a little",
            plain(&format!("/{}", "x".repeat(65_000))),
            431,
            "headers-too-large",
        ),
        ("two keys", plain("/").header("x-api-key", "bob"), 400, invalid),
        (
            "a key of 64 KB less a little",
            Request::get("/").header("x-api-key", &"k".repeat(60_000)),
            400,
            invalid,
        ),
        ("a path with an encoded slash", plain("/a%2Fb"), 400, invalid),
        ("a path with an encoded NUL", plain("/%00"), 400, invalid),
        ("a path with half an escape", plain("/%e"), 400, invalid),
        ("a path of `*`", Request::new("OPTIONS", "*").header("x-api-key", "alice"), 400, invalid),
        (
            "a CONNECT request",
            Request::new("CONNECT", "example.org:443").header("x-api-key", "alice"),
            400,
            invalid,
        ),
        ("a forwarded path without a slash", forwarded("x-forwarded-uri", "api"), 400, invalid),
        ("a forwarded encoded slash", forwarded("x-original-uri", "/a%2fb"), 400, invalid),
        (
            "forwarded paths that differ",
            forwarded("x-original-uri", "/a").header("x-forwarded-uri", "/b"),
            400,
            invalid,
        ),
        ("a forwarded method of two words", forwarded("x-forwarded-method", "GET /"), 400, invalid),
        ("an unknown path in health", plain("/health/x"), 404, "not-found"),
        ("an unknown path in monitoring", plain("/monitoring/nothing"), 404, "not-found"),
        (
            "posting to metrics",
            Request::new("POST", "/metrics").body(""),
            405,
            "method-not-allowed",
        ),
    ]
}

#[tokio::test]
async fn invalid_requests_get_a_problem_and_take_no_tokens() {
    let server = Server::start().await;
    let mut client = Client::of(server.sluice.http_addr());
    for (what, request, status, kind) in invalid_requests() {
        // Over the same connection, which stays usable after a rejected request.
        assert_problem(what, &client.send(&request).await, status, kind);
        server.assert_unchanged(what).await;
    }
    server.assert_no_warnings();
}

#[tokio::test]
async fn an_empty_api_key_is_ignored_and_the_address_identifies_the_client() {
    let server = Server::start().await;
    let mut client = Client::of(server.sluice.http_addr());
    for request in [
        Request::get("/").header("x-api-key", ""),
        Request::get("/").header("authorization", "Bearer "),
    ] {
        let before = client
            .post(CHECK, &json!({ "ip": "127.0.0.1", "cost": 0 }))
            .await
            .number("x-ratelimit-remaining");
        let response = client.send(&request).await;
        assert_eq!(
            (response.status, response.number("x-ratelimit-remaining")),
            (200, before - 1),
            "{response}"
        );
    }
}

#[tokio::test]
async fn bytes_that_are_not_http_get_a_400_and_the_connection_is_closed() {
    let server = Server::start().await;
    let head =
        |line: &str| format!("GET / HTTP/1.1\r\nhost: x\r\nx-api-key: alice\r\n{line}\r\n\r\n");
    let post = |fields: &str, body: &str| {
        format!(
            "POST {CHECK} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             {fields}\r\n\r\n{body}"
        )
    };
    let body = "{\"client\":\"alice\"}";
    for (what, bytes) in [
        ("a line of SMTP", "HELO alice\r\n\r\n".to_owned()),
        ("a Redis command", "*1\r\n$4\r\nPING\r\n".to_owned()),
        (
            "a TLS hello",
            "\x16\x03\x01\x02\0\x01\0\x01\u{7f}\x03\x03".to_owned()
                + &"\x01".repeat(512)
                + "\r\n\r\n",
        ),
        ("zeros", "\0".repeat(4_096)),
        ("no version", "GET /\r\n\r\n".to_owned()),
        ("an unknown version", "GET / HTTP/4.0\r\nhost: x\r\n\r\n".to_owned()),
        ("blanks in the path", "GET /a b HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
        ("a field without a colon", head("nonsense")),
        ("a field without a name", head(": nonsense")),
        ("a name with a blank", head("x y: nonsense")),
        ("a NUL in a value", head("x-y: a\0b")),
        ("a field over two lines", head("x-y: a\r\n b")),
        ("a thousand fields", head(&vec!["x: y"; 1_000].join("\r\n"))),
        ("a length that is a word", post("content-length: many", body)),
        ("a length below zero", post("content-length: -1", body)),
        ("a length beyond counting", post("content-length: 99999999999999999999999", body)),
        ("two lengths", post("content-length: 18\r\ncontent-length: 17", body)),
        ("an unknown transfer coding", post("transfer-encoding: smoke", body)),
    ] {
        let mut connection = server.connect().await;
        connection.write(bytes.as_bytes()).await.unwrap();
        let response =
            connection.response().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let expected = if what == "a thousand fields" { 431 } else { 400 };
        assert_eq!(
            (response.status, response.text().as_str()),
            (expected, ""),
            "{what}: {response}"
        );
        assert!(connection.ends().await, "{what}: the connection is closed");
        server.assert_unchanged(what).await;
    }
    server.assert_no_warnings();
}

#[tokio::test]
async fn an_incomplete_request_takes_no_tokens() {
    let server = Server::start().await;
    let whole = Request::post(CHECK, &json!({ "client": "alice" })).to_bytes();
    for cut in [1, 20, whole.len() - 20, whole.len() - 1] {
        let mut connection = server.connect().await;
        connection.write(&whole[..cut]).await.unwrap();
        connection.finish_sending().await.unwrap();
        if let Ok(Some(response)) = connection.response_or_end().await {
            assert!((400..500).contains(&response.status), "{cut}: {response}");
        }
        server.assert_unchanged(&format!("cut at {cut}")).await;
    }
    let mut waiting = Vec::new();
    for number in 0..300 {
        let mut connection = server.connect().await;
        connection.write(&whole[..number % whole.len()]).await.unwrap();
        waiting.push(connection);
    }
    server.assert_unchanged("with hundreds of incomplete requests").await;
    drop(waiting);
    server.assert_unchanged("after their connections were closed").await;
    server.assert_no_warnings();
}

#[tokio::test]
async fn the_declared_length_separates_requests() {
    let server = Server::start().await;
    let fields = "host: x\r\ncontent-type: application/json";
    let body = "{\"client\":\"alice\",\"cost\":0}";

    let mut too_short = server.connect().await;
    let request = format!(
        "POST {CHECK} HTTP/1.1\r\n{fields}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len() - 1
    );
    too_short.write(request.as_bytes()).await.unwrap();
    assert_problem(
        "a body without its last byte",
        &too_short.response().await.unwrap(),
        400,
        "malformed-body",
    );
    too_short.write(b"\r\n\r\n").await.unwrap();
    assert_eq!(too_short.response().await.unwrap().status, 400, "the last byte");

    let mut broken = server.connect().await;
    let request = format!(
        "POST {CHECK} HTTP/1.1\r\n{fields}\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\n{{\"cli\r\nXYZ\r\n"
    );
    broken.write(request.as_bytes()).await.unwrap();
    assert_problem("a broken chunk", &broken.response().await.unwrap(), 400, "malformed-body");
    assert!(broken.ends().await);

    // A request with both a length and chunks can make two servers see different requests (request
    // smuggling). The server must read one request and ignore what follows.
    let mut both = server.connect().await;
    let hidden = "GET /hidden HTTP/1.1\r\nhost: x\r\nx-api-key: alice\r\n\r\n";
    let request = format!(
        "POST {CHECK} HTTP/1.1\r\n{fields}\r\ncontent-length: 5\r\n\
         transfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
    );
    both.write(request.as_bytes()).await.unwrap();
    assert_eq!(both.response().await.unwrap().status, 400);
    server.assert_unchanged("a request behind a request of two lengths").await;
    server.assert_no_warnings();
}

#[tokio::test]
async fn bytes_after_a_valid_request_do_not_affect_it() {
    let server = Server::start().await;
    let peek = Request::post(CHECK, &json!({ "client": "alice", "cost": 0 })).to_bytes();
    let mut connection = server.connect().await;
    connection
        .write(&[&peek[..], &peek[..], b"\x00\xff rubbish \r\n\r\n", &peek[..]].concat())
        .await
        .unwrap();
    for _ in 0..2 {
        let response = connection.response().await.unwrap();
        assert_eq!((response.status, response.number("x-ratelimit-remaining")), (200, 7));
    }
    assert_eq!(connection.response().await.unwrap().status, 400, "rubbish");
    assert!(connection.ends().await, "the rest is not read");
    server.assert_unchanged("a pipeline of requests and rubbish").await;
    server.assert_no_warnings();
}

#[tokio::test]
async fn invalid_http2_only_ends_its_connection() {
    let server = Server::start().await;
    for rubbish in [
        &b"\0\0\0\x04\0\0\0\0\0\xff\xff\xff\x01\x25\0\0\0\x01rubbish"[..],
        b"\0\0\x01\x01\x05\0\0\0\x01\xff",
        &[0xff; 4_096],
    ] {
        let mut connection = server.connect().await;
        connection.write(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", rubbish].concat()).await.unwrap();
        connection.finish_sending().await.ok();
        assert!(connection.ends().await);
        server.assert_unchanged("rubbish in HTTP/2").await;
    }
    server.assert_no_warnings();
}

#[tokio::test]
async fn each_invalid_event_is_reported_by_its_index_and_the_others_are_recorded() {
    let server = Server::start().await;
    let mut client = Client::of(server.sluice.http_addr());
    let wrong = [
        "7",
        "{}",
        "{\"type\":\"llm\"}",
        "{\"type\":\"blueprint_validation\",\"errors\":-1}",
        "{\"type\":\"blueprint_validation\",\"errors\":1e999}",
        "{\"type\":\"blueprint_validation\"}",
        "{\"type\":\"blueprint_validation\",\"errors\":1,\"more\":1}",
        "{\"type\":\"deployment\",\"operation\":\"create\",\"status\":\"success\",\
         \"duration_seconds\":-1}",
        "{\"type\":\"cache\",\"cache\":\"x\",\"hit_rate\":\"NaN\"}",
        "{\"type\":\"counter\",\"name\":\"undeclared_total\",\"value\":1}",
    ];
    let good = "{\"type\":\"blueprint_validation\",\"errors\":2}";
    let events: Vec<_> = wrong.iter().flat_map(|wrong| [*wrong, good]).collect();
    let response = client.send(&json_post(EVENTS, format!("[{}]", events.join(",")))).await;
    assert_eq!(
        (response.status, &response.json()["accepted"]),
        (202, &json!(wrong.len())),
        "{response}"
    );
    let refused = response.json()["refused"].as_array().unwrap().clone();
    let places: Vec<_> = refused.iter().map(|refused| refused["index"].as_u64().unwrap()).collect();
    assert_eq!(places, (0..events.len() as u64).step_by(2).collect::<Vec<_>>(), "{response}");
    assert!(
        refused.iter().all(|refused| refused["error"].as_str().unwrap().len() > 10),
        "{response}"
    );
    let counted = Metrics::of(&mut client).await.count("blueprint_validation_errors_total", &[]);
    assert_eq!(counted, 2 * wrong.len() as u64, "the valid events are recorded");
    server.assert_no_warnings();
}

#[tokio::test]
async fn each_invalid_check_of_a_batch_is_reported_by_its_index_and_the_others_are_decided() {
    let server = Server::start().await;
    let mut client = Client::of(server.sluice.http_addr());
    let wrong: Vec<_> = ["-1", "1.5", "1e99", "\"1\"", "[]"]
        .iter()
        .map(|cost| format!("{{\"client\":\"alice\",\"cost\":{cost}}}"))
        .collect();
    let wrong = [
        &wrong[..],
        &[
            "7".to_owned(),
            "{\"client\":\"\"}".to_owned(),
            "{\"client\":\"alice\",\"path\":\"/a%2fb\"}".to_owned(),
        ],
    ]
    .concat();
    let good = "{\"client\":\"bob\"}";
    let checks: Vec<_> = wrong.iter().flat_map(|wrong| [wrong.as_str(), good]).collect();
    let response =
        client.send(&json_post(BATCH, format!("{{\"checks\":[{}]}}", checks.join(",")))).await;
    assert_eq!(response.status, 200, "{response}");
    let results = response.json()["results"].as_array().unwrap().clone();
    assert_eq!(results.len(), checks.len());
    for (number, pair) in results.chunks(2).enumerate() {
        assert_eq!(pair[0]["status"], 400, "{}: {}", checks[2 * number], pair[0]);
        assert_eq!((&pair[1]["status"], &pair[1]["remaining"]), (&json!(200), &json!(9 - number)));
    }
}
