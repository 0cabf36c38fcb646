//! Limits as a policy is written with them: a rate and how it is enforced, not yet named.

use crate::{
    algorithm::Algorithm,
    counts::Metering,
    limit::{Mode, OnStoreFailure, Precision},
    rate::Rate,
};

/// How a limit counts and how it is enforced; everything about a limit but its name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// How the limit counts.
    pub algorithm: Algorithm,
    /// Whether the limit denies.
    pub mode: Mode,
    /// How exactly the fleet keeps the limit.
    pub precision: Precision,
    /// What happens while the store cannot decide.
    pub on_store_failure: OnStoreFailure,
    /// How the limit meters what requests use; `None` for a limit that counts requests.
    pub metering: Option<Metering>,
}

impl Terms {
    /// Creates the terms of an enforced, exact limit, for which a local bucket decides while the
    /// store cannot.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            mode: Mode::default(),
            precision: Precision::default(),
            on_store_failure: OnStoreFailure::default(),
            metering: None,
        }
    }

    /// Sets whether the limit denies.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets how exactly the fleet keeps the limit.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Sets what happens while the store cannot decide.
    #[must_use]
    pub fn on_store_failure(mut self, on_store_failure: OnStoreFailure) -> Self {
        self.on_store_failure = on_store_failure;
        self
    }

    /// Makes it a limit that counts what requests use, or requests for `None`.
    #[must_use]
    pub fn metering(mut self, metering: Option<Metering>) -> Self {
        self.metering = metering;
        self
    }
}

impl From<Algorithm> for Terms {
    fn from(algorithm: Algorithm) -> Self {
        Self::new(algorithm)
    }
}

impl From<Rate> for Terms {
    fn from(rate: Rate) -> Self {
        Self::new(Algorithm::TokenBucket(rate))
    }
}

/// A limit per client, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitSpec {
    /// No limit.
    Off,
    /// This limit.
    Limit(Terms),
}

impl From<Terms> for LimitSpec {
    fn from(terms: Terms) -> Self {
        Self::Limit(terms)
    }
}

impl From<Rate> for LimitSpec {
    fn from(rate: Rate) -> Self {
        Self::Limit(rate.into())
    }
}

/// A limit per client for a path and everything below it. It is named after the path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    /// The path, in which `*`, `{name}` and `:name` stand for exactly one segment.
    pub path: String,
    /// The limit. With [`LimitSpec::Off`] the default limit does not apply to the path either.
    pub limit: LimitSpec,
}

impl Endpoint {
    /// Creates a limit for `path` and everything below it.
    #[must_use]
    pub fn new(path: impl Into<String>, limit: impl Into<LimitSpec>) -> Self {
        Self { path: path.into(), limit: limit.into() }
    }
}
