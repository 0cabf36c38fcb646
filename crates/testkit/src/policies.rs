//! Policies for tests.

use sluice_core::{Policy, PolicyBuilder, Rate};

/// Builds the policy of the project's document: 60 requests per minute with a burst of 10 for each
/// client, other rates for four endpoints, and no limit for health, metrics and monitoring.
///
/// # Panics
/// Never: the policy is valid.
#[must_use]
pub fn document() -> Policy {
    document_builder().build().unwrap_or_else(|errors| panic!("{errors}"))
}

/// Writes the policy that [`document`] builds.
///
/// # Panics
/// Never: the rates are possible.
#[must_use]
pub fn document_builder() -> PolicyBuilder {
    Policy::builder()
        .default_limit(per_minute(60))
        .endpoint("/api/v1/conversation/chat-stream", per_minute(20))
        .endpoint("/api/v1/blueprints/generate-blueprint", per_minute(30))
        .endpoint("/api/v1/tools/execute", per_minute(40))
        .endpoint("/api/v1/blueprints", per_minute(100))
        .exempt("/health")
        .exempt("/metrics")
        .exempt("/monitoring")
}

fn per_minute(tokens: u64) -> Rate {
    let rate = Rate::per_minute(tokens).and_then(|rate| rate.with_burst(10));
    rate.unwrap_or_else(|error| panic!("{error}"))
}
