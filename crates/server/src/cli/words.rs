//! The words of the configuration for the parts of a limit.

use std::fmt::{self, Display};

use sluice_core::{
    Algorithm, Counts, Metering, MicroUnits, Mode, OnLost, OnStoreFailure, Per, Precision, RuleCost,
};

/// Returns the word for `mode`.
pub(super) const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow",
        Mode::Off => "off",
    }
}

/// Returns the word for `precision`.
pub(super) const fn precision(precision: Precision) -> &'static str {
    match precision {
        Precision::Exact => "exact",
        Precision::Leased => "leased",
    }
}

/// Returns the word for what happens while the store cannot decide.
pub(super) const fn on_store_failure(on_store_failure: OnStoreFailure) -> &'static str {
    match on_store_failure {
        OnStoreFailure::Local => "local",
        OnStoreFailure::Allow => "allow",
        OnStoreFailure::Deny => "deny",
        OnStoreFailure::Error => "error",
    }
}

/// Returns the word for what happens to a request whose slot is lost.
pub(super) const fn on_lost(on_lost: OnLost) -> &'static str {
    match on_lost {
        OnLost::Finish => "finish",
        OnLost::Cut => "cut",
    }
}

/// Returns the word for what a limit is per.
pub(super) fn per(per: &Per) -> String {
    match per {
        Per::Client => "client".to_owned(),
        Per::Address => "ip".to_owned(),
        Per::Header(name) => format!("header:{name}"),
        Per::Everyone => "nothing".to_owned(),
    }
}

/// Returns the words for what a request costs.
pub(super) fn cost(cost: &RuleCost) -> String {
    match cost {
        RuleCost::Request => "the request's".to_owned(),
        RuleCost::Fixed(cost) => cost.to_string(),
        RuleCost::Header(name) => format!("header:{name}"),
    }
}

/// Returns the key under which a limit of this algorithm has its numbers.
pub(super) const fn key(algorithm: &Algorithm) -> &'static str {
    match algorithm {
        Algorithm::TokenBucket(_) => "rate",
        Algorithm::Quota(_) => "quota",
        Algorithm::AtMost(_) => "at_most",
        Algorithm::Concurrent(_) => "concurrent",
    }
}

/// Returns the numbers of a limit, without a burst: `60/minute`; of money, `0.5/hour`.
pub(super) fn numbers(algorithm: &Algorithm, metering: Option<&Metering>) -> String {
    let (written, tokens) = match algorithm {
        Algorithm::TokenBucket(rate) => {
            (rate.refill_rate().to_string(), rate.refill_rate().tokens())
        }
        Algorithm::Quota(quota) => (quota.to_string(), quota.tokens()),
        Algorithm::AtMost(at_most) => (at_most.to_string(), at_most.tokens()),
        Algorithm::Concurrent(concurrent) => {
            (concurrent.slots().to_string(), concurrent.slots().into())
        }
    };
    match written.strip_prefix(&tokens.to_string()) {
        Some(rest) if counts_money(metering) => format!("{}{rest}", amount(tokens, metering)),
        _ => written,
    }
}

/// Returns for how long a slot is kept that is not renewed; `None` for other limits.
pub(super) fn term(algorithm: &Algorithm) -> Option<String> {
    match algorithm {
        Algorithm::Concurrent(slots) => Some(humantime::format_duration(slots.term()).to_string()),
        Algorithm::TokenBucket(_) | Algorithm::Quota(_) | Algorithm::AtMost(_) => None,
    }
}

/// Returns whether what the limit denies uses it up too.
pub(super) const fn counts_denied(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Quota(quota) if quota.counts_denied())
}

/// Returns whether the limit has back what is held and not settled.
pub(super) fn releases_unsettled(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Quota(quota) if quota.releases_after().is_some())
}

/// Returns tokens of a bucket; of money, units of the currency.
pub(super) fn amount(tokens: u64, metering: Option<&Metering>) -> String {
    if counts_money(metering) {
        MicroUnits::new(tokens).units().to_string()
    } else {
        tokens.to_string()
    }
}

fn counts_money(metering: Option<&Metering>) -> bool {
    metering.is_some_and(|metering| metering.counts == Counts::Money)
}

/// Returns what a limit counts, and for how long it holds estimates; `None` for requests.
pub(super) fn counts(metering: Option<&Metering>) -> Option<String> {
    let Metering { counts, hold_for } = metering?;
    Some(format!("{counts}, held for {}", humantime::format_duration(*hold_for)))
}

/// Writes a list as text: `a, b or c`.
pub(super) struct AnyOf<'l, T>(pub(super) &'l [T]);

impl<T: Display> Display for AnyOf<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, item) in self.0.iter().enumerate() {
            let separator = match place {
                0 => "",
                _ if place + 1 == self.0.len() => " or ",
                _ => ", ",
            };
            write!(f, "{separator}{item}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::AnyOf;

    #[test]
    fn a_list_reads_as_a_sentence() {
        for (items, expected) in
            [(&["a"][..], "a"), (&["a", "b"], "a or b"), (&["a", "b", "c"], "a, b or c")]
        {
            assert_eq!(AnyOf(items).to_string(), expected);
        }
    }
}
