//! The commands for people: `explain`, `check`, `hash`, `config diff` and `completions`.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "in a test, a failed unwrap is a failed test"
)]

mod check;
mod completions;
mod config_diff;
mod explain;
mod explain_rules;
mod output;

use serde_json::Value;
use sluice_tests::command::{CommandLine, Ended};

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

const RULES: &str = "\
domain: edge
descriptors:
  - key: path
    value: /orders/*
    share_threshold: true
    rate_limit: { unit: day, requests_per_unit: 300 }
  - key: path
    rate_limit: { unit: day, requests_per_unit: 20, name: paths }
    descriptors:
      - { key: method, value: POST, rate_limit: { unit: day, requests_per_unit: 5 } }
  - { key: user, value: banned, rate_limit: { unit: day, requests_per_unit: 0 } }
";
const RULES_CONFIG: &str = "rls: { files: [edge.yaml] }\n";

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
    let examples = document.split("```yaml\n").skip(1);
    let mut examples = examples.map(|example| example.split("```").next().unwrap());
    let [example, rules] = [(); 2].map(|()| examples.next().unwrap());
    let with_rules = format!("{example}rls: {{ files: [edge.yaml] }}\n");
    for (shown, arguments) in [
        (
            "explain GET '/orders//7?page=2' -H 'X-Api-Key: key-of-pro'",
            &["explain", "GET", "/orders//7?page=2", "-H", "X-Api-Key: key-of-pro"][..],
        ),
        ("explain GET orders", &["explain", "GET", "orders"]),
        (
            "explain --rls edge path=/orders/7",
            &["explain", "--rls", "edge", "path=/orders/7", "--config", "with_rules.yaml"],
        ),
        ("hash key-of-pro", &["hash", "key-of-pro"]),
        ("hash 192.0.2.1", &["hash", "192.0.2.1"]),
        ("config check sluice.yaml", &["config", "check", "sluice.yaml"]),
    ] {
        let ended = CommandLine::new(arguments)
            .file("sluice.yaml", example)
            .file("with_rules.yaml", &with_rules)
            .file("edge.yaml", rules)
            .run();
        let output = if ended.out.is_empty() { ended.err } else { ended.out };
        let expected = format!("$ sluice {shown}\n{output}");
        assert!(document.contains(&expected), "the document lacks:\n{expected}");
    }
}

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
