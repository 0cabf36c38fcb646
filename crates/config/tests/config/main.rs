//! The configuration as operators meet it: files, layers, and changes while running.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod fixtures;
mod layers;
mod mangled;
mod quotas;
mod reload;
mod rls;
mod show;
mod tiers;

use sluice_config::Settings;

/// Every limit that may apply, as `name (rate, burst)`, by its name.
fn limits(settings: &Settings) -> Vec<String> {
    let mut limits: Vec<String> =
        settings.policy.limits().iter().map(ToString::to_string).collect();
    limits.sort();
    limits
}

/// The default limit, or `off`.
fn default_limit(settings: &Settings) -> String {
    limits(settings)
        .into_iter()
        .find(|limit| limit.starts_with("default "))
        .unwrap_or_else(|| "off".to_owned())
}
