//! The rules of Envoy's rate limit service, as their files hold them. Every value is valid.

use serde_json::{Map, Value};
use sluice_core::Precision;

/// The rules of Envoy's rate limit service.
#[derive(Clone, Debug, PartialEq)]
pub struct RlsSettings {
    /// Every domain of every file.
    pub domains: Vec<Domain>,
    /// Whether responses carry the header fields about the client's limits.
    pub response_headers: bool,
    /// How exactly a fleet keeps the limits.
    pub precision: Precision,
}

/// A domain with its descriptors.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    /// Its name, by which requests ask for it.
    pub name: String,
    /// The descriptors at its top.
    pub descriptors: Vec<Descriptor>,
    /// What happens to usage that does not fit into the buckets of limits that requests bring.
    pub overrun: Overrun,
}

/// What happens to the hits that a descriptor names itself, when they do not fit into its bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overrun {
    /// [`Debt`](Self::Debt) if the rule is also asked with 0 hits, else [`None`](Self::None).
    #[default]
    Auto,
    /// They are charged past zero: the rule counts usage that is known only afterwards.
    Debt,
    /// Nothing is taken: the hits are the cost of a request that may be tried again.
    None,
}

impl RlsSettings {
    /// How many rules all domains have.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.domains.iter().map(Domain::rules).sum()
    }
}

impl Domain {
    /// How many rules the domain has: descriptors with a `rate_limit`.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.descriptors.iter().map(Descriptor::rules).sum()
    }
}

/// One descriptor of a file: what an entry of a request must be, and what follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    /// The entry's key.
    pub key: String,
    /// The entry's value, in which each `*` matches any text; `None` for any value.
    pub value: Option<String>,
    /// The limit of requests that end here; `None` leaves them alone.
    pub limit: Option<Limit>,
    /// Whether the limit decides without ever denying.
    pub shadow_mode: bool,
    /// Whether the limit only denies together with every other limit of this kind that a request
    /// asks for.
    pub quota_mode: bool,
    /// Whether metrics name every value of the request.
    pub detailed_metric: bool,
    /// Whether metrics name the entry's value.
    pub value_to_metric: bool,
    /// Whether all values that the `*` matches share one bucket.
    pub share_threshold: bool,
    /// What the response to an allowed request carries beside the decision.
    pub metadata: Map<String, Value>,
    /// What the next entry must be.
    pub descriptors: Vec<Descriptor>,
}

/// A descriptor's `rate_limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name; empty when it has none.
    pub name: String,
    /// The names of limits that do not count where this one does.
    pub replaces: Vec<String>,
    /// How much passes.
    pub allowance: Allowance,
    /// What happens to usage that does not fit.
    pub overrun: Overrun,
}

impl Descriptor {
    /// How many rules are at and below the descriptor: those with a `rate_limit`.
    #[must_use]
    pub fn rules(&self) -> usize {
        let below: usize = self.descriptors.iter().map(Self::rules).sum();
        usize::from(self.limit.is_some()) + below
    }

    /// The descriptor's path below `parent`, which is the domain or another path. Metrics call
    /// rules by their paths.
    #[must_use]
    pub fn path(&self, parent: &str) -> String {
        match &self.value {
            Some(value) => format!("{parent}.{}_{value}", self.key),
            None => format!("{parent}.{}", self.key),
        }
    }
}

/// How much a limit lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// Everything.
    Unlimited,
    /// So many requests a unit of time; 0 is nothing at all.
    PerUnit {
        /// How many.
        requests: u32,
        /// In what time.
        unit: Unit,
    },
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// 30 days.
    Month,
    /// 365 days.
    Year,
}

impl Unit {
    /// Every unit, the shortest first.
    pub const ALL: [Self; 7] =
        [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// The word for it in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// Its length in seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        const DAY: u64 = 24 * 60 * 60;
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => DAY,
            Self::Week => 7 * DAY,
            Self::Month => 30 * DAY,
            Self::Year => 365 * DAY,
        }
    }
}
