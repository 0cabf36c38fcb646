//! What a replica knows about one bucket, and holds of it.

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Action, Check, Cost, Decision, Limit, Part, Rate, Retry, Tag, Term, Timestamp, Verdict,
};
use smallvec::SmallVec;

use super::{
    ask::Ask,
    demand::Demand,
    eligibility::{LEAST, block, pace},
    estimate::{Estimate, refilled_in},
    holding::{Holding, Settlement, deadline},
};
use crate::Clock;

/// How long no request has to be covered until a lease is returned.
const IDLE: Duration = Duration::from_millis(100);
/// How long before its end a lease is returned. Longer than the pause between two looks for idle
/// leases, so that none ends unseen.
const RETURNED_BEFORE_END: Duration = Duration::from_millis(200);
/// The time between two asks at a store that does not respond.
const PACE_OF_OUTAGE: Duration = Duration::from_millis(100);

/// The longest time between two asks at a bucket without a token: others may return leases to it
/// before it refills.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One bucket that this replica's requests use.
#[derive(Debug)]
pub(super) struct Followed {
    limit: Arc<Limit>,
    /// That of the limit.
    rate: Rate,
    tag: Tag,
    /// Those that end first come first.
    holdings: SmallVec<[Holding; 2]>,
    demand: Demand,
    /// When a lease was granted or covered a request last.
    used_at: Timestamp,
    /// The number of the ask in flight.
    asking: Option<u64>,
    /// No ask is sent before.
    paced_until: Timestamp,
    /// Whether the bucket had fewer tokens than one block when the store was asked last. Then
    /// tokens are fetched in blocks, and not one by one.
    is_scarce: bool,
    reported: Reported,
}

/// What the store reported last.
#[derive(Clone, Copy, Debug)]
struct Reported {
    /// The tokens in the bucket.
    level: u64,
    /// When, by the store's clock and by the replica's.
    at: Timestamp,
    received_at: Timestamp,
}

/// What a request does with the bucket.
pub(super) enum Spending {
    /// A lease covers it: the number of the holding.
    Covered(u64),
    /// No lease covers it, and the bucket has hardly any tokens.
    Denied(Retry),
    /// The store decides. What it reports is of interest if it `is_followed`.
    Store { is_followed: bool },
}

impl Followed {
    pub(super) fn new(part: &Part, rate: Rate, now: Timestamp) -> Self {
        Self {
            limit: Arc::clone(&part.limit),
            rate,
            tag: part.tag,
            holdings: SmallVec::new(),
            demand: Demand::none(now),
            used_at: now,
            asking: None,
            paced_until: now,
            is_scarce: false,
            reported: Reported { level: 0, at: now, received_at: now },
        }
    }

    /// Takes the tokens of `part`, and then looks at the clock. Returns the time too, and how many
    /// tokens to ask the store for.
    pub(super) fn take(
        &mut self,
        part: &Part,
        tentative: bool,
        clock: &dyn Clock,
    ) -> (Spending, Timestamp, Option<u64>) {
        self.follow_limit(&part.limit);
        let cost = u32::try_from(part.cost.tokens()).unwrap_or(u32::MAX);
        let (covered, now) = self.spend(cost, tentative, clock);
        self.demand.add(cost, now);
        let Some(want) = block(part, &self.demand) else {
            let spending = match covered {
                Some(number) => Spending::Covered(number),
                None => Spending::Store { is_followed: false },
            };
            return (spending, now, None);
        };
        let is_short = covered.is_none() || self.unspent(now) <= want / 4;
        let asks = is_short && self.asking.is_none() && now >= self.paced_until;
        let spending = match covered {
            Some(number) => Spending::Covered(number),
            None if self.denies(now) => Spending::Denied(self.retry(part, now)),
            None => Spending::Store { is_followed: true },
        };
        (spending, now, asks.then_some(want))
    }

    /// Drops the leases of a limit whose rate has changed: they are counted in units of the old
    /// rate, and under the old burst.
    fn follow_limit(&mut self, limit: &Arc<Limit>) {
        if Arc::ptr_eq(&self.limit, limit) {
            return;
        }
        if let Some(rate) = limit.rate().filter(|rate| **rate != self.rate) {
            self.rate = *rate;
            self.holdings.clear();
            self.asking = None;
            self.is_scarce = false;
            // Two rates that alternate in one bucket must not waste a lease at every request.
            self.demand = Demand::none(self.used_at);
        }
        self.limit = Arc::clone(limit);
    }

    /// Takes `cost` tokens from a lease. The clock is read after the tokens are taken: a process
    /// that is stopped in between does not spend them after their end.
    fn spend(&mut self, cost: u32, tentative: bool, clock: &dyn Clock) -> (Option<u64>, Timestamp) {
        while let Some(index) =
            self.holdings.iter_mut().position(|holding| holding.take(cost, tentative))
        {
            let now = clock.now();
            if self.holdings[index].is_alive(now) {
                self.used_at = now;
                return (Some(self.holdings[index].number), now);
            }
            self.holdings.remove(index);
        }
        (None, clock.now())
    }

    fn unspent(&self, now: Timestamp) -> u64 {
        let alive = self.holdings.iter().filter(|holding| holding.is_alive(now));
        alive.map(|holding| u64::from(holding.unspent())).sum()
    }

    /// Returns whether a request that no lease covers is denied: until the next ask, and while that
    /// one is in flight for no longer than once more.
    fn denies(&self, now: Timestamp) -> bool {
        let until = match self.asking {
            Some(_) => self.paced_until.after(pace(&self.rate)),
            None => self.paced_until,
        };
        self.is_scarce && now < until
    }

    /// Returns when a request that is denied here may be admitted: after the pace, and when the
    /// bucket has enough tokens.
    fn retry(&self, part: &Part, now: Timestamp) -> Retry {
        let missing = part.cost.tokens().saturating_sub(self.reported.level);
        let refilled =
            refilled_in(&self.rate, missing).saturating_sub(now.since(self.reported.received_at));
        let wait = self.paced_until.since(now).max(refilled);
        Retry::After(wait.max(Duration::from_micros(1)))
    }

    /// Makes an ask for `want` tokens. What was spent is settled in the same round trip, since all
    /// that is lent counts against the burst.
    pub(super) fn ask(&mut self, number: u64, want: u64, now: Timestamp) -> Ask {
        let group = self.rate.refill().tokens();
        self.holdings.retain(|holding| holding.is_alive(now));
        let latest = self.holdings.pop();
        let mut checks: Vec<Check> = self.settle_all(now);
        if let Some(mut latest) = latest {
            checks.extend(latest.settle_spent(group).map(|spent| self.settling(spent)));
            if !latest.is_settled() {
                self.holdings.push(latest);
            }
        }
        let want = Cost::new(want).unwrap_or(Cost::MAX);
        checks.push(Check::new(Action::Lend { least: LEAST }).with(&self.limit, self.tag, want));
        self.asking = Some(number);
        let part = Part::new(Arc::clone(&self.limit), self.tag, want);
        Ask { checks, part, number, sent_at: now }
    }

    /// Takes what the store replied to `ask`.
    pub(super) fn lent(&mut self, ask: &Ask, decision: &Decision, now: Timestamp) {
        if self.asking != Some(ask.number) {
            return;
        }
        self.asking = None;
        let Some(verdict) = decision.verdicts().first() else { return };
        self.report(verdict, decision.at(), now);
        let lent = if verdict.admitted { verdict.cost.tokens() } else { 0 };
        let wanted = ask.part.cost.tokens();
        if lent < wanted / 2 {
            self.is_scarce = verdict.remaining < wanted;
            self.paced_until = now.after(self.pause(verdict.remaining));
        } else {
            self.is_scarce = false;
            self.paced_until = now;
        }
        if let Some(holding) = granted(ask, decision) {
            self.used_at = now;
            self.hold(holding);
        }
    }

    fn hold(&mut self, holding: Holding) {
        if !self.holdings.iter_mut().any(|held| held.merge(&holding)) {
            self.holdings.push(holding);
        }
    }

    /// Notes that no reply to `ask` came.
    pub(super) fn lost(&mut self, ask: &Ask, now: Timestamp) {
        if self.asking == Some(ask.number) {
            self.asking = None;
            self.is_scarce = false;
            self.paced_until = now.after(PACE_OF_OUTAGE);
        }
    }

    /// Notes what the store decided about a request that no lease covered.
    pub(super) fn decided(&mut self, verdict: &Verdict, at: Timestamp, now: Timestamp) {
        self.report(verdict, at, now);
        let part = Part::new(Arc::clone(&self.limit), self.tag, verdict.cost);
        if !verdict.admitted
            && let Some(want) = block(&part, &self.demand)
            && verdict.remaining < want
        {
            self.is_scarce = true;
            self.paced_until = now.after(self.pause(verdict.remaining));
        }
    }

    /// Returns how long not to ask for a bucket with so few tokens. One without any has none before
    /// the next one came back, however often clients that are denied ask for it.
    fn pause(&self, remaining: u64) -> Duration {
        let next = if remaining == 0 { refilled_in(&self.rate, 1) } else { Duration::ZERO };
        pace(&self.rate).max(next.min(LONGEST_PAUSE))
    }

    /// Notes that tokens were put into the bucket, so it need not be scarce any more.
    pub(super) fn refilled(&mut self, now: Timestamp) {
        self.is_scarce = false;
        self.paced_until = self.paced_until.min(now);
    }

    fn report(&mut self, verdict: &Verdict, at: Timestamp, now: Timestamp) {
        self.reported = Reported { level: verdict.remaining, at, received_at: now };
    }

    pub(super) fn put_back(&mut self, number: u64, tokens: u32) {
        if let Some(holding) = self.holding(number) {
            holding.put_back(tokens);
        }
    }

    pub(super) fn confirm(&mut self, number: u64, tokens: u32) {
        if let Some(holding) = self.holding(number) {
            holding.confirm(tokens);
        }
    }

    /// Returns the holding, unless it was settled or has ended.
    fn holding(&mut self, number: u64) -> Option<&mut Holding> {
        self.holdings.iter_mut().find(|holding| holding.number == number)
    }

    /// Returns the settlements of leases that are not used any more.
    pub(super) fn settle_idle(&mut self, now: Timestamp) -> Vec<Check> {
        if self.holdings.is_empty() {
            return Vec::new();
        }
        if now.since(self.used_at) >= IDLE && self.asking.is_none() {
            return self.settle_all(now);
        }
        let (ending, lasting) = self
            .holdings
            .drain(..)
            .partition(|holding| holding.ends_within(RETURNED_BEFORE_END, now));
        self.holdings = ending;
        let settlements = self.settle_all(now);
        self.holdings = lasting;
        settlements
    }

    /// Ends every lease, and returns the settlements of those that the store still counts.
    pub(super) fn settle_all(&mut self, now: Timestamp) -> Vec<Check> {
        let alive = std::mem::take(&mut self.holdings).into_iter();
        alive
            .filter(|holding| holding.is_alive(now))
            .filter_map(Holding::settle)
            .map(|settlement| self.settling(settlement))
            .collect()
    }

    fn settling(&self, settlement: Settlement) -> Check {
        settling(&self.limit, self.tag, settlement)
    }

    /// Returns whether nothing would be lost if the bucket were not followed any more.
    pub(super) fn is_forgotten(&self, now: Timestamp) -> bool {
        self.holdings.is_empty() && self.asking.is_none() && self.demand.is_forgotten(now)
    }

    pub(super) fn holds_any(&self) -> bool {
        !self.holdings.is_empty()
    }

    /// Returns what the bucket holds, `most` tokens at most.
    pub(super) fn estimate(&self, most: u64, now: Timestamp) -> Estimate {
        let remaining = self.unspent(now).saturating_add(self.reported.level).min(most);
        let at = self.reported.at.after(now.since(self.reported.received_at));
        Estimate::new(&self.rate, remaining, at)
    }
}

/// Returns the lease that the store granted to `ask`.
fn granted(ask: &Ask, decision: &Decision) -> Option<Holding> {
    let verdict = decision.verdicts().first().filter(|verdict| verdict.admitted)?;
    let lent = u32::try_from(verdict.cost.tokens()).ok().filter(|lent| *lent > 0)?;
    let deadline = deadline(ask.sent_at, decision.at());
    Some(Holding::new(ask.number, Term::at(decision.at()), lent, deadline))
}

/// Returns the settlement of a lease that came too late to be of use.
pub(super) fn unwanted(ask: &Ask, decision: &Decision, now: Timestamp) -> Option<Check> {
    let holding = granted(ask, decision).filter(|holding| holding.is_alive(now))?;
    Some(settling(&ask.part.limit, ask.part.tag, holding.settle()?))
}

fn settling(limit: &Arc<Limit>, tag: Tag, settlement: Settlement) -> Check {
    let Settlement { term, lent, unspent } = settlement;
    let unspent = Cost::new(unspent.into()).unwrap_or(Cost::NONE);
    Check::new(Action::EndLease { term, lent }).with(limit, tag, unspent)
}
