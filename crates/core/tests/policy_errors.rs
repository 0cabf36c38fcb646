//! All errors in a policy are reported at once, each with its place and a remedy.

use sluice_core::{
    Cost, HeaderMatch, LimitField, LimitSpec, Location, Mode, Per, Policy, PolicyBuilder,
    PolicyError, PolicyErrorKind, PolicyErrors, Rate, Rule, RuleCost, Tier, TierField, When,
};
use sluice_testkit::policies;

fn rate() -> Rate {
    "10/minute, burst 5".parse().expect("a rate")
}

fn rule(name: &str) -> Rule {
    Rule::new(name, rate())
}

fn with_default() -> PolicyBuilder {
    Policy::builder().default_limit(rate())
}

fn errors(builder: PolicyBuilder) -> PolicyErrors {
    builder.build().expect_err("a policy with an error")
}

/// The errors, as text.
fn messages(builder: PolicyBuilder) -> Vec<String> {
    errors(builder).iter().map(ToString::to_string).collect()
}

fn places(builder: PolicyBuilder) -> Vec<Location> {
    errors(builder).into_iter().map(|error| error.at).collect()
}

#[test]
fn all_errors_are_reported_at_once() {
    let builder = with_default()
        .endpoint("/a/b*", rate())
        .endpoint("/a?b", rate())
        .exempt("/ok")
        .exempt("health")
        .tier(Tier::new("pro").multiply(0))
        .limit(rule("a"))
        .limit(rule("a").per(Per::Header("x org".to_owned())))
        .ipv6_prefix(129);
    let errors = errors(builder);
    assert_eq!(
        errors.to_string().lines().collect::<Vec<_>>(),
        [
            "clients.ipv6_prefix: a prefix of 129 bits is not possible: use 1 to 128",
            "endpoints./a/b*: `/a/b*` has a `*` inside a segment: `*` stands for one whole \
             segment, as in `/a/*/b`",
            "endpoints./a?b: `/a?b` contains a query or a fragment: only paths are matched",
            "limits[1].name: `a` is already taken by limits[0]",
            "limits[1].per: `x org` is not a header name: use letters, digits and `-`, as in \
             `x-org`",
            "exempt[1]: `health` matches no path: a path starts with `/`",
            "tiers.pro.multiply: a tier multiplies by at least 1: write `unlimited: true` to \
             remove its limits, or give it a lower rate of its own",
        ]
    );
    assert_eq!(errors.iter().count(), 7);
}

#[test]
fn limits_of_all_kinds_share_one_set_of_names() {
    let builder = with_default().endpoint("/a", rate()).limit(rule("default")).limit(rule("/a"));
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
    off.terms.mode = Mode::Off;
    let builder = with_default().limit(off).limit(rule("a"));
    assert_eq!(messages(builder), ["limits[1].name: `a` is already taken by limits[0]"]);
}

#[test]
fn names_that_would_share_buckets_are_refused() {
    let builder = with_default().limit(rule("colliding-425025")).limit(rule("colliding-5620776"));
    assert_eq!(
        messages(builder),
        ["limits[1].name: `colliding-5620776` and `colliding-425025` (limits[0]) would share \
             their buckets in the store: rename one of them"]
    );
}

#[test]
fn a_name_that_cannot_stand_in_a_header_is_refused() {
    let builder = with_default().limit(rule("")).limit(rule("a\"b"));
    assert_eq!(
        messages(builder),
        [
            "limits[0].name: a limit's name cannot be empty",
            "limits[1].name: `a\\\"b` cannot name a limit: use printable ASCII without quotes and \
             backslashes"
        ]
    );
    let long = format!("/{}", "x".repeat(200));
    let errors: Vec<PolicyError> =
        errors(with_default().endpoint(&long, rate())).into_iter().collect();
    let [PolicyError { at, kind: PolicyErrorKind::Name(_) }] = &errors[..] else {
        panic!("{errors:?}")
    };
    assert_eq!(*at, Location::Endpoint { path: long });
}

#[test]
fn two_spellings_of_one_endpoint_are_refused() {
    let builder = with_default().endpoint("/a/b", rate()).endpoint("/a/%62/", rate());
    assert_eq!(
        messages(builder),
        ["endpoints./a/%62/: covers the same paths as `/a/b`: keep one of them"]
    );
}

#[test]
fn every_condition_of_a_limit_is_checked() {
    let when = When::default()
        .path("/ok/**")
        .path("/a/**b")
        .path("b")
        .method("GET")
        .method("")
        .method("P OST")
        .header(HeaderMatch { name: "x:y".to_owned(), values: Vec::new() })
        .tier("pro")
        .tier("free");
    let builder = with_default()
        .limit(rule("a").when(when).cost(RuleCost::Header(String::new())))
        .tier(Tier::new("pro"))
        .tier(Tier::new("team"));
    let at = |field| Location::Limit { index: 0, field };
    assert_eq!(
        places(builder.clone()),
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
    let fixed = |cost| {
        rule(&format!("cost-{cost}")).cost(RuleCost::Fixed(Cost::new(cost).expect("a cost")))
    };
    let builder = with_default().limit(fixed(5)).limit(fixed(6));
    assert_eq!(
        messages(builder),
        ["limits[1].cost: a cost of 6 is above the burst of 5, so every request would be \
             denied: raise the burst or lower the cost"]
    );
}

#[test]
fn a_tier_has_a_name_of_its_own_and_either_rates_or_no_limits() {
    let builder = with_default()
        .tier(Tier::new("pro"))
        .tier(Tier::new("pro"))
        .tier(Tier::new(""))
        .tier(Tier::new("a").unlimited().multiply(2))
        .tier(Tier::new("b").unlimited().default_limit(LimitSpec::Off))
        .tier(Tier::new("c").unlimited().endpoint("/a", rate()))
        .tier(Tier::new("d").unlimited().burst(5));
    let contradiction = "an `unlimited` tier has no limits per client to multiply or replace: \
        remove `unlimited` or the other keys";
    assert_eq!(
        messages(builder),
        [
            "tiers.pro: there are two tiers with this name".to_owned(),
            "tiers.: a tier's name cannot be empty".to_owned(),
            format!("tiers.a.unlimited: {contradiction}"),
            format!("tiers.b.unlimited: {contradiction}"),
            format!("tiers.c.unlimited: {contradiction}"),
            format!("tiers.d.unlimited: {contradiction}"),
        ]
    );
}

#[test]
fn a_tier_with_an_impossible_burst_is_refused() {
    let builder = Policy::builder().endpoint("/a", rate()).tier(Tier::new("none").burst(0));
    assert_eq!(
        messages(builder),
        ["tiers.none.burst: limit `/a` cannot have a burst of 0: a burst is at least 1 token"]
    );
}

#[test]
fn a_tier_that_makes_a_rate_impossible_is_refused() {
    let builder = Policy::builder()
        .endpoint("/a", rate())
        .limit(rule("b"))
        .tier(Tier::new("huge").multiply(1_000_000_000_000));
    assert_eq!(
        messages(builder),
        [
            "tiers.huge.multiply: limit `/a` cannot be multiplied by 1000000000000: 10000000000000 \
             tokens per period are too many: at most 1000000000000",
            "tiers.huge.multiply: limit `b` cannot be multiplied by 1000000000000: 10000000000000 \
             tokens per period are too many: at most 1000000000000",
        ]
    );
}

#[test]
fn a_tiers_own_endpoints_are_checked_too() {
    let tier =
        Tier::new("pro").endpoint("/a", rate()).endpoint("/a/", rate()).endpoint("/**", rate());
    let at = |path: &str| Location::Tier {
        name: "pro".to_owned(),
        field: TierField::Endpoint(path.to_owned()),
    };
    assert_eq!(places(with_default().tier(tier)), [at("/a/"), at("/**")]);
    assert_eq!(at("/a/").to_string(), "tiers.pro.endpoints./a/");
}

#[test]
fn a_client_has_one_tier_and_errors_do_not_show_its_key() {
    let builder = with_default()
        .tier(Tier::new("pro").client("s3cret").client(""))
        .tier(Tier::new("team").client("other").client("s3cret"));
    assert_eq!(
        messages(builder),
        [
            "tiers.pro.clients[1]: a client's key has from 1 to 16384 bytes",
            "tiers.team.clients[1]: this client is already listed at tiers.pro.clients[0]: a \
             client can have only one tier",
        ]
    );
}

#[test]
fn a_valid_policy_with_every_part_is_compiled() {
    let builder = policies::document_builder()
        .limit(rule("pro-only").when(When::default().tier("pro")))
        .tier(Tier::new("pro").multiply(3).client("alice").endpoint("/mine", rate()));
    let policy = builder.build().expect("a valid policy");
    let names: Vec<&str> = policy.limits().iter().map(|limit| limit.name()).collect();
    assert_eq!(names[0], "default");
    assert_eq!(names[5..], ["pro-only", "/mine"]);
}
