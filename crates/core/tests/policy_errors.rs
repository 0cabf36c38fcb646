//! Everything that can be wrong with a policy is said at once, with its place and a remedy.

use sluice_core::{
    Algorithm, Cost, Endpoint, HeaderMatch, LimitField, LimitSpec, Location, Per, PolicyBuilder,
    PolicyError, PolicyErrorKind, Rate, Rule, RuleCost, Tier, TierField, When,
};

fn bucket(rate: &str, burst: u64) -> Rate {
    Rate::new(rate.parse().expect("a rate"), burst).expect("a possible bucket")
}

fn rule(name: &str) -> Rule {
    Rule::new(name, Algorithm::TokenBucket(bucket("10/minute", 5)))
}

fn endpoint(path: &str) -> Endpoint {
    Endpoint { path: path.to_owned(), limit: LimitSpec::limit(bucket("10/minute", 5)) }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

fn errors(builder: PolicyBuilder) -> Vec<PolicyError> {
    builder.build().expect_err("something is wrong with it")
}

/// What is wrong, as people read it.
fn messages(builder: PolicyBuilder) -> Vec<String> {
    errors(builder).iter().map(ToString::to_string).collect()
}

#[test]
fn everything_wrong_is_said_at_once() {
    let builder = PolicyBuilder {
        endpoints: vec![endpoint("/a/b*"), endpoint("/a?b")],
        exempt: texts(&["/ok", "health"]),
        tiers: vec![Tier { multiply: 0, ..Tier::new("pro") }],
        limits: vec![rule("a"), Rule { per: Per::Header("x org".to_owned()), ..rule("a") }],
        ipv6_prefix: 129,
        ..PolicyBuilder::default()
    };
    assert_eq!(
        messages(builder),
        [
            "clients.ipv6_prefix: a prefix of 129 bits is not possible: from 1 to 128",
            "endpoints./a/b*: `/a/b*` has a `*` inside a segment: `*` stands for one whole segment, as in `/a/*/b`",
            "endpoints./a?b: `/a?b` holds a query or a fragment: only paths are matched",
            "limits[1].name: `a` is already taken by limits[0]",
            "limits[1].per: `x org` names no header: letters, digits and `-`, as in `x-org`",
            "exempt[1]: `health` matches no path: a path starts with `/`",
            "tiers.pro.multiply: a tier multiplies by at least 1: it can take away limits with `unlimited`, and has numbers of its own for less",
        ]
    );
}

#[test]
fn a_name_is_taken_once_whatever_kind_of_limit_has_it() {
    let builder = PolicyBuilder {
        endpoints: vec![endpoint("/a")],
        limits: vec![rule("default"), rule("/a")],
        ..PolicyBuilder::default()
    };
    assert_eq!(
        messages(builder),
        [
            "limits[0].name: `default` is already taken by defaults",
            "limits[1].name: `/a` is already taken by endpoints./a"
        ]
    );
}

#[test]
fn a_limit_that_is_off_keeps_its_name() {
    let mut off = rule("a");
    off.terms.mode = sluice_core::Mode::Off;
    let builder = PolicyBuilder { limits: vec![off, rule("a")], ..PolicyBuilder::default() };
    assert_eq!(messages(builder), ["limits[1].name: `a` is already taken by limits[0]"]);
}

#[test]
fn names_that_would_share_buckets_are_refused() {
    let builder = PolicyBuilder {
        limits: vec![rule("colliding-425025"), rule("colliding-5620776")],
        ..PolicyBuilder::default()
    };
    assert_eq!(
        messages(builder),
        [
            "limits[1].name: `colliding-5620776` and `colliding-425025` (limits[0]) would share their buckets in the store: rename one of them"
        ]
    );
}

#[test]
fn a_name_that_cannot_stand_in_a_header_is_refused() {
    let builder =
        PolicyBuilder { limits: vec![rule(""), rule("a\"b")], ..PolicyBuilder::default() };
    assert_eq!(
        messages(builder),
        [
            "limits[0].name: a limit's name cannot be empty",
            "limits[1].name: `a\\\"b` cannot name a limit: use printable ASCII without quotes and backslashes"
        ]
    );
    let long = format!("/{}", "x".repeat(200));
    let builder = PolicyBuilder { endpoints: vec![endpoint(&long)], ..PolicyBuilder::default() };
    assert!(
        matches!(&errors(builder)[..], [PolicyError { at: Location::Endpoint { path }, kind: PolicyErrorKind::Name(_) }] if *path == long)
    );
}

#[test]
fn two_spellings_of_one_endpoint_are_refused() {
    let builder = PolicyBuilder {
        endpoints: vec![endpoint("/a/b"), endpoint("/a/%62/")],
        ..PolicyBuilder::default()
    };
    assert_eq!(
        messages(builder),
        ["endpoints./a/%62/: covers the same paths as `/a/b`: keep one of them"]
    );
}

#[test]
fn what_a_limit_asks_for_has_to_make_sense() {
    let when = When {
        paths: texts(&["/ok/**", "/a/**b", "b"]),
        methods: texts(&["GET", "", "P OST"]),
        headers: vec![HeaderMatch { name: "x:y".to_owned(), values: Vec::new() }],
        tiers: texts(&["pro", "free"]),
    };
    let wrong = Rule { when, cost: RuleCost::Header(String::new()), ..rule("a") };
    let builder = PolicyBuilder {
        limits: vec![wrong],
        tiers: vec![Tier::new("pro"), Tier::new("team")],
        ..PolicyBuilder::default()
    };
    let at = |field| Location::Limit { index: 0, field };
    let places: Vec<Location> = errors(builder.clone()).into_iter().map(|error| error.at).collect();
    assert_eq!(
        places,
        [
            at(LimitField::Path(1)),
            at(LimitField::Path(2)),
            at(LimitField::Method(1)),
            at(LimitField::Method(2)),
            at(LimitField::Header(0)),
            at(LimitField::Tier(1)),
            at(LimitField::Cost),
        ]
    );
    assert!(messages(builder).contains(
        &"limits[0].when.tier[1]: there is no tier `free`: use one of pro, team".to_owned()
    ));
}

#[test]
fn a_cost_that_would_always_be_denied_is_refused() {
    let fixed = |cost| Rule {
        cost: RuleCost::Fixed(Cost::new(cost).expect("a cost")),
        ..rule(&format!("cost-{cost}"))
    };
    let builder = PolicyBuilder { limits: vec![fixed(5), fixed(6)], ..PolicyBuilder::default() };
    assert_eq!(
        messages(builder),
        [
            "limits[1].cost: a cost of 6 is above the burst of 5, so every request would be denied: raise the burst or lower the cost"
        ]
    );
}

#[test]
fn a_tier_has_one_name_and_either_numbers_or_no_limits() {
    let tiers = vec![
        Tier::new("pro"),
        Tier::new("pro"),
        Tier::new(""),
        Tier { unlimited: true, multiply: 2, ..Tier::new("a") },
        Tier { unlimited: true, defaults: Some(LimitSpec::Off), ..Tier::new("b") },
        Tier { unlimited: true, endpoints: vec![endpoint("/a")], ..Tier::new("c") },
    ];
    let contradiction = "a tier that is `unlimited` has no limits per client to multiply or to replace: remove one or the other";
    assert_eq!(
        messages(PolicyBuilder { tiers, ..PolicyBuilder::default() }),
        [
            "tiers.pro: there are two tiers of this name".to_owned(),
            "tiers.: a tier's name cannot be empty".to_owned(),
            format!("tiers.a.unlimited: {contradiction}"),
            format!("tiers.b.unlimited: {contradiction}"),
            format!("tiers.c.unlimited: {contradiction}"),
        ]
    );
}

#[test]
fn a_tier_that_no_limit_could_follow_is_refused() {
    let huge = Tier { multiply: 1_000_000_000_000, ..Tier::new("huge") };
    let only_endpoint = PolicyBuilder {
        endpoints: vec![endpoint("/a")],
        limits: vec![rule("b")],
        tiers: vec![huge],
        ..PolicyBuilder::unlimited()
    };
    assert_eq!(
        messages(only_endpoint),
        [
            "tiers.huge.multiply: limit `/a` cannot be multiplied by 1000000000000: 10000000000000 tokens per period are too many: at most 1000000000000",
            "tiers.huge.multiply: limit `b` cannot be multiplied by 1000000000000: 10000000000000 tokens per period are too many: at most 1000000000000",
        ]
    );
}

#[test]
fn a_tiers_own_endpoints_are_looked_over_too() {
    let tier = Tier {
        endpoints: vec![endpoint("/a"), endpoint("/a/"), endpoint("/**")],
        ..Tier::new("pro")
    };
    let places: Vec<Location> =
        errors(PolicyBuilder { tiers: vec![tier], ..PolicyBuilder::default() })
            .into_iter()
            .map(|error| error.at)
            .collect();
    let at = |path: &str| Location::Tier {
        name: "pro".to_owned(),
        field: TierField::Endpoint(path.to_owned()),
    };
    assert_eq!(places, [at("/a/"), at("/**")]);
    assert_eq!(at("/a/").to_string(), "tiers.pro.endpoints./a/");
}

#[test]
fn a_client_has_one_tier_and_is_not_shown() {
    let tier = |name: &str, clients: &[&str]| Tier {
        clients: clients.iter().map(|client| client.as_bytes().to_vec()).collect(),
        ..Tier::new(name)
    };
    let builder = PolicyBuilder {
        tiers: vec![tier("pro", &["s3cret", ""]), tier("team", &["other", "s3cret"])],
        ..PolicyBuilder::default()
    };
    assert_eq!(
        messages(builder),
        [
            "tiers.pro.clients[1]: a client's key has from 1 to 16384 bytes",
            "tiers.team.clients[1]: this client is already listed at tiers.pro.clients[0]: a client has one tier",
        ]
    );
}

#[test]
fn a_sound_policy_of_every_part_is_compiled() {
    let builder = PolicyBuilder {
        limits: vec![Rule {
            when: When { tiers: texts(&["pro"]), ..When::default() },
            ..rule("pro-only")
        }],
        tiers: vec![Tier {
            multiply: 3,
            endpoints: vec![endpoint("/mine")],
            clients: vec![b"alice".to_vec()],
            ..Tier::new("pro")
        }],
        ..PolicyBuilder::default()
    };
    let policy = builder.build().expect("nothing is wrong with it");
    let names: Vec<&str> = policy.limits().iter().map(|limit| limit.name()).collect();
    assert_eq!(names[0], "default");
    assert_eq!(names[5..], ["pro-only", "/mine"]);
}
