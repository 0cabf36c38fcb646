//! The store: a real bucket, decided by the real arithmetic, at a clock that may step.

use std::collections::VecDeque;

use sluice_core::{
    Action, Bucket, Check, Decision, Leases, Rate, Source, Term, Timestamp, TokenBucket,
};

use super::{
    fault::Fault,
    time::{Nanos, SECOND, StoreClock},
};

/// A store of one bucket.
#[derive(Debug)]
pub(super) struct SimulatedStore {
    pub(super) clock: StoreClock,
    fault: Option<Fault>,
    /// `None` while it is full.
    bucket: Option<TokenBucket>,
    /// The writes of the last second, which a failover may lose.
    writes: VecDeque<Write>,
    /// The leases that have not ended, for a store that returns them.
    lent: Vec<(Term, u64)>,
}

#[derive(Debug)]
struct Write {
    at: Nanos,
    before: Option<TokenBucket>,
    lost: Lost,
}

/// What the writes that a failover loses had admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) taken: u64,
    pub(super) lent: u64,
}

fn rate_of(check: &Check) -> &Rate {
    check.parts()[0].limit.rate().expect("the limit is a token bucket")
}

impl SimulatedStore {
    pub(super) fn new(fault: Option<Fault>) -> Self {
        Self {
            clock: StoreClock::default(),
            fault,
            bucket: None,
            writes: VecDeque::new(),
            lent: Vec::new(),
        }
    }

    pub(super) fn decide(&mut self, check: &Check, now: Nanos) -> Decision {
        let at = self.clock.at(now);
        let rate = rate_of(check);
        let before = self.bucket;
        let mut bucket = self.load(rate, at);
        let read = bucket;
        if self.fault == Some(Fault::ReturnsWhatHasEnded) {
            self.return_what_has_ended(&mut bucket, rate, at);
        }
        let decision = self.decide_on(check, &mut bucket, at);
        let cost = check.parts()[0].cost.tokens();
        let mut lost = Lost::default();
        match check.action() {
            Action::Take if decision.is_allowed() => lost.taken = cost,
            Action::Charge => lost.taken = cost,
            Action::Lend { .. } => {
                lost.lent = lent(&decision);
                self.lent.push((Term::at(at), lost.lent));
            }
            Action::EndLease { term, lent } => {
                let same = |other: &(Term, u64)| *other == (term, lent.into());
                if let Some(settled) = self.lent.iter().position(same) {
                    self.lent.swap_remove(settled);
                }
            }
            _ => {}
        }
        if bucket != read {
            self.bucket = (!bucket.is_full(rate, at)).then_some(bucket);
            self.writes.push_back(Write { at: now, before, lost });
        }
        while self.writes.front().is_some_and(|write| write.at < now - SECOND) {
            self.writes.pop_front();
        }
        decision
    }

    /// Returns the whole tokens in the bucket.
    pub(super) fn remaining(&self, rate: &Rate, now: Nanos) -> u64 {
        let at = self.clock.at(now);
        self.bucket.unwrap_or_else(|| TokenBucket::full(rate, at)).settled(rate, at).remaining()
    }

    /// Loses the writes after `since`, and returns what they had admitted.
    pub(super) fn fail_over(&mut self, since: Nanos) -> Lost {
        let mut lost = Lost::default();
        while self.writes.back().is_some_and(|write| write.at > since)
            && let Some(write) = self.writes.pop_back()
        {
            self.bucket = write.before;
            lost.taken += write.lost.taken;
            lost.lent += write.lost.lent;
        }
        lost
    }

    fn load(&self, rate: &Rate, at: Timestamp) -> TokenBucket {
        let full = TokenBucket::full(rate, at);
        let Some(bucket) = self.bucket else { return full };
        let forgets = self.fault == Some(Fault::ForgetsWhileTokensAreOut);
        let seen = if forgets { bucket.with_leases(Leases::NONE) } else { bucket };
        if seen.is_full(rate, at) { full } else { bucket }
    }

    fn decide_on(&self, check: &Check, bucket: &mut TokenBucket, at: Timestamp) -> Decision {
        let leases = bucket.leases();
        let decide = |tokens: &mut TokenBucket| {
            let (decision, after) = check.decide_one((*tokens).into(), at, Source::Store);
            if let Some(Bucket::Tokens(after)) = after {
                *tokens = after;
            }
            decision
        };
        match (self.fault, check.action()) {
            (_, Action::Lend { .. } | Action::EndLease { .. })
                if self.fault == Some(Fault::RefillsToTheBurst) =>
            {
                decide(bucket)
            }
            (Some(Fault::RefillsToTheBurst), _) => {
                *bucket = bucket.with_leases(Leases::NONE);
                let decision = decide(bucket);
                *bucket = bucket.with_leases(leases);
                decision
            }
            (Some(Fault::CapsLazily), _) => {
                let term = Term::at(at);
                if leases.any() && leases.term() < term {
                    let is_next = leases.term().next() == term;
                    let earlier = if is_next { leases.current_us() } else { 0 };
                    *bucket = bucket.with_leases(Leases::from_parts(term, earlier, 0));
                }
                decide(bucket)
            }
            (Some(Fault::SettlesWhatHasEnded), Action::EndLease { .. }) => {
                let decision = decide(bucket);
                if decision.is_denied() {
                    let part = &check.parts()[0];
                    let mut settled = bucket.settled(rate_of(check), at);
                    settled.give_back(part.cost.tokens());
                    *bucket = settled.bucket();
                }
                decision
            }
            _ => decide(bucket),
        }
    }

    fn return_what_has_ended(&mut self, bucket: &mut TokenBucket, rate: &Rate, at: Timestamp) {
        let mut settled = bucket.settled(rate, at);
        self.lent.retain(|(term, lent)| {
            let has_ended = term.lease_end() <= at;
            if has_ended {
                settled.give_back(*lent);
            }
            !has_ended
        });
        *bucket = settled.bucket();
    }
}

/// Returns the tokens that a decision lent.
pub(super) fn lent(decision: &Decision) -> u64 {
    let verdict = &decision.verdicts()[0];
    if verdict.admitted { verdict.cost.tokens() } else { 0 }
}
