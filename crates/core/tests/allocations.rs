//! Matching a request does not allocate in the usual case.

use sluice_core::{
    Action, Client, HeaderMatch, Per, Policy, Rate, Request, Rule, RuleCost, Tier, When,
};

/// A policy with something of every kind, in which at most two limits apply to a request.
fn policy() -> Policy {
    let rate: Rate = "60/minute, burst 10".parse().expect("a rate");
    let when = When::default()
        .path("/api/**/orders")
        .method("POST")
        .header(HeaderMatch { name: "x-kind".to_owned(), values: vec!["bulk".to_owned()] });
    let orders = Rule::new("orders", rate)
        .when(when)
        .per(Per::Header("x-org".to_owned()))
        .cost(RuleCost::Header("x-cost".to_owned()));
    let policy = Policy::builder()
        .default_limit(rate)
        .endpoint("/api/*/orders", rate)
        .exempt("/health")
        .limit(orders)
        .tier(Tier::new("pro").multiply(5).client("bob"));
    policy.build().expect("a valid policy")
}

/// Returns how many parts the request's check has, and how many allocations matching needed.
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
fn matching_a_path_in_normal_form_does_not_allocate() {
    let policy = policy();
    let attributes = [("x-kind", "bulk"), ("x-org", "red"), ("x-cost", "3")];
    let post = |client: Client<'static>, path| {
        Request::new(client, "POST", path).with_attributes(&attributes)
    };
    let (alice, bob) = (Client::Key(b"alice"), Client::Key(b"bob"));
    let address = Client::Address("2001:db8::1".parse().unwrap());
    for (request, parts) in [
        (post(alice, "/api/v1/orders"), 2),
        (post(bob, "/api/v1/orders/"), 2),
        (post(address, "/api/v1/orders?page=2"), 2),
        (post(alice, "/elsewhere"), 1),
        (post(alice, "/elsewhere").with_tier("pro"), 1),
        (post(alice, "/health"), 0),
    ] {
        assert_eq!(matched(&policy, &request), (parts, 0), "{request:?}");
    }
}

#[test]
fn matching_a_path_that_is_not_in_normal_form_allocates() {
    let policy = policy();
    let (parts, allocations) =
        matched(&policy, &Request::new(Client::Key(b"alice"), "GET", "/health/../elsewhere"));
    assert_eq!(parts, 1);
    assert!(allocations > 0, "otherwise this test does not count allocations");
}
