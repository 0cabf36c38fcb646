//! What is wrong with a policy, and where.

use std::fmt;

use crate::{limit::LimitNameError, policy::pattern::PatternError, rate::RateError};

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
    /// The endpoint of this path, as written.
    Endpoint {
        /// The path.
        path: String,
    },
    /// A path that is not limited.
    Exempt {
        /// Its place in the list.
        index: usize,
    },
    /// A general limit.
    Limit {
        /// Its place in the list.
        index: usize,
        /// What of it.
        field: LimitField,
    },
    /// A tier.
    Tier {
        /// Its name.
        name: String,
        /// What of it.
        field: TierField,
    },
    /// How many bits of an IPv6 address name a client.
    Ipv6Prefix,
}

/// A part of a general limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitField {
    /// All of it.
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
    /// The limit that a part of a general limit belongs to; every other place as it is.
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
            Self::Unlimited => f.write_str(".unlimited"),
            Self::Defaults => f.write_str(".defaults"),
            Self::Endpoint(path) => write!(f, ".endpoints.{path}"),
            Self::Client(index) => write!(f, ".clients[{index}]"),
        }
    }
}

/// What is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyErrorKind {
    /// Two limits share a name.
    #[error("`{name}` is already taken by {first}")]
    DuplicateName {
        /// The name.
        name: String,
        /// Who has it.
        first: Location,
    },
    /// Two limits' names become the same key in the store.
    #[error(
        "`{name}` and `{other}` ({first}) would share their buckets in the store: rename one of them"
    )]
    CollidingKeys {
        /// The name.
        name: String,
        /// The other's name.
        other: String,
        /// Where the other is.
        first: Location,
    },
    /// What names no limit.
    #[error(transparent)]
    Name(#[from] LimitNameError),
    /// What is no pattern of paths.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Two endpoints cover the same paths.
    #[error("covers the same paths as `{first}`: keep one of them")]
    DuplicatePath {
        /// The other, as written.
        first: String,
    },
    /// No tier has that name.
    #[error("there is no tier `{name}`: {}", known_tiers(known))]
    UnknownTier {
        /// The name.
        name: String,
        /// The tiers that there are.
        known: Vec<String>,
    },
    /// Two tiers share a name.
    #[error("there are two tiers of this name")]
    DuplicateTier,
    /// A tier without a name.
    #[error("a tier's name cannot be empty")]
    EmptyTierName,
    /// A client has two tiers.
    #[error("this client is already listed at {first}: a client has one tier")]
    DuplicateClient {
        /// Where.
        first: Location,
    },
    /// A client that no request could come from.
    #[error("a client's key has from 1 to {} bytes", crate::MAX_CLIENT_BYTES)]
    ClientKey,
    /// A tier that multiplies by nothing.
    #[error(
        "a tier multiplies by at least 1: it can take away limits with `unlimited`, and has numbers of its own for less"
    )]
    MultiplyByZero,
    /// A limit whose numbers a tier cannot multiply.
    #[error("limit `{limit}` cannot be multiplied by {factor}: {source}")]
    Multiply {
        /// The limit.
        limit: String,
        /// The factor.
        factor: u64,
        /// Why not.
        source: RateError,
    },
    /// A tier without limits that has numbers.
    #[error(
        "a tier that is `unlimited` has no limits per client to multiply or to replace: remove one or the other"
    )]
    UnlimitedWithNumbers,
    /// What names no header.
    #[error("`{name}` names no header: letters, digits and `-`, as in `x-org`")]
    HeaderName {
        /// What was written.
        name: String,
    },
    /// What is no method.
    #[error("`{method}` is no method: letters, as in `GET`")]
    Method {
        /// What was written.
        method: String,
    },
    /// A cost that no bucket of the limit ever holds.
    #[error(
        "a cost of {cost} is above the burst of {burst}, so every request would be denied: raise the burst or lower the cost"
    )]
    CostAboveBurst {
        /// The cost.
        cost: u64,
        /// The burst.
        burst: u64,
    },
    /// A prefix longer than an address.
    #[error("a prefix of {bits} bits is not possible: from 1 to 128")]
    Ipv6Prefix {
        /// What was written.
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
