//! A policy as it is written down, before it is compiled.

use crate::{
    bucket_id::Tagger,
    limit::Algorithm,
    policy::{
        Policy, compile,
        error::PolicyError,
        rule::{Rule, Terms},
        tier::Tier,
    },
    rate::Rate,
    refill_rate::RefillRate,
};

/// A policy as it is written down; [`PolicyBuilder::build`] compiles it.
#[derive(Clone, Debug)]
pub struct PolicyBuilder {
    /// The limit, per client, of requests that no other limit denies; all of them share one bucket.
    pub defaults: LimitSpec,
    /// Limits per client and path, which replace the default there.
    pub endpoints: Vec<Endpoint>,
    /// Paths that are never limited, with everything below them.
    pub exempt: Vec<String>,
    /// Named plans.
    pub tiers: Vec<Tier>,
    /// General limits: all that match apply together, beside the endpoint's.
    pub limits: Vec<Rule>,
    /// Makes clients unreadable.
    pub tagger: Tagger,
    /// The leading bits of an IPv6 address that name a client; 64 unless said otherwise, since a
    /// subscriber has at least that many to choose from.
    pub ipv6_prefix: u8,
}

/// A limit per client, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitSpec {
    /// No limit.
    Off,
    /// This limit.
    Limit(Terms),
}

impl LimitSpec {
    /// An enforced limit of these numbers.
    #[must_use]
    pub fn limit(numbers: Rate) -> Self {
        Self::Limit(Terms::new(Algorithm::TokenBucket(numbers)))
    }
}

/// A limit per client for a path and everything below it, named after the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The path, in which `*` stands for exactly one segment.
    pub path: String,
    /// Its limit; `Off` also keeps the default away.
    pub limit: LimitSpec,
}

impl PolicyBuilder {
    /// A policy that limits nothing yet, with the well-known secret.
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

    /// Compiles the policy.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of its parts.
    pub fn build(self) -> Result<Policy, Vec<PolicyError>> {
        compile::compile(&self)
    }
}

/// Burst of the built-in limits.
const BURST: u64 = 10;

/// Requests per minute of the built-in endpoints.
const ENDPOINTS: [(&str, u64); 4] = [
    ("/api/v1/conversation/chat-stream", 20),
    ("/api/v1/blueprints/generate-blueprint", 30),
    ("/api/v1/tools/execute", 40),
    ("/api/v1/blueprints", 100),
];

impl Default for PolicyBuilder {
    /// 60 requests a minute and bursts of 10 per client, tighter or wider for four endpoints,
    /// nothing for health, metrics and monitoring.
    fn default() -> Self {
        let endpoint = |(path, per_minute): (&str, u64)| Endpoint {
            path: path.to_owned(),
            limit: built_in(per_minute),
        };
        Self {
            defaults: built_in(60),
            endpoints: ENDPOINTS.into_iter().map(endpoint).collect(),
            exempt: ["/health", "/metrics", "/monitoring"].map(str::to_owned).into(),
            ..Self::unlimited()
        }
    }
}

fn built_in(per_minute: u64) -> LimitSpec {
    let rate =
        RefillRate::per_minute(per_minute).expect("the built-in rates are neither zero nor huge");
    LimitSpec::limit(Rate::new(rate, BURST).expect("ten tokens come back within minutes"))
}
