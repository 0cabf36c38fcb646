//! `sluice config diff`.

use serde_json::json;
use sluice_tests::command::{CommandLine, Ended};

use crate::{LIMITS, json_of};

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
fn diff_calls_items_by_their_names_and_ignores_their_order_where_it_means_nothing() {
    let old = "\
clients: { identify: [bearer, 'header:x-key', ip], trusted_proxies: [10.0.0.0/8, 192.0.2.1] }
limits:
  - { name: a, when: { method: [PUT, POST], path: [/a, /b] }, rate: 1/day, burst: 1 }
  - { name: b, when: { header: { x-a: [q, r], x-b: true } }, rate: 1/day, burst: 1 }
slos:
  - { name: api, endpoint: /a, objective: 99.9, window: 30d }
  - { name: web, endpoint: /b, objective: 99, window: 30d }
";
    let new = "\
clients: { identify: [bearer, 'header:x-key', ip], trusted_proxies: [192.0.2.1, 10.0.0.0/8] }
limits:
  - { name: b, when: { header: { x-b: true, x-a: [r, q] } }, rate: 1/day, burst: 1 }
  - { name: a, when: { path: [/b, /a], method: [POST, PUT] }, rate: 1/day, burst: 1 }
slos:
  - { name: web, endpoint: /b, objective: 99, window: 30d }
  - { name: api, endpoint: /a, objective: 99.9, window: 30d }
";
    let moved = diff(old, new, &[]);
    assert_eq!((moved.code, moved.out.as_str()), (0, "no difference\n"), "{}", moved.err);
    let new = new
        .replace("objective: 99.9", "objective: 99.5")
        .replace("[bearer, 'header:x-key', ip]", "['header:x-key', bearer, ip]");
    let changed = diff(old, &new, &[]);
    assert_eq!(
        (changed.code, changed.out.as_str()),
        (
            1,
            "settings:\n  clients.identify: [bearer, header:x-key, ip] -> [header:x-key, bearer, \
             ip]; the same in another order\n  slos[api].objective: 99.9 -> 99.5\n"
        )
    );
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

#[test]
fn diff_says_what_a_limit_counts() {
    let limit = |terms: &str| format!("limits: [ {{ name: money, rate: 1/hour, {terms} }} ]\n");
    let old = limit("burst: 2, counts: cost");
    let differing = diff(&old, &limit("burst: 2.5, counts: total_tokens"), &[]);
    assert_eq!(differing.code, 78, "a burst of tokens is whole: {}", differing.out);
    for (new, change) in [
        ("burst: 2.5, counts: cost", "burst 2 -> 2.5"),
        ("burst: 2, counts: total_tokens", "counts cost, held for 5m -> total_tokens, held for 5m"),
    ] {
        let differing = diff(&old, &limit(new), &[]);
        assert_eq!((differing.code, differing.err.as_str()), (1, ""));
        assert!(differing.out.contains(change), "{change}\n{}", differing.out);
    }
}

#[test]
fn diff_says_what_becomes_of_estimates_that_nobody_settles() {
    let limit = |terms: &str| format!("limits: [ {{ name: money, counts: cost, {terms} }} ]\n");
    let [charging, releasing] = ["charge", "release"]
        .map(|unsettled| limit(&format!("quota: 500/month, unsettled: {unsettled}")));
    let differing = diff(&charging, &releasing, &[]);
    assert_eq!((differing.code, differing.err.as_str()), (1, ""));
    assert!(differing.out.contains("money: unsettled - -> release"), "{}", differing.out);
    assert_eq!(diff(&limit("quota: 500/month"), &charging, &[]).out, "no difference\n");
    let other = diff(&releasing, &limit("rate: 1/hour, burst: 2"), &[]).out;
    let expected = "money: quota 500/month, unsettled release -> 1/hour, burst 2";
    assert!(other.contains(expected), "{other}");
}
