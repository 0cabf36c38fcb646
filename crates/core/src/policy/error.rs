//! Errors in a policy, each with its place.

use std::fmt;

use crate::{
    algorithm::AlgorithmError, limit::LimitNameError, policy::pattern::PatternError,
    rate::RateError,
};

/// One error in a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {kind}")]
pub struct PolicyError {
    /// Where the error is.
    pub at: Location,
    /// What is wrong there.
    pub kind: PolicyErrorKind,
}

/// All errors in a policy; there is at least one. Displayed, each error is on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyErrors(Vec<PolicyError>);

impl PolicyErrors {
    pub(super) fn none_or(errors: Vec<PolicyError>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// Iterates over the errors.
    pub fn iter(&self) -> std::slice::Iter<'_, PolicyError> {
        self.0.iter()
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyErrors {}

impl IntoIterator for PolicyErrors {
    type Item = PolicyError;
    type IntoIter = std::vec::IntoIter<PolicyError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'e> IntoIterator for &'e PolicyErrors {
    type Item = &'e PolicyError;
    type IntoIter = std::slice::Iter<'e, PolicyError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A place in a policy, written as a path into its configuration: `limits[3].name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Location {
    /// The default limit.
    Defaults,
    /// The endpoint with this path, as written.
    Endpoint {
        /// The path.
        path: String,
    },
    /// An exempt path.
    Exempt {
        /// Its index in the list.
        index: usize,
    },
    /// A general limit.
    Limit {
        /// Its index in the list.
        index: usize,
        /// The part of the limit.
        field: LimitField,
    },
    /// A tier.
    Tier {
        /// Its name.
        name: String,
        /// The part of the tier.
        field: TierField,
    },
    /// How many bits of an IPv6 address identify a client.
    Ipv6Prefix,
}

/// A part of a general limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitField {
    /// The whole limit.
    Whole,
    /// [`Rule::name`](crate::Rule::name)
    Name,
    /// An entry of [`When::paths`](crate::When::paths)
    Path(usize),
    /// An entry of [`When::methods`](crate::When::methods)
    Method(usize),
    /// An entry of [`When::headers`](crate::When::headers)
    Header(usize),
    /// An entry of [`When::tiers`](crate::When::tiers)
    Tier(usize),
    /// [`Rule::per`](crate::Rule::per)
    Per,
    /// [`Rule::cost`](crate::Rule::cost)
    Cost,
}

/// A part of a tier.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TierField {
    /// [`Tier::name`](crate::Tier::name)
    Name,
    /// [`Tier::multiply`](crate::Tier::multiply)
    Multiply,
    /// [`Tier::burst`](crate::Tier::burst)
    Burst,
    /// [`Tier::unlimited`](crate::Tier::unlimited)
    Unlimited,
    /// [`Tier::defaults`](crate::Tier::defaults)
    Defaults,
    /// The entry of [`Tier::endpoints`](crate::Tier::endpoints) with this path, as written.
    Endpoint(String),
    /// An entry of [`Tier::clients`](crate::Tier::clients)
    Client(usize),
}

impl Location {
    /// Returns the whole general limit for a part of one, and every other place unchanged.
    pub(super) fn whole(self) -> Self {
        match self {
            Self::Limit { index, .. } => Self::Limit { index, field: LimitField::Whole },
            other => other,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("defaults"),
            Self::Endpoint { path } => write!(f, "endpoints.{path}"),
            Self::Exempt { index } => write!(f, "exempt[{index}]"),
            Self::Limit { index, field } => write!(f, "limits[{index}]{field}"),
            Self::Tier { name, field } => write!(f, "tiers.{name}{field}"),
            Self::Ipv6Prefix => f.write_str("clients.ipv6_prefix"),
        }
    }
}

impl fmt::Display for LimitField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Name => f.write_str(".name"),
            Self::Path(index) => write!(f, ".when.path[{index}]"),
            Self::Method(index) => write!(f, ".when.method[{index}]"),
            Self::Header(index) => write!(f, ".when.header[{index}]"),
            Self::Tier(index) => write!(f, ".when.tier[{index}]"),
            Self::Per => f.write_str(".per"),
            Self::Cost => f.write_str(".cost"),
        }
    }
}

impl fmt::Display for TierField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => Ok(()),
            Self::Multiply => f.write_str(".multiply"),
            Self::Burst => f.write_str(".burst"),
            Self::Unlimited => f.write_str(".unlimited"),
            Self::Defaults => f.write_str(".defaults"),
            Self::Endpoint(path) => write!(f, ".endpoints.{path}"),
            Self::Client(index) => write!(f, ".clients[{index}]"),
        }
    }
}

/// What is wrong with a part of a policy. Its text says how to correct it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyErrorKind {
    /// Two limits share a name.
    #[error("`{name}` is already taken by {first}")]
    DuplicateName {
        /// The name.
        name: String,
        /// The limit that has the name.
        first: Location,
    },
    /// Two limits' names have the same key in the store.
    #[error(
        "`{name}` and `{other}` ({first}) would share their buckets in the store: rename one of \
         them"
    )]
    CollidingKeys {
        /// The name.
        name: String,
        /// The other limit's name.
        other: String,
        /// The place of the other limit.
        first: Location,
    },
    /// A text cannot be the name of a limit.
    #[error(transparent)]
    Name(#[from] LimitNameError),
    /// A text is not a path pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Two endpoints cover the same paths.
    #[error("covers the same paths as `{first}`: keep one of them")]
    DuplicatePath {
        /// The other endpoint's path, as written.
        first: String,
    },
    /// A condition names a tier that does not exist.
    #[error("there is no tier `{name}`: {}", known_tiers(known))]
    UnknownTier {
        /// The name.
        name: String,
        /// The names of the tiers.
        known: Vec<String>,
    },
    /// Two tiers share a name.
    #[error("there are two tiers with this name")]
    DuplicateTier,
    /// A tier's name is empty.
    #[error("a tier's name cannot be empty")]
    EmptyTierName,
    /// A client has two tiers.
    #[error("this client is already listed at {first}: a client can have only one tier")]
    DuplicateClient {
        /// The place of the client in the first tier.
        first: Location,
    },
    /// A client's key is empty or too long.
    #[error("a client's key has from 1 to {} bytes", crate::MAX_CLIENT_BYTES)]
    ClientKey,
    /// A tier's factor is zero.
    #[error(
        "a tier multiplies by at least 1: write `unlimited: true` to remove its limits, or give it \
         a \
         lower rate of its own"
    )]
    MultiplyByZero,
    /// A tier's factor makes the rate of a limit impossible.
    #[error("limit `{limit}` cannot be multiplied by {factor}: {source}")]
    Multiply {
        /// The limit's name.
        limit: String,
        /// The factor.
        factor: u64,
        /// Why the product is not possible.
        source: AlgorithmError,
    },
    /// A tier's burst does not go together with the rate of a limit.
    #[error("limit `{limit}` cannot have a burst of {burst}: {source}")]
    TierBurst {
        /// The limit's name.
        limit: String,
        /// The burst.
        burst: u64,
        /// Why the rate and the burst are not possible.
        source: RateError,
    },
    /// A tier is unlimited and has limits of its own.
    #[error(
        "an `unlimited` tier has no limits per client to multiply or replace: remove `unlimited` \
         or \
         the other keys"
    )]
    UnlimitedWithNumbers,
    /// A text is not the name of a header.
    #[error("`{name}` is not a header name: use letters, digits and `-`, as in `x-org`")]
    HeaderName {
        /// The text.
        name: String,
    },
    /// A text is not a method.
    #[error("`{method}` is not a method: use letters, as in `GET`")]
    Method {
        /// The text.
        method: String,
    },
    /// A limit's fixed cost is more than its bucket ever holds.
    #[error(
        "a cost of {cost} is above the burst of {burst}, so every request would be denied: raise \
         the burst or lower the cost"
    )]
    CostAboveBurst {
        /// The cost.
        cost: u64,
        /// The burst.
        burst: u64,
    },
    /// A limit's fixed cost is more than the limit, which has no burst, ever admits.
    #[error(
        "a cost of {cost} is above {capacity}, which the limit admits at most, so that every \
         request would be denied: raise the limit or lower the cost"
    )]
    CostAboveCapacity {
        /// The cost.
        cost: u64,
        /// The quota, the tokens of a period, or the slots.
        capacity: u64,
    },
    /// A limit that counts what requests use says what a request costs.
    #[error(
        "a limit that `counts` tokens or money has no `cost`: what a request uses is its cost. \
         Remove one of the two"
    )]
    CostOfUsage,
    /// A prefix of IPv6 addresses is zero or longer than an address.
    #[error("a prefix of {bits} bits is not possible: use 1 to 128")]
    Ipv6Prefix {
        /// The prefix.
        bits: u8,
    },
}

fn known_tiers(known: &[String]) -> String {
    if known.is_empty() {
        "no tiers are defined".to_owned()
    } else {
        format!("use one of {}", known.join(", "))
    }
}
