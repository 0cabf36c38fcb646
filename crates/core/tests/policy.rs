//! Which limits apply to whom.

use proptest::prelude::*;
use sluice_core::{
    Action, Algorithm, Client, Cost, Endpoint, HeaderMatch, LimitKey, LimitSpec, Matched, Mode,
    Per, Policy, PolicyBuilder, Rate, Request, RequestError, Rule, RuleCost, Tag, Terms, Tier,
    When,
};

fn bucket(rate: &str, burst: u64) -> Rate {
    Rate::new(rate.parse().expect("a rate"), burst).expect("a possible bucket")
}

fn algorithm(rate: &str, burst: u64) -> Algorithm {
    Algorithm::TokenBucket(bucket(rate, burst))
}

fn endpoint(path: &str, per_minute: u64) -> Endpoint {
    Endpoint {
        path: path.to_owned(),
        limit: LimitSpec::limit(bucket(&format!("{per_minute}/minute"), 10)),
    }
}

fn rule(name: &str, per: Per) -> Rule {
    Rule { per, ..Rule::new(name, algorithm("100/minute", 20)) }
}

fn shadow(spec: LimitSpec) -> LimitSpec {
    match spec {
        LimitSpec::Off => LimitSpec::Off,
        LimitSpec::Limit(terms) => LimitSpec::Limit(Terms { mode: Mode::Shadow, ..terms }),
    }
}

/// A default of 60 a minute, and nothing else.
fn plain() -> PolicyBuilder {
    PolicyBuilder {
        defaults: LimitSpec::limit(bucket("60/minute", 10)),
        ..PolicyBuilder::unlimited()
    }
}

fn built(builder: PolicyBuilder) -> Policy {
    builder.build().expect("a sound policy")
}

fn get<'a>(client: &'a str, path: &'a str) -> Request<'a> {
    Request::new(Client::Key(client.as_bytes()), "GET", path)
}

fn matched(policy: &Policy, request: &Request<'_>) -> Matched {
    policy.check(Action::Take, request).expect("a request that can be checked")
}

/// The limits that apply, as people write them, in the order of the check.
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
fn the_built_in_policy_is_the_documents() {
    let policy = Policy::default();
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
        assert!(matched.exempt && matched.check.parts().is_empty(), "{path}");
    }
    assert!(!matched(&policy, &get("alice", "/healthy")).exempt);
}

#[test]
fn all_that_only_the_default_speaks_for_shares_one_bucket_a_client() {
    let policy = built(plain());
    let alice = buckets(&policy, &get("alice", "/a"));
    assert_eq!(alice.len(), 1);
    assert_eq!(buckets(&policy, &get("alice", "/b/c")), alice);
    assert_ne!(buckets(&policy, &get("bob", "/a")), alice);
}

#[test]
fn no_disguise_is_a_way_around_a_limit() {
    let policy = Policy::default();
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
    let policy = built(PolicyBuilder {
        endpoints: vec![endpoint("/users/*/orders/", 5)],
        exempt: vec!["/health".to_owned()],
        ..plain()
    });
    for (path, expected) in
        [("/users/7/orders/9", "/users/*/orders"), ("/users/7", "other"), ("/health/x", "/health")]
    {
        let matched = matched(&policy, &get("alice", path));
        assert_eq!(&*policy.endpoints()[matched.endpoint], expected, "{path}");
    }
    assert_eq!(&*policy.endpoints()[0], "other");
}

#[test]
fn an_endpoint_that_is_off_keeps_the_default_away() {
    let off = Endpoint { path: "/free".to_owned(), limit: LimitSpec::Off };
    let policy = built(PolicyBuilder {
        endpoints: vec![off, endpoint("/free/not", 5)],
        limits: vec![rule("all", Per::Everyone)],
        ..plain()
    });
    assert_eq!(limits(&policy, &get("alice", "/free/x")), ["all (100/minute, burst 20)"]);
    assert_eq!(
        limits(&policy, &get("alice", "/free/not")),
        ["/free/not (5/minute, burst 10)", "all (100/minute, burst 20)"]
    );
}

#[test]
fn general_limits_apply_all_together_beside_the_endpoints() {
    let policy = built(PolicyBuilder {
        endpoints: vec![endpoint("/a", 5)],
        limits: vec![rule("each", Per::Client), rule("all", Per::Everyone)],
        ..plain()
    });
    let all = ["each (100/minute, burst 20)", "all (100/minute, burst 20)"];
    assert_eq!(limits(&policy, &get("alice", "/a")), ["/a (5/minute, burst 10)", all[0], all[1]]);
    assert_eq!(
        limits(&policy, &get("alice", "/b")),
        all,
        "the default speaks only where no other limit does"
    );
}

#[test]
fn a_general_limit_applies_when_everything_it_asks_for_is_there() {
    let header = |name: &str, values: &[&str]| HeaderMatch {
        name: name.to_owned(),
        values: values.iter().map(|&value| value.to_owned()).collect(),
    };
    let when = When {
        paths: vec!["/api/**".to_owned(), "/v2/*".to_owned()],
        methods: vec!["POST".to_owned(), "put".to_owned()],
        headers: vec![header("X-Kind", &["batch", "bulk"]), header("x-org", &[])],
        tiers: Vec::new(),
    };
    let policy = built(PolicyBuilder {
        limits: vec![Rule { when, ..rule("writes", Per::Everyone) }],
        ..PolicyBuilder::unlimited()
    });
    let applies = |method, path, attributes: &[(&'static str, &'static str); 2]| {
        !limits(&policy, &Request { method, attributes, ..get("alice", path) }).is_empty()
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
fn a_limit_is_per_what_it_says() {
    let limits = vec![
        rule("client", Per::Client),
        rule("address", Per::Address),
        rule("org", Per::Header("X-Org".to_owned())),
        rule("all", Per::Everyone),
    ];
    let policy = built(PolicyBuilder { limits, ..PolicyBuilder::unlimited() });
    let (red, blue) = ([("x-org", "red")], [("x-org", "blue")]);
    let (one, two) = (Some("192.0.2.1".parse().unwrap()), Some("192.0.2.2".parse().unwrap()));
    let base = Request { address: one, attributes: &red, ..get("alice", "/") };
    let shared = |other: Request<'_>| -> Vec<bool> {
        let (base, other) = (buckets(&policy, &base), buckets(&policy, &other));
        base.iter().zip(&other).map(|(a, b)| a == b).collect()
    };
    assert_eq!(shared(base), [true, true, true, true]);
    assert_eq!(shared(Request { client: Client::Key(b"bob"), ..base }), [false, true, true, true]);
    assert_eq!(shared(Request { address: two, ..base }), [true, false, true, true]);
    assert_eq!(shared(Request { attributes: &blue, ..base }), [true, true, false, true]);
}

#[test]
fn a_client_known_by_its_address_has_one_whoever_asks_for_it() {
    let policy = built(PolicyBuilder {
        limits: vec![rule("address", Per::Address), rule("client", Per::Client)],
        ..PolicyBuilder::unlimited()
    });
    let known = Request::new(Client::Address("192.0.2.1".parse().unwrap()), "GET", "/");
    let taken = buckets(&policy, &Request { address: None, ..known });
    assert_eq!(taken, buckets(&policy, &known));
    assert_eq!(taken[0].0, taken[1].0);
}

#[test]
fn a_limit_per_something_that_a_request_has_not_does_not_apply() {
    let limits_per = |per| built(PolicyBuilder { limits: vec![rule("rare", per)], ..plain() });
    let request = get("alice", "/");
    assert_eq!(
        limits(&limits_per(Per::Header("x-org".to_owned())), &request),
        ["default (60/minute, burst 10)"]
    );
    assert_eq!(limits(&limits_per(Per::Address), &request), ["default (60/minute, burst 10)"]);
}

#[test]
fn an_adjustment_leaves_out_limits_with_a_fixed_cost() {
    let costs = [("tokens", RuleCost::Request), ("requests", RuleCost::Fixed(Cost::ONE))];
    let limits =
        costs.into_iter().map(|(name, cost)| Rule { cost, ..rule(name, Per::Client) }).collect();
    let policy = built(PolicyBuilder { limits, ..PolicyBuilder::unlimited() });
    let check = matched(&policy, &get("alice", "/")).check;
    let charge = check.adjustment(Action::Charge, Cost::new(250).unwrap());
    assert_eq!(charge.action(), Action::Charge);
    let parts: Vec<_> =
        charge.parts().iter().map(|part| (part.bucket(), part.cost.tokens())).collect();
    assert_eq!(parts, [(check.parts()[0].bucket(), 250)]);
}

#[test]
fn a_cost_is_the_requests_or_the_limits_own() {
    let costs = [
        ("plain", RuleCost::Request),
        ("fixed", RuleCost::Fixed(Cost::new(7).unwrap())),
        ("header", RuleCost::Header("X-Tokens".to_owned())),
    ];
    let limits =
        costs.into_iter().map(|(name, cost)| Rule { cost, ..rule(name, Per::Client) }).collect();
    let policy = built(PolicyBuilder { limits, ..PolicyBuilder::unlimited() });
    let taken = |attributes: &[(&str, &str); 1]| {
        let request = Request { cost: Cost::new(3).unwrap(), attributes, ..get("alice", "/") };
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
fn a_limit_that_is_off_is_not_looked_at() {
    let off = |mut rule: Rule| {
        rule.terms.mode = Mode::Off;
        rule
    };
    let policy = built(PolicyBuilder { limits: vec![off(rule("x", Per::Everyone))], ..plain() });
    assert_eq!(limits(&policy, &get("alice", "/")), ["default (60/minute, burst 10)"]);
    assert_eq!(policy.limits().len(), 1);
}

#[test]
fn a_shadow_is_asked_beside_what_is_enforced_without_it() {
    let tried = Endpoint { limit: shadow(endpoint("/a/b", 5).limit), ..endpoint("/a/b", 5) };
    let mut limit = rule("tried", Per::Everyone);
    limit.terms.mode = Mode::Shadow;
    let policy = built(PolicyBuilder {
        endpoints: vec![endpoint("/a", 30), tried.clone()],
        limits: vec![limit],
        ..plain()
    });
    let tried_limit = "tried (100/minute, burst 20)";
    assert_eq!(
        limits(&policy, &get("alice", "/x")),
        [tried_limit, "default (60/minute, burst 10)"]
    );
    assert_eq!(
        limits(&policy, &get("alice", "/a/b/c")),
        ["/a/b (5/minute, burst 10)", "/a (30/minute, burst 10)", tried_limit]
    );
    let policy = built(PolicyBuilder { endpoints: vec![tried], ..plain() });
    assert_eq!(
        limits(&policy, &get("alice", "/a/b")),
        ["/a/b (5/minute, burst 10)", "default (60/minute, burst 10)"]
    );
}

#[test]
fn a_shadow_refuses_no_cost_that_it_cannot_read() {
    let with_cost = |mode| {
        let mut limit =
            Rule { cost: RuleCost::Header("x-cost".to_owned()), ..rule("tried", Per::Everyone) };
        limit.terms.mode = mode;
        built(PolicyBuilder { limits: vec![limit], ..PolicyBuilder::unlimited() })
    };
    let attributes = [("x-cost", "many")];
    let request = Request { attributes: &attributes, ..get("alice", "/") };
    assert!(with_cost(Mode::Enforce).check(Action::Take, &request).is_err());
    assert_eq!(matched(&with_cost(Mode::Shadow), &request).check.parts()[0].cost, Cost::ONE);
}

fn with_tiers() -> PolicyBuilder {
    PolicyBuilder {
        endpoints: vec![endpoint("/a", 20), endpoint("/b", 30)],
        limits: vec![rule("each", Per::Client), rule("all", Per::Everyone)]
            .into_iter()
            .map(|rule| on_path(rule, "/**/rules"))
            .collect(),
        tiers: vec![
            Tier { multiply: 5, ..Tier::new("pro") },
            Tier {
                multiply: 2,
                defaults: Some(LimitSpec::limit(bucket("1000/minute", 500))),
                endpoints: vec![
                    endpoint("/a/", 7),
                    endpoint("/b/c", 8),
                    Endpoint { path: "/free".to_owned(), limit: LimitSpec::Off },
                ],
                ..Tier::new("own")
            },
            Tier { unlimited: true, clients: vec![b"carol".to_vec()], ..Tier::new("enterprise") },
        ],
        ..plain()
    }
}

fn on_path(mut rule: Rule, path: &str) -> Rule {
    rule.when.paths = vec![path.to_owned()];
    rule
}

#[test]
fn tiers_change_the_numbers_of_limits_per_client() {
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
        (Some("enterprise"), "/x", vec![]),
        (Some("enterprise"), "/a", vec![]),
        (Some("enterprise"), "/rules", vec![shared]),
        (Some("unheard-of"), "/x", vec!["default (60/minute, burst 10)"]),
        (Some(""), "/x", vec!["default (60/minute, burst 10)"]),
    ] {
        assert_eq!(
            limits(&policy, &Request { tier, ..get("alice", path) }),
            expected,
            "{tier:?} {path}"
        );
    }
}

#[test]
fn a_tier_given_by_configuration_goes_before_one_that_came_with_the_request() {
    let policy = built(with_tiers());
    assert_eq!(limits(&policy, &get("carol", "/a")), [""; 0]);
    assert_eq!(limits(&policy, &Request { tier: Some("pro"), ..get("carol", "/a") }), [""; 0]);
    assert_eq!(limits(&policy, &get("caro", "/a")), ["/a (20/minute, burst 10)"]);
}

#[test]
fn a_change_of_tier_keeps_the_bucket() {
    let policy = built(with_tiers());
    let (plain, pro) = (get("alice", "/a"), Request { tier: Some("pro"), ..get("alice", "/a") });
    assert_eq!(buckets(&policy, &plain), buckets(&policy, &pro));
    assert!(matched(&policy, &plain).limits().eq(matched(&policy, &pro).limits()));
}

#[test]
fn a_general_limit_may_be_for_some_tiers_only() {
    let mut limit = rule("trial", Per::Everyone);
    limit.when.tiers = vec!["pro".to_owned(), "own".to_owned()];
    let policy = built(PolicyBuilder {
        limits: vec![limit],
        defaults: LimitSpec::Off,
        endpoints: Vec::new(),
        ..with_tiers()
    });
    let applies = |tier| {
        limits(&policy, &Request { tier, ..get("alice", "/") })
            .contains(&"trial (100/minute, burst 20)".to_owned())
    };
    assert_eq!(
        [None, Some("pro"), Some("own"), Some("enterprise")].map(applies),
        [false, true, true, false]
    );
}

#[test]
fn addresses_are_grouped_as_subscribers_have_them() {
    let tag = |prefix, address: &str| {
        let policy = built(PolicyBuilder { ipv6_prefix: prefix, ..plain() });
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
    let policy = built(plain());
    let address = Request::new(Client::Address("1.2.3.4".parse().unwrap()), "GET", "/");
    let key = Request::new(Client::Key(&[1, 2, 3, 4]), "GET", "/");
    assert_ne!(buckets(&policy, &address), buckets(&policy, &key));
}

#[test]
fn a_client_without_a_proper_key_is_refused() {
    let policy = built(PolicyBuilder { exempt: vec!["/health".to_owned()], ..plain() });
    let check = |key, path| {
        policy
            .check(Action::Take, &Request::new(Client::Key(key), "GET", path))
            .map(|matched| matched.exempt)
    };
    assert_eq!(check(b"", "/"), Err(RequestError::ClientEmpty));
    assert_eq!(
        check(&[b'a'; 16_385], "/"),
        Err(RequestError::ClientTooLong { bytes: 16_385, most: 16_384 })
    );
    assert_eq!(check(&[b'a'; 16_384], "/"), Ok(false));
    assert_eq!(
        check(b"", "/health"),
        Ok(true),
        "nobody has to say who asks for what is never limited"
    );
}

#[test]
fn a_policy_without_limits_says_so() {
    let policy = built(PolicyBuilder::unlimited());
    let matched = matched(&policy, &get("alice", "/"));
    assert!(matched.check.parts().is_empty() && !matched.exempt);
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

prop_compose! {
    fn any_rule()(
        paths in prop::collection::vec(path(&["a", "b", "*", "**"]), 0..3),
        tiers in prop::sample::subsequence(vec!["pro", "free"], 0..3),
        per in prop::sample::select(vec![Per::Client, Per::Everyone, Per::Address, Per::Header("x-org".to_owned())]),
        mode in prop::sample::select(vec![Mode::Enforce, Mode::Shadow, Mode::Off]),
    ) -> Rule {
        let mut rule = rule("", per);
        rule.when.paths = paths;
        rule.when.tiers = tiers.into_iter().map(str::to_owned).collect();
        rule.terms.mode = mode;
        rule
    }
}

prop_compose! {
    fn any_policy()(
        defaults in limit_spec(),
        endpoints in prop::collection::btree_map(path(&["a", "b", "*"]), limit_spec(), 0..5),
        own in prop::collection::btree_map(path(&["a", "b", "*"]), limit_spec(), 0..3),
        multiply in 1_u64..4,
        unlimited in any::<bool>(),
        limits in prop::collection::vec(any_rule(), 0..4),
    ) -> PolicyBuilder {
        let list = |endpoints: std::collections::BTreeMap<String, LimitSpec>| endpoints.into_iter().map(|(path, limit)| Endpoint { path, limit }).collect();
        PolicyBuilder {
            defaults,
            endpoints: list(endpoints),
            tiers: vec![
                Tier { multiply, endpoints: list(own), clients: vec![b"bob".to_vec()], ..Tier::new("pro") },
                Tier { unlimited, ..Tier::new("free") },
            ],
            limits: limits.into_iter().enumerate().map(|(index, rule)| Rule { name: format!("rule-{index}"), ..rule }).collect(),
            ..PolicyBuilder::unlimited()
        }
    }
}

/// The same policy without anything that is only tried.
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

proptest! {
    #[test]
    fn a_shadow_changes_nothing_that_is_enforced(builder in any_policy(), path in path(&["a", "b", "c"]), tier in prop::sample::select(vec![None, Some("free")])) {
        let (with, without) = (built(builder.clone()), built(without_shadows(builder)));
        let attributes = [("x-org", "red")];
        let request = Request { tier, attributes: &attributes, ..get("alice", &path) };
        let enforced = |policy: &Policy| -> Vec<String> {
            let matched = matched(policy, &request);
            matched.check.parts().iter().filter(|part| part.limit.denies()).map(|part| format!("{} {}", part.limit, part.tag)).collect()
        };
        prop_assert_eq!(enforced(&with), enforced(&without));
    }

    #[test]
    fn what_is_matched_can_be_found_in_the_policys_lists(
        builder in any_policy(),
        path in path(&["a", "b", "c"]),
        client in prop::sample::select(vec!["alice", "bob"]),
        tier in prop::sample::select(vec![None, Some("pro"), Some("free")]),
    ) {
        let policy = built(builder);
        let matched = matched(&policy, &Request { tier, ..get(client, &path) });
        prop_assert!(matched.endpoint < policy.endpoints().len());
        for (part, index) in matched.check.parts().iter().zip(matched.limits()) {
            prop_assert_eq!(policy.limits()[index].name(), part.limit.name());
        }
    }
}
