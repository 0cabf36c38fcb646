//! General limits: when they apply, what they are per, and what a request costs.

use crate::{cost::Cost, policy::limit_spec::Terms};

/// A general limit. It applies to every request that meets its conditions, together with all other
/// limits that apply.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rule {
    /// The limit's name. No other limit has it.
    pub name: String,
    /// The conditions under which the limit applies.
    pub when: When,
    /// What has a bucket of its own.
    pub per: Per,
    /// What a request costs.
    pub cost: RuleCost,
    /// How the limit counts and how it is enforced.
    pub terms: Terms,
}

impl Rule {
    /// Creates an enforced limit per client, which applies to every request.
    #[must_use]
    pub fn new(name: impl Into<String>, terms: impl Into<Terms>) -> Self {
        Self {
            name: name.into(),
            when: When::default(),
            per: Per::Client,
            cost: RuleCost::Request,
            terms: terms.into(),
        }
    }

    /// Sets the conditions under which the limit applies.
    #[must_use]
    pub fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    /// Sets what has a bucket of its own.
    #[must_use]
    pub fn per(mut self, per: Per) -> Self {
        self.per = per;
        self
    }

    /// Sets what a request costs.
    #[must_use]
    pub fn cost(mut self, cost: RuleCost) -> Self {
        self.cost = cost;
        self
    }
}

/// The conditions under which a general limit applies. A request has to meet all of them; an empty
/// list is met by every request.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct When {
    /// Patterns of which at least one matches the whole path. `*`, `{name}` and `:name` stand
    /// for one segment, `**` for any number of segments, also none.
    pub paths: Vec<String>,
    /// Methods of which the request has one.
    pub methods: Vec<String>,
    /// Headers that the request has, all of them.
    pub headers: Vec<HeaderMatch>,
    /// Tiers of which the client has one.
    pub tiers: Vec<String>,
}

impl When {
    /// Adds a pattern to those of which one has to match the path.
    #[must_use]
    pub fn path(mut self, pattern: impl Into<String>) -> Self {
        self.paths.push(pattern.into());
        self
    }

    /// Adds a method to those of which the request has to have one.
    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.methods.push(method.into());
        self
    }

    /// Adds a header that the request has to have.
    #[must_use]
    pub fn header(mut self, header: HeaderMatch) -> Self {
        self.headers.push(header);
        self
    }

    /// Adds a tier to those of which the client has to have one.
    #[must_use]
    pub fn tier(mut self, name: impl Into<String>) -> Self {
        self.tiers.push(name.into());
        self
    }
}

/// A header that a request must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The header's name.
    pub name: String,
    /// The values of which the header has one. An empty list accepts any value.
    pub values: Vec<String>,
}

/// What has a bucket of its own under a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Per {
    /// Every client.
    #[default]
    Client,
    /// Every network address; IPv6 addresses by prefix. The limit does not apply to a request whose
    /// address is unknown.
    Address,
    /// Every value of the header with this name. The limit does not apply to a request without the
    /// header. Where clients could avoid a limit that way, require the header, or add a limit per
    /// client.
    Header(String),
    /// Nothing: all requests share one bucket.
    Everyone,
}

/// What a request costs under a general limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum RuleCost {
    /// The request's own cost.
    #[default]
    Request,
    /// This cost, whatever the request's own is.
    Fixed(Cost),
    /// The number in the header with this name; without the header, the request's own cost.
    Header(String),
}
