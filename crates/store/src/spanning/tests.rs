//! A check in several groups is decided as one in one piece, whatever happens in between.

mod holds;

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;
use proptest::prelude::*;
use sluice_core::{
    Algorithm, Cost, Limit, Mode, Part, Rate, Source, Subject, Tag, Tagger, Timestamp, Verdict,
};
use sluice_testkit::eventually_async;

use super::*;
use crate::{ManualClock, MemoryStore, StoreFuture};

const START: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);
const GROUPS: usize = 3;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Decided,
    Fails,
    /// It is decided, and nobody hears of it.
    Hangs,
    /// It is decided, and the reply takes a while.
    Late,
}

/// One memory store for each group.
#[derive(Debug)]
struct Groups {
    stores: [MemoryStore<Arc<ManualClock>>; GROUPS],
    /// The fate of calls to a group, unless they give back.
    fates: Mutex<[Fate; GROUPS]>,
    calls: Mutex<Vec<(usize, Action)>>,
    clock: Arc<ManualClock>,
}

impl Groups {
    fn new() -> Arc<Self> {
        let clock = Arc::new(ManualClock::new(START));
        Arc::new(Self {
            stores: std::array::from_fn(|_| MemoryStore::with_clock(Arc::clone(&clock))),
            fates: Mutex::new([Fate::Decided; GROUPS]),
            calls: Mutex::default(),
            clock,
        })
    }

    fn set(&self, group: usize, fate: Fate) {
        self.fates.lock()[group] = fate;
    }

    fn calls(&self) -> Vec<(usize, Action)> {
        std::mem::take(&mut *self.calls.lock())
    }

    fn decide(&self, group: usize, check: &Check) -> GroupFuture {
        self.calls.lock().push((group, check.action()));
        let fate = self.fates.lock()[group];
        match fate {
            Fate::Fails if check.action() != Action::GiveBack => {
                return StoreFuture::ready(Err(StoreError::BreakerOpen));
            }
            _ => {}
        }
        let decision = self.stores[group].decide_now(check);
        match fate {
            Fate::Hangs => StoreFuture::pending(std::future::pending()),
            Fate::Late => StoreFuture::pending(async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(decision)
            }),
            Fate::Decided | Fate::Fails => StoreFuture::ready(Ok(decision)),
        }
    }

    /// Returns a function that sends checks to these stores.
    fn sender(self: &Arc<Self>) -> impl DecideGroup<usize> {
        let groups = Arc::clone(self);
        move |group: &usize, check: Check| groups.decide(*group, &check)
    }

    /// Returns the buckets of `check`: their remaining tokens, and how long they need to be full.
    fn buckets(&self, check: &Check) -> Vec<(u64, Option<Duration>)> {
        let bucket = |part: &Part| {
            let mut peek = Check::new(Action::Peek);
            peek.push(part.clone());
            let verdict = self.stores[group_of(part)].decide_now(&peek).verdicts()[0].clone();
            (verdict.remaining, verdict.reset_in)
        };
        check.parts().iter().map(bucket).collect()
    }
}

/// Returns the group of a part: the number at the end of its limit's name.
fn group_of(part: &Part) -> usize {
    usize::from(part.limit.name().as_bytes()[part.limit.name().len() - 1] - b'0')
}

fn limit(name: &str, burst: u64) -> Arc<Limit> {
    let rate = Rate::new("70/minute".parse().unwrap(), burst).unwrap();
    Arc::new(Limit::new(name, Algorithm::TokenBucket(rate)).unwrap())
}

fn shadow(name: &str, burst: u64) -> Arc<Limit> {
    Arc::new(Limit::clone(&limit(name, burst)).with_mode(Mode::Shadow))
}

fn tag(client: u8) -> Tag {
    Tagger::new(b"").tag(Subject::Client(&[client]))
}

fn check(action: Action, parts: &[(&Arc<Limit>, u64)]) -> Check {
    parts.iter().fold(Check::new(action), |check, (limit, tokens)| {
        check.with(limit, tag(0), Cost::new(*tokens).unwrap())
    })
}

/// Decides a check that needs no waiting.
fn decide(groups: &Arc<Groups>, check: &Check) -> Result<Decision, StoreError> {
    let Some(split) = split(check, group_of) else {
        let group = check.parts().first().map_or(0, group_of);
        return Ok(groups.stores[group].decide_now(check));
    };
    now(decide_in_order(check, split, groups.sender()))
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("every group replies at once"),
    }
}

fn left(verdict: &Verdict) -> (bool, u64) {
    (verdict.admitted, verdict.remaining)
}

#[test]
fn a_check_is_split_only_if_its_parts_differ_and_groups_keep_the_order() {
    let [a, b, c] = ["x0", "x1", "y0"].map(|name| limit(name, 5));
    assert!(split(&Check::new(Action::Take), group_of).is_none());
    assert!(split(&check(Action::Take, &[(&a, 1)]), group_of).is_none());
    assert!(split(&check(Action::Take, &[(&a, 1), (&c, 2)]), group_of).is_none());
    let groups = split(&check(Action::Charge, &[(&b, 1), (&a, 2), (&c, 3)]), group_of).unwrap();
    let shapes: Vec<_> = groups
        .iter()
        .map(|group| (group.key, group.parts.to_vec(), group.check.action()))
        .collect();
    assert_eq!(shapes, [(1, vec![0], Action::Charge), (0, vec![1, 2], Action::Charge)]);
    assert_eq!(groups[1].check.parts()[1].cost.tokens(), 3);
}

#[test]
fn a_denial_gives_back_what_was_taken_and_only_looks_at_the_rest() {
    let groups = Groups::new();
    let (first, shadowed) = (limit("a0", 5), shadow("s0", 1));
    let (second, third) = (limit("b1", 1), shadow("c2", 9));
    let take =
        check(Action::Take, &[(&first, 2), (&second, 2), (&third, 3), (&shadowed, 2), (&first, 0)]);
    let before = groups.buckets(&take);
    let decision = decide(&groups, &take).unwrap();
    assert!(decision.is_denied());
    let verdicts: Vec<_> = decision.verdicts().iter().map(left).collect();
    assert_eq!(verdicts, [(true, 5), (false, 1), (true, 9), (false, 1)]);
    assert_eq!(decision.binding().unwrap().limit.name(), "b1");
    assert_eq!(groups.buckets(&take), before);
    assert_eq!(
        groups.calls(),
        [(0, Action::Take), (1, Action::Take), (2, Action::Peek), (0, Action::GiveBack)]
    );
}

#[test]
fn an_error_gives_back_and_is_returned() {
    let groups = Groups::new();
    groups.set(1, Fate::Fails);
    let [a, b, c] = ["a0", "b1", "c2"].map(|name| limit(name, 5));
    let take = check(Action::Take, &[(&a, 2), (&b, 2), (&c, 2)]);
    assert!(matches!(decide(&groups, &take), Err(StoreError::BreakerOpen)));
    assert_eq!(groups.buckets(&take), [(5, Some(Duration::ZERO)); 3]);
    assert_eq!(groups.calls(), [(0, Action::Take), (1, Action::Take), (0, Action::GiveBack)]);
}

#[test]
fn other_actions_ask_every_group_once_even_if_one_fails() {
    let groups = Groups::new();
    let [a, b, c] = ["a0", "b1", "c2"].map(|name| limit(name, 5));
    for action in [Action::Peek, Action::Charge, Action::GiveBack, Action::Reset] {
        groups.set(1, Fate::Decided);
        let all = check(action, &[(&a, 2), (&b, 2), (&c, 2)]);
        assert!(decide(&groups, &all).unwrap().is_allowed(), "{action:?}");
        assert_eq!(groups.calls(), [0, 1, 2].map(|group| (group, action)));
        if action != Action::GiveBack {
            groups.set(1, Fate::Fails);
            assert!(matches!(decide(&groups, &all), Err(StoreError::BreakerOpen)), "{action:?}");
            assert_eq!(groups.calls(), [0, 1, 2].map(|group| (group, action)));
        }
    }
    let peek = check(Action::Peek, &[(&a, 6), (&b, 1)]);
    groups.set(1, Fate::Decided);
    assert!(decide(&groups, &peek).unwrap().is_denied(), "one bucket has too few");
}

/// Returns a local decision on every part.
fn locally(check: &Check, admit: bool) -> Decision {
    let verdict = |part: &Part| Verdict {
        limit: Arc::clone(&part.limit),
        cost: part.cost,
        admitted: admit,
        remaining: 77,
        reset_in: Some(Duration::ZERO),
        retry: sluice_core::Retry::Now,
    };
    Decision::new(admit, check.parts().iter().map(verdict), START, Source::Local)
}

#[test]
fn groups_that_fail_are_decided_together_and_last() {
    let groups = Groups::new();
    groups.set(0, Fate::Fails);
    groups.set(2, Fate::Fails);
    let [a, b, c] = ["a0", "b1", "c2"].map(|name| limit(name, 5));
    let take = check(Action::Take, &[(&a, 1), (&b, 2), (&c, 3)]);
    for (admit, expected) in [(true, [77, 3, 77]), (false, [77, 3, 77])] {
        let asked = Mutex::new(Vec::new());
        let instead = |local: &Check, _: StoreError| {
            let names: Vec<_> = local.parts().iter().map(|part| part.limit.name()).collect();
            asked.lock().push((local.action(), names.join(" ")));
            Ok(locally(local, admit))
        };
        let split = split(&take, group_of).unwrap();
        let decision = now(decide_in_order_or(&take, split, groups.sender(), &instead)).unwrap();
        assert_eq!((decision.is_allowed(), decision.source()), (admit, Source::Local));
        let remaining: Vec<_> = decision.verdicts().iter().map(|each| each.remaining).collect();
        assert_eq!(remaining, expected, "{admit}");
        assert_eq!(*asked.lock(), [(Action::Take, "a0 c2".to_owned())]);
        assert_eq!(groups.buckets(&take)[1].0, 3, "a local denial gives back: {admit}");
    }
}

#[test]
fn a_denial_by_a_group_only_peeks_at_those_that_failed() {
    let groups = Groups::new();
    groups.set(0, Fate::Fails);
    let [a, b] = ["a0", "b1"].map(|name| limit(name, 5));
    let take = check(Action::Take, &[(&a, 1), (&b, 6)]);
    let instead = |local: &Check, _: StoreError| {
        assert_eq!(local.action(), Action::Peek);
        Ok(locally(local, true))
    };
    let split = split(&take, group_of).unwrap();
    let decision = now(decide_in_order_or(&take, split, groups.sender(), &instead)).unwrap();
    assert_eq!(decision.verdicts().iter().map(left).collect::<Vec<_>>(), [(true, 77), (false, 5)]);
    assert!(decision.is_denied());
}

#[test]
fn what_a_group_admitted_locally_is_not_given_back() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (a, b) = (limit("a0", 5), limit("b1", 5));
    let take = check(Action::Take, &[(&a, 1), (&b, 1)]);
    let seen = Arc::clone(&calls);
    let decide = move |group: &usize, check: Check| {
        seen.lock().push((*group, check.action()));
        StoreFuture::ready(Ok(locally(&check, *group == 0)))
    };
    let split = split(&take, group_of).unwrap();
    assert!(now(decide_in_order(&take, split, decide)).unwrap().is_denied());
    assert_eq!(*calls.lock(), [(0, Action::Take), (1, Action::Take)]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_nothing_taken() {
    let [a, b] = ["a0", "b1"].map(|name| limit(name, 5));
    let take = check(Action::Take, &[(&a, 2), (&b, 2)]);
    for (fates, patience, expected) in [
        ([Fate::Decided, Fate::Late], 5, [5, 5]),
        ([Fate::Late, Fate::Decided], 5, [5, 5]),
        ([Fate::Late, Fate::Late], 15, [5, 5]),
        // Whether a group that never replies took its tokens is unknown.
        ([Fate::Decided, Fate::Hangs], 5, [5, 3]),
    ] {
        let groups = Groups::new();
        groups.set(0, fates[0]);
        groups.set(1, fates[1]);
        let split = split(&take, group_of).unwrap();
        let decided = decide_in_order(&take, split, groups.sender());
        assert!(tokio::time::timeout(Duration::from_millis(patience), decided).await.is_err());
        eventually_async("the tokens are back", async || {
            let left: Vec<_> = groups.buckets(&take).iter().map(|(tokens, _)| *tokens).collect();
            left == expected
        })
        .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let given_back = |group| {
            groups.calls.lock().iter().filter(|call| **call == (group, Action::GiveBack)).count()
        };
        assert!(given_back(0) <= 1 && given_back(1) <= 1, "{fates:?}: sent at most once");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_on_their_way_back_are_not_sent_again() {
    let groups = Groups::new();
    groups.set(0, Fate::Late);
    let [a, b] = ["a0", "b1"].map(|name| limit(name, 5));
    let take = check(Action::Take, &[(&a, 2), (&b, 6)]);
    let split = split(&take, group_of).unwrap();
    let decided = decide_in_order(&take, split, groups.sender());
    assert!(tokio::time::timeout(Duration::from_millis(15), decided).await.is_err());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        groups.calls(),
        [(0, Action::Take), (1, Action::Take), (0, Action::GiveBack)],
        "sent before the caller went away"
    );
}

fn limits() -> Vec<Arc<Limit>> {
    vec![limit("a0", 4), limit("b1", 6), shadow("c1", 3), limit("d2", 5), shadow("e0", 2)]
}

prop_compose! {
    fn checks()(
        action in prop::sample::select(vec![
            Action::Take, Action::Take, Action::Take, Action::Take, Action::Take,
            Action::Peek, Action::Charge, Action::GiveBack, Action::Reset,
        ]),
        parts in prop::collection::vec((0_usize..5, 0_u8..2, 0_u64..5), 1..6),
    ) -> (Action, Vec<(usize, u8, u64)>) {
        (action, parts)
    }
}

fn build(limits: &[Arc<Limit>], action: Action, parts: &[(usize, u8, u64)]) -> Check {
    parts.iter().fold(Check::new(action), |check, (limit, client, tokens)| {
        check.with(&limits[*limit], tag(*client), Cost::new(*tokens).unwrap())
    })
}

proptest! {
    /// Without other callers, a check in groups is decided exactly as in one piece. So it never
    /// admits what the whole denies, and a denial leaves every bucket as it was.
    #[test]
    fn decisions_in_groups_equal_those_in_one_piece(
        history in prop::collection::vec((checks(), 0_u64..900_000), 1..40),
    ) {
        let (groups, limits) = (Groups::new(), limits());
        let whole = MemoryStore::with_clock(Arc::clone(&groups.clock));
        for ((action, parts), gap) in history {
            let check = build(&limits, action, &parts);
            let expected = whole.decide_now(&check);
            let before = groups.buckets(&check);
            let decision = decide(&groups, &check).unwrap();
            prop_assert_eq!(&decision, &expected, "{:?}", check);
            if decision.is_denied() {
                prop_assert_eq!(groups.buckets(&check), before);
            }
            groups.clock.advance(Duration::from_micros(gap));
        }
    }

    /// Whichever group fails, no other bucket is changed by a take.
    #[test]
    fn a_take_that_fails_leaves_every_bucket_as_it_was(
        parts in prop::collection::vec((0_usize..5, 0_u8..2, 0_u64..5), 2..8),
        fails in 0_usize..GROUPS,
        spent in prop::collection::vec((0_usize..5, 0_u8..2, 0_u64..5), 0..6),
    ) {
        let (groups, limits) = (Groups::new(), limits());
        decide(&groups, &build(&limits, Action::Charge, &spent)).unwrap();
        let check = build(&limits, Action::Take, &parts);
        let before = groups.buckets(&check);
        prop_assume!(split(&check, group_of).is_some());
        groups.set(fails, Fate::Fails);
        let result = decide(&groups, &check);
        if !matches!(&result, Ok(decision) if decision.is_allowed()) {
            prop_assert_eq!(groups.buckets(&check), before, "{:?}", result);
        }
    }
}
