//! What follows when the entries of a request lead to a rule.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost_types::Struct;
use sluice_core::{Algorithm, Limit, Mode, OnStoreFailure, Rate, RefillRate};
use sluice_telemetry::BoundDecisions;

use sluice_config::rls::{self, Allowance};

use crate::messages::{self, CurrentLimit};

/// A limit of a file, ready to be asked.
#[derive(Debug)]
pub(crate) struct Rule {
    /// The rule's own name; empty when it has none.
    pub(crate) name: Box<str>,
    /// The names of rules that do not count where this one does.
    pub(crate) replaces: Box<[Box<str>]>,
    /// What it lets pass.
    pub(crate) passes: Passes,
    /// What a request is told about it.
    pub(crate) current: CurrentLimit,
    /// Whether it decides without ever denying.
    pub(crate) is_shadow: bool,
    /// Whether it only denies together with every other such rule that a request leads to.
    pub(crate) is_quota: bool,
    /// What a request that passes is told beside the decision.
    pub(crate) metadata: Option<Struct>,
    /// Counts its decisions, unless metrics are to name more than the file does.
    pub(crate) counter: BoundDecisions,
    /// Whether metrics name every value of the request.
    pub(crate) is_detailed: bool,
}

/// What a rule lets pass.
#[derive(Debug)]
pub(crate) enum Passes {
    /// Everything, without counting.
    Everything,
    /// Nothing.
    Nothing,
    /// What there are tokens for.
    Tokens(Tokens),
}

/// A limit that can deny, and the same as one that never does.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    /// Denies, unless the rule is a shadow.
    pub(crate) limit: Arc<Limit>,
    /// Never denies: for a rule of which more than one has to be exhausted.
    pub(crate) advice: Arc<Limit>,
}

/// What rules are made with, beside their files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Making {
    pub(crate) on_store_failure: OnStoreFailure,
}

impl Passes {
    /// What `allowance` lets pass. The limit is called `name`, if that can stand in a header field.
    pub(crate) fn new(allowance: Allowance, name: &str, mode: Mode, making: Making) -> Self {
        match allowance {
            Allowance::Unlimited => Self::Everything,
            Allowance::PerUnit { requests: 0, .. } => Self::Nothing,
            Allowance::PerUnit { requests, unit } => {
                Self::Tokens(Tokens::new(requests, unit, name, mode, making))
            }
        }
    }
}

impl Tokens {
    /// `requests` per `unit`, all of which may come at once; at least one.
    pub(crate) fn new(
        requests: u32,
        unit: rls::Unit,
        name: &str,
        mode: Mode,
        Making { on_store_failure }: Making,
    ) -> Self {
        let numbers = RefillRate::new(requests.max(1).into(), Duration::from_secs(unit.seconds()))
            .ok()
            .and_then(|rate| Rate::new(rate, requests.max(1).into()).ok())
            .expect("up to 2^32 tokens within a year are a rate, and a bucket of as many fills within that year");
        let named = Limit::new(&printable(name), Algorithm::TokenBucket(numbers))
            .expect("a printable name names a limit");
        let limit = named.with_mode(mode).with_on_store_failure(on_store_failure);
        let advice = Arc::new(limit.clone().with_mode(Mode::Shadow));
        Self { limit: Arc::new(limit), advice }
    }
}

/// `name` with `_` for what cannot stand in a limit's name, and no longer than that.
fn printable(name: &str) -> String {
    let stands = |c: char| (c == ' ' || c.is_ascii_graphic()) && c != '"' && c != '\\';
    let name: String =
        name.chars().map(|c| if stands(c) { c } else { '_' }).take(Limit::MAX_NAME_BYTES).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

/// What a request is told about a limit of `requests` per `unit`.
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
    /// The unit of a file that this is; `None` for the one that nobody knows.
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

    const MAKING: Making = Making { on_store_failure: OnStoreFailure::Deny };

    #[test]
    fn requests_per_unit_are_both_rate_and_burst() {
        for unit in rls::Unit::ALL {
            for requests in [1, 60, u32::MAX] {
                let Passes::Tokens(tokens) =
                    Passes::new(Allowance::PerUnit { requests, unit }, "x", Mode::Enforce, MAKING)
                else {
                    panic!("{requests} per {unit:?} are tokens")
                };
                let numbers = tokens.limit.rate();
                assert_eq!(
                    (numbers.burst(), numbers.refill_rate().tokens()),
                    (requests.into(), requests.into())
                );
                assert_eq!(numbers.refill_rate().period().as_secs(), unit.seconds());
                assert_eq!(tokens.limit.on_store_failure(), OnStoreFailure::Deny);
                assert!(tokens.limit.denies() && !tokens.advice.denies());
                assert_eq!(tokens.limit.key(), tokens.advice.key(), "they share their buckets");
            }
        }
        assert!(matches!(
            Passes::new(
                Allowance::PerUnit { requests: 0, unit: rls::Unit::Day },
                "x",
                Mode::Enforce,
                MAKING
            ),
            Passes::Nothing
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
