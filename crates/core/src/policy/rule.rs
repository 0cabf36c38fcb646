//! General limits: when they apply, what they are per, and what a request costs.

use crate::{
    cost::Cost,
    limit::{Algorithm, Mode, OnStoreFailure, Precision},
};

/// How a limit counts and is enforced, whatever it is called and whatever it is per.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How it counts.
    pub algorithm: Algorithm,
    /// Whether it denies.
    pub mode: Mode,
    /// How exactly the fleet keeps it.
    pub precision: Precision,
    /// Who answers while the store cannot.
    pub on_store_failure: OnStoreFailure,
}

impl Terms {
    /// Enforced, exact, and stood in for by a local bucket while the store is away.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            mode: Mode::default(),
            precision: Precision::default(),
            on_store_failure: OnStoreFailure::default(),
        }
    }
}

/// A general limit: applies to every request that `when` describes, together with all others that
/// do.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, unlike any other limit's.
    pub name: String,
    /// The requests it applies to.
    pub when: When,
    /// What has a bucket of its own.
    pub per: Per,
    /// What a request takes.
    pub cost: RuleCost,
    /// How it counts and is enforced.
    pub terms: Terms,
}

impl Rule {
    /// An enforced limit per client for every request.
    #[must_use]
    pub fn new(name: impl Into<String>, algorithm: Algorithm) -> Self {
        Self {
            name: name.into(),
            when: When::default(),
            per: Per::Client,
            cost: RuleCost::Request,
            terms: Terms::new(algorithm),
        }
    }
}

/// The requests that a general limit applies to: those that every list fits, where an empty list
/// fits all.
#[derive(Clone, Debug, Default)]
pub struct When {
    /// Patterns of which one matches the whole path: `*` stands for one segment, `**` for any
    /// number, also none.
    pub paths: Vec<String>,
    /// Methods of which it has one.
    pub methods: Vec<String>,
    /// Headers that it has, all of them.
    pub headers: Vec<HeaderMatch>,
    /// Tiers of which the client has one.
    pub tiers: Vec<String>,
}

/// A header that a request must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The header's name.
    pub name: String,
    /// Values of which it has one; none, where any will do.
    pub values: Vec<String>,
}

/// What has a bucket of its own under a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Per {
    /// Every client.
    #[default]
    Client,
    /// Every network address, IPv6 by prefix. The limit does not apply to a request whose address
    /// is unknown.
    Address,
    /// Every value of the header of this name. The limit does not apply to a request without it:
    /// where that would be a way around, ask for the header in front, or add a limit per client.
    Header(String),
    /// Nothing: all share one bucket.
    Everyone,
}

/// What a request takes of a general limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum RuleCost {
    /// The request's own cost.
    #[default]
    Request,
    /// This much, whatever the request's own cost.
    Fixed(Cost),
    /// What the header of this name says; without it, the request's own cost.
    Header(String),
}
