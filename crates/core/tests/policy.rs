//! Which limits apply to which requests.

use std::net::IpAddr;

use proptest::prelude::*;
use sluice_core::{
    Action, Algorithm, Client, Concurrent, Cost, Endpoint, HeaderMatch, LimitKey, LimitSpec,
    Matched, Mode, Per, Policy, PolicyBuilder, Rate, Request, RequestError, Rule, RuleCost, Tag,
    Terms, Tier, When,
};
use sluice_testkit::policies;

fn rate(text: &str) -> Rate {
    text.parse().expect("a rate")
}

fn endpoint(path: &str, per_minute: u64) -> Endpoint {
    Endpoint::new(path, rate(&format!("{per_minute}/minute, burst 10")))
}

fn rule(name: &str, per: Per) -> Rule {
    Rule::new(name, rate("100/minute, burst 20")).per(per)
}

fn in_mode(mode: Mode, mut rule: Rule) -> Rule {
    rule.terms.mode = mode;
    rule
}

fn shadow(spec: LimitSpec) -> LimitSpec {
    match spec {
        LimitSpec::Off => LimitSpec::Off,
        LimitSpec::Limit(terms) => terms.mode(Mode::Shadow).into(),
    }
}

/// A policy with a default limit of 60 a minute, and nothing else.
fn default_only() -> PolicyBuilder {
    Policy::builder().default_limit(rate("60/minute, burst 10"))
}

fn built(builder: PolicyBuilder) -> Policy {
    builder.build().expect("a valid policy")
}

fn get<'a>(client: &'a str, path: &'a str) -> Request<'a> {
    Request::new(Client::Key(client.as_bytes()), "GET", path)
}

fn matched(policy: &Policy, request: &Request<'_>) -> Matched {
    policy.check(Action::Take, request).expect("a request that can be checked")
}

/// The limits that apply, as text, in the order of the check.
fn limits(policy: &Policy, request: &Request<'_>) -> Vec<String> {
    matched(policy, request).check.parts().iter().map(|part| part.limit.to_string()).collect()
}

/// The buckets that a request takes from.
fn buckets(policy: &Policy, request: &Request<'_>) -> Vec<(Tag, LimitKey, Cost)> {
    matched(policy, request)
        .check
        .parts()
        .iter()
        .map(|part| (part.tag, part.limit.key(), part.cost))
        .collect()
}

#[test]
fn an_endpoint_covers_its_path_and_everything_below_it() {
    let policy = policies::document();
    for (path, expected) in [
        ("/", "default (60/minute, burst 10)"),
        ("/api/v1/conversation/chat", "default (60/minute, burst 10)"),
        (
            "/api/v1/conversation/chat-stream",
            "/api/v1/conversation/chat-stream (20/minute, burst 10)",
        ),
        (
            "/api/v1/conversation/chat-stream/x",
            "/api/v1/conversation/chat-stream (20/minute, burst 10)",
        ),
        ("/api/v1/conversation/chat-streams", "default (60/minute, burst 10)"),
        (
            "/api/v1/blueprints/generate-blueprint",
            "/api/v1/blueprints/generate-blueprint (30/minute, burst 10)",
        ),
        ("/api/v1/tools/execute", "/api/v1/tools/execute (40/minute, burst 10)"),
        ("/api/v1/blueprints", "/api/v1/blueprints (100/minute, burst 10)"),
        ("/api/v1/blueprints/7", "/api/v1/blueprints (100/minute, burst 10)"),
    ] {
        assert_eq!(limits(&policy, &get("alice", path)), [expected], "{path}");
    }
    for path in ["/health", "/health/live", "/metrics", "/monitoring/rate-limit/stats"] {
        let matched = matched(&policy, &get("alice", path));
        assert!(matched.is_exempt() && matched.check.parts().is_empty(), "{path}");
    }
    assert!(!matched(&policy, &get("alice", "/healthy")).is_exempt());
}

#[test]
fn a_client_has_one_bucket_for_all_requests_under_the_default_limit() {
    let policy = built(default_only());
    let alice = buckets(&policy, &get("alice", "/a"));
    assert_eq!(alice.len(), 1);
    assert_eq!(buckets(&policy, &get("alice", "/b/c")), alice);
    assert_ne!(buckets(&policy, &get("bob", "/a")), alice);
}

#[test]
fn no_spelling_of_a_path_avoids_its_limit() {
    let policy = policies::document();
    let expected = buckets(&policy, &get("alice", "/api/v1/tools/execute"));
    for path in [
        "/health/../api/v1/tools/execute",
        "//api//v1/tools//execute",
        "/api/v1/tools/%65xecute",
        "/api/v1/tools/execute/",
        "/api/v1/tools/execute?x=/health",
        "/api/./v1/x/../tools/execute",
        "/health/%2e%2e/api/v1/tools/execute",
    ] {
        assert_eq!(buckets(&policy, &get("alice", path)), expected, "{path}");
    }
    for path in [
        "/health%2F..%2Fapi/v1/tools/execute",
        "/health\\..\\api",
        "/health//../api",
        "/api%00",
        "health",
    ] {
        assert!(policy.check(Action::Take, &get("alice", path)).is_err(), "{path}");
    }
}

#[test]
fn the_label_is_the_pattern_that_covers_the_path_or_other() {
    let policy =
        built(default_only().endpoint("/users/*/orders/", rate("5/minute")).exempt("/health"));
    for (path, expected) in
        [("/users/7/orders/9", "/users/*/orders"), ("/users/7", "other"), ("/health/x", "/health")]
    {
        let matched = matched(&policy, &get("alice", path));
        assert_eq!(&*policy.endpoints()[matched.endpoint], expected, "{path}");
    }
    assert_eq!(&*policy.endpoints()[0], "other");
}

#[test]
fn the_default_limit_does_not_apply_to_an_endpoint_that_is_off() {
    let policy = built(
        default_only()
            .endpoint("/free", LimitSpec::Off)
            .endpoint("/free/not", rate("5/minute, burst 10"))
            .limit(rule("all", Per::Everyone)),
    );
    assert_eq!(limits(&policy, &get("alice", "/free/x")), ["all (100/minute, burst 20)"]);
    assert_eq!(
        limits(&policy, &get("alice", "/free/not")),
        ["/free/not (5/minute, burst 10)", "all (100/minute, burst 20)"]
    );
}

#[test]
fn all_general_limits_apply_beside_the_endpoints() {
    let policy = built(
        default_only()
            .endpoint("/a", rate("5/minute, burst 10"))
            .limit(rule("each", Per::Client))
            .limit(rule("all", Per::Everyone)),
    );
    let all = ["each (100/minute, burst 20)", "all (100/minute, burst 20)"];
    assert_eq!(limits(&policy, &get("alice", "/a")), ["/a (5/minute, burst 10)", all[0], all[1]]);
    assert_eq!(
        limits(&policy, &get("alice", "/b")),
        all,
        "the default limit applies only where no other limit does"
    );
}

#[test]
fn a_general_limit_applies_when_all_its_conditions_are_met() {
    let header = |name: &str, values: &[&str]| HeaderMatch {
        name: name.to_owned(),
        values: values.iter().map(|&value| value.to_owned()).collect(),
    };
    let when = When::default()
        .path("/api/**")
        .path("/v2/*")
        .method("POST")
        .method("put")
        .header(header("X-Kind", &["batch", "bulk"]))
        .header(header("x-org", &[]));
    let policy = built(Policy::builder().limit(rule("writes", Per::Everyone).when(when)));
    let applies = |method, path, attributes: &[(&'static str, &'static str); 2]| {
        let request = Request::new(Client::Key(b"alice"), method, path);
        !limits(&policy, &request.with_attributes(attributes)).is_empty()
    };
    let both = [("x-kind", "bulk"), ("x-org", "")];
    assert!(applies("POST", "/api/a/b", &both));
    assert!(applies("PUT", "/api", &both));
    assert!(applies("POST", "/v2/a", &both));
    assert!(applies("POST", "/v2/a/", &both));
    assert!(!applies("POST", "/v2/a/b", &both));
    assert!(!applies("GET", "/api/a", &both));
    assert!(!applies("POST", "/a", &both));
    assert!(!applies("POST", "/api/a", &[("x-kind", "other"), ("x-org", "a")]));
    assert!(!applies("POST", "/api/a", &[("x-kind", "batch"), ("x-other", "a")]));
}

#[test]
fn each_kind_of_limit_has_its_own_buckets() {
    let policy = built(
        Policy::builder()
            .limit(rule("client", Per::Client))
            .limit(rule("address", Per::Address))
            .limit(rule("org", Per::Header("X-Org".to_owned())))
            .limit(rule("all", Per::Everyone)),
    );
    let (red, blue) = ([("x-org", "red")], [("x-org", "blue")]);
    let (one, two): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
    let from = |client| get(client, "/").with_address(one).with_attributes(&red);
    let base = from("alice");
    let shared = |other: Request<'_>| -> Vec<bool> {
        let (base, other) = (buckets(&policy, &base), buckets(&policy, &other));
        base.iter().zip(&other).map(|(a, b)| a == b).collect()
    };
    assert_eq!(shared(base), [true, true, true, true]);
    assert_eq!(shared(from("bob")), [false, true, true, true]);
    assert_eq!(shared(base.with_address(two)), [true, false, true, true]);
    assert_eq!(shared(base.with_attributes(&blue)), [true, true, false, true]);
}

#[test]
fn limits_per_address_and_per_client_see_a_client_that_is_an_address_alike() {
    let policy = built(
        Policy::builder().limit(rule("address", Per::Address)).limit(rule("client", Per::Client)),
    );
    let known = Request::new(Client::Address("192.0.2.1".parse().unwrap()), "GET", "/");
    let taken = buckets(&policy, &known.with_address(None));
    assert_eq!(taken, buckets(&policy, &known));
    assert_eq!(taken[0].0, taken[1].0);
}

#[test]
fn a_limit_per_something_that_a_request_lacks_does_not_apply() {
    let limits_per = |per| built(default_only().limit(rule("rare", per)));
    let request = get("alice", "/");
    assert_eq!(
        limits(&limits_per(Per::Header("x-org".to_owned())), &request),
        ["default (60/minute, burst 10)"]
    );
    assert_eq!(limits(&limits_per(Per::Address), &request), ["default (60/minute, burst 10)"]);
}

#[test]
fn an_adjustment_leaves_out_limits_with_a_fixed_cost_and_slots() {
    let slots = Terms::new(Algorithm::Concurrent(Concurrent::new(3).unwrap()));
    let policy = built(
        Policy::builder()
            .limit(rule("tokens", Per::Client))
            .limit(rule("requests", Per::Client).cost(RuleCost::Fixed(Cost::ONE)))
            .limit(Rule::new("in flight", slots)),
    );
    let check = matched(&policy, &get("alice", "/").followed()).check;
    assert_eq!(check.parts().len(), 3);
    let charge = check.adjustment(Action::Charge, Cost::new(250).unwrap());
    assert_eq!(charge.action(), Action::Charge);
    let parts: Vec<_> =
        charge.parts().iter().map(|part| (part.bucket(), part.cost.tokens())).collect();
    assert_eq!(parts, [(check.parts()[0].bucket(), 250)]);
}

#[test]
fn a_cost_is_the_requests_or_the_limits_own() {
    let limit = |name, cost| rule(name, Per::Client).cost(cost);
    let policy = built(
        Policy::builder()
            .limit(limit("plain", RuleCost::Request))
            .limit(limit("fixed", RuleCost::Fixed(Cost::new(7).unwrap())))
            .limit(limit("header", RuleCost::Header("X-Tokens".to_owned()))),
    );
    let taken = |attributes: &[(&str, &str); 1]| {
        let request = get("alice", "/").with_cost(Cost::new(3).unwrap());
        let request = request.with_attributes(attributes);
        let matched = policy.check(Action::Take, &request)?;
        Ok(matched.check.parts().iter().map(|part| part.cost.tokens()).collect::<Vec<_>>())
    };
    assert_eq!(taken(&[("x-other", "1")]), Ok(vec![3, 7, 3]));
    assert_eq!(taken(&[("x-tokens", "250")]), Ok(vec![3, 7, 250]));
    assert_eq!(taken(&[("x-tokens", " 0 ")]), Ok(vec![3, 7, 0]));
    for unreadable in
        ["", "-1", "+1", "1.5", "many", "1e3", "1000000000001", "99999999999999999999"]
    {
        assert_eq!(
            taken(&[("x-tokens", unreadable)]),
            Err(RequestError::Cost { header: "x-tokens".to_owned() }),
            "{unreadable}"
        );
    }
}

#[test]
fn a_limit_that_is_off_does_not_apply() {
    let policy = built(default_only().limit(in_mode(Mode::Off, rule("x", Per::Everyone))));
    assert_eq!(limits(&policy, &get("alice", "/")), ["default (60/minute, burst 10)"]);
    assert_eq!(policy.limits().len(), 1);
}

#[test]
fn a_shadow_is_checked_beside_the_limits_that_apply_without_it() {
    let with_shadow = default_only().endpoint("/a/b", shadow(rate("5/minute, burst 10").into()));
    let policy = built(
        with_shadow
            .clone()
            .endpoint("/a", rate("30/minute, burst 10"))
            .limit(in_mode(Mode::Shadow, rule("shadow", Per::Everyone))),
    );
    let shadow_rule = "shadow (100/minute, burst 20)";
    assert_eq!(
        limits(&policy, &get("alice", "/x")),
        [shadow_rule, "default (60/minute, burst 10)"]
    );
    assert_eq!(
        limits(&policy, &get("alice", "/a/b/c")),
        ["/a/b (5/minute, burst 10)", "/a (30/minute, burst 10)", shadow_rule]
    );
    let policy = built(with_shadow);
    assert_eq!(
        limits(&policy, &get("alice", "/a/b")),
        ["/a/b (5/minute, burst 10)", "default (60/minute, burst 10)"]
    );
}

#[test]
fn a_repeated_field_with_different_values_is_refused_where_it_is_read() {
    let limited_by = |rule: Rule| built(default_only().limit(rule));
    let all = rule("a", Per::Client);
    let one_of = HeaderMatch { name: "X-Org".into(), values: vec!["acme".into()] };
    let any = HeaderMatch { name: "X-Org".into(), values: Vec::new() };
    let read = [
        rule("a", Per::Header("X-Org".into())),
        all.clone().cost(RuleCost::Header("X-Org".into())),
        all.clone().when(When::default().header(one_of)),
        all.clone().when(When::default().header(any)),
    ];
    let differs = [("x-org", "7"), ("x-org", "acme")];
    let equal = [("x-org", "7"), ("x-org", " 7"), ("x-org", "7")];
    for rule in read {
        let policy = limited_by(rule.clone());
        assert_eq!(policy.fields(), ["x-org".into()], "{rule:?}");
        let request = get("alice", "/a").with_attributes(&differs);
        assert_eq!(
            policy.check(Action::Take, &request).unwrap_err(),
            RequestError::FieldAmbiguous { header: "x-org".to_owned() },
            "{rule:?}"
        );
        let (once, several) = ([("x-org", "7")], get("alice", "/a").with_attributes(&equal));
        assert_eq!(
            buckets(&policy, &several),
            buckets(&policy, &get("alice", "/a").with_attributes(&once)),
            "equal values are one: {rule:?}"
        );
        let shadow = limited_by(in_mode(Mode::Shadow, rule));
        let left = enforced_parts(&shadow, &request);
        assert_eq!(left.len(), 1, "a shadow refuses nothing: {left:?}");
    }
    let elsewhere =
        limited_by(rule("a", Per::Header("x-org".into())).when(When::default().path("/b")));
    let request = get("alice", "/a").with_attributes(&differs);
    assert_eq!(limits(&elsewhere, &request).len(), 1, "the limit does not apply to this path");
    assert_eq!(limits(&limited_by(all), &request).len(), 1, "nothing reads the field");
}

#[test]
fn a_policy_names_the_headers_that_its_limits_read() {
    let wanted = |name: &str| HeaderMatch { name: name.into(), values: Vec::new() };
    let policy = built(
        default_only()
            .limit(
                rule("a", Per::Header("X-Org".into()))
                    .when(When::default().header(wanted("x-b")).header(wanted("X-A"))),
            )
            .limit(rule("b", Per::Header("x-org".into())).cost(RuleCost::Header("X-Cost".into()))),
    );
    assert_eq!(policy.fields(), ["x-a", "x-b", "x-cost", "x-org"].map(Box::<str>::from));
    assert_eq!(policies::document().fields(), []);
}

#[test]
fn a_shadow_does_not_refuse_an_unreadable_cost() {
    let with_cost = |mode| {
        let limit = rule("a", Per::Everyone).cost(RuleCost::Header("x-cost".to_owned()));
        built(Policy::builder().limit(in_mode(mode, limit)))
    };
    let attributes = [("x-cost", "many")];
    let request = get("alice", "/").with_attributes(&attributes);
    assert!(with_cost(Mode::Enforce).check(Action::Take, &request).is_err());
    assert_eq!(matched(&with_cost(Mode::Shadow), &request).check.parts()[0].cost, Cost::ONE);
}

fn with_tiers() -> PolicyBuilder {
    let on_rules = |name, per| rule(name, per).when(When::default().path("/**/rules"));
    default_only()
        .endpoint("/a", rate("20/minute, burst 10"))
        .endpoint("/b", rate("30/minute, burst 10"))
        .limit(on_rules("each", Per::Client))
        .limit(on_rules("all", Per::Everyone))
        .tier(Tier::new("pro").multiply(5))
        .tier(
            Tier::new("own")
                .multiply(2)
                .default_limit(rate("1000/minute, burst 500"))
                .endpoint("/a/", rate("7/minute, burst 10"))
                .endpoint("/b/c", rate("8/minute, burst 10"))
                .endpoint("/free", LimitSpec::Off),
        )
        .tier(Tier::new("bursty").multiply(2).burst(70).endpoint("/b", rate("30/minute, burst 3")))
        .tier(Tier::new("enterprise").unlimited().client("carol"))
}

#[test]
fn tiers_change_the_rates_of_limits_per_client() {
    let policy = built(with_tiers());
    let shared = "all (100/minute, burst 20)";
    for (tier, path, expected) in [
        (None, "/x", vec!["default (60/minute, burst 10)"]),
        (None, "/a", vec!["/a (20/minute, burst 10)"]),
        (None, "/rules", vec!["each (100/minute, burst 20)", shared]),
        (Some("pro"), "/x", vec!["default (300/minute, burst 50)"]),
        (Some("pro"), "/a", vec!["/a (100/minute, burst 50)"]),
        (Some("pro"), "/rules", vec!["each (500/minute, burst 100)", shared]),
        (Some("own"), "/x", vec!["default (1000/minute, burst 500)"]),
        (Some("own"), "/a/x", vec!["/a (7/minute, burst 10)"]),
        (Some("own"), "/b", vec!["/b (60/minute, burst 20)"]),
        (Some("own"), "/b/c", vec!["/b/c (8/minute, burst 10)"]),
        (Some("own"), "/free", vec![]),
        (Some("own"), "/rules", vec!["each (200/minute, burst 40)", shared]),
        (Some("bursty"), "/x", vec!["default (120/minute, burst 70)"]),
        (Some("bursty"), "/a", vec!["/a (40/minute, burst 70)"]),
        (Some("bursty"), "/b", vec!["/b (30/minute, burst 3)"]),
        (Some("bursty"), "/rules", vec!["each (200/minute, burst 40)", shared]),
        (Some("enterprise"), "/x", vec![]),
        (Some("enterprise"), "/a", vec![]),
        (Some("enterprise"), "/rules", vec![shared]),
        (Some("unknown"), "/x", vec!["default (60/minute, burst 10)"]),
        (Some(""), "/x", vec!["default (60/minute, burst 10)"]),
    ] {
        assert_eq!(
            limits(&policy, &get("alice", path).with_tier(tier)),
            expected,
            "{tier:?} {path}"
        );
    }
}

#[test]
fn the_configured_tier_of_a_client_precedes_the_tier_of_the_request() {
    let policy = built(with_tiers());
    assert_eq!(limits(&policy, &get("carol", "/a")), [""; 0]);
    assert_eq!(limits(&policy, &get("carol", "/a").with_tier("pro")), [""; 0]);
    assert_eq!(limits(&policy, &get("caro", "/a")), ["/a (20/minute, burst 10)"]);
}

#[test]
fn a_request_says_whether_the_policy_has_its_tier() {
    let policy = built(with_tiers());
    for (client, tier, is_unknown) in [
        ("alice", Some("gold"), true),
        ("alice", Some("Pro"), true),
        ("alice", Some("pro"), false),
        ("alice", Some(""), false),
        ("alice", None, false),
        ("carol", Some("gold"), false),
    ] {
        let request = get(client, "/a").with_tier(tier);
        assert_eq!(matched(&policy, &request).has_unknown_tier, is_unknown, "{client} {tier:?}");
    }
}

#[test]
fn a_tier_can_list_addresses() {
    let listed = |keys: &[&str]| {
        let tier = keys.iter().fold(Tier::new("pro").multiply(2), |tier, key| tier.client(*key));
        default_only().tier(tier)
    };
    let policy = built(listed(&["192.0.2.1", "::ffff:192.0.2.2", "2001:db8::1", "2001:db8::2"]));
    let doubled = |address: &str| {
        let client = Client::Address(address.parse().expect("an address"));
        limits(&policy, &Request::new(client, "GET", "/")) == ["default (120/minute, burst 20)"]
    };
    for address in ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "2001:db8::7"] {
        assert!(doubled(address), "{address}");
    }
    assert!(!doubled("192.0.2.3") && !doubled("2001:db8:1::1"));
    assert_eq!(
        limits(&policy, &get("192.0.2.1", "/")),
        ["default (120/minute, burst 20)"],
        "a key of the same text too"
    );
    assert!(policy.lists(matched(&policy, &get("192.0.2.1", "/")).client.expect("a client")));
    assert!(!policy.lists(matched(&policy, &get("bob", "/")).client.expect("a client")));
    let twice =
        listed(&["192.0.2.1"]).tier(Tier::new("free").multiply(3).client("::ffff:192.0.2.1"));
    let errors = twice.build().unwrap_err().to_string();
    assert!(errors.contains("tiers.free.clients[0]: this client is already listed"), "{errors}");
}

#[test]
fn a_change_of_tier_keeps_the_bucket() {
    let policy = built(with_tiers());
    let (plain, pro) = (get("alice", "/a"), get("alice", "/a").with_tier("pro"));
    assert_eq!(buckets(&policy, &plain), buckets(&policy, &pro));
    assert!(matched(&policy, &plain).limits().eq(matched(&policy, &pro).limits()));
}

#[test]
fn a_general_limit_can_be_for_some_tiers_only() {
    let limit = rule("trial", Per::Everyone).when(When::default().tier("pro").tier("own"));
    let policy = built(with_tiers().limit(limit));
    let applies = |tier: Option<&str>| {
        limits(&policy, &get("alice", "/").with_tier(tier))
            .contains(&"trial (100/minute, burst 20)".to_owned())
    };
    assert_eq!(
        [None, Some("pro"), Some("own"), Some("enterprise")].map(applies),
        [false, true, true, false]
    );
}

#[test]
fn ipv6_addresses_are_grouped_by_prefix() {
    let tag = |prefix, address: &str| {
        let policy = built(default_only().ipv6_prefix(prefix));
        buckets(
            &policy,
            &Request::new(Client::Address(address.parse().expect("an address")), "GET", "/"),
        )
    };
    assert_eq!(tag(64, "2001:db8::1"), tag(64, "2001:db8::ffff:ffff:ffff:ffff"));
    assert_ne!(tag(64, "2001:db8::1"), tag(64, "2001:db8:0:1::1"));
    assert_eq!(tag(48, "2001:db8::1"), tag(48, "2001:db8:0:1::1"));
    assert_ne!(tag(128, "2001:db8::1"), tag(128, "2001:db8::2"));
    assert_ne!(tag(64, "192.0.2.1"), tag(64, "192.0.2.2"));
    assert_eq!(tag(64, "192.0.2.1"), tag(64, "::ffff:192.0.2.1"));
    assert_ne!(tag(64, "::ffff:192.0.2.1"), tag(64, "::ffff:192.0.2.2"));
}

#[test]
fn an_address_and_a_key_of_the_same_bytes_are_different_clients() {
    let policy = built(default_only());
    let address = Request::new(Client::Address("1.2.3.4".parse().unwrap()), "GET", "/");
    let key = Request::new(Client::Key(&[1, 2, 3, 4]), "GET", "/");
    assert_ne!(buckets(&policy, &address), buckets(&policy, &key));
}

#[test]
fn an_empty_or_too_long_key_is_refused() {
    let policy = built(default_only().exempt("/health"));
    let check = |key, path| {
        policy
            .check(Action::Take, &Request::new(Client::Key(key), "GET", path))
            .map(|matched| matched.is_exempt())
    };
    assert_eq!(check(b"", "/"), Err(RequestError::ClientEmpty));
    assert_eq!(
        check(&[b'a'; 16_385], "/"),
        Err(RequestError::ClientTooLong { bytes: 16_385, most: 16_384 })
    );
    assert_eq!(check(&[b'a'; 16_384], "/"), Ok(false));
    assert_eq!(check(b"", "/health"), Ok(true), "an exempt path needs no client");
}

#[test]
fn a_policy_without_limits_matches_none() {
    let policy = built(Policy::builder());
    let matched = matched(&policy, &get("alice", "/"));
    assert!(matched.check.parts().is_empty() && !matched.is_exempt());
    assert!(policy.limits().is_empty());
}

fn limit_spec() -> impl Strategy<Value = LimitSpec> {
    (1_u64..100, 0..4).prop_map(|(per_minute, kind)| match kind {
        0 => LimitSpec::Off,
        1 => shadow(endpoint("/", per_minute).limit),
        _ => endpoint("/", per_minute).limit,
    })
}

fn path(segments: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(segments), 0..4)
        .prop_map(|segments| format!("/{}", segments.join("/")))
}

fn endpoints(most: usize) -> impl Strategy<Value = Vec<Endpoint>> {
    prop::collection::btree_map(path(&["a", "b", "*"]), limit_spec(), 0..most).prop_map(
        |endpoints| endpoints.into_iter().map(|(path, limit)| Endpoint::new(path, limit)).collect(),
    )
}

fn any_per() -> impl Strategy<Value = Per> {
    prop::sample::select(vec![
        Per::Client,
        Per::Everyone,
        Per::Address,
        Per::Header("x-org".to_owned()),
    ])
}

prop_compose! {
    fn any_rule()(
        paths in prop::collection::vec(path(&["a", "b", "*", "**"]), 0..3),
        tiers in prop::sample::subsequence(vec!["pro", "free"], 0..3),
        per in any_per(),
        mode in prop::sample::select(vec![Mode::Enforce, Mode::Shadow, Mode::Off]),
    ) -> Rule {
        let mut rule = in_mode(mode, rule("", per));
        rule.when.paths = paths;
        rule.when.tiers = tiers.into_iter().map(str::to_owned).collect();
        rule
    }
}

prop_compose! {
    fn any_policy()(
        defaults in limit_spec(),
        endpoints in endpoints(5),
        tier_endpoints in endpoints(3),
        multiply in 1_u64..4,
        unlimited in any::<bool>(),
        limits in prop::collection::vec(any_rule(), 0..4),
    ) -> PolicyBuilder {
        let mut pro = Tier::new("pro").multiply(multiply).client("bob");
        pro.endpoints = tier_endpoints;
        let mut free = Tier::new("free");
        free.unlimited = unlimited;
        let mut builder = Policy::builder().default_limit(defaults).tier(pro).tier(free);
        builder.endpoints = endpoints;
        builder.limits = limits;
        for (index, rule) in builder.limits.iter_mut().enumerate() {
            rule.name = format!("rule-{index}");
        }
        builder
    }
}

/// The same policy without the limits in shadow mode.
fn without_shadows(mut builder: PolicyBuilder) -> PolicyBuilder {
    let enforced =
        |spec: &LimitSpec| !matches!(spec, LimitSpec::Limit(Terms { mode: Mode::Shadow, .. }));
    if !enforced(&builder.defaults) {
        builder.defaults = LimitSpec::Off;
    }
    builder.limits.retain(|rule| rule.terms.mode != Mode::Shadow);
    builder.endpoints.retain(|endpoint| enforced(&endpoint.limit));
    builder
}

fn enforced_parts(policy: &Policy, request: &Request<'_>) -> Vec<String> {
    let matched = matched(policy, request);
    let enforced = matched.check.parts().iter().filter(|part| part.limit.denies());
    enforced.map(|part| format!("{} {}", part.limit, part.tag)).collect()
}

proptest! {
    #[test]
    fn a_shadow_does_not_change_the_enforced_limits(
        builder in any_policy(),
        path in path(&["a", "b", "c"]),
        tier in prop::sample::select(vec![None, Some("free")]),
    ) {
        let (with, without) = (built(builder.clone()), built(without_shadows(builder)));
        let attributes = [("x-org", "red")];
        let request = get("alice", &path).with_tier(tier).with_attributes(&attributes);
        prop_assert_eq!(enforced_parts(&with, &request), enforced_parts(&without, &request));
    }

    #[test]
    fn the_indexes_of_a_match_are_those_of_the_policys_lists(
        builder in any_policy(),
        path in path(&["a", "b", "c"]),
        client in prop::sample::select(vec!["alice", "bob"]),
        tier in prop::sample::select(vec![None, Some("pro"), Some("free")]),
    ) {
        let policy = built(builder);
        let matched = matched(&policy, &get(client, &path).with_tier(tier));
        prop_assert!(matched.endpoint < policy.endpoints().len());
        for (part, index) in matched.check.parts().iter().zip(matched.limits()) {
            prop_assert_eq!(policy.limits()[index].name(), part.limit.name());
        }
    }
}
