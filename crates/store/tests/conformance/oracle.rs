//! The core's arithmetic, kept beside a store and replayed at the store's own time.

use std::{collections::HashMap, sync::Arc};

use proptest::prelude::*;
use sluice_core::{Action, Algorithm, Bucket, BucketId, Check, Cost, Decision, Limit, Mode, Tag, Timestamp, TokenBucket};
use sluice_testkit::strategies::{costs, token_buckets};

/// Redis forgets a full bucket within so many microseconds of its being full.
const FORGETTING_US: i64 = 10_000;

/// What the core says every bucket should hold.
#[derive(Default)]
pub struct Oracle {
    buckets: HashMap<BucketId, (Bucket, Timestamp)>,
}

impl Oracle {
    /// Confirms that `decision` is what the core decides at the same instant, and notes its effect.
    pub fn confirm(&mut self, check: &Check, decision: &Decision) -> Result<(), TestCaseError> {
        let now = decision.at();
        // A bucket that is full may be remembered for a moment still; with numbers that changed since, that shows. Either is right.
        let kept = self.buckets_of(check, |_| true);
        let forgotten = self.buckets_of(check, |full_at| now < full_at);
        let long_gone = self.buckets_of(check, |full_at| now.unix_micros() < full_at.unix_micros() + FORGETTING_US);
        let mut last = None;
        for before in [long_gone, forgotten, kept] {
            let mut after = before.clone();
            let expected = check.decide(&mut after, now, decision.source());
            if expected == *decision {
                self.note(check, &before, &after);
                return Ok(());
            }
            last = Some(expected);
        }
        prop_assert_eq!(Some(decision.clone()), last, "at {:?}", now);
        Ok(())
    }

    fn buckets_of(&self, check: &Check, remembered: impl Fn(Timestamp) -> bool) -> Vec<Bucket> {
        // A bucket that is not remembered is full at any instant, so one long ago is full by now.
        let full = |limit: &Limit| Bucket::full(limit.numbers(), Timestamp::from_unix_micros(0));
        let known = |id: BucketId| self.buckets.get(&id).filter(|(_, full_at)| remembered(*full_at));
        check.parts().iter().map(|part| known(part.bucket()).map_or_else(|| full(&part.limit), |(bucket, _)| *bucket)).collect()
    }

    fn note(&mut self, check: &Check, before: &[Bucket], after: &[Bucket]) {
        for (part, (before, after)) in check.parts().iter().zip(before.iter().zip(after)) {
            if before != after {
                self.buckets.insert(part.bucket(), (*after, after.full_at(part.limit.numbers())));
            }
        }
    }
}

/// Checks of two clients under two limits, whose numbers change on the way.
#[derive(Clone, Debug)]
pub struct History {
    numbers: [[TokenBucket; 2]; 2],
    batches: Vec<Vec<Step>>,
}

#[derive(Clone, Debug)]
struct Step {
    action: Action,
    client: usize,
    parts: Vec<Part>,
}

/// Of one of the two limits, in one of its versions.
#[derive(Clone, Debug)]
struct Part {
    limit: usize,
    version: usize,
    cost: u64,
    mode: Mode,
}

impl History {
    /// The batches of checks, with `clients` in their roles.
    pub fn batches(&self, clients: [Tag; 2]) -> Vec<Vec<Check>> {
        let limit = |part: &Part| {
            let algorithm = Algorithm::TokenBucket(self.numbers[part.limit][part.version]);
            Arc::new(Limit::new(["one", "another limit"][part.limit], algorithm).unwrap().with_mode(part.mode))
        };
        let check = |step: &Step| {
            let of = |check: Check, part: &Part| check.with(&limit(part), clients[step.client], Cost::new(part.cost).unwrap());
            step.parts.iter().fold(Check::new(step.action), of)
        };
        self.batches.iter().map(|batch| batch.iter().map(check).collect()).collect()
    }
}

pub fn histories() -> impl Strategy<Value = History> {
    let numbers = || [token_buckets(), token_buckets()];
    (numbers(), numbers()).prop_flat_map(|(one, other)| {
        let smallest = one.iter().chain(&other).map(TokenBucket::burst).min().unwrap_or(1);
        let actions = prop_oneof![
            10 => Just(Action::Take),
            1 => Just(Action::Peek),
            1 => Just(Action::Charge),
            1 => Just(Action::GiveBack),
            1 => Just(Action::Reset),
        ];
        let modes = prop_oneof![4 => Just(Mode::Enforce), 1 => Just(Mode::Shadow)];
        let cost = prop_oneof![1 => Just(0), 9 => costs(smallest)];
        // Mostly the first version of a limit: numbers change now and then, not with every check.
        let version = prop_oneof![6 => Just(0_usize), 1 => Just(1)];
        let part = |limit: usize| {
            (version.clone(), cost.clone(), modes.clone()).prop_map(move |(version, cost, mode)| Part { limit, version, cost, mode })
        };
        let parts = prop_oneof![
            part(0).prop_map(|part| vec![part]),
            part(1).prop_map(|part| vec![part]),
            (part(0), part(1)).prop_map(|(first, second)| vec![first, second]),
        ];
        let step = (actions, 0..2_usize, parts).prop_map(|(action, client, parts)| Step { action, client, parts });
        let batches = prop::collection::vec(prop::collection::vec(step, 1..20), 1..25);
        (Just([one, other]), batches).prop_map(|(numbers, batches)| History { numbers, batches })
    })
}
