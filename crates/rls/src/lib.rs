//! Envoy's rate limit service, version 3: one call for each request, with every descriptor that its
//! route makes of it.
//!
//! All descriptors of a call are decided together: a request that one of them denies takes nothing
//! from the others. Each descriptor that leads to a rule takes from a bucket of its own, which all
//! of its keys and values name; `requests_per_unit` is the bucket's rate and its burst.
//!
//! | of a call | |
//! |---|---|
//! | `hits_addend` | tokens that each descriptor takes; 0, which is also what is sent when it is left out, is 1 |
//! | `hits_addend` of a descriptor | the same for it alone; here 0 looks and takes nothing |
//! | `is_negative_hits` | gives tokens back, up to the burst, if the request passes |
//! | `limit` of a descriptor | counts in place of any rule, with buckets of its own; the domain must be one of the files |
//!
//! A descriptor that leads to no rule is OK and has no `current_limit`; `unlimited` is OK with the
//! largest `limit_remaining`. When the store cannot decide and the limits leave the answer to the
//! caller, the call is UNAVAILABLE, so that Envoy's `failure_mode_deny` decides.
//!
//! The rules are those of [`sluice_config::rls`]. `POST /json` asks the same service
//! in JSON.

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

pub use self::{grpc::SHOULD_RATE_LIMIT, port::GrpcFrontEnds, service::EnvoyRls};
