//! The types of a policy: limits, rates, and the errors of invalid ones.
//!
//! The most common ones are also at the top of the crate.

#[doc(inline)]
pub use sluice_core::{
    Algorithm, AlgorithmError, AtMost, AtMostError, Calendar, CalendarError, CalendarUnit,
    Concurrent, ConcurrentError, Endpoint, EndpointPatterns, ExplainedLimit, Explanation,
    HeaderMatch, Limit, LimitField, LimitKind, LimitNameError, LimitSpec, Location, Mode,
    NormalPath, Obstacle, OnLost, OnStoreFailure, PatternError, Per, Policy, PolicyBuilder,
    PolicyError, PolicyErrorKind, PolicyErrors, Precision, Quota, QuotaError, Rate, RateError,
    Refill, RefillRate, RefillRateError, Rule, RuleCost, Tagger, Terms, Tier, TierField,
    TierLimits, When,
};
