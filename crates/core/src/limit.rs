//! A limit: a named rule with its rate, and how it is enforced.

use std::{fmt, sync::Arc};

use crate::{
    algorithm::Algorithm,
    bucket_id::LimitKey,
    counts::{Counts, Metering},
    money::MicroUnits,
    rate::Rate,
};

/// A named rule: its rate, and how it is enforced. All checks under a limit share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    name: Arc<str>,
    key: LimitKey,
    algorithm: Algorithm,
    mode: Mode,
    precision: Precision,
    on_store_failure: OnStoreFailure,
    metering: Option<Metering>,
}

/// Whether a limit denies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It denies requests.
    #[default]
    Enforce,
    /// It is checked and counted but never denies, to try a limit on live traffic.
    Shadow,
    /// It does not apply.
    Off,
}

/// How exactly a fleet of replicas keeps a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// The store makes every decision.
    #[default]
    Exact,
    /// Replicas may take tokens in blocks before they need them.
    Leased,
}

/// What happens to requests under a limit while the store cannot decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnStoreFailure {
    /// A bucket in this process decides, with this replica's share of the limit.
    #[default]
    Local,
    /// The limit admits the request.
    Allow,
    /// The limit denies the request.
    Deny,
    /// The caller gets an error, so that a proxy's own failure mode decides.
    Error,
}

/// The reason why a text cannot be the name of a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitNameError {
    /// The name is empty.
    #[error("a limit's name cannot be empty")]
    Empty,
    /// The name is longer than [`Limit::MAX_NAME_BYTES`].
    #[error("a limit's name of {bytes} bytes is too long: at most {}", Limit::MAX_NAME_BYTES)]
    TooLong {
        /// The name's length.
        bytes: usize,
    },
    /// The name contains characters that cannot be in a header, a label or a log line.
    #[error("`{name}` cannot name a limit: use printable ASCII without quotes and backslashes")]
    Unprintable {
        /// The name, escaped.
        name: String,
    },
}

impl Limit {
    /// The greatest length of a name, in bytes.
    pub const MAX_NAME_BYTES: usize = 200;

    /// Creates an enforced, exact limit, for which a local bucket decides while the store cannot.
    ///
    /// # Errors
    /// When `name` is empty, too long, or not printable ASCII without quotes and backslashes: it is
    /// written unchanged into header fields.
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
            key: key_of(name, &algorithm),
            algorithm,
            mode: Mode::default(),
            precision: Precision::default(),
            on_store_failure: OnStoreFailure::default(),
            metering: None,
        })
    }

    /// Returns the limit in another mode.
    #[must_use]
    pub const fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Returns the limit with another precision.
    #[must_use]
    pub const fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Returns the limit with another behaviour while the store cannot decide.
    #[must_use]
    pub const fn with_on_store_failure(mut self, on_store_failure: OnStoreFailure) -> Self {
        self.on_store_failure = on_store_failure;
        self
    }

    /// Returns the limit as one that counts what requests use, or requests for `None`.
    #[must_use]
    pub const fn with_metering(mut self, metering: Option<Metering>) -> Self {
        self.metering = metering;
        self
    }

    /// Returns the limit with other numbers, for a tier or a share. It has the same name, and the
    /// same buckets if it is the same algorithm.
    #[must_use]
    pub fn with_algorithm(&self, algorithm: Algorithm) -> Self {
        Self { key: key_of(&self.name, &algorithm), algorithm, ..self.clone() }
    }

    /// Returns the limit's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the limit's short name, for the keys of its buckets.
    #[must_use]
    pub const fn key(&self) -> LimitKey {
        self.key
    }

    /// Returns how the limit counts.
    #[must_use]
    pub const fn algorithm(&self) -> &Algorithm {
        &self.algorithm
    }

    /// Returns whether the limit is enforced.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns how exactly the fleet keeps the limit.
    #[must_use]
    pub const fn precision(&self) -> Precision {
        self.precision
    }

    /// Returns what happens while the store cannot decide.
    #[must_use]
    pub const fn on_store_failure(&self) -> OnStoreFailure {
        self.on_store_failure
    }

    /// Returns how the limit meters what requests use; `None` for a limit that counts requests.
    #[must_use]
    pub const fn metering(&self) -> Option<&Metering> {
        self.metering.as_ref()
    }

    /// Returns the rate of a token bucket; `None` for other algorithms.
    #[must_use]
    pub const fn rate(&self) -> Option<&Rate> {
        self.algorithm.rate()
    }

    /// Returns whether the limit counts money, so that a token of its buckets is a micro-unit.
    #[must_use]
    pub fn counts_money(&self) -> bool {
        self.metering.is_some_and(|metering| metering.counts == Counts::Money)
    }

    /// Returns a number of tokens as people read it: money in units of the currency.
    #[must_use]
    pub fn amount(&self, tokens: u64) -> String {
        if self.counts_money() {
            MicroUnits::new(tokens).units().to_string()
        } else {
            tokens.to_string()
        }
    }

    /// Returns what the limit admits as it is written: money in units of the currency.
    fn terms(&self) -> String {
        let written = self.algorithm.to_string();
        if !self.counts_money() {
            return written;
        }
        let after = |start: &str, tokens: u64| {
            let rest = written.strip_prefix(&format!("{start}{tokens}")).unwrap_or_default();
            format!("{start}{}{rest}", self.amount(tokens))
        };
        match &self.algorithm {
            Algorithm::TokenBucket(rate) => {
                let text = after("", rate.refill_rate().tokens());
                let period = text.strip_suffix(&rate.burst().to_string()).unwrap_or(&text);
                format!("{period}{}", self.amount(rate.burst()))
            }
            Algorithm::Quota(quota) => after("", quota.tokens()),
            Algorithm::AtMost(at_most) => after("at most ", at_most.tokens()),
            Algorithm::Concurrent(_) => written,
        }
    }

    /// Returns whether a lack of tokens denies the request.
    #[must_use]
    pub fn denies(&self) -> bool {
        self.mode == Mode::Enforce
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.terms())
    }
}

/// Returns the key of a limit. Only a limit of the same algorithm finds the same buckets, since no
/// other one could read them; nor could one that cuts time differently.
fn key_of(name: &str, algorithm: &Algorithm) -> LimitKey {
    match algorithm {
        Algorithm::TokenBucket(_) => LimitKey::of(name),
        Algorithm::Quota(_) => LimitKey::of_variant(name, "quota"),
        Algorithm::AtMost(at_most) => {
            LimitKey::of_variant(name, &format!("at_most {}", at_most.period().as_micros()))
        }
        Algorithm::Concurrent(concurrent) => {
            LimitKey::of_variant(name, &format!("concurrent {}", concurrent.term().as_micros()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_in_units_of_the_currency() {
        let shown = |algorithm: Algorithm, counts: Counts| {
            let limit = named("x").unwrap().with_algorithm(algorithm);
            limit.with_metering(Some(Metering::new(counts))).to_string()
        };
        let rate = |text: &str, burst| {
            Algorithm::TokenBucket(Rate::new(text.parse().unwrap(), burst).unwrap())
        };
        let money = |algorithm| shown(algorithm, Counts::Money);
        assert_eq!(money(rate("2500000/day", 10_000)), "x (2.5/day, burst 0.01)");
        assert_eq!(money(rate("1500000 per 90s", 1_500_000)), "x (1.5 per 90s, burst 1.5)");
        let quota = Algorithm::Quota("1_000_000/month".parse().unwrap());
        assert_eq!(money(quota.clone()), "x (1/month)");
        assert_eq!(shown(quota, Counts::TOTAL_TOKENS), "x (1000000/month)");
        let at_most = Algorithm::AtMost("10012 per 60s".parse().unwrap());
        assert_eq!(money(at_most), "x (at most 0.010012 per 60s)");
    }

    fn named(name: &str) -> Result<Limit, LimitNameError> {
        Limit::new(
            name,
            Algorithm::TokenBucket(Rate::new("60/minute".parse().unwrap(), 10).unwrap()),
        )
    }

    #[test]
    fn a_name_can_be_written_unchanged_into_a_header() {
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
