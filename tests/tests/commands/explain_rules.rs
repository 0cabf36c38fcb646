//! `sluice explain --rls`, and the keys that both forms of `explain` print.

use serde_json::{Value, json};
use sluice_testkit::{RedisServer, SluiceOptions, built_sluice};
use sluice_tests::{
    command::{CommandLine, Ended},
    http::Client,
};

use crate::{RULES, RULES_CONFIG, json_of};

fn with_rules(config: &str, arguments: &[&str]) -> Ended {
    let arguments = [&["explain", "--rls"][..], arguments].concat();
    CommandLine::new(&arguments).file("sluice.yaml", config).file("edge.yaml", RULES).run()
}

#[test]
fn explain_says_which_rule_of_envoys_service_matches_and_why_the_others_do_not() {
    let shared = with_rules(RULES_CONFIG, &["edge", "path=/orders/7"]);
    assert_eq!((shared.code, shared.err.as_str()), (0, ""));
    for line in [
        "edge path=/orders/7",
        "  edge.path_/orders/*",
        "    rate    300/day, burst 300",
        "    cost    1",
        "  edge.path (2 rules)  edge.path_/orders/* fits entry 1 more specifically",
        "  edge.user_banned     entry 1 has another key",
    ] {
        assert!(shared.out.lines().any(|shown| shown == line), "{line}\n{}", shared.out);
    }
    let json = json_of(&with_rules(RULES_CONFIG, &["edge", "path=/x", "--cost", "30", "--json"]));
    let rule = &json["rule"];
    assert_eq!((&rule["path"], &rule["name"]), (&json!("edge.path"), &json!("paths")));
    assert_eq!(
        (&rule["cost"], &rule["never"], &rule["overrun"]),
        (&json!(30), &json!(true), &json!("auto"))
    );
    let reasons: Vec<&Value> =
        json["other_rules"].as_array().unwrap().iter().map(|other| &other["reason"]).collect();
    assert_eq!(reasons, ["value", "too_few_entries", "key"]);
    let banned = with_rules(RULES_CONFIG, &["edge", "user=banned"]);
    assert!(banned.out.contains("  edge.user_banned\n    blocks everything\n"), "{}", banned.out);
    let none = with_rules(RULES_CONFIG, &["edge", "path=/x", "method=GET"]);
    assert_eq!(none.code, 0);
    assert!(none.out.contains("\nNo rule matches, so that the descriptor is not limited.\n"));

    for (config, arguments, code, named) in [
        (RULES_CONFIG, &["egde", "path=/x"][..], 1, "The domains are: edge\n"),
        (RULES_CONFIG, &["", "path=/x"], 1, "the domain is empty\n"),
        ("", &["edge", "path=/x"], 1, "no rules are configured: name their files in `rls.files`\n"),
        (RULES_CONFIG, &["edge"], 2, "--rls <DOMAIN> <KEY=VALUE>"),
        (RULES_CONFIG, &["edge", "path"], 2, "`path` is no entry"),
        (RULES_CONFIG, &["edge", "=x"], 2, "`=x` is no entry"),
        (RULES_CONFIG, &["edge", "path=/x", "--client", "a"], 2, "--client"),
        ("rls: { files: [gone.yaml] }", &["edge", "path=/x"], 78, "gone.yaml"),
    ] {
        let ended = with_rules(config, arguments);
        assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(named), "{arguments:?}: {}", ended.err);
    }
}

#[tokio::test]
async fn explain_prints_the_keys_that_redis_has_after_the_request() {
    let redis = RedisServer::start();
    let rules = redis.directory().join("edge.yaml");
    std::fs::write(&rules, RULES).unwrap();
    for secret in ["", "secret: hashing-secret, "] {
        redis.command(&["FLUSHALL"]);
        let config = format!(
            "store: {{ url: '{}', prefix: shop }}\n\
             clients: {{ {secret}identify: [header:x-api-key, ip] }}\n\
             rls: {{ files: ['{}'] }}\n\
             endpoints: {{ /orders: {{ rate: 5/day, burst: 9, precision: leased }} }}\n\
             limits:\n\
             - {{ name: writes, per: ip, rate: 5/day, burst: 9 }}\n\
             - {{ name: all, per: nothing, rate: 5/day, burst: 9 }}\n",
            redis.url(),
            rules.display()
        );
        let sluice = SluiceOptions::new(built_sluice()).config(&config).start();
        let mut client = Client::of(sluice.http_addr());
        let request = json!({ "client": "alice", "ip": "192.0.2.1", "path": "/orders" });
        assert_eq!(client.post("/v1/check", &request).await.status, 200);
        let descriptor = json!({ "domain": "edge", "descriptors": [
            { "entries": [{ "key": "path", "value": "/orders/7" }] },
            { "entries": [{ "key": "path", "value": "/x" }, { "key": "method", "value": "POST" }] },
        ] });
        assert_eq!(client.post("/json", &descriptor).await.status, 200);

        let explain = |arguments: &[&str]| {
            let ended = CommandLine::new(&[&["explain", "--json"][..], arguments].concat())
                .file("sluice.yaml", &config)
                .run();
            json_of(&ended)
        };
        let request = ["GET", "/orders", "--client", "alice", "--ip", "192.0.2.1"];
        let report = explain(&request);
        let limits = report["limits"].as_array().unwrap().clone();
        let rules = [&["path=/orders/7"][..], &["path=/x", "method=POST"]]
            .map(|entries| explain(&[&["--rls", "edge"][..], entries].concat())["rule"].clone());
        let key = |limit: &Value| limit["bucket"]["redis_key"].as_str().unwrap().to_owned();
        let mut explained: Vec<String> = limits.iter().chain(&rules).map(key).collect();
        explained.sort();
        let mut found: Vec<String> = redis.command(&["KEYS", "shop:*"]).texts();
        // The other keys are those of the fleet, which begin with a colon behind the partition.
        found.retain(|key| !key.contains("}:"));
        found.sort();
        assert_eq!(explained.len(), 5);
        assert_eq!(explained, found, "with {secret:?}");
    }
}

#[test]
fn explain_names_no_key_in_redis_without_redis() {
    let explained =
        CommandLine::new(&["explain", "GET", "/", "--client", "a"]).file("sluice.yaml", "").run();
    assert!(explained.out.contains("in the memory of each replica\n"), "{}", explained.out);
    assert!(!explained.out.contains("Redis"), "{}", explained.out);
}
