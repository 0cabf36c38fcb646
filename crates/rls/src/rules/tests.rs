//! Which rule entries match, and its name in metrics.

use super::*;
use crate::{
    messages::Descriptor,
    tests::{of, rules},
};

fn compile(text: &str) -> Rules {
    Rules::new(
        &rules(text),
        OnStoreFailure::Local,
        Tagger::new(b""),
        &Recorders::disabled(),
        &Looks::default(),
    )
}

/// Returns the requests per unit of the rule that matches in `edge`.
fn requests<const N: usize>(rules: &Rules, entries: [(&str, &str); N]) -> Option<u32> {
    rules
        .domain(b"edge")
        .unwrap()
        .find(&of(entries).entries)
        .map(|matched| matched.rule.current.requests_per_unit)
}

fn rule(requests: u32) -> String {
    format!("rate_limit: {{ unit: minute, requests_per_unit: {requests} }}")
}

#[test]
fn the_most_specific_rule_wins() {
    let rules = compile(&format!(
        "{{domain: edge, descriptors: [\
         {{key: path, {}}}, \
         {{key: path, value: 'a*', {}}}, \
         {{key: path, value: '*b', {}}}, \
         {{key: path, value: ab, {}}}, \
         {{key: path, value: free}}]}}",
        rule(1),
        rule(2),
        rule(3),
        rule(4)
    ));
    assert_eq!(requests(&rules, [("path", "ab")]), Some(4), "a value that is named");
    assert_eq!(requests(&rules, [("path", "axb")]), Some(2), "then the first pattern that fits");
    assert_eq!(requests(&rules, [("path", "xb")]), Some(3));
    assert_eq!(requests(&rules, [("path", "x")]), Some(1), "then the key alone");
    assert_eq!(requests(&rules, [("path", "")]), Some(1));
    assert_eq!(
        requests(&rules, [("path", "free")]),
        None,
        "a value without a limit is not limited"
    );
    assert_eq!(requests(&rules, [("other", "ab")]), None);
}

#[test]
fn a_rule_needs_as_many_entries_as_levels() {
    let rules = compile(&format!(
        "{{domain: edge, descriptors: [{{key: a, {}, descriptors: [{{key: b, {}}}]}}, {{key: c, \
         value: v, descriptors: [{{key: d, {}}}]}}]}}",
        rule(1),
        rule(2),
        rule(3)
    ));
    assert_eq!(requests(&rules, [("a", "x")]), Some(1));
    assert_eq!(requests(&rules, [("a", "x"), ("b", "y")]), Some(2));
    assert_eq!(requests(&rules, [("b", "y"), ("a", "x")]), None, "in their order");
    assert_eq!(requests(&rules, [("a", "x"), ("b", "y"), ("c", "z")]), None);
    assert_eq!(requests(&rules, [("c", "v")]), None);
    assert_eq!(requests(&rules, [("c", "v"), ("d", "")]), Some(3));
    assert_eq!(requests(&rules, []), None);
}

#[test]
fn the_most_specific_level_wins_even_without_a_rule() {
    let rules = compile(&format!(
        "{{domain: edge, descriptors: [{{key: a, value: v, descriptors: [{{key: b}}]}}, {{key: a, \
         descriptors: [{{key: c, {}}}]}}]}}",
        rule(1)
    ));
    assert_eq!(requests(&rules, [("a", "w"), ("c", "x")]), Some(1));
    assert_eq!(requests(&rules, [("a", "v"), ("c", "x")]), None);
}

#[test]
fn a_star_in_a_key_matches_key_and_value() {
    let rules = compile(&format!(
        "{{domain: edge, descriptors: [{{key: 'x-*', {}}}, {{key: '*', value: v, {}}}, {{key: \
         x-a, value: '*', {}}}, {{key: x-b, value: '*', {}}}]}}",
        rule(1),
        rule(2),
        rule(3),
        rule(4)
    ));
    assert_eq!(requests(&rules, [("x-a", "w")]), Some(1), "the first that fits");
    assert_eq!(requests(&rules, [("y", "v")]), Some(2));
    assert_eq!(requests(&rules, [("y", "w")]), None);
}

#[test]
fn keys_and_values_are_distinguished() {
    let rules = compile(&format!(
        "{{domain: edge, descriptors: [{{key: a, value: b_c, {}}}, {{key: d_e, {}}}]}}",
        rule(1),
        rule(2)
    ));
    assert_eq!(requests(&rules, [("a", "b_c")]), Some(1));
    assert_eq!(requests(&rules, [("a_b", "c")]), None);
    assert_eq!(requests(&rules, [("d", "e")]), None);
    let tag = |descriptor: Descriptor| {
        rules.tag(rules.domain(b"edge").unwrap(), &descriptor.entries, None)
    };
    assert_ne!(tag(of([("a", "b_c")])), tag(of([("a_b", "c")])));
    assert_ne!(tag(of([("a", "b"), ("c", "d")])), tag(of([("a", "b_c_d")])));
}

/// Returns the name in metrics of the rule that matches `entries`.
fn name<const N: usize>(text: &str, entries: [(&str, &str); N]) -> String {
    let telemetry = sluice::Telemetry::builder().build().unwrap();
    let rules = Rules::new(
        &rules(text),
        OnStoreFailure::Local,
        Tagger::new(b""),
        telemetry.recorders(),
        &Looks::default(),
    );
    let (domain, entries) = (rules.domain(b"edge").unwrap(), of(entries).entries);
    let matched = domain.find(&entries).unwrap();
    rules.counter(domain, &entries, &matched).shadow_denied(sluice_telemetry::SourceLabel::Local);
    let text = telemetry.prometheus().render().unwrap();
    let counted = text.lines().find(|line| line.contains("shadow_denied")).unwrap();
    counted.split('"').nth(1).unwrap().to_owned()
}

#[test]
fn metrics_name_a_rule_as_its_file_does() {
    let text = &format!(
        "{{domain: edge, descriptors: [\
         {{key: ip, {0}}}, \
         {{key: ip, value: home, {0}}}, \
         {{key: path, value: '/a/*', descriptors: [{{key: method, {0}}}]}}]}}",
        rule(1)
    );
    assert_eq!(name(text, [("ip", "192.0.2.1")]), "edge.ip");
    assert_eq!(name(text, [("ip", "home")]), "edge.ip_home");
    assert_eq!(name(text, [("path", "/a/b"), ("method", "GET")]), "edge.path_/a/*.method");
}

#[test]
fn value_to_metric_adds_the_value_of_its_level() {
    let text = &format!(
        "{{domain: edge, descriptors: [\
         {{key: route, value_to_metric: true, descriptors: [\
         {{key: method, value: 'G*', value_to_metric: true, descriptors: [{{key: user, {0}}}]}}, \
         {{key: method, value: POST, descriptors: [{{key: user, {0}}}]}}]}}, \
         {{key: file, value: 'a/*', share_threshold: true, value_to_metric: true, {0}}}]}}",
        rule(1)
    );
    assert_eq!(
        name(text, [("route", "draw"), ("method", "GET"), ("user", "123")]),
        "edge.route_draw.method_GET.user"
    );
    assert_eq!(
        name(text, [("route", "draw"), ("method", "POST"), ("user", "123")]),
        "edge.route_draw.method_POST.user"
    );
    assert_eq!(
        name(text, [("route", ""), ("method", "POST"), ("user", "123")]),
        "edge.route.method_POST.user"
    );
    assert_eq!(
        name(text, [("file", "a/1")]),
        "edge.file_a/*",
        "values that share a bucket share a name"
    );
}

#[test]
fn detailed_metric_adds_every_value() {
    let text = &format!(
        "{{domain: edge, descriptors: [\
         {{key: ip, detailed_metric: true, {0}}}, \
         {{key: svc, value: 's/*', share_threshold: true, descriptors: [\
         {{key: path, descriptors: [\
         {{key: end, value: 'e*', detailed_metric: true, {0}}}]}}]}}]}}",
        rule(1)
    );
    assert_eq!(name(text, [("ip", "192.0.2.1")]), "edge.ip_192.0.2.1");
    assert_eq!(
        name(text, [("svc", "s/1"), ("path", "/x"), ("end", "e1")]),
        "edge.svc_s/*.path_/x.end_e1"
    );
}

#[test]
fn the_number_of_names_from_requests_is_limited() {
    let telemetry = sluice::Telemetry::builder().build().unwrap();
    let text =
        format!("{{domain: edge, descriptors: [{{key: ip, detailed_metric: true, {}}}]}}", rule(1));
    let rules = Rules::new(
        &rules(&text),
        OnStoreFailure::Local,
        Tagger::new(b""),
        telemetry.recorders(),
        &Looks::default(),
    );
    let domain = rules.domain(b"edge").unwrap();
    let count = |ip: usize| {
        let entries = of([("ip", ip.to_string().as_str())]).entries;
        rules
            .counter(domain, &entries, &domain.find(&entries).unwrap())
            .denied(sluice_telemetry::SourceLabel::Store);
    };
    (0..2_000).for_each(count);
    count(0);
    let text = telemetry.prometheus().render().unwrap();
    let counted = |limit: &str| {
        let prefix = format!(
            "sluice_decisions_total{{limit=\"{limit}\",outcome=\"denied\",source=\"store\"}} "
        );
        text.lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .map(|count| count.parse::<f64>().unwrap())
    };
    assert_eq!(counted("edge.ip_0"), Some(2.0));
    let all: f64 = text
        .lines()
        .filter(|line| line.contains("outcome=\"denied\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert!((all - 2_001.0).abs() < 0.5, "nothing is lost: {all}");
    assert!(counted("edge.ip").unwrap() >= 1_500.0);
}
