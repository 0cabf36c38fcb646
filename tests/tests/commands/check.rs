//! `sluice check`.

use std::net::TcpListener;

use serde_json::json;
use sluice_testkit::{RedisServer, Sluice};
use sluice_tests::{
    command::{CommandLine, Ended},
    fleet::memory_replica,
};

use crate::{json_of, names};

fn check(sluice: &Sluice, path: &str, arguments: &[&str]) -> Ended {
    CommandLine::new(&[&["check", &sluice.url(path)][..], arguments].concat()).run()
}

#[test]
fn check_prints_a_decision_and_exits_by_it() {
    let sluice = memory_replica("endpoints: { /orders: { rate: 2/day, burst: 2 } }");
    let arguments = ["--client", "alice"];
    let first = check(&sluice, "/orders/7", &arguments);
    assert_eq!((first.code, first.err.as_str()), (0, ""));
    let mut lines = first.out.lines();
    assert_eq!(lines.next(), Some("allowed: GET /orders/7"));
    let limit = lines.next().unwrap();
    assert!(
        limit.starts_with("  /orders: 1 of 2 left per day, burst 2, full again in 12 hours"),
        "{limit}"
    );
    assert!(first.out.contains("\n  x-ratelimit-remaining: 1\n"), "{}", first.out);

    let json = check(&sluice, "", &["--path", "/orders", "--client", "alice", "--json"]);
    let read = json_of(&json);
    assert_eq!((json.code, &read["allowed"], &read["status"]), (0, &json!(true), &json!(200)));
    assert_eq!(read["headers"]["x-ratelimit-remaining"], "0");
    assert_eq!(read["body"]["limits"][0]["name"], "/orders");

    let denied = check(&sluice, "/orders", &arguments);
    assert_eq!((denied.code, denied.err.as_str()), (1, ""));
    for part in ["denied: GET /orders\n", "lacks the 1 that the request costs", "\n  retry-after: "]
    {
        assert!(denied.out.contains(part), "{part}\n{}", denied.out);
    }
    let none = check(&sluice, "/health", &arguments);
    assert_eq!((none.code, none.out.as_str()), (0, "allowed: GET /health\n  no limit applies\n"));
}

#[test]
fn check_asks_several_times_and_sends_what_it_is_told() {
    let sluice = memory_replica(
        "defaults: { rate: 2/day, burst: 2 }\n\
         limits:\n\
         - { name: org, when: { header: x-org, method: PUT }, per: header:x-org, \
         rate: 9/day, burst: 9 }\n",
    );
    let several = check(&sluice, "/", &["--client", "alice", "--count", "3"]);
    assert_eq!(several.code, 1, "{}", several.err);
    let lines: Vec<&str> = several.out.lines().collect();
    assert_eq!(lines[..2], ["1: allowed, default: 1 left", "2: allowed, default: 0 left"]);
    assert!(lines[2].starts_with("3: denied, default: 0 left, retry after 12 hours"), "{lines:?}");
    assert_eq!(lines[3..], ["2 allowed, 1 denied"]);
    let org =
        ["--ip", "192.0.2.1", "-H", "X-Org: acme", "--method", "PUT", "--cost", "4", "--json"];
    let asked = json_of(&check(&sluice, "/", &org));
    assert_eq!(names(&asked["body"]["limits"]), ["org"]);
    assert_eq!(asked["body"]["remaining"], 5);
}

#[test]
fn check_shows_a_token_without_a_flag() {
    let sluice = memory_replica("access: { tokens: [correct-token-of-length] }");
    let url = sluice.url("/");
    let asked = || CommandLine::new(&["check", &url, "--client", "alice"]);
    let without = asked().run();
    assert_eq!((without.code, without.out.as_str()), (3, ""));
    assert!(without.err.contains("SLUICE_TOKEN"), "{}", without.err);
    let by_variable = asked().env("SLUICE_TOKEN", "correct-token-of-length").run();
    assert_eq!(by_variable.code, 0, "{}", by_variable.err);
    let wrong = asked().env("SLUICE_TOKEN", "another-token").run();
    assert_eq!((wrong.code, wrong.out.as_str()), (3, ""));
    assert!(wrong.err.contains("is not one of the replica's access.tokens"), "{}", wrong.err);
    let empty = CommandLine::new(&["check", &url, "--client", "alice", "--token-file", "token"])
        .file("token", "\n")
        .run();
    assert_eq!(empty.code, 2);
    assert!(empty.err.starts_with("--token-file: token: the token is empty"), "{}", empty.err);
    let by_file = CommandLine::new(&["check", &url, "--client", "alice", "--token-file", "token"])
        .file("token", "correct-token-of-length\n")
        .run();
    assert_eq!(by_file.code, 0, "{}", by_file.err);
    let broken = asked().env("SLUICE_TOKEN", "a\r\nx: y").run();
    assert_eq!((broken.code, broken.out.as_str()), (2, ""));
    assert!(!broken.err.contains("x: y"), "{}", broken.err);
}

#[test]
fn check_says_why_there_is_no_decision() {
    let sluice = memory_replica("");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let https = sluice.url("/").replace("http://", "https://");
    let (refused, url) = (format!("http://{free}"), sluice.url(""));
    for (arguments, expected) in [
        (&[&*refused, "--client", "a"][..], "nothing listens at"),
        (&[&*https, "--client", "a"], "TLS"),
        (&[&*url, "--client", "a", "--path", "orders"], "a path starts with `/`"),
    ] {
        let ended = CommandLine::new(&[&["check"][..], arguments].concat()).run();
        assert_eq!((ended.code, ended.out.as_str()), (3, ""), "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(expected), "{arguments:?}: {}", ended.err);
    }
    for (arguments, expected) in [
        (&[&*url][..], "--client"),
        (&["127.0.0.1:8000", "--client", "a"], "http://127.0.0.1:8000"),
        (&["http://127.0.0.1:80000", "--client", "a"], "from 1 to 65535"),
        (&["http://u:hunter2@h", "--client", "a"], "SLUICE_TOKEN"),
        (&[&*url, "--client", "a", "--count", "0"], "--count"),
        (&[&*sluice.url("/a"), "--client", "a", "--path", "/b"], "leave out `--path`"),
        (&[&*url, "--client", "a", "--ca-file", "x"], "https://"),
        (&[&*https, "--client", "a", "--ca-file", "x"], "--ca-file: x: "),
        (&[&*url, "--client", "a", "--token-file", "x"], "--token-file: x: "),
    ] {
        let ended = CommandLine::new(&[&["check"][..], arguments].concat()).run();
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(expected), "{arguments:?}: {}", ended.err);
    }
}

#[test]
fn check_verifies_the_certificate_and_names_the_remedy() {
    // It speaks TLS, but not HTTP: whoever trusts it comes as far as its response.
    let redis = RedisServer::start_tls();
    let ca_file = redis.ca_file().display().to_string();
    let leaf = redis.ca_file().with_file_name("server.pem").display().to_string();
    for (host, trusts, authority) in
        [("localhost", true, &ca_file), ("127.0.0.1", true, &ca_file), ("127.0.0.1", false, &leaf)]
    {
        let url = format!("https://{host}:{}", redis.port());
        let ended =
            CommandLine::new(&["check", &url, "--client", "a", "--ca-file", authority]).run();
        assert_eq!((ended.code, ended.out.as_str()), (3, ""), "{url}: {}", ended.err);
        let names_the_remedy = ended.err.contains("name its authority with --ca-file");
        assert_eq!(names_the_remedy, !trusts, "{url}: {}", ended.err);
    }
}
