//! Which slots this process holds, and when they have to be renewed: without I/O and without a
//! clock.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use sluice_core::{
    Action, Algorithm, BucketId, Check, Concurrent, Cost, Decision, Limit, OnLost, Part, Source,
    Tag, Timestamp,
};
use sluice_store::StoreError;
use tokio::{sync::watch, time::Instant};

use super::timing::{Moment, Timing};

/// How many terms behind a bucket the store's clock may be, until the bucket follows it.
const MAX_TERMS_BACK: u32 = 3;

/// All slots that this process holds.
#[derive(Debug, Default)]
pub(super) struct Book {
    buckets: HashMap<BucketId, BucketSlots>,
    next_number: u64,
    jitter: RandomState,
}

/// What one request holds of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    bucket: BucketId,
    number: u64,
}

/// When slots were taken or renewed last, by whose clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Since {
    pub(super) taken_at: Timestamp,
    /// Whether this was decided without the store.
    pub(super) is_local: bool,
}

/// A check that renews slots, or counts lost ones anew.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) check: Check,
    bucket: BucketId,
    numbers: Vec<u64>,
}

/// Slots that were lost at once.
#[derive(Clone, Debug)]
pub(super) struct LostSlots {
    pub(super) limit: Arc<Limit>,
    pub(super) slots: u64,
    pub(super) on_lost: OnLost,
}

/// What has to be done at some instant.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) renewals: Vec<Renewal>,
    pub(super) lost: Vec<LostSlots>,
}

/// What follows from the decision about a [`Renewal`].
#[derive(Debug, Default)]
pub(super) struct Followup {
    pub(super) give_backs: Vec<Check>,
    pub(super) lost: Vec<LostSlots>,
}

/// What is known of slots that are to be given back by another check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// They are being renewed.
    Busy,
    /// They count since then.
    Since(Timestamp),
    /// They do not count any more.
    Lost,
}

#[derive(Debug)]
struct BucketSlots {
    limit: Arc<Limit>,
    tag: Tag,
    held: BTreeMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    cost: Cost,
    since: Since,
    timing: Timing,
    state: State,
    /// Whether a renewal is on its way.
    is_busy: bool,
    /// Whether they are to be given back when it is decided.
    is_released: bool,
    /// Cuts the request off.
    cut: Option<watch::Sender<bool>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Counted,
    Lost,
}

/// Slots of a bucket that one check can renew, or count anew.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Together {
    Renew { term: u32, is_local: bool },
    CountAnew,
}

// === impl Book ===

impl Book {
    /// Notes that the slots of `part` count `since` then, as was decided at `moment`. Returns also
    /// when something has to be done about them.
    pub(super) fn take(
        &mut self,
        part: &Part,
        since: Since,
        moment: Moment,
        cut: Option<watch::Sender<bool>>,
    ) -> (Key, Instant) {
        let (bucket, number) = (part.bucket(), self.next_number);
        self.next_number += 1;
        let timing = timing(&self.jitter, &part.limit, bucket, since, moment);
        let held = Held {
            cost: part.cost,
            since,
            timing,
            state: State::Counted,
            is_busy: false,
            is_released: false,
            cut,
        };
        let slots = self.buckets.entry(bucket).or_insert_with(|| BucketSlots {
            limit: Arc::clone(&part.limit),
            tag: part.tag,
            held: BTreeMap::new(),
        });
        slots.limit = Arc::clone(&part.limit);
        slots.held.insert(number, held);
        (Key { bucket, number }, timing.due)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Returns when something has to be done.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let held = self.buckets.values().flat_map(|slots| slots.held.values());
        held.filter_map(Held::next_at).min()
    }

    /// Returns what has to be done at `now`: the checks to send, and the slots that are lost since
    /// they were not renewed in time.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        for (bucket, slots) in &mut self.buckets {
            slots.lose_late(now, &mut due.lost);
            slots.collect(*bucket, now, &mut due.renewals);
        }
        due
    }

    /// Notes what the store decided about a renewal that was sent and received then.
    pub(super) fn decided(
        &mut self,
        renewal: &Renewal,
        decided: &Result<Decision, StoreError>,
        (sent, received): (Instant, Instant),
    ) -> Followup {
        let mut followup = Followup::default();
        let Some(slots) = self.buckets.get_mut(&renewal.bucket) else { return followup };
        let concurrent = concurrent(&slots.limit);
        let admitted = decided.as_ref().map(|decision| {
            let is_admitted = decision.verdicts().first().is_some_and(|verdict| verdict.admitted);
            (decision, is_admitted || renewal.check.action() == Action::Charge)
        });
        let mut lost = Cost::NONE;
        for number in &renewal.numbers {
            let Some(held) = slots.held.get_mut(number) else { continue };
            held.is_busy = false;
            match admitted {
                Ok((decision, true)) if !held.is_cut() => {
                    held.since = held.since.renewed(renewal.check.action(), decision, &concurrent);
                    held.state = State::Counted;
                    let moment = Moment { at: decision.at(), sent, received };
                    let limit = &slots.limit;
                    held.timing = timing(&self.jitter, limit, renewal.bucket, held.since, moment);
                }
                Ok((_, true)) => {}
                Ok((_, false)) => lost = lost.plus(held.lose(received)),
                Err(_) => held.timing.due = received + Timing::retry_after(&concurrent),
            }
            if held.is_released {
                followup.give_backs.extend(slots.remove(*number));
            }
        }
        followup.lost.extend(slots.lost(lost));
        if slots.held.is_empty() {
            self.buckets.remove(&renewal.bucket);
        }
        followup
    }

    /// Returns how many slots count at `now`, as far as is known.
    #[cfg(test)]
    pub(super) fn counted(&self, now: Instant) -> u64 {
        let held = self.buckets.values().flat_map(|slots| slots.held.values());
        let counted = held.filter(|held| {
            held.state == State::Counted && now < held.timing.deadline && !held.is_released
        });
        counted.map(|held| held.cost.tokens()).sum()
    }

    /// Returns how many slots of which limit a request holds.
    pub(super) fn held(&self, key: Key) -> Option<(Arc<Limit>, u64)> {
        let slots = self.buckets.get(&key.bucket)?;
        let held = slots.held.get(&key.number).filter(|held| !held.is_released)?;
        Some((Arc::clone(&slots.limit), held.cost.tokens()))
    }

    /// Ends what a request holds, and returns the check that gives it back. There is none for slots
    /// that are lost, and for those that are being renewed: these are given back afterwards.
    pub(super) fn release(&mut self, key: Key) -> Option<Check> {
        let slots = self.buckets.get_mut(&key.bucket)?;
        let held = slots.held.get_mut(&key.number)?;
        if held.is_busy {
            held.is_released = true;
            return None;
        }
        let give_back = slots.remove(key.number);
        if slots.held.is_empty() {
            self.buckets.remove(&key.bucket);
        }
        give_back
    }

    /// Ends what a request holds, for a caller that gives it back by itself. If it is being
    /// renewed, only where the caller takes what is known.
    pub(super) fn take_out(&mut self, key: Key, even_if_busy: bool) -> Taken {
        let Some(slots) = self.buckets.get_mut(&key.bucket) else { return Taken::Lost };
        let Some(held) = slots.held.get(&key.number) else { return Taken::Lost };
        if held.is_busy && !even_if_busy {
            return Taken::Busy;
        }
        let taken = match held.state {
            State::Counted => Taken::Since(held.since.taken_at),
            State::Lost => Taken::Lost,
        };
        slots.held.remove(&key.number);
        if slots.held.is_empty() {
            self.buckets.remove(&key.bucket);
        }
        taken
    }
}

impl Key {
    /// Returns the bucket of which something is held.
    pub(super) const fn bucket(&self) -> BucketId {
        self.bucket
    }
}

// === impl Since ===

impl Since {
    /// Returns since when slots count after a `decision` that renewed them, or counted them anew.
    fn renewed(self, action: Action, decision: &Decision, concurrent: &Concurrent) -> Self {
        let is_by_store = decision.source() != Source::Local;
        let taken_at = if action == Action::Charge || (self.is_local && is_by_store) {
            decision.at()
        } else {
            // If the store's clock has stepped back far, the bucket has followed it.
            let latest = concurrent.term_at(decision.at()).saturating_add(MAX_TERMS_BACK);
            let latest = concurrent.beginning_of(latest);
            let known = if concurrent.term_at(self.taken_at) > concurrent.term_at(latest) {
                latest
            } else {
                self.taken_at
            };
            known.max(decision.at())
        };
        Self { taken_at, is_local: !is_by_store }
    }
}

// === impl BucketSlots ===

impl BucketSlots {
    /// Notes which slots were not renewed in time.
    fn lose_late(&mut self, now: Instant, lost: &mut Vec<LostSlots>) {
        let mut slots = Cost::NONE;
        for held in self.held.values_mut() {
            if held.state == State::Counted && held.timing.deadline <= now {
                slots = slots.plus(held.lose(now));
            }
        }
        lost.extend(self.lost(slots));
    }

    /// Makes the checks that are due, one for all slots of a term.
    fn collect(&mut self, bucket: BucketId, now: Instant, renewals: &mut Vec<Renewal>) {
        let concurrent = concurrent(&self.limit);
        let mut groups: Vec<(Together, Since, Cost, Vec<u64>)> = Vec::new();
        for (number, held) in &mut self.held {
            if held.is_busy || held.is_cut() || held.timing.due > now {
                continue;
            }
            let Since { taken_at, is_local } = held.since;
            let together = match held.state {
                State::Counted => Together::Renew { term: concurrent.term_at(taken_at), is_local },
                State::Lost => Together::CountAnew,
            };
            held.is_busy = true;
            match groups.iter_mut().find(|(known, ..)| *known == together) {
                Some((_, _, cost, numbers)) => {
                    *cost = cost.plus(held.cost);
                    numbers.push(*number);
                }
                None => groups.push((together, held.since, held.cost, vec![*number])),
            }
        }
        for (together, since, cost, numbers) in groups {
            let check = match together {
                Together::Renew { .. } => self.check(Action::Renew, cost, Some(since)),
                Together::CountAnew => self.check(Action::Charge, cost, None),
            };
            renewals.push(Renewal { check, bucket, numbers });
        }
    }

    /// Removes what one request holds, and returns the check that gives it back, unless it is lost.
    fn remove(&mut self, number: u64) -> Option<Check> {
        let held = self.held.remove(&number)?;
        let counts = held.state == State::Counted;
        counts.then(|| self.check(Action::GiveBack, held.cost, Some(held.since)))
    }

    fn check(&self, action: Action, cost: Cost, since: Option<Since>) -> Check {
        let part = Part::new(Arc::clone(&self.limit), self.tag, cost);
        let part = match since {
            Some(Since { taken_at, is_local: true }) => part.taken_locally(taken_at),
            Some(Since { taken_at, is_local: false }) => part.taken_at(taken_at),
            None => part,
        };
        let mut check = Check::new(action);
        check.push(part);
        check
    }

    fn lost(&self, slots: Cost) -> Option<LostSlots> {
        let on_lost = if cuts(&self.limit) { OnLost::Cut } else { OnLost::Finish };
        let (limit, slots) = (Arc::clone(&self.limit), slots.tokens());
        (slots > 0).then_some(LostSlots { limit, slots, on_lost })
    }
}

/// Returns whether the limit cuts a request off whose slot is lost. One in shadow mode never
/// touches a request.
pub(super) fn cuts(limit: &Limit) -> bool {
    limit.denies() && concurrent(limit).on_lost() == OnLost::Cut
}

// === impl Held ===

impl Held {
    /// Notes that the slots do not count any more. Returns how many were lost just now.
    fn lose(&mut self, now: Instant) -> Cost {
        if self.state == State::Lost {
            return Cost::NONE;
        }
        (self.state, self.timing.due) = (State::Lost, now);
        if let Some(cut) = &self.cut {
            cut.send_replace(true);
        }
        self.cost
    }

    /// Whether the request was cut off, so that its slots do not come back.
    const fn is_cut(&self) -> bool {
        matches!(self.state, State::Lost) && self.cut.is_some()
    }

    fn next_at(&self) -> Option<Instant> {
        let Timing { due, deadline } = self.timing;
        match self.state {
            State::Counted if self.is_busy => Some(deadline),
            State::Counted => Some(due.min(deadline)),
            State::Lost => (!self.is_busy && self.cut.is_none()).then_some(due),
        }
    }
}

/// Returns when slots have to be renewed. All of a bucket that were taken in one term are renewed
/// at the same time.
fn timing(
    jitter: &RandomState,
    limit: &Limit,
    bucket: BucketId,
    since: Since,
    moment: Moment,
) -> Timing {
    let concurrent = concurrent(limit);
    let term = concurrent.term_at(since.taken_at);
    let share = u16::try_from(jitter.hash_one((bucket, term)) & 0xffff).unwrap_or_default();
    let jitter = f64::from(share) / f64::from(u16::MAX);
    Timing::new(&concurrent, since.taken_at, moment, jitter)
}

/// Returns the numbers of a limit on requests in flight. There are no slots of any other one.
fn concurrent(limit: &Limit) -> Concurrent {
    match limit.algorithm() {
        Algorithm::Concurrent(concurrent) => *concurrent,
        _ => unreachable!("only limits on requests in flight have slots"),
    }
}
