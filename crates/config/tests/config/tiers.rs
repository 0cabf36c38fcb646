//! The numbers of tiers.

use sluice_config::Loader;

/// The default limit and the endpoints of the tier `pro`, as `path rate, burst`.
fn of_pro(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sluice.yaml");
    std::fs::write(&path, text).unwrap();
    let settings = Loader::new().file(path).load().unwrap_or_else(|errors| panic!("{errors}"));
    let tiers = settings.policy.tier_limits();
    let pro = tiers.iter().find(|tier| tier.tier.as_deref() == Some("pro")).unwrap();
    let endpoints = pro.endpoints.iter().map(|endpoint| (&*endpoint.path, &endpoint.limit));
    std::iter::once(("default", &pro.defaults))
        .chain(endpoints)
        .map(|(name, spec)| match spec {
            sluice_core::LimitSpec::Limit(terms) => {
                let rate = *terms.algorithm.rate().expect("it is a token bucket");
                format!("{name} {rate}")
            }
            sluice_core::LimitSpec::Off => format!("{name} off"),
        })
        .collect()
}

const LIMITS: &str = "defaults: { rate: 60/minute, burst: 10 }\n\
                      endpoints: { /chat: 20, /tools: { rate: 40/minute, burst: 4 } }\n";

#[test]
fn a_burst_without_a_rate_is_that_of_every_limit_that_the_tier_inherits() {
    for (pro, expected) in [
        ("{ burst: 70 }", ["60/minute, burst 70", "20/minute, burst 70", "40/minute, burst 70"]),
        (
            "{ multiply: 5, burst_size: 70 }",
            ["300/minute, burst 70", "100/minute, burst 70", "200/minute, burst 70"],
        ),
        (
            "{ multiply: 5 }",
            ["300/minute, burst 50", "100/minute, burst 50", "200/minute, burst 20"],
        ),
        (
            "{ rate: 600/minute, burst: 70 }",
            ["600/minute, burst 70", "20/minute, burst 10", "40/minute, burst 4"],
        ),
    ] {
        let names = ["default", "/chat", "/tools"];
        let expected: Vec<_> =
            names.iter().zip(expected).map(|(name, rate)| format!("{name} {rate}")).collect();
        assert_eq!(of_pro(&format!("{LIMITS}tiers: {{ pro: {pro} }}\n")), expected, "{pro}");
    }
}

#[test]
fn the_burst_of_a_tier_is_that_of_its_own_endpoints_which_name_none() {
    let own = "endpoints: { /chat: 200, /tools: { rate: 400/minute, burst: 5 } }";
    for (numbers, default, chat) in [
        ("rate: 600/minute, burst: 70", "600/minute, burst 70", 70),
        ("burst_size: 70", "60/minute, burst 70", 70),
        ("requests_per_minute: 600", "600/minute, burst 10", 10),
        ("multiply: 2", "120/minute, burst 20", 10),
    ] {
        let expected = [
            format!("default {default}"),
            format!("/chat 200/minute, burst {chat}"),
            "/tools 400/minute, burst 5".to_owned(),
        ];
        let pro = format!("{LIMITS}tiers: {{ pro: {{ {numbers}, {own} }} }}\n");
        assert_eq!(of_pro(&pro), expected, "{numbers}");
    }
}
