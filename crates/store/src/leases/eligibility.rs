//! Which parts of checks can be covered by a lease.

use std::time::Duration;

use sluice_core::{Action, Check, Part, Precision, Rate};

use super::demand::Demand;

/// The smallest burst of which tokens are lent. Below it, a lease would be too large a part.
const LEAST_BURST: u64 = 16;
/// The fewest tokens that are worth a lease.
pub(super) const LEAST: u32 = 8;
/// How often a request's cost has to fit into a block, so that the block saves round trips.
const LEAST_REQUESTS: u64 = 4;

/// The time whose demand is one block.
const BLOCK: Duration = Duration::from_millis(50);
/// The longest time between two asks at a bucket with few tokens.
const PACE: Duration = Duration::from_millis(20);

/// Returns whether a lease may cover a part of the check.
pub(super) fn has_leased_part(check: &Check) -> bool {
    check.action() == Action::Take && check.parts().iter().any(is_leased)
}

/// Returns whether a lease may cover this part of a check that takes.
///
/// A cost of 0 is not: it asks whether the bucket is in debt, which only the store knows. Nor is a
/// part of any other algorithm than a token bucket.
pub(super) fn is_leased(part: &Part) -> bool {
    let cost = part.cost.tokens();
    part.limit.precision() == Precision::Leased
        && cost > 0
        && part
            .limit
            .rate()
            .is_some_and(|rate| rate.burst() >= LEAST_BURST && cost <= largest_lease(rate))
}

/// Returns the most tokens of a bucket that are lent to all replicas together.
fn largest_lease(rate: &Rate) -> u64 {
    (rate.burst() / 2).min(u32::MAX.into())
}

/// Returns how many tokens to ask for where requests have this `demand`, and this one asks for
/// `part.cost`. `None` if it is not worth it.
pub(super) fn block(part: &Part, demand: &Demand) -> Option<u64> {
    let rate = part.limit.rate()?;
    let group = rate.refill().tokens();
    let most = largest_lease(rate);
    let wanted = demand.within(BLOCK.min(part_of_fill(rate, 2))).min(most);
    let worth = wanted >= u64::from(LEAST).max(part.cost.tokens().saturating_mul(LEAST_REQUESTS));
    // The store lends multiples of a group only.
    let block = wanted.checked_next_multiple_of(group)?;
    (worth && block <= most && group <= wanted.saturating_mul(2)).then_some(block)
}

/// Returns the time between two asks at a bucket with few tokens: not so long that it could be full
/// before the next one.
pub(super) fn pace(rate: &Rate) -> Duration {
    PACE.min(part_of_fill(rate, 4))
}

/// Returns the time in which one of `parts` of a bucket's burst comes back.
fn part_of_fill(rate: &Rate, parts: i64) -> Duration {
    Duration::from_micros(u64::try_from(rate.fill().micros / parts).unwrap_or(0))
}
