//! What becomes of estimates that nobody settles.

use std::time::Duration;

use sluice_config::Loader;
use sluice_core::Algorithm;

/// Returns after what time the only limit releases what is not settled.
fn released_after(terms: &str) -> Option<Duration> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sluice.yaml");
    let limit = format!("{{ name: budget, quota: 500/month, {terms} }}");
    std::fs::write(&path, format!("defaults: off\nendpoints: {{}}\nlimits: [{limit}]\n")).unwrap();
    let settings = Loader::new().file(path).load().unwrap_or_else(|errors| panic!("{errors}"));
    let [limit] = settings.policy.limits() else { panic!("{terms}: one limit") };
    match limit.algorithm() {
        Algorithm::Quota(quota) => quota.releases_after(),
        other => panic!("{other:?} is no quota"),
    }
}

#[test]
fn a_quota_releases_after_the_time_of_its_holds_and_only_if_that_is_written() {
    for (terms, expected) in [
        ("counts: cost, hold_for: 90s", None),
        ("counts: cost, hold_for: 90s, unsettled: charge", None),
        ("counts: cost, hold_for: 90s, unsettled: release", Some(90)),
        ("counts: total_tokens, hold_for: 1day, unsettled: release", Some(86_400)),
        ("counts: cost, unsettled: release", Some(300)),
    ] {
        assert_eq!(released_after(terms), expected.map(Duration::from_secs), "{terms}");
    }
}
