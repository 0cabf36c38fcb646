//! The commands for people: `explain`, `check`, `hash`, `config diff` and `completions`.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "in a test, a failed unwrap is a failed test"
)]

use std::net::TcpListener;

use serde_json::{Value, json};
use sluice_testkit::Sluice;
use sluice_tests::{
    command::{CommandLine, Ended},
    fleet::memory_replica,
};

const LIMITS: &str = "\
store: { url: 'redis://127.0.0.1:1', prefix: shop }
clients: { identify: [header:x-api-key, ip], secret: hashing-secret }
defaults: { rate: 60/minute, burst: 10 }
endpoints:
  /orders: { rate: 5/second, burst: 10 }
  /orders/{id}: { rate: 50/second, burst: 100, precision: leased }
  /free: off
exempt: [/health]
tiers: { pro: { multiply: 5, clients: [key-of-pro] } }
limits:
  - name: writes
    when: { method: [POST, PUT] }
    per: ip
    rate: 100/minute
    burst: 20
    mode: shadow
  - name: org
    when: { header: x-org }
    per: header:x-org
    rate: 9/hour
    burst: 5
    cost: header:x-cost
";

fn with_limits(arguments: &[&str]) -> Ended {
    CommandLine::new(arguments).file("sluice.yaml", LIMITS).run()
}

fn json_of(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap()
}

fn names(limits: &Value) -> Vec<&str> {
    limits.as_array().unwrap().iter().map(|limit| limit["name"].as_str().unwrap()).collect()
}

/// What `docs/command-line.md` shows is what its example file leads to.
#[test]
fn the_document_shows_real_output() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/command-line.md");
    let document = std::fs::read_to_string(document).unwrap();
    let example = document.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    for (shown, arguments) in [
        (
            "explain GET '/orders//7?page=2' -H 'X-Api-Key: key-of-pro'",
            &["explain", "GET", "/orders//7?page=2", "-H", "X-Api-Key: key-of-pro"][..],
        ),
        ("explain GET orders", &["explain", "GET", "orders"]),
        ("hash key-of-pro", &["hash", "key-of-pro"]),
        ("hash 192.0.2.1", &["hash", "192.0.2.1"]),
        ("config check sluice.yaml", &["config", "check", "sluice.yaml"]),
    ] {
        let ended = CommandLine::new(arguments).file("sluice.yaml", example).run();
        let output = if ended.out.is_empty() { ended.err } else { ended.out };
        let expected = format!("$ sluice {shown}\n{output}");
        assert!(document.contains(&expected), "the document lacks:\n{expected}");
    }
}

// === explain ===

#[test]
fn explain_says_which_limits_apply_and_why_the_others_do_not() {
    let explained = with_limits(&[
        "explain",
        "POST",
        "//orders/7?x=1",
        "-H",
        "X-Api-Key: key-of-pro",
        "-H",
        "x-org: acme",
        "-H",
        "x-cost: 9",
        "--json",
    ]);
    assert_eq!((explained.code, explained.err.as_str()), (0, ""));
    let report = json_of(&explained);
    assert_eq!(report["normal_path"], "/orders/7");
    assert_eq!((&report["tier"], &report["is_listed"]), (&json!("pro"), &json!(true)));
    assert_eq!(report["client"]["from"], "header:x-api-key");
    assert_eq!(names(&report["limits"]), ["/orders/{id}", "writes", "org"]);
    let [endpoint, writes, org] = [0, 1, 2].map(|place| &report["limits"][place]);
    assert_eq!((&endpoint["rate"], &endpoint["burst"]), (&json!("250/second"), &json!(500)));
    assert_eq!((&endpoint["precision"], &endpoint["never"]), (&json!("leased"), &json!(false)));
    assert_eq!((&writes["mode"], &writes["bucket"]["per"]), (&json!("shadow"), &json!("ip")));
    assert_eq!((&org["cost"], &org["never"]), (&json!(9), &json!(true)));
    let others = report["other_limits"].as_array().unwrap();
    let reasons: Vec<_> = others.iter().map(|limit| (&limit["name"], &limit["reason"])).collect();
    assert_eq!(
        reasons,
        [
            (&json!("default"), &json!("other_limit")),
            (&json!("/orders"), &json!("more_specific_endpoint")),
        ]
    );
    let hash = report["client"]["hash"].as_str().unwrap();
    assert_eq!(hash, endpoint["bucket"]["hash"]);
    let key = endpoint["bucket"]["redis_key_pattern"].as_str().unwrap();
    assert!(key.starts_with("shop:{??}") && key.contains(&hash[1..]), "{key}");
    assert!(!explained.out.contains("key-of-pro"), "{}", explained.out);
}

#[test]
fn explain_speaks_to_people() {
    let free = with_limits(&["explain", "GET", "/free/../free", "--ip", "::1"]);
    assert_eq!((free.code, free.err.as_str()), (0, ""));
    for line in [
        "GET /free/../free",
        "  path      /free, the normal form in which paths are compared",
        "  address   ::1",
        "No limit applies, so that the request is allowed.",
        "The endpoint /free is `off`: it takes the path out of the default limit.",
        "  writes        the method is not POST or PUT",
        "  org           the request has no header x-org",
    ] {
        assert!(free.out.lines().any(|shown| shown == line), "{line}\n{}", free.out);
    }
    let default = with_limits(&["explain", "GET", "/other", "--client", "bob", "--tier", "gold"]);
    for part in [
        "from --client\n",
        "gold, which the request names, is ignored: the configuration has no such tier\n",
        "  default (default)\n    rate    60/minute, burst 10\n",
    ] {
        assert!(default.out.contains(part), "{part}\n{}", default.out);
    }
    let exempt = with_limits(&["explain", "GET", "/health", "--client", "bob"]);
    assert!(exempt.out.ends_with("never limited: the path is exempt (/health).\n"), "{exempt:?}");
}

#[test]
fn explain_refuses_what_a_replica_refuses_and_wrong_arguments() {
    let rejected = |arguments: &[&str]| {
        let ended = with_limits(&[&["explain"][..], arguments].concat());
        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{arguments:?}: {}", ended.err);
        ended.err
    };
    assert!(rejected(&["GET", "x"]).ends_with("status 400: a path starts with `/`\n"));
    assert!(rejected(&["GET", "/a%2fb"]).contains("encoded slashes"));
    let twice = ["GET", "/", "-H", "x-api-key: a", "-H", "x-api-key: b"];
    assert!(rejected(&twice).contains("`x-api-key` names different clients"));
    for (arguments, named) in [
        (&["GET"][..], "<PATH>"),
        (&["G T", "/"], "such as `GET`"),
        (&["GET", "/", "--ip", "localhost"], "--ip"),
        (&["GET", "/", "--client", ""], "cannot be empty"),
        (&["GET", "/", "--cost", "1.5"], "--cost"),
        (&["GET", "/", "-H", "x"], "X-Api-Key: k1"),
    ] {
        let ended = with_limits(&[&["explain"][..], arguments].concat());
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{arguments:?}");
        assert!(ended.err.contains(named), "{arguments:?}: {}", ended.err);
    }
    let invalid = CommandLine::new(&["explain", "GET", "/", "--config", "a.yaml"])
        .file("a.yaml", "defaults: { rate: 5 }")
        .run();
    assert_eq!(invalid.code, 78);
    assert!(invalid.err.starts_with("a.yaml:1: defaults.rate: "), "{}", invalid.err);
}

// === hash ===

#[test]
fn hash_prints_what_explain_prints() {
    let hash = |client: &str| with_limits(&["hash", client]).out;
    let explained = |arguments: &[&str]| {
        let explained = with_limits(&[&["explain", "GET", "/", "--json"][..], arguments].concat());
        json_of(&explained)["client"]["hash"].as_str().unwrap().to_owned()
    };
    assert_eq!(hash("alice"), format!("{}\n", explained(&["--client", "alice"])));
    let of_address = hash("192.0.2.1");
    assert_eq!(of_address.lines().count(), 2, "{of_address}");
    let address = explained(&["--ip", "192.0.2.1"]);
    let key = explained(&["--client", "192.0.2.1"]);
    assert_eq!(of_address, format!("{address}  the address\n{key}  the key\n"));
    let as_json: Value =
        serde_json::from_str(&with_limits(&["hash", "::1", "--json"]).out).unwrap();
    assert!(as_json["key"].is_string() && as_json["address"].is_string(), "{as_json}");
    assert_ne!(hash("alice"), CommandLine::new(&["hash", "alice"]).run().out, "another secret");
}

// === check ===

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
    assert_eq!(asked().env("SLUICE_TOKEN", "another-token").run().code, 3);
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

// === config diff ===

fn diff(old: &str, new: &str, arguments: &[&str]) -> Ended {
    CommandLine::new(&[&["config", "diff", "old.yaml", "new.yaml"][..], arguments].concat())
        .file("old.yaml", old)
        .file("new.yaml", new)
        .run()
}

#[test]
fn diff_says_what_changes_for_whom() {
    let new = LIMITS
        .replace("rate: 60/minute", "rate: 120/minute")
        .replace("  /free: off\n", "  /reports: 7\n")
        .replace("[/health]", "[/health, /metrics]")
        .replace(
            "{ pro: { multiply: 5, clients: [key-of-pro] } }",
            "{ pro: { multiply: 5, rate: \
                  300/minute, burst: 50, clients: [a, b] }, gold: { unlimited: true } }",
        )
        .replace("    mode: shadow\n", "")
        .replace("hashing-secret", "another-secret")
        .replace("prefix: shop", "prefix: shop, timeout: 50ms");
    let same = diff(LIMITS, &format!("# a comment\n{LIMITS}"), &[]);
    assert_eq!((same.code, same.out.as_str(), same.err.as_str()), (0, "no difference\n", ""));
    let differing = diff(LIMITS, &new, &[]);
    assert_eq!((differing.code, differing.err.as_str()), (1, ""));
    for line in [
        "  default: 60/minute -> 120/minute, for clients without a tier",
        "  /free: removed, was off, for everyone",
        "  /reports: added: 7/minute, burst 10, for clients without a tier",
        "  /reports: added: 35/minute, burst 50, for tier pro",
        "  writes: mode shadow -> enforce, for everyone",
        "  pro: 1 added to its clients, 0 removed",
        "  gold: added, with 0 clients in its list; unlike clients without a tier:",
        "    default: removed, was 120/minute, burst 10",
        "  /metrics: added: it is never limited",
        "  clients.secret: changed, not shown; every client starts with full buckets",
        "  store.timeout: 25ms -> 50ms (needs a restart)",
    ] {
        assert!(differing.out.lines().any(|shown| shown == line), "{line}\n{}", differing.out);
    }
    for secret in ["hashing-secret", "another-secret", "key-of-pro"] {
        assert!(!differing.out.contains(secret), "{}", differing.out);
    }

    let report = json_of(&diff(LIMITS, &new, &["--json"]));
    let limits = report["limits"].as_array().unwrap();
    let default = limits.iter().find(|limit| limit["name"] == "default").unwrap();
    assert_eq!(default["tiers"], json!([null]));
    assert_eq!(
        (&default["old"]["rate"], &default["new"]["rate"]),
        (&json!("60/minute"), &json!("120/minute"))
    );
    assert_eq!(report["exempt"], json!({ "added": ["/metrics"], "removed": [] }));
    let timeout = report["settings"].as_array().unwrap();
    let timeout = timeout.iter().find(|setting| setting["path"] == "store.timeout").unwrap();
    assert_eq!(timeout["needs_restart"], true);
}

#[test]
fn diff_reports_the_errors_of_both_files() {
    let wrong = diff("defaults: { rate: 5 }", "log: { level: loud }", &[]);
    assert_eq!((wrong.code, wrong.out.as_str()), (78, ""));
    let starts: Vec<_> = wrong.err.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(starts, ["old.yaml:1", "new.yaml:1"], "{}", wrong.err);
    let missing = CommandLine::new(&["config", "diff", "a.yaml", "b.yaml"]).run();
    assert_eq!((missing.code, missing.err.lines().count()), (78, 2), "{}", missing.err);
    assert_eq!(CommandLine::new(&["config", "diff", "a.yaml"]).run().code, 2);
}

// === completions ===

#[test]
fn completions_name_every_command_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = CommandLine::new(&["completions", shell]).run();
        assert_eq!((script.code, script.err.as_str()), (0, ""), "{shell}");
        for command in ["explain", "check", "hash", "diff", "completions"] {
            assert!(script.out.contains(command), "{shell}: {command}");
        }
    }
    let unknown = CommandLine::new(&["completions", "tcsh"]).run();
    assert_eq!((unknown.code, unknown.out.as_str()), (2, ""));
    assert!(unknown.err.contains("bash"), "{}", unknown.err);
}
