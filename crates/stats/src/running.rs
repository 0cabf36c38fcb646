//! Deployments that cost something in each hour that they run.
//!
//! Such a deployment is kept in the store from the end of its `create` to the end of its `delete`.
//! Any replica may charge it up to now: the store replaces the state that the replica has read, and
//! adds the amounts, in one step, and only if no other replica was faster. So a deployment is
//! charged once for each moment, also when replicas are killed.

use std::{collections::BTreeMap, time::Instant};

use sluice_core::{MicroUnits, Timestamp};

use crate::history::Hour;

/// A deployment that was created or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningChange {
    /// The deployment's id.
    pub id: Box<str>,
    /// When it was created or deleted.
    pub at: Instant,
    /// What an hour of it costs, if it was created; `None` if it was deleted.
    pub created: Option<HourlyPrice>,
}

/// What an hour of a deployment costs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HourlyPrice {
    /// The kind of deployment.
    pub kind: Box<str>,
    /// The currency.
    pub currency: Box<str>,
    /// The price.
    pub per_hour: MicroUnits,
}

/// What a call has charged deployments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Charged {
    /// How many deployments are kept.
    pub running: u64,
    /// The amounts that this call has added, by kind and currency.
    pub amounts: BTreeMap<(Box<str>, Box<str>), u64>,
}

/// A deployment, and up to when it was charged. Times are those of the store, in ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    since: i64,
    charged_until: i64,
    /// When it was deleted.
    end: Option<i64>,
    price: HourlyPrice,
}

/// The charge of a deployment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    /// The deployment after it; `None` if nothing is left to charge.
    pub(crate) after: Option<Running>,
    /// What is added in each hour.
    pub(crate) amounts: BTreeMap<Hour, u64>,
}

const HOUR_MS: i64 = 3_600_000;
/// A deployment that was never deleted is charged for this long.
const MAX_AGE_MS: i64 = 400 * 24 * HOUR_MS;
/// What stands for the end of a deployment that was not deleted.
const NO_END: &str = "-";

impl RunningChange {
    /// Makes the change of a deployment that was created at `at`.
    #[must_use]
    pub fn created(id: &str, price: HourlyPrice, at: Instant) -> Self {
        Self { id: id.into(), at, created: Some(price) }
    }

    /// Makes the change of a deployment that was deleted at `at`.
    #[must_use]
    pub fn deleted(id: &str, at: Instant) -> Self {
        Self { id: id.into(), at, created: None }
    }
}

impl HourlyPrice {
    /// Makes a price.
    #[must_use]
    pub fn new(kind: &str, currency: &str, per_hour: MicroUnits) -> Self {
        Self { kind: kind.into(), currency: currency.into(), per_hour }
    }
}

impl Charged {
    /// Nothing, of this many running deployments.
    pub(crate) fn of(running: usize) -> Self {
        Self { running: running as u64, amounts: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, price: &HourlyPrice, amount: u64) {
        if amount > 0 {
            let key = (price.kind.clone(), price.currency.clone());
            let sum = self.amounts.entry(key).or_default();
            *sum = sum.saturating_add(amount);
        }
    }
}

impl Running {
    pub(crate) const fn new(since_ms: i64, price: HourlyPrice) -> Self {
        Self { since: since_ms, charged_until: since_ms, end: None, price }
    }

    /// The same deployment, which was deleted at `end_ms`.
    pub(crate) fn ended(&self, end_ms: i64) -> Self {
        Self { end: Some(end_ms), ..self.clone() }
    }

    pub(crate) const fn price(&self) -> &HourlyPrice {
        &self.price
    }

    /// Charges it up to now. A deletion that is reported late ends the charges when it arrives:
    /// what was charged is not taken back.
    pub(crate) fn charge(&self, now: Timestamp) -> Charge {
        let now_ms = now.unix_micros().div_euclid(1_000);
        let end = self.end.unwrap_or(i64::MAX).min(self.since.saturating_add(MAX_AGE_MS));
        let until = now_ms.min(end).max(self.charged_until);
        let mut amounts = BTreeMap::new();
        let mut from = self.charged_until;
        while from < until {
            let to = until.min((from.div_euclid(HOUR_MS) + 1) * HOUR_MS);
            let amount = self.cost_until(to).saturating_sub(self.cost_until(from));
            if amount > 0 {
                let at = Timestamp::from_unix_micros(from.saturating_mul(1_000));
                let sum: &mut u64 = amounts.entry(Hour::for_amount(at, now)).or_default();
                *sum = sum.saturating_add(amount);
            }
            from = to;
        }
        let after = Self { charged_until: until, ..self.clone() };
        Charge { after: (until < end).then_some(after), amounts }
    }

    /// What it has cost from its creation to this time, rounded up. Since each charge is the
    /// difference of two such costs, their sum is exact, however often it is charged.
    fn cost_until(&self, ms: i64) -> u64 {
        let span = u128::try_from(ms.saturating_sub(self.since)).unwrap_or(0);
        let cost =
            (u128::from(self.price.per_hour.get()) * span).div_ceil(HOUR_MS.unsigned_abs().into());
        u64::try_from(cost).unwrap_or(u64::MAX)
    }

    /// The form in which stores keep it: the end comes first, so that a script can set it.
    pub(crate) fn to_text(&self) -> String {
        let Self { since, charged_until, end, price: HourlyPrice { kind, currency, per_hour } } =
            self;
        let end = end.map_or_else(|| NO_END.to_owned(), |end| end.to_string());
        format!("{end} {since} {charged_until} {} {currency} {kind}", per_hour.get())
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.splitn(6, ' ');
        let mut next = || parts.next();
        let end = next()?;
        let end = if end == NO_END { None } else { Some(end.parse().ok()?) };
        let (since, charged_until) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let per_hour = MicroUnits::new(next()?.parse().ok()?);
        let (currency, kind) = (next()?, next()?);
        Some(Self { since, charged_until, end, price: HourlyPrice::new(kind, currency, per_hour) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_800_000_000_000;

    fn running(per_hour: u64) -> Running {
        Running::new(START, HourlyPrice::new("small box", "USD", MicroUnits::new(per_hour)))
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_micros((START + ms) * 1_000)
    }

    fn sum(charge: &Charge) -> u64 {
        charge.amounts.values().sum()
    }

    #[test]
    fn charges_add_up_to_the_exact_cost_however_they_are_split() {
        // 3 days and a bit at 7.000001 units an hour; steps of all sizes, one of more than a day.
        for steps in [vec![1], vec![13, 59_999, 100_000_000, 7], vec![3_600_000]] {
            let (mut left, mut charged, mut now) = (Some(running(7_000_001)), 0, 0);
            let end = 3 * 24 * HOUR_MS + 12_345;
            let mut steps = steps.into_iter().cycle();
            while let Some(deployment) = left {
                now += steps.next().unwrap().max(60_000);
                let deployment =
                    if now >= end { deployment.ended(START + end) } else { deployment };
                let charge = deployment.charge(at(now));
                charged += sum(&charge);
                left = charge.after;
            }
            let exact = (7_000_001_u128 * u128::try_from(end).unwrap()).div_ceil(3_600_000);
            assert_eq!(u128::from(charged), exact);
        }
    }

    #[test]
    fn amounts_are_added_to_the_hours_in_which_it_ran() {
        let charge = running(3_600_000).charge(at(2 * HOUR_MS + 500));
        let start = Hour::at(at(0));
        // It was created at the full hour.
        assert_eq!(START % HOUR_MS, 0);
        assert_eq!(
            charge.amounts,
            [(start, 3_600_000), (start.next(), 3_600_000), (start.next().next(), 500)].into()
        );
        let again = charge.after.unwrap();
        assert!(again.charge(at(2 * HOUR_MS)).amounts.is_empty(), "a clock that stepped back");
    }

    #[test]
    fn it_is_charged_until_it_is_deleted_or_for_400_days() {
        let day = 24 * HOUR_MS;
        let deleted = running(1_000_000).ended(START + HOUR_MS).charge(at(day));
        assert_eq!((sum(&deleted), deleted.after), (1_000_000, None));
        let forever = running(1_000_000).charge(at(401 * day));
        assert_eq!((sum(&forever), forever.after), (400 * 24 * 1_000_000, None));
        let charged = running(1_000_000).charge(at(day)).after.unwrap();
        let late = charged.ended(START + HOUR_MS).charge(at(day + 1));
        assert_eq!((sum(&late), late.after), (0, None), "nothing is taken back");
        let before_its_creation = running(1_000_000).ended(START - 5).charge(at(0));
        assert_eq!((sum(&before_its_creation), before_its_creation.after), (0, None));
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        for running in [running(5), running(u64::MAX).ended(START + 7)] {
            assert_eq!(Running::from_text(&running.to_text()), Some(running));
        }
        for text in ["", "-", "- 1 2 3 USD", "x 1 2 3 USD a", "- 1 2 -3 USD a"] {
            assert_eq!(Running::from_text(text), None, "{text}");
        }
    }
}
