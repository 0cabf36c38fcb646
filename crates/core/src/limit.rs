//! A limit: a named rule with its numbers and how it is enforced.

use std::{fmt, sync::Arc};

use crate::{bucket_id::LimitKey, rate::Rate};

/// A named rule: its numbers, and how it is enforced. Shared by every check that it takes part in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    name: Arc<str>,
    key: LimitKey,
    algorithm: Algorithm,
    mode: Mode,
    precision: Precision,
    on_store_failure: OnStoreFailure,
}

/// How a limit counts, with the numbers it counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Tokens that come back continuously, up to a burst.
    TokenBucket(Rate),
}

/// Whether a limit denies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It decides and denies.
    #[default]
    Enforce,
    /// It decides and is counted, and never denies: for trying a limit on live traffic.
    Shadow,
    /// It is not looked at.
    Off,
}

/// How exactly a fleet keeps a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Every decision is the store's.
    #[default]
    Exact,
    /// Replicas may take tokens in blocks ahead of need.
    Leased,
}

/// Who answers for a limit while the store cannot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnStoreFailure {
    /// A bucket in the process, with this replica's share of the limit.
    #[default]
    Local,
    /// Nobody: the request passes.
    Allow,
    /// Nobody: the request is denied.
    Deny,
    /// The caller: it gets an error, so that a proxy's own failure mode decides.
    Error,
}

/// Why a text does not name a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitNameError {
    /// Nothing was written.
    #[error("a limit's name cannot be empty")]
    Empty,
    /// More than [`Limit::MAX_NAME_BYTES`].
    #[error("a limit's name of {bytes} bytes is too long: at most {}", Limit::MAX_NAME_BYTES)]
    TooLong {
        /// The name's length.
        bytes: usize,
    },
    /// The name could not stand in a header, a label or a log line.
    #[error("`{name}` cannot name a limit: use printable ASCII without quotes and backslashes")]
    Unprintable {
        /// The name, escaped.
        name: String,
    },
}

impl Limit {
    /// The longest name, in bytes.
    pub const MAX_NAME_BYTES: usize = 200;

    /// An enforced, exact limit called `name`, which a local bucket stands in for while the store
    /// is away.
    ///
    /// # Errors
    /// When `name` is empty, too long, or not printable ASCII without quotes and backslashes (it
    /// stands in header fields as it is).
    pub fn new(name: &str, algorithm: Algorithm) -> Result<Self, LimitNameError> {
        if name.is_empty() {
            return Err(LimitNameError::Empty);
        }
        if name.len() > Self::MAX_NAME_BYTES {
            return Err(LimitNameError::TooLong { bytes: name.len() });
        }
        if !name.bytes().all(|b| (b == b' ' || b.is_ascii_graphic()) && b != b'"' && b != b'\\') {
            return Err(LimitNameError::Unprintable { name: name.escape_debug().to_string() });
        }
        Ok(Self {
            name: name.into(),
            key: LimitKey::of(name),
            algorithm,
            mode: Mode::default(),
            precision: Precision::default(),
            on_store_failure: OnStoreFailure::default(),
        })
    }

    /// The same limit in another mode.
    #[must_use]
    pub const fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The same limit with another precision.
    #[must_use]
    pub const fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// The same limit with another answer to a store's failure.
    #[must_use]
    pub const fn with_on_store_failure(mut self, on_store_failure: OnStoreFailure) -> Self {
        self.on_store_failure = on_store_failure;
        self
    }

    /// The same limit, and the same buckets, with other numbers: a tier's, or a share.
    #[must_use]
    pub fn with_algorithm(&self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self.clone() }
    }

    /// The limit's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The limit's name inside a bucket's key.
    #[must_use]
    pub const fn key(&self) -> LimitKey {
        self.key
    }

    /// How it counts.
    #[must_use]
    pub const fn algorithm(&self) -> &Algorithm {
        &self.algorithm
    }

    /// Whether it denies.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// How exactly the fleet keeps it.
    #[must_use]
    pub const fn precision(&self) -> Precision {
        self.precision
    }

    /// Who answers while the store cannot.
    #[must_use]
    pub const fn on_store_failure(&self) -> OnStoreFailure {
        self.on_store_failure
    }

    /// The numbers to count by.
    #[must_use]
    pub const fn rate(&self) -> &Rate {
        let Algorithm::TokenBucket(numbers) = &self.algorithm;
        numbers
    }

    /// Whether a lack of tokens denies the request.
    #[must_use]
    pub fn denies(&self) -> bool {
        self.mode == Mode::Enforce
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.rate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Result<Limit, LimitNameError> {
        Limit::new(
            name,
            Algorithm::TokenBucket(Rate::new("60/minute".parse().unwrap(), 10).unwrap()),
        )
    }

    #[test]
    fn a_name_can_stand_in_a_header_as_it_is() {
        assert_eq!(
            named("/api/v1/tools/execute").unwrap().to_string(),
            "/api/v1/tools/execute (60/minute, burst 10)"
        );
        assert_eq!(named(""), Err(LimitNameError::Empty));
        assert_eq!(named(&"x".repeat(201)), Err(LimitNameError::TooLong { bytes: 201 }));
        for name in ["a\"b", "a\\b", "a\nb", "ä"] {
            assert!(matches!(named(name), Err(LimitNameError::Unprintable { .. })), "{name}");
        }
    }
}
