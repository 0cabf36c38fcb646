//! All leases of a replica. Time is an argument: a book has no I/O, no tasks and no clock.

use std::{fmt, time::Duration};

use hashbrown::HashMap;
use sluice_core::{BucketId, Check, Decision, Part, Retry, Timestamp, Verdict};

use super::{
    ask::Ask,
    estimate::Estimate,
    followed::{Followed, Spending, unwanted},
};
use crate::{Clock, prehashed::Prehashed};

/// How often a full book looks for buckets that it can forget.
const SWEEP_INTERVAL: Duration = Duration::from_millis(10);

/// The buckets that the requests at this replica use, and what it holds of them.
///
/// Every bucket is one of a leased limit; the caller sees to that. The time is that of the replica,
/// which only moves forward; [`Decision::at`] alone is the store's.
///
/// - [`take`](Self::take) comes first. If it returns an [`Ask`], the caller sends that, and reports
///   what becomes of it with [`lent`](Self::lent) or [`lost`](Self::lost).
/// - [`take_tentatively`](Self::take_tentatively) is for a check that the store decides about too:
///   [`confirm`](Self::confirm) or [`put_back`](Self::put_back) follows.
/// - What [`idle`](Self::idle), [`stop`](Self::stop) and [`lent`](Self::lent) return is sent to the
///   store, once, whatever the reply.
pub(crate) struct Book {
    followed: HashMap<BucketId, Followed, Prehashed>,
    /// The most buckets that are followed.
    capacity: usize,
    next_number: u64,
    next_sweep: Timestamp,
    stopped: bool,
}

/// What is to be done about a request.
#[derive(Debug)]
pub(crate) struct Take {
    pub(crate) outcome: Outcome,
    /// To be sent to the store in any case.
    pub(crate) ask: Option<Ask>,
}

/// What a request gets from a replica's leases.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A lease covers it.
    Covered(Taken, Estimate),
    /// No lease covers it, and the bucket had hardly any tokens a moment ago.
    Denied(Retry, Estimate),
    /// The store decides. If it `is_followed`, the verdict is to be reported with
    /// [`Book::decided`].
    Store { is_followed: bool },
}

/// Tokens that were taken from a lease.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Taken {
    pub(crate) bucket: BucketId,
    holding: u64,
    tokens: u32,
}

impl Book {
    /// Makes a book that follows at most `capacity` buckets.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            followed: HashMap::default(),
            capacity,
            next_number: 0,
            next_sweep: Timestamp::from_unix_micros(i64::MIN),
            stopped: false,
        }
    }

    /// Takes the tokens of `part` from a lease, if one covers them. They are spent then.
    pub(crate) fn take(&mut self, part: &Part, clock: &dyn Clock) -> Take {
        self.take_as(part, false, clock)
    }

    /// Takes the tokens of `part` from a lease until it is known whether they are spent.
    pub(crate) fn take_tentatively(&mut self, part: &Part, clock: &dyn Clock) -> Take {
        self.take_as(part, true, clock)
    }

    fn take_as(&mut self, part: &Part, tentative: bool, clock: &dyn Clock) -> Take {
        let unknown = Take { outcome: Outcome::Store { is_followed: false }, ask: None };
        let Some(rate) = part.limit.rate().filter(|_| !self.stopped) else { return unknown };
        let bucket = part.bucket();
        if !self.followed.contains_key(&bucket) {
            let now = clock.now();
            if !self.has_room(now) {
                return unknown;
            }
            self.followed.insert(bucket, Followed::new(part, *rate, now));
        }
        let Some(followed) = self.followed.get_mut(&bucket) else { return unknown };
        let (spending, now, want) = followed.take(part, tentative, clock);
        let outcome = match spending {
            Spending::Covered(holding) => {
                let tokens = u32::try_from(part.cost.tokens()).unwrap_or(u32::MAX);
                Outcome::Covered(
                    Taken { bucket, holding, tokens },
                    followed.estimate(u64::MAX, now),
                )
            }
            Spending::Denied(retry) => {
                let short = part.cost.tokens().saturating_sub(1);
                Outcome::Denied(retry, followed.estimate(short, now))
            }
            Spending::Store { is_followed } => Outcome::Store { is_followed },
        };
        let ask = want.map(|want| {
            self.next_number += 1;
            followed.ask(self.next_number, want, now)
        });
        Take { outcome, ask }
    }

    /// Notes that tokens which were taken tentatively are spent.
    pub(crate) fn confirm(&mut self, taken: Taken) {
        if let Some(followed) = self.followed.get_mut(&taken.bucket) {
            followed.confirm(taken.holding, taken.tokens);
        }
    }

    /// Puts tokens back that were taken tentatively, for a check that was not admitted. They are
    /// lost if their lease was settled since.
    pub(crate) fn put_back(&mut self, taken: Taken) {
        if let Some(followed) = self.followed.get_mut(&taken.bucket) {
            followed.put_back(taken.holding, taken.tokens);
        }
    }

    /// Takes the reply to the last check of `ask`. Returns a settlement if the lease is not wanted
    /// any more.
    pub(crate) fn lent(&mut self, ask: &Ask, decision: &Decision, now: Timestamp) -> Option<Check> {
        match self.followed.get_mut(&ask.part.bucket()) {
            Some(followed) => {
                followed.lent(ask, decision, now);
                None
            }
            None => unwanted(ask, decision, now),
        }
    }

    /// Notes that `ask` failed, or that its reply will not come.
    pub(crate) fn lost(&mut self, ask: &Ask, now: Timestamp) {
        if let Some(followed) = self.followed.get_mut(&ask.part.bucket()) {
            followed.lost(ask, now);
        }
    }

    /// Notes what the store decided at `at`, by its clock, about a request that no lease covered.
    pub(crate) fn decided(
        &mut self,
        bucket: &BucketId,
        verdict: &Verdict,
        at: Timestamp,
        now: Timestamp,
    ) {
        if let Some(followed) = self.followed.get_mut(bucket) {
            followed.decided(verdict, at, now);
        }
    }

    /// Notes that tokens were put into a bucket.
    pub(crate) fn refilled(&mut self, bucket: &BucketId, now: Timestamp) {
        if let Some(followed) = self.followed.get_mut(bucket) {
            followed.refilled(now);
        }
    }

    /// Forgets buckets that are not used any more. Returns the settlements of idle leases.
    pub(crate) fn idle(&mut self, now: Timestamp) -> Vec<Check> {
        let settlements =
            self.followed.values_mut().flat_map(|followed| followed.settle_idle(now)).collect();
        self.sweep(now);
        settlements
    }

    /// Ends all leases, and lends no more until [`resume`](Self::resume). Returns the settlements.
    pub(crate) fn stop(&mut self, now: Timestamp) -> Vec<Check> {
        self.stopped = true;
        let mut followed = std::mem::take(&mut self.followed);
        followed.values_mut().flat_map(|followed| followed.settle_all(now)).collect()
    }

    /// Leases again after a [`stop`](Self::stop).
    pub(crate) fn resume(&mut self) {
        self.stopped = false;
    }

    /// Returns whether the replica holds any lease.
    pub(crate) fn holds_any(&self) -> bool {
        self.followed.values().any(Followed::holds_any)
    }

    fn has_room(&mut self, now: Timestamp) -> bool {
        if self.followed.len() >= self.capacity && now >= self.next_sweep {
            self.next_sweep = now.after(SWEEP_INTERVAL);
            self.sweep(now);
        }
        self.followed.len() < self.capacity
    }

    fn sweep(&mut self, now: Timestamp) {
        self.followed.retain(|_, followed| !followed.is_forgotten(now));
    }
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").field("buckets", &self.followed.len()).finish_non_exhaustive()
    }
}
