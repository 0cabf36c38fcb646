//! Matching a request costs no allocation in the usual case.

use sluice_core::{
    Action, Algorithm, Client, Endpoint, HeaderMatch, LimitSpec, Per, Policy, PolicyBuilder, Rate,
    Request, Rule, RuleCost, Tier, When,
};

fn bucket() -> Rate {
    Rate::new("60/minute".parse().expect("a rate"), 10).expect("a possible bucket")
}

/// A policy with something of everything, in which at most two limits apply at once.
fn policy() -> Policy {
    let when = When {
        paths: vec!["/api/**/orders".to_owned()],
        methods: vec!["POST".to_owned()],
        headers: vec![HeaderMatch { name: "x-kind".to_owned(), values: vec!["bulk".to_owned()] }],
        tiers: Vec::new(),
    };
    let rule = Rule {
        when,
        per: Per::Header("x-org".to_owned()),
        cost: RuleCost::Header("x-cost".to_owned()),
        ..Rule::new("orders", Algorithm::TokenBucket(bucket()))
    };
    let builder = PolicyBuilder {
        endpoints: vec![Endpoint {
            path: "/api/*/orders".to_owned(),
            limit: LimitSpec::limit(bucket()),
        }],
        tiers: vec![Tier { multiply: 5, clients: vec![b"bob".to_vec()], ..Tier::new("pro") }],
        limits: vec![rule],
        ..PolicyBuilder::default()
    };
    builder.build().expect("a sound policy")
}

/// The parts of the request's check, and how often matching it asked for memory.
fn matched(policy: &Policy, request: &Request<'_>) -> (usize, u64) {
    let mut parts = 0;
    let allocations = allocation_counter::measure(|| {
        parts = policy
            .check(Action::Take, request)
            .expect("a request that can be checked")
            .check
            .parts()
            .len();
    });
    (parts, allocations.count_total)
}

#[test]
fn matching_a_path_in_normal_form_allocates_nothing() {
    let policy = policy();
    let attributes = [("x-kind", "bulk"), ("x-org", "red"), ("x-cost", "3")];
    let post = |client: Client<'static>, path| Request {
        attributes: &attributes,
        ..Request::new(client, "POST", path)
    };
    let (alice, bob, somebody) = (
        Client::Key(b"alice"),
        Client::Key(b"bob"),
        Client::Address("2001:db8::1".parse().unwrap()),
    );
    for (request, parts) in [
        (post(alice, "/api/v1/orders"), 2),
        (post(bob, "/api/v1/orders/"), 2),
        (post(somebody, "/api/v1/orders?page=2"), 2),
        (post(alice, "/elsewhere"), 1),
        (Request { tier: Some("pro"), ..post(alice, "/elsewhere") }, 1),
        (post(alice, "/health"), 0),
    ] {
        assert_eq!(matched(&policy, &request), (parts, 0), "{request:?}");
    }
}

#[test]
fn a_disguised_path_is_what_allocates() {
    let policy = policy();
    let (parts, allocations) =
        matched(&policy, &Request::new(Client::Key(b"alice"), "GET", "/health/../elsewhere"));
    assert_eq!(parts, 1);
    assert!(allocations > 0, "else the counting of this test is broken");
}
