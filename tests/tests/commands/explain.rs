//! `sluice explain METHOD PATH`.

use serde_json::json;
use sluice_tests::command::CommandLine;

use crate::{json_of, names, with_limits};

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
    let key = endpoint["bucket"]["redis_key"].as_str().unwrap();
    assert!(key.starts_with("shop:{") && key.contains(&hash[1..]), "{key}");
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
        (&["GET", "/", "--cost", "-1"], "write a whole number of tokens"),
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

#[test]
fn explain_says_what_a_limit_of_tokens_or_money_counts() {
    let metered = "\
limits:
  - { name: tokens, counts: total_tokens, weights: { output: 4 }, rate: 9/minute, burst: 7 }
  - { name: money, counts: cost, rate: 0.5/hour, burst: 2.25, hold_for: 90s }
  - { name: month, counts: cost, quota: 9/month, unsettled: release }
";
    let explain = |arguments: &[&str]| {
        let arguments = [&["explain", "GET", "/", "--client", "a"][..], arguments].concat();
        let explained = CommandLine::new(&arguments).file("sluice.yaml", metered).run();
        assert_eq!((explained.code, explained.err.as_str()), (0, ""));
        explained
    };
    let shown = explain(&[]).out;
    for line in [
        "    rate    9/minute, burst 7",
        "    counts  total_tokens (input 1, cached_input 1, cache_write 1, output 4), held for 5m; \
         a check only looks",
        "    rate    0.5/hour, burst 2.25",
        "    counts  cost, held for 1m 30s; a check only looks",
        "    counts  cost, held for 5m; what nobody settles is released; a check only looks",
    ] {
        assert!(shown.lines().any(|known| known == line), "{line}\n{shown}");
    }
    let report = json_of(&explain(&["--json"]));
    assert_eq!(names(&report["limits"]), ["default", "tokens", "money", "month"]);
    assert_eq!(report["limits"][2]["counts"], "cost, held for 1m 30s");
    assert_eq!(report["limits"][2]["cost"], 0);
    assert_eq!(report["limits"][3]["unsettled"], "release");
    for limit in [0, 1, 2] {
        assert_eq!(report["limits"][limit].get("unsettled"), None);
    }
    assert_eq!(report["limits"][0].get("counts"), None);
}

#[test]
fn explain_names_the_route_to_a_model_and_meters_the_request() {
    let models = "\
gateway: { upstream: \"https://api.openai.com\" }
llm: { routes: [{ path: /v1/**, speaks: openai }] }
limits:
  - { name: tokens, counts: total_tokens, rate: 9/minute, burst: 7 }
  - { name: in-flight, concurrent: 2 }
";
    let explain = |arguments: &[&str]| {
        let arguments = [&["explain", "--client", "a"][..], arguments].concat();
        CommandLine::new(&arguments).file("sluice.yaml", models).run()
    };
    let shown = explain(&["POST", "/v1/chat/completions"]).out;
    for line in [
        "  model     the route /v1/** (openai): what the request uses is metered",
        "    counts  total_tokens, held for 5m",
        "    cost    what the request is estimated to use, then what it used",
        "    concurrent 2, each kept for 10s unless it is renewed",
    ] {
        assert!(shown.lines().any(|known| known == line), "{line}\n{shown}");
    }
    let report = json_of(&explain(&["POST", "/v1/chat/completions", "--json"]));
    assert_eq!(report["model_route"]["path"], "/v1/**", "{report}");
    assert_eq!(report["limits"][2]["concurrent"], 2, "{report}");
    let listed = explain(&["GET", "/v1/models"]).out;
    assert!(listed.contains("a check only looks") && !listed.contains("model  "), "{listed}");
}

#[test]
fn explain_says_that_requests_in_flight_are_not_counted_without_a_gateway() {
    let limits = "limits: [{ name: in-flight, concurrent: 2 }]";
    let explain = |arguments: &[&str]| {
        let arguments = [&["explain", "GET", "/", "--client", "a"][..], arguments].concat();
        CommandLine::new(&arguments).file("sluice.yaml", limits).run()
    };
    let shown = explain(&[]).out;
    let because = "  without a `gateway`, nothing sees the end of the request: only /v1/reserve \
                   takes from it";
    let is_said = |line: &str| line.starts_with("  in-flight ") && line.ends_with(because);
    assert!(shown.lines().any(is_said), "{shown}");
    let report = json_of(&explain(&["--json"]));
    assert_eq!(names(&report["limits"]), ["default"]);
    let others = report["other_limits"].as_array().unwrap();
    let in_flight = others.iter().find(|limit| limit["name"] == "in-flight").unwrap();
    assert_eq!(in_flight["reason"], "not_followed");
}
