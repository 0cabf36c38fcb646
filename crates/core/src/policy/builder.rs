//! A policy as it is written, before it is compiled.

use crate::{
    bucket_id::Tagger,
    policy::{
        limit_spec::{Endpoint, LimitSpec},
        rule::Rule,
        tier::Tier,
    },
};

/// A policy as it is written. [`PolicyBuilder::build`] compiles it.
///
/// [`Policy`](crate::Policy) describes the parts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PolicyBuilder {
    /// The limit per client of requests for which no endpoint and no enforced general limit
    /// applies. A client has one bucket for all of them.
    pub defaults: LimitSpec,
    /// Limits per client and path. Each replaces the default limit there.
    pub endpoints: Vec<Endpoint>,
    /// Paths that are never limited, with everything below them.
    pub exempt: Vec<String>,
    /// Named plans.
    pub tiers: Vec<Tier>,
    /// General limits. All that match apply together, and beside the endpoint's.
    pub limits: Vec<Rule>,
    /// Hashes clients, so that keys in a store reveal none of them.
    pub tagger: Tagger,
    /// How many leading bits of an IPv6 address identify a client. 64 by default, because a
    /// subscriber usually has at least the other 64 bits to choose from.
    pub ipv6_prefix: u8,
}

impl PolicyBuilder {
    /// Creates a policy that limits nothing yet, with the well-known secret.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            defaults: LimitSpec::Off,
            endpoints: Vec::new(),
            exempt: Vec::new(),
            tiers: Vec::new(),
            limits: Vec::new(),
            tagger: Tagger::new(b""),
            ipv6_prefix: 64,
        }
    }

    /// Sets the limit per client of requests for which no other enforced limit applies.
    #[must_use]
    pub fn default_limit(mut self, limit: impl Into<LimitSpec>) -> Self {
        self.defaults = limit.into();
        self
    }

    /// Adds a limit per client for `path` and everything below it, in place of the default limit.
    #[must_use]
    pub fn endpoint(mut self, path: impl Into<String>, limit: impl Into<LimitSpec>) -> Self {
        self.endpoints.push(Endpoint::new(path, limit));
        self
    }

    /// Never limits `path` and everything below it.
    #[must_use]
    pub fn exempt(mut self, path: impl Into<String>) -> Self {
        self.exempt.push(path.into());
        self
    }

    /// Adds a named plan.
    #[must_use]
    pub fn tier(mut self, tier: Tier) -> Self {
        self.tiers.push(tier);
        self
    }

    /// Adds a general limit.
    #[must_use]
    pub fn limit(mut self, rule: Rule) -> Self {
        self.limits.push(rule);
        self
    }

    /// Sets what hashes clients. Replicas that share buckets need the same secret.
    #[must_use]
    pub fn tagger(mut self, tagger: Tagger) -> Self {
        self.tagger = tagger;
        self
    }

    /// Sets how many leading bits of an IPv6 address identify a client, from 1 to 128.
    #[must_use]
    pub const fn ipv6_prefix(mut self, bits: u8) -> Self {
        self.ipv6_prefix = bits;
        self
    }
}
