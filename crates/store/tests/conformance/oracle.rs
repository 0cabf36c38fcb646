//! Replays checks on the core's arithmetic, at the time of the store's decisions.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use sluice_core::{
    Action, Algorithm, Bucket, BucketId, Check, Cost, CostsDigest, Decision, Epoch, Hold, HoldId,
    HoldStep, Limit, Mode, Rate, Record, RecordKey, RecordWrite, Tag, Term, Timestamp,
};
use sluice_testkit::strategies::{costs, rates};

/// How long a store may keep a bucket that is full. Redis expires keys at whole milliseconds, and
/// by a time that it read before the script ran; a busy machine may pause the server in between.
const KEPT_US: i64 = 1_000_000;

/// More than what Redis rounds an expiry up by.
const ROUNDED_UP: Duration = Duration::from_millis(2);

/// The states that every bucket may have by the core's arithmetic.
///
/// Whether a store still keeps a full bucket shows only when the limit's rate changes or the clock
/// steps back, and for a while both are right. So a bucket has a few possible states, and each
/// decision excludes those that would have led to another one.
#[derive(Default)]
pub struct Oracle {
    /// What the store holds of a bucket that it does not know.
    epoch: Epoch,
    buckets: HashMap<BucketId, Vec<State>>,
    records: HashMap<RecordKey, Vec<RecordState>>,
    /// The store's clock at the last decision, and when that was.
    last: Option<(Timestamp, Instant)>,
}

/// A bucket and the instant until which it is kept; `None` if the store does not keep it.
type State = Option<(Bucket, Timestamp)>;

/// The record of a hold and the instant until which it is kept; `None` if there is none.
type RecordState = Option<(Record, Timestamp)>;

/// A state, and whether a decision finds it; if not, it finds an unseen bucket.
type Found = (State, bool);

impl Oracle {
    pub fn with_epoch(epoch: Epoch) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// Succeeds if the core decides the same at the same instant, and records the effect.
    pub fn confirm(&mut self, check: &Check, decision: &Decision) -> Result<(), TestCaseError> {
        let now = decision.at();
        self.last = Some((now, Instant::now()));
        self.forget_full_buckets(now);
        let possible: Vec<Vec<Found>> =
            check.parts().iter().map(|part| self.possible(part.bucket(), now)).collect();
        let key = check.record_key();
        let records = key.map_or(vec![(None, false)], |key| self.possible_records(&key, now));
        let mut left = vec![Vec::new(); possible.len()];
        let mut records_left = Vec::new();
        let mut last = None;
        let combinations = combinations(&possible).into_iter();
        let combinations = combinations
            .flat_map(|states| records.iter().map(move |record| (states.clone(), *record)));
        for (states, (known, is_found)) in combinations {
            let unseen = |limit: &Limit| self.epoch.unseen(limit.algorithm(), now);
            let before: Vec<Bucket> = check
                .parts()
                .iter()
                .zip(&states)
                .map(|(part, state)| match state {
                    (Some((bucket, _)), true) => *bucket,
                    _ => unseen(&part.limit),
                })
                .collect();
            let mut after = before.clone();
            let record = known.filter(|_| is_found).map(|(record, _)| record);
            let (expected, write) = check.decide_hold(&mut after, record, now, decision.source());
            if expected == *decision {
                let record = match write {
                    Some(RecordWrite { record, until }) => record.map(|record| (record, until)),
                    None => known,
                };
                if !records_left.contains(&record) {
                    records_left.push(record);
                }
                for (i, part) in check.parts().iter().enumerate() {
                    let kept_until =
                        self.epoch.kept_until(&after[i].settled(part.limit.algorithm(), now));
                    let changed = Some((after[i], kept_until));
                    let is_equal = before[i] == after[i];
                    // A store may write a bucket that is equal afterwards. That shows if this limit
                    // has another burst than the one for which the bucket was kept.
                    let may_write = !is_equal || is_adjustment(check.action());
                    let kept = is_equal.then_some(states[i].0);
                    let written = may_write.then_some(changed);
                    for state in kept.into_iter().chain(written) {
                        if !left[i].contains(&state) {
                            left[i].push(state);
                        }
                    }
                }
            }
            last = Some(expected);
        }
        prop_assert!(
            left.iter().all(|states| !states.is_empty()) && !records_left.is_empty(),
            "the store decided\n{decision:?}\nand the core\n{last:?}"
        );
        self.buckets.extend(check.parts().iter().map(sluice_core::Part::bucket).zip(left));
        self.records.extend(key.map(|key| (key, records_left)));
        self.forget_full_buckets(now);
        Ok(())
    }

    /// The store's clock is about to step back, after it was moved forward by `moved`. Until now it
    /// went on, also between two decisions.
    pub fn clock_steps_back(&mut self, moved: Duration) {
        if let Some((at, since)) = self.last {
            self.forget_full_buckets(at.after(moved + since.elapsed() + ROUNDED_UP));
        }
    }

    /// A store may remove any full bucket; a clock that steps back does not return it.
    fn forget_full_buckets(&mut self, now: Timestamp) {
        for states in self.buckets.values_mut() {
            let is_over = |state: &State| state.is_some_and(|(_, kept_until)| kept_until <= now);
            if states.iter().any(is_over) && !states.contains(&None) {
                states.push(None);
            }
        }
        for states in self.records.values_mut() {
            let is_over = |state: &RecordState| state.is_some_and(|(_, until)| until <= now);
            if states.iter().any(is_over) && !states.contains(&None) {
                states.push(None);
            }
        }
    }

    /// Returns the records that a decision may find, as [`possible`](Self::possible) does.
    fn possible_records(&self, key: &RecordKey, now: Timestamp) -> Vec<(RecordState, bool)> {
        let known = self.records.get(key).map_or(&[None][..], Vec::as_slice);
        let found = |state: &RecordState| {
            let over_for =
                state.map_or(i64::MAX, |(_, until)| now.unix_micros() - until.unix_micros());
            let kept = (over_for <= KEPT_US).then_some((*state, true));
            let ignored = (over_for >= 0).then_some((*state, false));
            [kept, ignored].into_iter().flatten()
        };
        known.iter().flat_map(found).collect()
    }

    fn possible(&self, id: BucketId, now: Timestamp) -> Vec<Found> {
        let known = self.buckets.get(&id).map_or(&[None][..], Vec::as_slice);
        let found = |state: &State| {
            let over_for = state
                .map_or(i64::MAX, |(_, kept_until)| now.unix_micros() - kept_until.unix_micros());
            let kept = (over_for <= KEPT_US).then_some((*state, true));
            let ignored = (over_for >= 0).then_some((*state, false));
            [kept, ignored].into_iter().flatten()
        };
        known.iter().flat_map(found).collect()
    }
}

/// Returns whether the action changes buckets whatever they hold.
const fn is_adjustment(action: Action) -> bool {
    matches!(
        action,
        Action::Charge
            | Action::GiveBack
            | Action::Reset
            | Action::EndLease { .. }
            | Action::Settle
            | Action::Undo
    )
}

/// Returns every choice of one state for each bucket.
fn combinations(possible: &[Vec<Found>]) -> Vec<Vec<Found>> {
    possible.iter().fold(vec![Vec::new()], |chosen, states| {
        chosen
            .iter()
            .flat_map(|chosen| states.iter().map(|state| [chosen.as_slice(), &[*state]].concat()))
            .collect()
    })
}

/// Batches of checks of two clients under two limits, each of which has two versions.
#[derive(Clone, Debug)]
pub struct History {
    /// By limit and version.
    rates: [[Rate; 2]; 2],
    /// Each batch, the pause before it, and how far the clock steps back in the pause.
    batches: Vec<(Duration, Duration, Vec<Step>)>,
}

#[derive(Clone, Debug)]
struct Step {
    does: Does,
    client: usize,
    parts: Vec<Part>,
}

/// What a step does. The time of a reservation counts back from when the step is sent.
#[derive(Clone, Debug)]
enum Does {
    Action(Action),
    Hold(Hold),
}

/// A cost under one of the two limits, in one of its versions.
#[derive(Clone, Debug)]
struct Part {
    limit: usize,
    version: usize,
    cost: u64,
    mode: Mode,
    /// Whether a settlement gives the cost back.
    gives_back: bool,
}

impl History {
    /// Returns the batches for these clients, each with the pause before it, and how far the clock
    /// steps back in the pause. The term of a lease is how many terms it is ago, and the time of a
    /// reservation how long ([`in_time`]).
    pub fn batches(&self, clients: [Tag; 2]) -> Vec<(Duration, Duration, Vec<Check>)> {
        let limit = |part: &Part| {
            let algorithm = Algorithm::TokenBucket(self.rates[part.limit][part.version]);
            Arc::new(
                Limit::new(["one", "another limit"][part.limit], algorithm)
                    .unwrap()
                    .with_mode(part.mode),
            )
        };
        let check = |step: &Step| {
            let mut check = match &step.does {
                Does::Action(action) => Check::new(*action),
                Does::Hold(hold) => Check::of_hold(hold.clone()),
            };
            for part in &step.parts {
                let (cost, tag) = (Cost::new(part.cost).unwrap(), clients[step.client]);
                check.push(if part.gives_back && is_correction(check.action()) {
                    sluice_core::Part::settling(limit(part), tag, cost, Cost::NONE)
                } else {
                    sluice_core::Part::new(limit(part), tag, cost)
                });
            }
            check
        };
        self.batches
            .iter()
            .map(|(pause, back, batch)| (*pause, *back, batch.iter().map(check).collect()))
            .collect()
    }
}

const fn is_correction(action: Action) -> bool {
    matches!(action, Action::Settle | Action::Undo)
}

/// Returns whether the check depends on when it is sent.
pub fn is_timed(check: &Check) -> bool {
    matches!(check.action(), Action::EndLease { .. }) || check.hold().is_some()
}

/// Returns the check as it is sent at `now`: the term of a lease and the time of a reservation
/// count from there.
pub fn in_time(check: &Check, now: Timestamp) -> Check {
    let mut timed = if let Some(hold) = check.hold() {
        let before =
            |ago: Timestamp| Timestamp::from_unix_micros(now.unix_micros() - ago.unix_micros());
        let step = match hold.step() {
            HoldStep::Reserve { costs } => HoldStep::Reserve { costs },
            HoldStep::Extend { from, to, reserved_at } => {
                HoldStep::Extend { from, to, reserved_at: before(reserved_at) }
            }
            HoldStep::Settle { actual, reserved_at } => {
                HoldStep::Settle { actual, reserved_at: before(reserved_at) }
            }
            HoldStep::Undo { costs, before: held, reserved_at } => {
                HoldStep::Undo { costs, before: held, reserved_at: before(reserved_at) }
            }
        };
        Check::of_hold(Hold::new(hold.id(), hold.lifetime() / 2, step))
    } else if let Action::EndLease { term: ago, lent } = check.action() {
        let number = Term::at(now).number().saturating_sub(ago.number());
        Check::new(Action::EndLease { term: Term::from_number(number), lent })
    } else {
        return check.clone();
    };
    check.parts().iter().cloned().for_each(|part| timed.push(part));
    timed
}

/// Steps of three holds with three digests of costs.
fn holds() -> impl Strategy<Value = Hold> {
    let digest = || (1..4_u64).prop_map(CostsDigest::from_number);
    let ago = || {
        prop_oneof![Just(0), 0..3_000_000_i64, 0..100_000_000_i64]
            .prop_map(Timestamp::from_unix_micros)
    };
    let steps = prop_oneof![
        4 => digest().prop_map(|costs| HoldStep::Reserve { costs }),
        2 => (digest(), digest(), ago())
            .prop_map(|(from, to, reserved_at)| HoldStep::Extend { from, to, reserved_at }),
        3 => (digest(), ago())
            .prop_map(|(actual, reserved_at)| HoldStep::Settle { actual, reserved_at }),
        1 => (digest(), prop::option::of(digest()), ago()).prop_map(
            |(costs, before, reserved_at)| HoldStep::Undo { costs, before, reserved_at }
        ),
    ];
    let hold_for = prop_oneof![Just(1), 1..3_000_u64, Just(60_000)].prop_map(Duration::from_millis);
    (0..3_u8, hold_for, steps)
        .prop_map(|(id, hold_for, step)| Hold::new(HoldId::from_bytes([id; 16]), hold_for, step))
}

pub fn histories() -> impl Strategy<Value = History> {
    let versions = || [rates(), rates()];
    (versions(), versions()).prop_flat_map(|(one, other)| {
        let smallest = one.iter().chain(&other).map(Rate::burst).min().unwrap_or(1);
        let actions = prop_oneof![
            10 => Just(Action::Take),
            3 => Just(Action::Peek),
            1 => Just(Action::Charge),
            1 => Just(Action::GiveBack),
            1 => Just(Action::Reset),
            2 => (1..20_u32).prop_map(|least| Action::Lend { least }),
            2 => (0..3_u32, 0..20_u32).prop_map(|(terms_ago, lent)| {
                Action::EndLease { term: Term::from_number(terms_ago), lent }
            }),
        ];
        let does =
            prop_oneof![2 => actions.prop_map(Does::Action), 1 => holds().prop_map(Does::Hold)];
        let modes = prop_oneof![4 => Just(Mode::Enforce), 1 => Just(Mode::Shadow)];
        let cost = prop_oneof![1 => Just(0), 9 => costs(smallest)];
        // Mostly the first version of a limit: a rate changes now and then, not with every check.
        let version = prop_oneof![6 => Just(0_usize), 1 => Just(1)];
        let part = |limit: usize| {
            (version.clone(), cost.clone(), modes.clone(), any::<bool>()).prop_map(
                move |(version, cost, mode, gives_back)| Part {
                    limit,
                    version,
                    cost,
                    mode,
                    gives_back,
                },
            )
        };
        let parts = prop_oneof![
            part(0).prop_map(|part| vec![part]),
            part(1).prop_map(|part| vec![part]),
            (part(0), part(1)).prop_map(|(first, second)| vec![first, second]),
        ];
        let step = (does, 0..2_usize, parts).prop_map(|(does, client, parts)| Step {
            does,
            client,
            parts,
        });
        let pause =
            prop_oneof![Just(0), 1..5_000_u64, 1..5_000_000_u64].prop_map(Duration::from_micros);
        let back = prop_oneof![
            12 => Just(0),
            1 => 1..3_000_000_u64,
            1 => 1..100_000_000_000_u64,
        ]
        .prop_map(Duration::from_micros);
        // A check that is alone goes to a script of its own.
        let steps = prop_oneof![
            1 => prop::collection::vec(step.clone(), 1),
            1 => prop::collection::vec(step, 1..20),
        ];
        let batch = (pause, back, steps);
        (Just([one, other]), prop::collection::vec(batch, 1..25))
            .prop_map(|(rates, batches)| History { rates, batches })
    })
}
