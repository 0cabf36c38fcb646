//! What a quota promises that releases what is not settled: of what is used and held together, no
//! more is admitted than the quota, and every hold counts until it is settled or released.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use sluice_core::{
    Action, Algorithm, Bucket, Check, Cost, CostsDigest, Decision, Guarded, Hold, HoldId, HoldStep,
    Limit, Part, Quota, Record, Source, Subject, Tag, Tagger, Timestamp,
};

/// 2026-01-01T00:00:00Z, at which an hour and a term begin.
const START_US: i64 = 1_767_225_600_000_000;
const HOUR_US: i64 = 3_600_000_000;
const TERM_US: i64 = 60_000_000;
const TOKENS: u64 = 100;

#[derive(Clone, Debug)]
enum Step {
    Pause(i64),
    Take(u64),
    Reserve(u64),
    Extend { which: prop::sample::Index, more: u64 },
    Settle { which: prop::sample::Index, actual: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pauses = prop_oneof![
        4 => 0..20_000_000_i64,
        2 => 0..TERM_US * 2,
        1 => 0..HOUR_US,
        1 => 0..HOUR_US * 30,
    ];
    let which = any::<prop::sample::Index>;
    let step = prop_oneof![
        3 => pauses.prop_map(Step::Pause),
        1 => (0..30_u64).prop_map(Step::Take),
        4 => (0..60_u64).prop_map(Step::Reserve),
        1 => (which(), 0..30_u64).prop_map(|(which, more)| Step::Extend { which, more }),
        3 => (which(), 0..80_u64).prop_map(|(which, actual)| Step::Settle { which, actual }),
    ];
    prop::collection::vec(step, 1..60)
}

/// A hold as its owner knows it, and when it counts from.
struct Held {
    id: HoldId,
    tokens: u64,
    since: Timestamp,
    record: Option<Record>,
}

struct Model {
    limit: Arc<Limit>,
    tag: Tag,
    now: Timestamp,
    bucket: Bucket,
    used: (i64, u64),
    holds: Vec<Held>,
    /// What was settled after its lifetime, which counts until it is released.
    lost: Vec<(u64, Timestamp)>,
    hold_for: Duration,
    ids: u8,
}

impl Model {
    fn new(hold_for: Duration) -> Self {
        let quota: Quota = format!("{TOKENS}/hour").parse().unwrap();
        let term = Duration::from_micros(TERM_US.unsigned_abs());
        let algorithm = Algorithm::Quota(quota.releasing(term).unwrap());
        let now = Timestamp::from_unix_micros(START_US);
        Self {
            tag: Tagger::new(b"").tag(Subject::Client(b"alice")),
            bucket: Bucket::full(&algorithm, now),
            limit: Arc::new(Limit::new("quota", algorithm).unwrap()),
            now,
            used: (0, 0),
            holds: Vec::new(),
            lost: Vec::new(),
            hold_for,
            ids: 0,
        }
    }

    fn used(&self) -> u64 {
        let (hour, used) = self.used;
        if hour == self.now.unix_micros() / HOUR_US { used } else { 0 }
    }

    fn uses(&mut self, tokens: u64) {
        self.used = (self.now.unix_micros() / HOUR_US, self.used() + tokens);
    }

    fn held(&self) -> u64 {
        let term = |at: Timestamp| at.unix_micros() / TERM_US;
        let holds = self.holds.iter().map(|held| (held.tokens, held.since));
        let holds = holds.chain(self.lost.iter().copied());
        holds.filter(|(_, since)| term(self.now) - term(*since) <= 1).map(|(held, _)| held).sum()
    }

    fn left(&self) -> u64 {
        TOKENS.saturating_sub(self.used() + self.held())
    }

    fn part(&self, cost: u64) -> Part {
        Part::new(Arc::clone(&self.limit), self.tag, Cost::new(cost).unwrap())
    }

    /// Decides a step of a hold with this record, and returns the record that there is then.
    fn decide(
        &mut self,
        id: HoldId,
        record: Option<Record>,
        step: HoldStep,
        part: Part,
    ) -> (Decision, Option<Record>) {
        let mut check = Check::of_hold(Hold::new(id, self.hold_for, step));
        check.push(part);
        let record = record.filter(|record| self.now < record.until());
        let buckets = std::slice::from_mut(&mut self.bucket);
        let (decision, write) = check.decide_hold(buckets, record, self.now, Source::Store);
        (decision, write.map_or(record, |write| write.record))
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let digest = CostsDigest::from_number;
        match *step {
            Step::Pause(micros) => {
                self.now = Timestamp::from_unix_micros(self.now.unix_micros() + micros);
            }
            Step::Take(cost) => {
                let mut check = Check::new(Action::Take);
                check.push(self.part(cost));
                let buckets = std::slice::from_mut(&mut self.bucket);
                let decision = check.decide(buckets, self.now, Source::Store);
                let fits = self.used() + self.held() + cost <= TOKENS;
                prop_assert_eq!(decision.is_allowed(), fits);
                if fits {
                    self.uses(cost);
                }
            }
            Step::Reserve(tokens) => {
                self.ids += 1;
                let id = HoldId::from_bytes([self.ids; 16]);
                let fits = self.used() + self.held() + tokens <= TOKENS;
                let step = HoldStep::Reserve { costs: digest(tokens + 1) };
                let (decision, record) = self.decide(id, None, step, self.part(tokens));
                prop_assert_eq!(decision.is_allowed(), fits);
                if fits {
                    self.holds.push(Held { id, tokens, since: self.now, record });
                }
            }
            Step::Extend { ref which, more } if !self.holds.is_empty() => {
                let index = which.index(self.holds.len());
                let Held { id, tokens, since, record } = self.holds.swap_remove(index);
                let fits = self.used() + self.held() + tokens + more <= TOKENS;
                let [from, to] = [tokens, tokens + more].map(|tokens| digest(tokens + 1));
                let step = HoldStep::Extend { from, to, reserved_at: since };
                let part = self.part(more).holding(Cost::new(tokens).unwrap());
                let (decision, record) = self.decide(id, record, step, part);
                prop_assert_eq!(decision.is_allowed(), fits);
                let (tokens, since) =
                    if fits { (tokens + more, self.now) } else { (tokens, since) };
                self.holds.push(Held { id, tokens, since, record });
            }
            Step::Settle { ref which, actual } if !self.holds.is_empty() => {
                let index = which.index(self.holds.len());
                let Held { id, tokens, since, record } = self.holds.swap_remove(index);
                let step = HoldStep::Settle { actual: digest(actual + 1), reserved_at: since };
                let limit = Arc::clone(&self.limit);
                let cost = Cost::new(actual).unwrap();
                let part = Part::settling(limit, self.tag, Cost::NONE, cost)
                    .holding(Cost::new(tokens).unwrap());
                let (settled, record) = self.decide(id, record, step, part.clone());
                prop_assert!(settled.is_allowed());
                self.uses(actual);
                if self.now >= since.after(self.hold_for * 2) {
                    self.lost.push((tokens, since));
                }
                let before = self.bucket;
                let (again, _) = self.decide(id, record, step, part);
                if record.is_some() {
                    prop_assert_eq!(again.guarded(), Some(Guarded::Repeated));
                    prop_assert_eq!(self.bucket, before);
                } else {
                    // Nothing is known of it any more, so it is charged once more.
                    self.uses(actual);
                }
            }
            Step::Extend { .. } | Step::Settle { .. } => {}
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn every_hold_counts_until_it_is_settled_or_released(
        steps in steps(),
        // A hold may be for a shorter time than the quota's own.
        hold_for in prop_oneof![Just(60), Just(5)],
    ) {
        let mut model = Model::new(Duration::from_secs(hold_for));
        for step in &steps {
            model.step(step)?;
            let algorithm = model.limit.algorithm();
            let settled = model.bucket.settled(algorithm, model.now);
            prop_assert_eq!(settled.remaining(), model.left(), "after {:?}", step);
            prop_assert_eq!(settled.used(), model.used() + model.held());
            // A store forgets the state once nothing counts.
            if model.bucket.is_full(algorithm, model.now) {
                prop_assert_eq!(model.used() + model.held(), 0);
                model.bucket = Bucket::full(algorithm, model.now);
            }
        }
    }
}
