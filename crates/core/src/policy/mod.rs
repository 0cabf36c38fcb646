//! Decides which limits apply to a request.
//!
//! A policy is written as a [`PolicyBuilder`], which `compile` turns into a [`Policy`]. [`Policy`]
//! describes the kinds of limits. `endpoints` finds the pattern that covers a path; `path` and
//! `pattern` say how paths are written; `plan` holds the compiled limits of one tier.
//! `endpoint_patterns` and `folding` label the paths that no limit covers.

mod builder;
mod compile;
mod endpoint_patterns;
mod endpoints;
mod error;
mod explain;
mod folding;
mod limit_spec;
mod matching;
mod path;
mod pattern;
mod plan;
mod rule;
mod tier;
mod tier_limits;
mod warning;

pub use builder::PolicyBuilder;
pub use endpoint_patterns::EndpointPatterns;
pub use error::{LimitField, Location, PolicyError, PolicyErrorKind, PolicyErrors, TierField};
pub use explain::{ExplainedLimit, Explanation, LimitKind, Obstacle};
pub use folding::fold_ids;
pub use limit_spec::{Endpoint, LimitSpec, Terms};
pub use matching::{Matched, Policy};
pub use path::NormalPath;
pub use pattern::{PathPattern, PatternError};
pub use rule::{HeaderMatch, Per, Rule, RuleCost, When};
pub use tier::Tier;
pub use tier_limits::TierLimits;
pub use warning::{PolicyWarning, PolicyWarningKind};
