//! What in a policy can have no effect, and is probably not meant.

use std::fmt;

use crate::policy::error::Location;

/// A part of a policy that can have no effect, or another one than it seems.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyWarning {
    /// Where the part is.
    pub at: Location,
    /// Why it has no effect, and what would have one.
    pub kind: PolicyWarningKind,
}

/// Why a part of a policy has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyWarningKind {
    /// A limit is for paths that are exempt.
    PathExempt {
        /// The exempt path that covers them, as written.
        exempt: String,
    },
    /// A path is exempt already.
    ExemptAlready {
        /// The exempt path that covers it, as written.
        by: String,
    },
    /// Every path is exempt.
    AllExempt,
    /// A pattern contains `.` or `..`.
    Dots {
        /// The pattern without them.
        meaning: String,
    },
    /// A tier changes no limit.
    TierChangesNothing,
    /// The default limit never applies.
    DefaultReplaced {
        /// The limit that applies in its place to every request.
        by: String,
    },
    /// A limit takes no tokens.
    CostsNothing,
    /// A limit per client is for tiers that have no limits per client.
    TiersUnlimited,
}

impl fmt::Display for PolicyWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.kind)
    }
}

impl fmt::Display for PolicyWarningKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PathExempt { exempt } => write!(
                f,
                "has no effect: `{exempt}` is exempt, with everything below it. Remove one of them"
            ),
            Self::ExemptAlready { by } => {
                write!(f, "has no effect: `{by}` is exempt, with everything below it")
            }
            Self::AllExempt => f.write_str("every path is exempt, so that no limit applies"),
            Self::Dots { meaning } => write!(f, "means `{meaning}`: write that"),
            Self::TierChangesNothing => f.write_str(
                "changes nothing: write `multiply`, `unlimited`, limits of its own, or a limit for \
                 it (`when: { tier: ... }`)",
            ),
            Self::DefaultReplaced { by } => {
                write!(f, "has no effect: `{by}` applies to every request in its place")
            }
            Self::CostsNothing => {
                f.write_str("a cost of 0 takes nothing, so that the limit denies nothing")
            }
            Self::TiersUnlimited => f.write_str(
                "has no effect: these tiers are `unlimited`, and so have no limits per client",
            ),
        }
    }
}
