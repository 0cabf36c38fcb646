//! Envoy's rate limit service, version 3: one call for each request, with all descriptors that the
//! route produces for it.
//!
//! All descriptors of a call are decided together: when one of them denies the request, the others
//! lose no tokens. Each descriptor that matches a rule takes from a bucket of its own, identified
//! by all of its keys and values. `requests_per_unit` is the bucket's refill rate and its burst.
//!
//! | field of a call | meaning |
//! |---|---|
//! | `hits_addend` | tokens that each descriptor takes; 0, which is also the default, means 1 |
//! | `hits_addend` of a descriptor | the same for this descriptor; 0 only reads the state |
//! | the same, where the rule counts usage | is charged past zero: the usage has happened |
//! | `is_negative_hits` | gives tokens back, up to the burst, if the request is allowed |
//! | `limit` of a descriptor | replaces all rules, with its own buckets, in a configured domain |
//!
//! A descriptor that matches no rule is OK and has no `current_limit`. An `unlimited` rule is OK
//! with the largest `limit_remaining`. When the store cannot decide and the limits leave the
//! decision to the caller, the call fails with UNAVAILABLE, so that Envoy's `failure_mode_deny`
//! decides.
//!
//! The rules are those of [`sluice_config::rls`]. `POST /json` offers the same service as JSON.

mod call;
mod charged;
mod deadline;
mod dynamic_metadata;
mod error;
mod grpc;
pub mod json;
mod messages;
mod plan;
mod port;
mod reflection;
mod response;
mod rules;
mod service;
#[cfg(test)]
mod tests;
mod unary;

pub use self::{
    grpc::SHOULD_RATE_LIMIT,
    port::GrpcFrontEnds,
    rules::{ExplainedDescriptor, ExplainedRule, OtherRules, RuleEffect, RuleObstacle, explain},
    service::EnvoyRls,
};
