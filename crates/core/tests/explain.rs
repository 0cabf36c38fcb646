//! What an explanation says is what a check does, and its reasons are true.

use proptest::prelude::*;
use sluice_core::{
    Action, Attributes, Client, Endpoint, ExplainedLimit, HeaderMatch, LimitKind, LimitSpec, Mode,
    Obstacle, Per, Policy, PolicyBuilder, Rate, Request, Rule, Terms, Tier, When,
};

fn rate(text: &str) -> Rate {
    text.parse().expect("a rate")
}

fn built(builder: PolicyBuilder) -> Policy {
    builder.build().expect("a valid policy")
}

fn limit_spec() -> impl Strategy<Value = LimitSpec> {
    (1_u64..100, 0..4).prop_map(|(per_minute, kind)| {
        let terms = Terms::from(rate(&format!("{per_minute}/minute, burst 10")));
        match kind {
            0 => LimitSpec::Off,
            1 => terms.mode(Mode::Shadow).into(),
            _ => terms.into(),
        }
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

fn header_match() -> impl Strategy<Value = HeaderMatch> {
    prop::collection::vec(prop::sample::select(vec!["red", "blue"]), 0..2).prop_map(|values| {
        HeaderMatch {
            name: "x-plan".to_owned(),
            values: values.into_iter().map(str::to_owned).collect(),
        }
    })
}

prop_compose! {
    fn any_rule()(
        paths in prop::collection::vec(path(&["a", "b", "*", "**"]), 0..3),
        methods in prop::sample::subsequence(vec!["get", "POST"], 0..3),
        headers in prop::collection::vec(header_match(), 0..2),
        tiers in prop::sample::subsequence(vec!["pro", "free"], 0..3),
        per in prop::sample::select(vec![
            Per::Client, Per::Everyone, Per::Address, Per::Header("x-org".to_owned()),
        ]),
        mode in prop::sample::select(vec![Mode::Enforce, Mode::Shadow, Mode::Off]),
    ) -> Rule {
        let texts = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
        let mut when = When::default();
        when.paths = paths;
        when.methods = texts(methods);
        when.headers = headers;
        when.tiers = texts(tiers);
        Rule::new("", Terms::from(rate("100/minute, burst 20")).mode(mode)).per(per).when(when)
    }
}

prop_compose! {
    fn any_policy()(
        defaults in limit_spec(),
        endpoints in endpoints(5),
        tier_endpoints in endpoints(3),
        unlimited in any::<bool>(),
        exempt in prop::option::of(path(&["a", "b"])),
        mut limits in prop::collection::vec(any_rule(), 0..4),
    ) -> PolicyBuilder {
        let mut pro = Tier::new("pro").multiply(2).client("bob");
        pro.endpoints = tier_endpoints;
        let mut free = Tier::new("free");
        free.unlimited = unlimited;
        for (index, rule) in limits.iter_mut().enumerate() {
            rule.name = format!("rule-{index}");
        }
        let mut builder = Policy::builder().default_limit(defaults).tier(pro).tier(free);
        builder.endpoints = endpoints;
        builder.exempt = exempt.into_iter().filter(|path| path != "/").collect();
        builder.limits = limits;
        builder
    }
}

/// Pairs of name and value, of which one name is repeated with another value.
#[derive(Debug)]
struct Fields(Vec<(&'static str, &'static str)>);

impl Attributes for Fields {
    fn get(&self, name: &str) -> Result<Option<&[u8]>, sluice_core::RepeatedField> {
        let values = self.0.iter().filter(|(known, _)| *known == name);
        sluice_core::one_value(values.map(|(_, value)| value.as_bytes()))
    }
}

fn any_fields() -> impl Strategy<Value = Fields> {
    let all = vec![("x-plan", "red"), ("x-plan", "green"), ("x-org", "acme")];
    prop::sample::subsequence(all, 0..4).prop_map(Fields)
}

/// Returns whether a policy with this endpoint alone finds it for `path`.
fn covers(pattern: &str, path: &str) -> bool {
    let policy = built(Policy::builder().endpoint(pattern, rate("1/minute, burst 1")));
    let request = Request::new(Client::Key(b"a"), "GET", path);
    !policy.check(Action::Peek, &request).expect("a valid request").check.parts().is_empty()
}

/// Returns whether a policy with a limit for these paths alone applies it to `path`.
fn matches(patterns: &[String], path: &str) -> bool {
    let mut when = When::default();
    when.paths = patterns.to_vec();
    let rule = Rule::new("a", rate("1/minute, burst 1")).when(when);
    let policy = built(Policy::builder().limit(rule));
    let request = Request::new(Client::Key(b"a"), "GET", path);
    !policy.check(Action::Peek, &request).expect("a valid request").check.parts().is_empty()
}

/// Returns whether what stands in the way of a limit is so.
fn is_true(obstacle: &Obstacle, explained: &ExplainedLimit, asked: &Request<'_>) -> bool {
    let (name, path) = (explained.limit.name(), asked.path);
    match obstacle {
        Obstacle::NotBelow => !covers(name, path),
        Obstacle::MoreSpecific(other) => {
            covers(name, path) && covers(other, path) && **other != *name
        }
        Obstacle::Method(methods) => {
            methods.iter().all(|method| !method.eq_ignore_ascii_case(asked.method))
        }
        Obstacle::Path(patterns) => !matches(patterns, path),
        Obstacle::Header(HeaderMatch { name, values }) => match asked.attributes.get(name) {
            Ok(Some(value)) => {
                !values.is_empty() && !values.iter().any(|known| known.as_bytes() == value)
            }
            Ok(None) => true,
            Err(_) => false,
        },
        Obstacle::NoSubject => match &explained.kind {
            LimitKind::General(rule) => match &rule.per {
                Per::Address => asked.address.is_none(),
                Per::Header(name) => asked.attributes.get(name) == Ok(None),
                Per::Client | Per::Everyone => false,
            },
            LimitKind::Default | LimitKind::Endpoint => false,
        },
        Obstacle::Unreadable(_) => explained.limit.mode() == Mode::Shadow,
        _ => true,
    }
}

proptest! {
    #[test]
    fn an_explanation_says_what_a_check_does(
        builder in any_policy(),
        path in path(&["a", "b", "c"]),
        method in prop::sample::select(vec!["GET", "POST", "PUT"]),
        client in prop::sample::select(vec!["alice", "bob"]),
        tier in prop::sample::select(vec![None, Some("pro"), Some("free"), Some("unknown")]),
        address in prop::option::of(Just("192.0.2.1".parse().expect("an address"))),
        fields in any_fields(),
    ) {
        let policy = built(builder);
        let request = Request::new(Client::Key(client.as_bytes()), method, &path)
            .with_tier(tier)
            .with_address(address)
            .with_attributes(&fields);
        let (checked, explained) = (policy.check(Action::Take, &request), policy.explain(&request));
        let (matched, explained) = match (checked, explained) {
            (Ok(matched), Ok(explained)) => (matched, explained),
            (checked, explained) => {
                prop_assert_eq!(checked.err(), explained.err());
                return Ok(());
            }
        };
        prop_assert_eq!(explained.limits.len(), policy.limits().len());
        prop_assert_eq!(explained.exempt.is_some(), matched.is_exempt());
        prop_assert_eq!(&explained.endpoint, &policy.endpoints()[matched.endpoint]);
        let by_check: Vec<String> =
            matched.check.parts().iter().map(|part| format!("{part:?}")).collect();
        let mut by_explain = Vec::new();
        for limit in &explained.limits {
            match &limit.outcome {
                Ok(part) => by_explain.push(format!("{part:?}")),
                Err(obstacle) => {
                    prop_assert!(is_true(obstacle, limit, &request), "{limit:?}");
                }
            }
        }
        by_explain.sort();
        let mut sorted = by_check;
        sorted.sort();
        prop_assert_eq!(by_explain, sorted);
    }

    #[test]
    fn the_limits_of_a_tier_make_the_same_policy_again(
        builder in any_policy(),
        path in path(&["a", "b", "c"]),
        fields in any_fields(),
    ) {
        let policy = built(builder.clone());
        let plain = policy.tier_limits().into_iter().next().expect("clients without a tier");
        prop_assert_eq!(plain.tier, None);
        let mut again = Policy::builder().default_limit(plain.defaults);
        again.endpoints = plain.endpoints;
        again.limits = plain.limits;
        again.exempt = builder.exempt;
        let again = built(again);
        let request = Request::new(Client::Key(b"alice"), "GET", &path).with_attributes(&fields);
        let parts = |policy: &Policy| {
            let checked = policy.check(Action::Take, &request);
            checked.map(|matched| {
                let parts = matched.check.parts().iter();
                parts.map(|part| format!("{} {} {}", part.limit, part.tag, part.cost)).collect()
            })
        };
        let both: [Result<Vec<String>, _>; 2] = [parts(&policy), parts(&again)];
        prop_assert_eq!(&both[0], &both[1]);
    }
}

#[test]
fn a_reason_names_what_is_in_the_way() {
    let mut when = When::default();
    when.methods = vec!["POST".to_owned()];
    let policy = built(
        Policy::builder()
            .default_limit(rate("60/minute, burst 10"))
            .endpoint("/a", rate("5/minute, burst 5"))
            .endpoint("/a/{id}", rate("6/minute, burst 5"))
            .limit(Rule::new("writes", rate("7/minute, burst 5")).when(when))
            .tier(Tier::new("pro").endpoint("/pro", rate("9/minute, burst 5"))),
    );
    let request = Request::new(Client::Key(b"alice"), "GET", "/a//b?c");
    let explained = policy.explain(&request).expect("a valid request");
    assert_eq!(explained.path, "/a/b");
    assert_eq!((&*explained.endpoint, explained.tier), ("/a/{id}", None));
    let because = |name: &str| {
        let found = explained.limits.iter().find(|explained| explained.limit.name() == name);
        found.expect("a known limit").outcome.as_ref().err().cloned()
    };
    assert_eq!(because("/a/{id}"), None);
    assert_eq!(because("/a"), Some(Obstacle::MoreSpecific("/a/{id}".into())));
    assert_eq!(because("default"), Some(Obstacle::InPlaceOfDefault("/a/{id}".into())));
    assert_eq!(because("writes"), Some(Obstacle::Method(vec!["POST".to_owned()])));
    assert_eq!(because("/pro"), Some(Obstacle::Tier(vec![Some("pro".to_owned())])));
}
