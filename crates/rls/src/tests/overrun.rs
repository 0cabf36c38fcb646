//! Usage that is reported after a request, and costs that do not fit.

use std::time::Duration;

use sluice::Telemetry;

use super::*;

/// The budget of the examples: two requests of 10 fit, the third one overruns it.
const BUDGET: &str =
    "domain: edge\ndescriptors: [{ key: ip, rate_limit: { unit: hour, requests_per_unit: 21 } }]";
const SIXTY_A_MINUTE: &str =
    "domain: edge\ndescriptors: [{ key: ip, rate_limit: { unit: minute, requests_per_unit: 60 } }]";

fn ip() -> Descriptor {
    of([("ip", "a")])
}

fn fixture_with(text: &str, more: &str) -> Fixture {
    Fixture::of(&rules_with(text, more))
}

#[tokio::test]
async fn a_budget_that_is_looked_at_and_charged_afterwards_holds() {
    let fixture = Fixture::new(BUDGET);
    for remaining in [11, 1, 0] {
        assert_eq!(fixture.ask([ip().hits(0)]).await.overall, 'o');
        let charged = fixture.ask([ip().hits(10)]).await;
        assert_eq!(charged.overall, if remaining > 0 { 'o' } else { '-' }, "{charged:?}");
        assert_eq!(charged.remaining, [remaining]);
    }
    assert_eq!(fixture.ask([ip().hits(0)]).await, summary('-', "-", &[0]));
    // Nine tokens are owed, and 21 come back in an hour.
    fixture.clock.advance(Duration::from_secs(9 * 3_600 / 21));
    assert_eq!(fixture.ask([ip().hits(0)]).await.overall, '-', "paid a moment later");
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(fixture.ask([ip().hits(0)]).await.overall, 'o');
}

#[tokio::test]
async fn a_budget_that_is_charged_one_by_one_holds_as_well() {
    let fixture = Fixture::new(BUDGET);
    let mut passed = 0;
    while fixture.ask([ip().hits(0)]).await.overall == 'o' {
        fixture.ask([ip().hits(1)]).await;
        passed += 1;
        assert!(passed < 30, "it never ends");
    }
    assert_eq!(passed, 22);
}

#[tokio::test]
async fn a_cost_that_is_tried_again_passes_at_its_rate() {
    let fixture = Fixture::new(SIXTY_A_MINUTE);
    let mut passed = 0;
    for _ in 0..=600 {
        passed += u32::from(fixture.ask([ip().hits(10)]).await.overall == 'o');
        fixture.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(passed, 66, "60 at once, and 600 in ten minutes, at 10 each");
}

#[tokio::test]
async fn only_hits_that_a_descriptor_names_are_charged_past_zero() {
    let fixture = fixture_with(BUDGET, "overrun: debt");
    assert_eq!(fixture.ask([ip().hits(20)]).await.remaining, [1]);
    let of_the_call = RateLimitRequest { hits_addend: 5, ..request([ip()]) };
    let denied = Summary::of(&fixture.call(of_the_call).await.unwrap());
    assert_eq!(denied, summary('-', "-", &[1]), "the cost of the call takes nothing");
    assert_eq!(fixture.ask([ip()]).await, summary('o', "o", &[0]));
    assert_eq!(fixture.ask([ip()]).await, summary('-', "-", &[0]));
    assert_eq!(fixture.ask([ip().hits(1)]).await, summary('-', "-", &[0]), "nor does a cost of 1");
    assert_eq!(fixture.ask([ip().hits(0)]).await.overall, 'o', "nothing is owed");
    assert_eq!(fixture.ask([ip().hits(2)]).await, summary('-', "-", &[0]));
    assert_eq!(fixture.ask([ip().hits(0)]).await.overall, '-', "now it is");
}

#[tokio::test]
async fn a_rule_is_told_before_its_domain_and_the_domain_before_the_default() {
    const TWO: &str = "domain: edge\ndescriptors:\n\
        - { key: ip, rate_limit: { unit: hour, requests_per_unit: 21 } }\n\
        - { key: ip, value: a, rate_limit: { unit: hour, requests_per_unit: 21 } }\n";
    let owes = async |more: &str| {
        let fixture = fixture_with(TWO, more);
        let mut owes = Vec::new();
        for value in ["a", "b"] {
            let of_value = || of([("ip", value)]);
            fixture.ask([of_value().hits(30)]).await;
            owes.push(fixture.ask([of_value().hits(0)]).await.overall == '-');
        }
        owes
    };
    assert_eq!(owes("").await, [false, false]);
    assert_eq!(owes("overrun: debt").await, [true, true]);
    assert_eq!(owes("overrun: none").await, [false, false]);
    assert_eq!(owes("overrun: { default: debt }").await, [true, true]);
    assert_eq!(owes("overrun: { default: debt, domains: { edge: none } }").await, [false, false]);
    let rule = "overrun: { domains: { edge: none }, rules: { edge.ip_a: debt } }";
    assert_eq!(owes(rule).await, [true, false]);
    let rule = "overrun: { default: debt, rules: { edge.ip: none } }";
    assert_eq!(owes(rule).await, [true, false]);
}

#[tokio::test]
async fn without_debt_a_look_changes_nothing() {
    let fixture = fixture_with(BUDGET, "overrun: none");
    fixture.ask([ip().hits(0)]).await;
    assert_eq!(fixture.ask([ip().hits(22)]).await, summary('-', "-", &[21]));
    assert_eq!(fixture.ask([ip().hits(0)]).await, summary('o', "o", &[21]));
}

#[tokio::test]
async fn a_look_counts_for_the_rule_and_outlives_a_reload() {
    let fixture = Fixture::new(BUDGET);
    fixture.ask([of([("ip", "other")]).hits(0)]).await;
    for _ in 0..2 {
        fixture.rls.replace(Some(&rules(BUDGET)), OnStoreFailure::Local, &Tagger::new(b""));
    }
    fixture.ask([ip().hits(30)]).await;
    assert_eq!(fixture.ask([ip().hits(0)]).await.overall, '-');

    fixture.rls.replace(None, OnStoreFailure::Local, &Tagger::new(b""));
    fixture.rls.replace(Some(&rules(BUDGET)), OnStoreFailure::Local, &Tagger::new(b""));
    fixture.ask([of([("ip", "b")]).hits(30)]).await;
    assert_eq!(fixture.ask([of([("ip", "b")]).hits(0)]).await.overall, 'o', "a rule that was gone");
}

#[tokio::test]
async fn usage_is_charged_whatever_the_other_descriptors_decide() {
    let fixture = fixture_with(
        "{domain: edge, descriptors: [{key: ip, rate_limit: {unit: hour, requests_per_unit: 21}}, \
         {key: user, rate_limit: {unit: day, requests_per_unit: 2}}, \
         {key: none, rate_limit: {unit: day, requests_per_unit: 0}}]}",
        "overrun: debt",
    );
    let user = || of([("user", "a")]);
    assert_eq!(fixture.ask([ip().hits(5), user()]).await, summary('o', "oo", &[16, 1]));
    assert_eq!(
        fixture.ask([ip().hits(5), of([("none", "")])]).await,
        summary('-', "o-", &[11, 0]),
        "a rule that blocks"
    );
    assert_eq!(
        fixture.ask([user(), ip().hits(20)]).await,
        summary('-', "o-", &[1, 0]),
        "usage that overruns denies, and the user loses nothing"
    );
    assert_eq!(fixture.ask([user()]).await, summary('o', "o", &[0]));
    fixture.clock.advance(Duration::from_secs(3_600));
    assert_eq!(fixture.ask([ip().hits(0)]).await, summary('o', "o", &[12]));
    assert_eq!(
        fixture.ask([user(), ip().hits(5)]).await,
        summary('-', "-o", &[0, 7]),
        "the user is over the limit, and the usage has happened"
    );
    assert_eq!(
        fixture.ask([ip().hits(2), ip()]).await,
        summary('o', "oo", &[5, 4]),
        "usage and a request in one bucket"
    );
}

#[tokio::test]
async fn rules_in_shadow_and_quota_mode_are_charged_as_well() {
    let telemetry = Telemetry::builder().build().unwrap();
    let text = "{domain: edge, descriptors: [\
         {key: s, shadow_mode: true, rate_limit: {unit: hour, requests_per_unit: 5}}, \
         {key: p, quota_mode: true, rate_limit: {unit: hour, requests_per_unit: 5}}, \
         {key: q, quota_mode: true, rate_limit: {unit: hour, requests_per_unit: 50}}]}";
    let rules = rules_with(text, "overrun: debt, response_headers: true");
    let fixture = Fixture::made(&rules, telemetry.recorders());
    let [s, p, q] = ["s", "p", "q"].map(|key| move || of([(key, "a")]));
    assert_eq!(fixture.ask([s().hits(9)]).await, summary('o', "o", &[0]), "never denied");
    assert_eq!(fixture.ask([p().hits(9), q().hits(9)]).await, summary('o', "-o", &[0, 41]));
    let both = fixture.call(request([p().hits(9), q().hits(42)])).await.unwrap();
    assert_eq!(Summary::of(&both), summary('-', "--", &[0, 0]), "both are over");
    let retry = both.response_headers_to_add.iter().find(|field| field.key == "retry-after");
    assert_eq!(retry.unwrap().value, "3096", "43 tokens of the second: 1 owed, 42 asked for");
    let text = telemetry.prometheus().render().unwrap();
    for counted in [
        "sluice_decisions_total{limit=\"edge.s\",outcome=\"shadow_denied\",source=\"store\"} 1\n",
        "sluice_decisions_total{limit=\"edge.q\",outcome=\"allowed\",source=\"store\"} 1\n",
        "rate_limit_hits_total{endpoint=\"other\"} 1\n",
    ] {
        assert!(text.contains(counted), "{counted}{text}");
    }
}

#[tokio::test]
async fn header_fields_describe_the_debt() {
    let fixture = Fixture::of(&rules_with(BUDGET, "overrun: debt, response_headers: true"));
    let fields = async |hits| {
        let response = fixture.call(request([ip().hits(hits)])).await.unwrap();
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let value = |name: &str| {
            let mut fields = response.response_headers_to_add.iter();
            fields.find(|field| field.key == name).map(|field| text(&field.value))
        };
        [value("x-ratelimit-remaining"), value("ratelimit"), value("retry-after")]
            .map(Option::unwrap_or_default)
    };
    assert_eq!(fields(7).await, ["14", "\"edge.ip\";r=14;t=1200", ""]);
    // 7 tokens are owed, 21 come back in an hour.
    assert_eq!(fields(21).await, ["0", "\"edge.ip\";r=0;t=4800", "4800"]);
    assert_eq!(fields(0).await, ["0", "\"edge.ip\";r=0;t=4800", "1200"]);
    assert_eq!(fields(22).await, ["0", "\"edge.ip\";r=0;t=8572", ""], "it never fits");
}

#[tokio::test]
async fn limits_that_calls_bring_are_charged_as_their_domain_says() {
    let brought = || ip().bringing(21, Unit::Hour);
    for (more, owes) in [("", false), ("overrun: none", false), ("overrun: debt", true)] {
        let fixture = fixture_with(BUDGET, more);
        fixture.ask([brought().hits(30)]).await;
        assert_eq!(fixture.ask([brought().hits(0)]).await.overall == '-', owes, "{more}");
    }
    let fixture = fixture_with(BUDGET, "");
    fixture.ask([brought().hits(0)]).await;
    fixture.ask([brought().hits(30)]).await;
    assert_eq!(fixture.ask([brought().hits(0)]).await.overall, '-');
    assert_eq!(fixture.ask([ip().hits(30)]).await, summary('-', "-", &[21]), "another limit");
}
