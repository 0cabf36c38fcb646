//! Replays checks on the core's arithmetic, at the time of the store's decisions.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use sluice_core::{
    Action, Algorithm, AtMost, Bucket, BucketId, Calendar, CalendarUnit, Check, Concurrent, Cost,
    CostsDigest, Decision, Epoch, Hold, HoldId, HoldStep, Limit, Mode, Quota, Record, RecordKey,
    RecordWrite, Tag, Term, Timestamp, Verdict,
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
        let mut others = Vec::new();
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
            others.push(expected);
        }
        prop_assert!(
            left.iter().all(|states| !states.is_empty()) && !records_left.is_empty(),
            "the store decided\n{decision:?}\nand the core otherwise:{}",
            differences(decision, &others)
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

/// Says which verdicts of a decision the others have not, and what they have.
fn differences(decision: &Decision, others: &[Decision]) -> String {
    let said = |verdict: &Verdict| {
        let Verdict { admitted, remaining, reset_in, retry, .. } = verdict;
        format!("admitted {admitted}, remaining {remaining}, reset in {reset_in:?}, {retry:?}")
    };
    let mut text = String::new();
    for (i, verdict) in decision.verdicts().iter().enumerate() {
        let mut expected: Vec<_> = others.iter().map(|other| &other.verdicts()[i]).collect();
        expected.dedup();
        if !expected.contains(&verdict) {
            let expected: Vec<_> = expected.into_iter().map(said).collect();
            let name = verdict.limit.name();
            text += &format!("\n{name}: {}\ncore: {}", said(verdict), expected.join("\ncore: "));
        }
    }
    if text.is_empty() { format!("\n{others:?}") } else { text }
}

/// Returns whether the action changes buckets whatever they hold.
const fn is_adjustment(action: Action) -> bool {
    matches!(
        action,
        Action::Charge
            | Action::GiveBack
            | Action::Reset
            | Action::Renew
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

/// Batches of checks of two clients under limits of all algorithms, each of which has two versions.
#[derive(Clone, Debug)]
pub struct History {
    /// By limit and version.
    limits: [[Algorithm; 2]; 5],
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

/// A cost under one of the limits, in one of its versions.
#[derive(Clone, Debug)]
struct Part {
    limit: usize,
    version: usize,
    cost: u64,
    mode: Mode,
    /// Whether a settlement gives the cost back.
    gives_back: bool,
    /// What is held before an extension.
    held: u64,
    /// How long ago it was taken what is given back or renewed, if that is known.
    taken_ago: Option<Timestamp>,
}

impl History {
    /// Returns the batches for these clients, each with the pause before it, and how far the clock
    /// steps back in the pause. The term of a lease is how many terms it is ago, and the time of a
    /// reservation, or of what is given back, how long ([`in_time`]).
    pub fn batches(&self, clients: [Tag; 2]) -> Vec<(Duration, Duration, Vec<Check>)> {
        let limit = |part: &Part| {
            let algorithm = self.limits[part.limit][part.version].clone();
            let name = ["one", "another limit", "quota", "at most", "slots"][part.limit];
            Arc::new(Limit::new(name, algorithm).unwrap().with_mode(part.mode))
        };
        let check = |step: &Step| {
            let mut check = match &step.does {
                Does::Action(action) => Check::new(*action),
                Does::Hold(hold) => Check::of_hold(hold.clone()),
            };
            for part in &step.parts {
                let (cost, tag) = (Cost::new(part.cost).unwrap(), clients[step.client]);
                let made = if part.gives_back && is_correction(check.action()) {
                    sluice_core::Part::settling(limit(part), tag, cost, Cost::NONE)
                } else {
                    sluice_core::Part::new(limit(part), tag, cost)
                };
                check.push(match part.taken_ago {
                    _ if check.action() == Action::Extend
                        || (is_correction(check.action()) && made.counts_apart()) =>
                    {
                        made.holding(Cost::new(part.held).unwrap())
                    }
                    Some(ago) => made.taken_at(ago),
                    None => made,
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
    matches!(check.action(), Action::EndLease { .. })
        || check.hold().is_some()
        || check.parts().iter().any(|part| part.when_taken().is_some())
}

/// Returns the check as it is sent at `now`: the term of a lease, the time of a reservation and
/// that of what is given back count from there.
pub fn in_time(check: &Check, now: Timestamp) -> Check {
    let before =
        |ago: Timestamp| Timestamp::from_unix_micros(now.unix_micros() - ago.unix_micros());
    let mut timed = if let Some(hold) = check.hold() {
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
        check.without_parts()
    };
    for part in check.parts() {
        timed.push(match part.when_taken() {
            Some(ago) => part.clone().taken_at(before(ago)),
            None => part.clone(),
        });
    }
    timed
}

/// Times ago: just now, in the last seconds, and in the last minutes.
fn ago() -> impl Strategy<Value = Timestamp> {
    prop_oneof![Just(0), 0..3_000_000_i64, 0..100_000_000_i64].prop_map(Timestamp::from_unix_micros)
}

/// Steps of three holds with three digests of costs.
fn holds() -> impl Strategy<Value = Hold> {
    let digest = || (1..4_u64).prop_map(CostsDigest::from_number);
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

/// Quotas of windows that the script of Redis computes, and of others. Most windows are so short
/// that a history has several.
fn quotas() -> BoxedStrategy<Algorithm> {
    let unit = |unit| Just(Calendar::new(unit));
    let zones = prop::sample::select(vec!["Europe/Rome", "America/New_York", "Asia/Kathmandu"]);
    let anchored = |day| Calendar::new(CalendarUnit::Month).anchored_at(day).unwrap();
    let in_zone = |unit, zone| Calendar::new(unit).in_zone(zone).unwrap();
    let calendars = prop_oneof![
        4 => unit(CalendarUnit::Second),
        1 => unit(CalendarUnit::Minute),
        1 => unit(CalendarUnit::Day),
        1 => unit(CalendarUnit::Week),
        2 => zones.prop_map(move |zone| in_zone(CalendarUnit::Day, zone)),
        2 => (1..=31_u8).prop_map(anchored),
        1 => unit(CalendarUnit::Year),
    ];
    let releases = prop_oneof![
        2 => Just(None),
        2 => Just(Some(1_000)),
        1 => (1_000..20_000_u64).prop_map(Some),
        1 => Just(Some(86_400_000)),
    ];
    (numbers(), calendars, any::<bool>(), releases)
        .prop_map(|(tokens, calendar, counts_denied, releases)| {
            let quota = Quota::new(tokens, calendar).unwrap();
            let quota = if counts_denied { quota.counting_denied() } else { quota };
            Algorithm::Quota(match releases {
                Some(millis) => quota.releasing(Duration::from_millis(millis)).unwrap(),
                None => quota,
            })
        })
        .boxed()
}

fn periods() -> BoxedStrategy<Algorithm> {
    let periods =
        prop_oneof![10_000..1_000_000_u64, Just(6_000_000), 10_000..3_162_240_000_000_u64];
    let period = periods.prop_map(|slice_us| Duration::from_micros(slice_us * 10));
    (numbers(), period)
        .prop_map(|(tokens, period)| Algorithm::AtMost(AtMost::new(tokens, period).unwrap()))
        .boxed()
}

fn slots() -> BoxedStrategy<Algorithm> {
    let terms = prop_oneof![2 => Just(1_000), 1 => 1_000..20_000_u64, 1 => Just(86_400_000)];
    let slots = prop_oneof![1..=20_u64, 1..=1_000_000_u64];
    (slots, terms.prop_map(Duration::from_millis))
        .prop_map(|(slots, term)| {
            Algorithm::Concurrent(Concurrent::new(slots).unwrap().with_term(term).unwrap())
        })
        .boxed()
}

/// How many tokens a limit has that is no token bucket.
fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..=20, 1_u64..=10_000, 1_u64..=1_000_000_000_000]
}

pub fn histories() -> impl Strategy<Value = History> {
    let buckets = || {
        let algorithm = || rates().prop_map(Algorithm::TokenBucket).boxed();
        [algorithm(), algorithm()]
    };
    let limits =
        (buckets(), buckets(), [quotas(), quotas()], [periods(), periods()], [slots(), slots()]);
    limits.prop_flat_map(|(one, other, quotas, periods, slots)| {
        let limits = [one, other, quotas, periods, slots];
        let smallest = limits.iter().flatten().map(Algorithm::capacity).min().unwrap_or(1);
        let actions = prop_oneof![
            10 => Just(Action::Take),
            3 => Just(Action::Peek),
            1 => Just(Action::Charge),
            2 => Just(Action::GiveBack),
            2 => Just(Action::Renew),
            1 => Just(Action::Reset),
            2 => (1..20_u32).prop_map(|least| Action::Lend { least }),
            2 => (0..3_u32, 0..20_u32).prop_map(|(terms_ago, lent)| {
                Action::EndLease { term: Term::from_number(terms_ago), lent }
            }),
        ];
        let does =
            prop_oneof![2 => actions.prop_map(Does::Action), 1 => holds().prop_map(Does::Hold)]
                .boxed();
        let modes = prop_oneof![4 => Just(Mode::Enforce), 1 => Just(Mode::Shadow)];
        let cost = prop_oneof![1 => Just(0), 9 => costs(smallest)];
        // Mostly the first version of a limit: a rate changes now and then, not with every check.
        let version = prop_oneof![6 => Just(0_usize), 1 => Just(1)];
        let part = |limit: usize| {
            let earlier = (0..20_u64, prop::option::of(ago()));
            (version.clone(), cost.clone(), modes.clone(), any::<bool>(), earlier)
                .prop_map(move |(version, cost, mode, gives_back, (held, taken_ago))| Part {
                    limit,
                    version,
                    cost,
                    mode,
                    gives_back,
                    held,
                    taken_ago,
                })
                .boxed()
        };
        let all = [part(0), part(1), part(2), part(3), part(4)];
        let some = |counts| prop::sample::subsequence(vec![0_usize, 1, 2, 3, 4], counts);
        let parts = prop_oneof![
            2 => part(0).prop_map(|part| vec![part]),
            2 => part(1).prop_map(|part| vec![part]),
            2 => (part(0), part(1)).prop_map(|(first, second)| vec![first, second]),
            6 => (all, some(1..=4)).prop_map(chosen),
        ]
        .boxed();
        let step = (does, 0..2_usize, parts).prop_map(|(does, client, parts)| Step {
            does,
            client,
            parts,
        });
        let pause = prop_oneof![
            4 => Just(0),
            4 => 1..5_000_u64,
            4 => 1..5_000_000_u64,
        ]
        .prop_map(Duration::from_micros);
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
        (Just(limits), prop::collection::vec(batch, 1..25))
            .prop_map(|(limits, batches)| History { limits, batches })
    })
}

fn chosen((all, indices): ([Part; 5], Vec<usize>)) -> Vec<Part> {
    indices.into_iter().map(|index| all[index].clone()).collect()
}
