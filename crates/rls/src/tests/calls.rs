//! The responses to calls, rule by rule.

use std::time::Duration;

use serde_json::json;
use sluice::Telemetry;
use sluice_core::{Check, Decision};
use sluice_store::{StoreError, StoreFuture};

use super::*;
use crate::messages::CurrentLimit;

const TWO_A_MINUTE: &str =
    "domain: edge\ndescriptors: [{ key: ip, rate_limit: { unit: minute, requests_per_unit: 2 } }]";

#[tokio::test]
async fn requests_per_unit_are_the_burst_and_come_back_at_that_rate() {
    let fixture = Fixture::new(TWO_A_MINUTE);
    let response = fixture.call(request([of([("ip", "a")])])).await.unwrap();
    assert_eq!(Summary::of(&response), summary('o', "o", &[1]));
    let current =
        CurrentLimit { requests_per_unit: 2, unit: Unit::Minute.into(), name: Bytes::new() };
    assert_eq!(response.statuses[0].current_limit, Some(current));
    assert_eq!(response.statuses[0].duration_until_reset.unwrap().seconds, 30);
    assert_eq!(fixture.ask([of([("ip", "a")])]).await, summary('o', "o", &[0]));
    assert_eq!(fixture.ask([of([("ip", "a")])]).await, summary('-', "-", &[0]));
    fixture.clock.advance(Duration::from_secs(30));
    assert_eq!(fixture.ask([of([("ip", "a")])]).await, summary('o', "o", &[0]));
}

#[tokio::test]
async fn each_value_has_a_bucket_of_its_own_and_so_has_each_domain() {
    let fixture = Fixture::new(TWO_A_MINUTE);
    assert_eq!(fixture.ask([of([("ip", "a")])]).await.remaining, [1]);
    assert_eq!(fixture.ask([of([("ip", "b")])]).await.remaining, [1]);
    assert_eq!(fixture.ask([of([("ip", "")])]).await.remaining, [1]);
    assert_eq!(fixture.ask([of([("ip", "a")])]).await.remaining, [0]);
    let raw = Entry { key: Bytes::from_static(b"ip"), value: Bytes::from_static(b"\xff") };
    let raw = Descriptor { entries: vec![raw], ..Descriptor::default() };
    assert_eq!(
        fixture.ask([raw.clone()]).await.remaining,
        [1],
        "a value that is not UTF-8 is limited as well"
    );
    assert_eq!(fixture.ask([raw]).await.remaining, [0]);
}

#[tokio::test]
async fn a_descriptor_without_a_rule_is_not_limited() {
    let fixture = Fixture::new(TWO_A_MINUTE);
    let free = summary('o', "o", &[0]);
    assert_eq!(fixture.ask([of([("path", "/")])]).await, free);
    assert_eq!(fixture.ask([of([])]).await, free);
    let elsewhere =
        RateLimitRequest { domain: Bytes::from_static(b"other"), ..request([of([("ip", "a")])]) };
    let response = fixture.call(elsewhere).await.unwrap();
    assert_eq!(Summary::of(&response), free);
    assert_eq!(
        (response.statuses[0].current_limit.clone(), response.statuses[0].duration_until_reset),
        (None, None)
    );
    assert_eq!(response.response_headers_to_add, []);
}

#[tokio::test]
async fn a_denied_call_takes_nothing_from_any_bucket() {
    let fixture = Fixture::new(
        "{domain: edge, descriptors: [{key: ip, rate_limit: {unit: day, requests_per_unit: 1}}, \
         {key: path, rate_limit: {unit: day, requests_per_unit: 5}}]}",
    );
    let both = [of([("ip", "a")]), of([("path", "/")])];
    assert_eq!(fixture.ask(both.clone()).await, summary('o', "oo", &[0, 4]));
    assert_eq!(fixture.ask(both.clone()).await, summary('-', "-o", &[0, 4]));
    assert_eq!(fixture.ask([of([("path", "/")])]).await, summary('o', "o", &[3]));
}

#[tokio::test]
async fn the_cost_is_set_by_the_call_or_by_a_descriptor() {
    let fixture = Fixture::new(
        "{domain: edge, descriptors: [{key: ip, rate_limit: {unit: day, requests_per_unit: 100}}]}",
    );
    let one = |value| of([("ip", value)]);
    let costly = |hits_addend, descriptors: Vec<Descriptor>| RateLimitRequest {
        hits_addend,
        ..request(descriptors)
    };
    let response = fixture.call(costly(10, vec![one("a"), one("b").hits(3)])).await.unwrap();
    assert_eq!(Summary::of(&response), summary('o', "oo", &[90, 97]));
    let response = fixture.call(costly(0, vec![one("a")])).await.unwrap();
    assert_eq!(Summary::of(&response), summary('o', "o", &[89]), "0 for the call is 1");
    assert_eq!(fixture.ask([one("a").hits(90)]).await, summary('-', "-", &[89]));
    assert_eq!(fixture.ask([one("a").hits(u64::MAX)]).await, summary('-', "-", &[89]));
    assert_eq!(
        fixture.ask([one("a"), one("a").hits(5)]).await,
        summary('o', "oo", &[83, 83]),
        "costs in one bucket add up"
    );
}

#[tokio::test]
async fn a_cost_of_zero_takes_nothing() {
    let telemetry = Telemetry::builder().build().unwrap();
    let fixture = Fixture::recording(TWO_A_MINUTE, telemetry.recorders());
    let look = || of([("ip", "a")]).hits(0);
    assert_eq!(fixture.ask([look()]).await, summary('o', "o", &[2]));
    assert_eq!(fixture.ask([of([("ip", "a")]).hits(2)]).await, summary('o', "o", &[0]));
    assert_eq!(fixture.ask([look()]).await, summary('o', "o", &[0]));
    assert_eq!(fixture.ask([look(), of([("ip", "b")])]).await, summary('o', "oo", &[0, 1]));
    let text = telemetry.prometheus().render().unwrap();
    assert!(
        text.contains(
            "sluice_decisions_total{limit=\"edge.ip\",outcome=\"allowed\",source=\"store\"} 3\n"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn tokens_are_given_back_up_to_the_burst_if_the_call_passes() {
    let fixture = Fixture::new(
        "{domain: edge, descriptors: [{key: ip, rate_limit: {unit: day, requests_per_unit: 10}}]}",
    );
    let one = |value| of([("ip", value)]);
    assert_eq!(fixture.ask([one("a").hits(8)]).await.remaining, [2]);
    assert_eq!(fixture.ask([one("a").hits(3).back()]).await, summary('o', "o", &[5]));
    assert_eq!(fixture.ask([one("a").back()]).await, summary('o', "o", &[6]), "one by default");
    assert_eq!(
        fixture.ask([one("a").hits(2).back(), one("b").hits(4)]).await,
        summary('o', "oo", &[8, 6])
    );
    assert_eq!(
        fixture.ask([one("a").hits(2).back(), one("b").hits(7)]).await,
        summary('-', "o-", &[8, 6]),
        "a denied call gives nothing back"
    );
    assert_eq!(fixture.ask([one("a").hits(u64::MAX).back()]).await, summary('o', "o", &[10]));
}

#[tokio::test]
async fn a_call_may_have_limits_of_its_own() {
    let fixture = Fixture::new(TWO_A_MINUTE);
    let brings = |value, requests, unit| of([("ip", value)]).bringing(requests, unit);
    assert_eq!(fixture.ask([of([("ip", "a")])]).await.remaining, [1]);
    let response = fixture.call(request([brings("a", 7, Unit::Hour)])).await.unwrap();
    assert_eq!(Summary::of(&response), summary('o', "o", &[6]), "with a bucket of its own");
    let current =
        CurrentLimit { requests_per_unit: 7, unit: Unit::Hour.into(), name: Bytes::new() };
    assert_eq!(response.statuses[0].current_limit, Some(current));
    assert_eq!(
        fixture.ask([brings("a", 7, Unit::Hour), brings("a", 9, Unit::Day)]).await,
        summary('o', "oo", &[5, 8])
    );
    assert_eq!(
        fixture.ask([brings("b", 7, Unit::Hour)]).await.remaining,
        [6],
        "a bucket for these values"
    );
    assert_eq!(
        fixture.ask([brings("a", 5, Unit::Hour)]).await.remaining,
        [4],
        "the tokens are kept when the number changes"
    );
    assert_eq!(
        fixture.ask([of([("any", "x")]).bringing(3, Unit::Week)]).await.remaining,
        [2],
        "also without a rule"
    );
    assert_eq!(fixture.ask([brings("a", 0, Unit::Hour)]).await, summary('-', "-", &[0]));
    let elsewhere = RateLimitRequest {
        domain: Bytes::from_static(b"other"),
        ..request([brings("a", 0, Unit::Hour)])
    };
    assert_eq!(
        Summary::of(&fixture.call(elsewhere).await.unwrap()),
        summary('o', "o", &[0]),
        "only in a configured domain"
    );
    assert_eq!(
        fixture.ask([of([("ip", "a")])]).await.remaining,
        [0],
        "the rule's bucket is a separate one"
    );
}

#[tokio::test]
async fn unlimited_has_the_largest_remaining() {
    let fixture =
        Fixture::new("{domain: edge, descriptors: [{key: ip, rate_limit: {unlimited: true}}]}");
    let response = fixture.call(request([of([("ip", "a")])])).await.unwrap();
    assert_eq!(Summary::of(&response), summary('o', "o", &[u32::MAX]));
    assert_eq!(response.statuses[0].current_limit, None);
}

#[tokio::test]
async fn zero_requests_per_unit_denies_everything_and_takes_nothing() {
    let telemetry = Telemetry::builder().build().unwrap();
    let fixture = Fixture::recording(
        "{domain: edge, descriptors: [{key: ip, rate_limit: {unit: day, requests_per_unit: 5}}, \
         {key: ip, value: bad, rate_limit: {unit: day, requests_per_unit: 0}}, \
         {key: ip, value: odd, shadow_mode: true, rate_limit: {unit: day, requests_per_unit: 0}}]}",
        telemetry.recorders(),
    );
    let response = fixture.call(request([of([("ip", "bad")]), of([("ip", "a")])])).await.unwrap();
    assert_eq!(Summary::of(&response), summary('-', "-o", &[0, 5]));
    assert_eq!(response.response_headers_to_add, []);
    assert_eq!(
        fixture.ask([of([("ip", "bad")]).hits(0), of([("ip", "a")])]).await,
        summary('o', "oo", &[0, 4]),
        "reading the state is never denied"
    );
    assert_eq!(
        fixture.ask([of([("ip", "odd")]), of([("ip", "a")])]).await,
        summary('o', "oo", &[0, 3]),
        "a shadow rule denies no request"
    );
    let text = telemetry.prometheus().render().unwrap();
    for counted in [
        "sluice_decisions_total{limit=\"edge.ip_bad\",outcome=\"denied\",source=\"local\"} 1\n",
        "sluice_decisions_total{limit=\"edge.ip_odd\",outcome=\"shadow_denied\",source=\"local\"} \
         1\n",
        "rate_limit_hits_total{endpoint=\"other\"} 1\n",
    ] {
        assert!(text.contains(counted), "{counted}{text}");
    }
}

#[tokio::test]
async fn a_shadow_rule_counts_and_never_denies() {
    let fixture = Fixture::new(
        "{domain: edge, descriptors: [\
         {key: ip, shadow_mode: true, rate_limit: {unit: day, requests_per_unit: 1}}, \
         {key: path, rate_limit: {unit: day, requests_per_unit: 5}}]}",
    );
    let both = [of([("ip", "a")]), of([("path", "/")])];
    assert_eq!(fixture.ask(both.clone()).await, summary('o', "oo", &[0, 4]));
    assert_eq!(fixture.ask(both).await, summary('o', "oo", &[0, 3]));
}

#[tokio::test]
async fn a_rule_replaces_others_by_their_names() {
    let fixture = Fixture::new(
        "domain: edge\ndescriptors:\n\
         - {key: user, rate_limit: {name: everybody, unit: day, requests_per_unit: 1}}\n\
         - key: plan\n\
        \x20 value: gold\n\
        \x20 rate_limit: {unit: day, requests_per_unit: 5, replaces: [{name: everybody}]}\n\
         - key: plan\n\
        \x20 value: free\n\
        \x20 rate_limit: {unlimited: true, name: open, replaces: [{name: everybody}]}\n\
         - key: plan\n\
        \x20 value: none\n\
        \x20 rate_limit: {unit: day, requests_per_unit: 5, replaces: [{name: open}]}\n",
    );
    let user = || of([("user", "a")]);
    assert_eq!(fixture.ask([user(), of([("plan", "gold")])]).await, summary('o', "oo", &[0, 4]));
    assert_eq!(
        fixture.ask([of([("plan", "gold")]), user()]).await,
        summary('o', "oo", &[3, 0]),
        "in any order"
    );
    let response = fixture.call(request([user(), of([("plan", "free")])])).await.unwrap();
    assert_eq!(
        Summary::of(&response),
        summary('o', "oo", &[0, u32::MAX]),
        "also without a limit of its own"
    );
    assert_eq!(response.statuses[0].current_limit, None);
    assert_eq!(
        fixture.ask([of([("plan", "free")]), of([("plan", "none")])]).await.remaining,
        [u32::MAX, 4],
        "an unlimited rule stays unlimited"
    );
    let response = fixture.call(request([user()])).await.unwrap();
    assert_eq!(
        Summary::of(&response),
        summary('o', "o", &[0]),
        "nothing was taken from the replaced rule"
    );
    assert_eq!(response.statuses[0].current_limit.as_ref().unwrap().name, "everybody");
    assert_eq!(fixture.ask([user()]).await.overall, '-');
}

#[tokio::test]
async fn quotas_deny_only_together_and_then_take_nothing() {
    let telemetry = Telemetry::builder().build().unwrap();
    let quota = "quota_mode: true, rate_limit: {unit: day, requests_per_unit:";
    let fixture = Fixture::recording(
        &format!(
            "{{domain: edge, descriptors: [\
             {{key: a, {quota} 1}}}}, \
             {{key: b, {quota} 2}}}}, \
             {{key: z, {quota} 0}}}}, \
             {{key: ip, rate_limit: {{unit: day, requests_per_unit: 9}}}}]}}"
        ),
        telemetry.recorders(),
    );
    let all = || [of([("a", "x")]), of([("b", "x")]), of([("ip", "x")])];
    assert_eq!(fixture.ask(all()).await, summary('o', "ooo", &[0, 1, 8]));
    assert_eq!(
        fixture.ask(all()).await,
        summary('o', "-oo", &[0, 0, 7]),
        "one of two is not enough"
    );
    let response = fixture.call(request(all())).await.unwrap();
    assert_eq!(Summary::of(&response), summary('-', "--o", &[0, 0, 7]));
    let retry =
        response.response_headers_to_add.iter().find(|field| field.key == "retry-after").unwrap();
    assert_eq!(retry.value, "43200", "until the first of them allows it");
    assert_eq!(
        fixture.ask([of([("ip", "x")])]).await.remaining,
        [6],
        "the tokens of the other bucket were given back"
    );
    assert_eq!(
        fixture.ask([of([("a", "x")]), of([("ip", "x")])]).await,
        summary('-', "-o", &[0, 6]),
        "a single quota is like any other limit"
    );
    assert_eq!(
        fixture.ask([of([("z", "x")]), of([("ip", "x")])]).await,
        summary('-', "-o", &[0, 6])
    );
    assert_eq!(
        fixture.ask([of([("z", "x")]), of([("a", "y")])]).await,
        summary('o', "-o", &[0, 0])
    );
    assert_eq!(
        fixture.ask([of([("z", "x")]), of([("a", "y")])]).await,
        summary('-', "--", &[0, 0])
    );
    let text = telemetry.prometheus().render().unwrap();
    assert!(text.contains("rate_limit_hits_total{endpoint=\"other\"} 4\n"), "{text}");
}

#[tokio::test]
async fn each_value_of_a_pattern_has_a_bucket_unless_it_is_shared() {
    let fixture = Fixture::new(
        "{domain: edge, descriptors: [\
         {key: file, value: 'a/*', rate_limit: {unit: day, requests_per_unit: 3}}, \
         {key: file, value: 'b/*', share_threshold: true, \
          rate_limit: {unit: day, requests_per_unit: 3}}, \
         {key: dir, value: 'b/*', share_threshold: true, descriptors: [\
          {key: file, value: '*.txt', rate_limit: {unit: day, requests_per_unit: 3}}]}]}",
    );
    let remaining = async |descriptor| fixture.ask([descriptor]).await.remaining[0];
    assert_eq!(remaining(of([("file", "a/1")])).await, 2);
    assert_eq!(remaining(of([("file", "a/2")])).await, 2);
    assert_eq!(remaining(of([("file", "b/1")])).await, 2);
    assert_eq!(remaining(of([("file", "b/2")])).await, 1);
    assert_eq!(remaining(of([("dir", "b/1"), ("file", "1.txt")])).await, 2);
    assert_eq!(
        remaining(of([("dir", "b/2"), ("file", "1.txt")])).await,
        1,
        "only a bucket with share_threshold is shared"
    );
    assert_eq!(remaining(of([("dir", "b/2"), ("file", "2.txt")])).await, 2);
    assert_eq!(
        fixture.ask([of([("file", "b/1")]), of([("file", "b/2")])]).await,
        summary('-', "--", &[1, 1]),
        "two tokens of one bucket"
    );
}

#[tokio::test]
async fn an_allowed_request_gets_the_metadata_of_its_rules() {
    let fixture = Fixture::new(
        "domain: edge\ndescriptors:\n\
         - key: a\n\
        \x20 rate_limit: {unit: day, requests_per_unit: 2}\n\
        \x20 metadata: {service: {name: one, tier: 1}, only: a}\n\
         - key: b\n\
        \x20 quota_mode: true\n\
        \x20 rate_limit: {unit: day, requests_per_unit: 1}\n\
        \x20 metadata: {service: {name: two, list: [x]}}\n\
         - {key: c, quota_mode: true, rate_limit: {unit: day, requests_per_unit: 5}}\n",
    );
    let call = || RateLimitRequest {
        hits_addend: 1,
        ..request([
            of([("a", "1")]).hits(1),
            of([("b", "2"), ("c", "3")]),
            of([("b", "4")]),
            of([("c", "5")]),
        ])
    };
    let metadata = async || {
        let response = fixture.call(call()).await.unwrap();
        response.dynamic_metadata.map(|metadata| crate::json::object(&metadata))
    };
    let expected = json!({
        "domain": "edge",
        "descriptors": [
            { "entries": ["a=1"], "hitsAddend": 1.0 },
            { "entries": ["b=2", "c=3"] },
            { "entries": ["b=4"] },
            { "entries": ["c=5"] },
        ],
        "hitsAddend": 1.0,
        "metadata": { "service": { "name": "one", "tier": 1.0, "list": ["x"] }, "only": "a" },
    });
    assert_eq!(metadata().await, Some(expected));
    assert_eq!(
        metadata().await.unwrap()["metadata"],
        json!({ "service": { "name": "one", "tier": 1.0 }, "only": "a" }),
        "b is over its limit"
    );
    assert_eq!(metadata().await, None, "a is over its limit as well");
}

fn headers(response: &RateLimitResponse) -> Vec<(&str, &str)> {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    response
        .response_headers_to_add
        .iter()
        .map(|field| (text(&field.key), text(&field.value)))
        .collect()
}

#[tokio::test]
async fn header_fields_have_remaining_and_reset() {
    let fixture = Fixture::new(
        "{domain: edge, descriptors: [{key: ip, rate_limit: {unit: minute, requests_per_unit: 2}}, \
         {key: path, rate_limit: {unit: hour, requests_per_unit: 100, name: 'per path'}}]}",
    );
    let call = || request([of([("ip", "a")]), of([("path", "/")])]);
    let allowed = fixture.call(call()).await.unwrap();
    let expected = [
        ("x-ratelimit-limit", "2"),
        ("x-ratelimit-remaining", "1"),
        ("x-ratelimit-reset", "1800000030"),
        ("ratelimit-policy", "\"edge.ip\";q=2;w=60, \"per path\";q=100;w=3600"),
        ("ratelimit", "\"edge.ip\";r=1;t=30, \"per path\";r=99;t=36"),
    ];
    assert_eq!(headers(&allowed), expected);
    fixture.call(call()).await.unwrap();
    let denied = fixture.call(call()).await.unwrap();
    assert_eq!(headers(&denied).last(), Some(&("retry-after", "30")));
    assert_eq!(headers(&denied)[1], ("x-ratelimit-remaining", "0"));

    let mut silent = rules(TWO_A_MINUTE);
    silent.response_headers = false;
    fixture.rls.replace(Some(&silent), OnStoreFailure::Local, &Tagger::new(b""));
    assert_eq!(headers(&fixture.call(call()).await.unwrap()), []);
}

#[tokio::test]
async fn header_fields_of_a_refund_have_the_state_after_it() {
    let fixture = Fixture::new(TWO_A_MINUTE);
    let one = || of([("ip", "a")]);
    fixture.ask([one().hits(2)]).await;
    let given_back = fixture.call(request([one().back()])).await.unwrap();
    assert_eq!(headers(&given_back)[1], ("x-ratelimit-remaining", "1"));
    assert_eq!(headers(&given_back).len(), 5, "no retry-after field");
    let both = fixture.call(request([one().back(), of([("ip", "b")]).hits(2)])).await.unwrap();
    assert_eq!(
        headers(&both)[1],
        ("x-ratelimit-remaining", "0"),
        "of the bucket that tokens are taken from"
    );
}

#[tokio::test]
async fn changed_rules_keep_what_was_taken_and_refill_from_the_first_look_on() {
    let fixture = Fixture::new(TWO_A_MINUTE);
    assert_eq!(fixture.ask([of([("ip", "a")]).hits(2)]).await.remaining, [0]);
    let wider = rules(
        "{domain: edge, descriptors: [{key: ip, rate_limit: {unit: minute, requests_per_unit: \
         600}}]}",
    );
    fixture.rls.replace(Some(&wider), OnStoreFailure::Local, &Tagger::new(b""));
    assert_eq!(
        fixture.ask([of([("ip", "a")])]).await,
        summary('-', "-", &[0]),
        "no bucket is refilled"
    );
    fixture.clock.advance(Duration::from_secs(30));
    assert_eq!(fixture.ask([of([("ip", "a")])]).await, summary('o', "o", &[299]));
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(fixture.ask([of([("ip", "a")])]).await, summary('o', "o", &[308]));
    fixture.rls.replace(None, OnStoreFailure::Local, &Tagger::new(b""));
    assert!(matches!(fixture.call(request([of([("ip", "a")])])).await, Err(RlsError::NoRules)));
}

#[tokio::test]
async fn a_call_without_descriptors_is_invalid() {
    let fixture = Fixture::new(TWO_A_MINUTE);
    let rejected = async |request| match fixture.call(request).await {
        Err(RlsError::Invalid(message)) => message,
        other => panic!("{other:?}"),
    };
    assert_eq!(rejected(request([])).await, "descriptors is empty: send at least one");
    let nameless = RateLimitRequest { domain: Bytes::new(), ..request([of([("ip", "a")])]) };
    assert_eq!(rejected(nameless).await, "domain is empty: send the domain of a rules file");
    for unit in [0, 8, -1] {
        let limit = Some(LimitOverride { requests_per_unit: 1, unit });
        let bringing = request([of([("ip", "a")]), Descriptor { limit, ..of([("ip", "a")]) }]);
        let expected = format!(
            "descriptors[1].limit.unit: {unit} is not a unit of time: send one from 1 (second) to \
             7 (week)"
        );
        assert_eq!(rejected(bringing).await, expected);
    }
    assert_eq!(
        fixture.ask([of([("ip", "a")])]).await.remaining,
        [1],
        "an invalid call takes nothing"
    );
}

/// A store that is away, and whose limits leave the decision to the caller.
#[derive(Debug)]
pub(crate) struct Away;

impl Store for Away {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        assert!(
            check.parts().iter().all(|part| part.limit.on_store_failure() == OnStoreFailure::Error)
        );
        StoreFuture::ready(Err(StoreError::BreakerOpen))
    }
}

#[tokio::test]
async fn without_the_store_the_caller_decides_if_configured() {
    let rls = with_store(
        &rules(TWO_A_MINUTE),
        Arc::new(Away),
        OnStoreFailure::Error,
        &Recorders::disabled(),
    );
    let error = rls.decide(&request([of([("ip", "a")])]), CallDeadline::NONE).await.unwrap_err();
    assert_eq!(tonic::Status::from(error).code(), tonic::Code::Unavailable);
    assert_eq!(
        Summary::of(
            &rls.decide(&request([of([("free", "a")])]), CallDeadline::NONE).await.unwrap()
        ),
        summary('o', "o", &[0]),
        "a call without a limit needs no store"
    );
}
