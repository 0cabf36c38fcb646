//! What a rule does when a request matches it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost_types::Struct;
use sluice_core::{Algorithm, Limit, Mode, OnStoreFailure, Precision, Rate, RefillRate};
use sluice_telemetry::BoundDecisions;

use sluice_config::rls::{self, Allowance};

use super::overrun::Overrun;
use crate::messages::{self, CurrentLimit};

/// A compiled rule.
#[derive(Debug)]
pub(crate) struct Rule {
    /// The rule's own name; empty if it has none.
    pub(crate) name: Box<str>,
    /// The names of rules that this rule replaces.
    pub(crate) replaces: Box<[Box<str>]>,
    /// What the rule does.
    pub(crate) effect: Effect,
    /// The description of the limit in responses.
    pub(crate) current: CurrentLimit,
    /// Whether the rule is in shadow mode: it decides but never denies.
    pub(crate) is_shadow: bool,
    /// Whether the rule is in quota mode: it denies only together with all other matched rules in
    /// quota mode.
    pub(crate) is_quota: bool,
    /// How the rule treats usage that does not fit.
    pub(crate) overrun: Overrun,
    /// The metadata of an allowed request.
    pub(crate) metadata: Option<Struct>,
    /// Counts the rule's decisions, unless metrics name the values of requests.
    pub(crate) counter: BoundDecisions,
    /// Whether metrics name every value of the request.
    pub(crate) is_detailed: bool,
}

/// What a rule does with requests.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Allows everything, without counting.
    AllowAll,
    /// Denies everything.
    DenyAll,
    /// Allows what there are tokens for.
    Limit(Tokens),
}

/// A limit that can deny, and the same limit in shadow mode.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    /// Denies, unless the rule is in shadow mode.
    pub(crate) limit: Arc<Limit>,
    /// Never denies. Used for rules in quota mode when there are several.
    pub(crate) shadow: Arc<Limit>,
}

/// What is the same for the limits of all rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitTerms {
    pub(crate) on_store_failure: OnStoreFailure,
    pub(crate) precision: Precision,
}

impl Effect {
    /// Creates the effect of `allowance`. The limit is called `name`, with characters that header
    /// fields do not allow replaced.
    pub(crate) fn new(allowance: Allowance, name: &str, mode: Mode, terms: LimitTerms) -> Self {
        match allowance {
            Allowance::Unlimited => Self::AllowAll,
            Allowance::PerUnit { requests: 0, .. } => Self::DenyAll,
            Allowance::PerUnit { requests, unit } => {
                Self::Limit(Tokens::new(requests, unit, name, mode, terms))
            }
        }
    }
}

impl Tokens {
    /// Creates a limit of `requests` per `unit`, which is also its burst. `requests` is at least 1.
    pub(crate) fn new(
        requests: u32,
        unit: rls::Unit,
        name: &str,
        mode: Mode,
        terms: LimitTerms,
    ) -> Self {
        let numbers = RefillRate::new(requests.max(1).into(), Duration::from_secs(unit.seconds()))
            .ok()
            .and_then(|rate| Rate::new(rate, requests.max(1).into()).ok())
            .expect("up to 2^32 tokens per unit are a valid rate");
        let named = Limit::new(&printable(name), Algorithm::TokenBucket(numbers))
            .expect("a printable name names a limit");
        let limit = named
            .with_mode(mode)
            .with_on_store_failure(terms.on_store_failure)
            .with_precision(terms.precision);
        let shadow = Arc::new(limit.clone().with_mode(Mode::Shadow));
        Self { limit: Arc::new(limit), shadow }
    }
}

/// Returns `name` as a valid limit name: invalid characters become `_`, and it is truncated.
fn printable(name: &str) -> String {
    let stands = |c: char| (c == ' ' || c.is_ascii_graphic()) && c != '"' && c != '\\';
    let name: String =
        name.chars().map(|c| if stands(c) { c } else { '_' }).take(Limit::MAX_NAME_BYTES).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

/// Returns the description of a limit of `requests` per `unit`.
pub(crate) fn current(requests: u32, unit: Option<rls::Unit>, name: &str) -> CurrentLimit {
    let unit = unit.map_or(messages::Unit::Unknown, messages::Unit::from);
    CurrentLimit {
        requests_per_unit: requests,
        unit: unit.into(),
        name: Bytes::copy_from_slice(name.as_bytes()),
    }
}

impl From<rls::Unit> for messages::Unit {
    fn from(unit: rls::Unit) -> Self {
        match unit {
            rls::Unit::Second => Self::Second,
            rls::Unit::Minute => Self::Minute,
            rls::Unit::Hour => Self::Hour,
            rls::Unit::Day => Self::Day,
            rls::Unit::Week => Self::Week,
            rls::Unit::Month => Self::Month,
            rls::Unit::Year => Self::Year,
        }
    }
}

impl messages::Unit {
    /// Returns the unit of a rules file; `None` for an unknown unit.
    pub(crate) const fn known(self) -> Option<rls::Unit> {
        match self {
            Self::Unknown => None,
            Self::Second => Some(rls::Unit::Second),
            Self::Minute => Some(rls::Unit::Minute),
            Self::Hour => Some(rls::Unit::Hour),
            Self::Day => Some(rls::Unit::Day),
            Self::Week => Some(rls::Unit::Week),
            Self::Month => Some(rls::Unit::Month),
            Self::Year => Some(rls::Unit::Year),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: LimitTerms =
        LimitTerms { on_store_failure: OnStoreFailure::Deny, precision: Precision::Leased };

    #[test]
    fn requests_per_unit_are_both_rate_and_burst() {
        for unit in rls::Unit::ALL {
            for requests in [1, 60, u32::MAX] {
                let Effect::Limit(tokens) =
                    Effect::new(Allowance::PerUnit { requests, unit }, "x", Mode::Enforce, TERMS)
                else {
                    panic!("{requests} per {unit:?} are tokens")
                };
                let numbers = tokens.limit.rate().unwrap();
                assert_eq!(
                    (numbers.burst(), numbers.refill_rate().tokens()),
                    (requests.into(), requests.into())
                );
                assert_eq!(numbers.refill_rate().period().as_secs(), unit.seconds());
                assert_eq!(tokens.limit.on_store_failure(), OnStoreFailure::Deny);
                assert_eq!(tokens.limit.precision(), Precision::Leased);
                assert!(tokens.limit.denies() && !tokens.shadow.denies());
                assert_eq!(tokens.limit.key(), tokens.shadow.key(), "they share their buckets");
            }
        }
        assert!(matches!(
            Effect::new(
                Allowance::PerUnit { requests: 0, unit: rls::Unit::Day },
                "x",
                Mode::Enforce,
                TERMS
            ),
            Effect::DenyAll
        ));
    }

    #[test]
    fn any_text_can_name_a_limit() {
        assert_eq!(printable("edge.path_/api/*"), "edge.path_/api/*");
        assert_eq!(printable("a\"b\\c\nd\u{e4}"), "a_b_c_d_");
        assert_eq!(printable(""), "_");
        assert_eq!(printable(&"x".repeat(1_000)).len(), Limit::MAX_NAME_BYTES);
    }

    #[test]
    fn units_are_the_same_on_the_wire() {
        for unit in rls::Unit::ALL {
            assert_eq!(messages::Unit::from(unit).known(), Some(unit));
        }
        assert_eq!(messages::Unit::Unknown.known(), None);
    }
}
