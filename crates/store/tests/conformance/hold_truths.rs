//! What is true of every store that keeps records of holds.

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Action, Algorithm, Check, CostsDigest, Decision, Guarded, Hold, HoldId, HoldStep, Limit, Part,
    Quota, Retry, Tag, Term, Timestamp,
};

use crate::fixture::{Fixture, algorithm, check, limit, tokens};

/// Long enough for every machine.
const LONG: Duration = Duration::from_secs(3_600);

/// A hold of costs in the buckets of some limits and clients.
#[derive(Clone)]
struct Holding {
    id: HoldId,
    hold_for: Duration,
    buckets: Vec<(Arc<Limit>, Tag)>,
}

impl Holding {
    fn of(number: u8, buckets: &[(&Arc<Limit>, Tag)]) -> Self {
        let buckets = buckets.iter().map(|(limit, tag)| (Arc::clone(limit), *tag)).collect();
        Self { id: HoldId::from_bytes([number; 16]), hold_for: LONG, buckets }
    }

    fn lasting(self, hold_for: Duration) -> Self {
        Self { hold_for, ..self }
    }

    /// Returns the same hold under limits of another rate.
    fn under(self, limits: &[&Arc<Limit>]) -> Self {
        let buckets = self.buckets.iter().zip(limits);
        let buckets = buckets.map(|((_, tag), limit)| (Arc::clone(limit), *tag)).collect();
        Self { buckets, ..self }
    }

    fn digest(&self, costs: &[u64]) -> CostsDigest {
        let buckets = self
            .buckets
            .iter()
            .map(|(limit, tag)| Part::new(Arc::clone(limit), *tag, tokens(0)).bucket());
        CostsDigest::of(buckets.zip(costs.iter().map(|&cost| tokens(cost))))
    }

    fn step(&self, step: HoldStep, costs: &[u64]) -> Check {
        let check = Check::of_hold(Hold::new(self.id, self.hold_for, step));
        let parts = self.buckets.iter().zip(costs);
        parts.fold(check, |check, ((limit, tag), &cost)| check.with(limit, *tag, tokens(cost)))
    }

    fn reserve(&self, costs: &[u64]) -> Check {
        self.step(HoldStep::Reserve { costs: self.digest(costs) }, costs)
    }

    fn extend(&self, held: &[u64], extra: &[u64], reserved_at: Timestamp) -> Check {
        let to: Vec<u64> = held.iter().zip(extra).map(|(held, extra)| held + extra).collect();
        let (from, to) = (self.digest(held), self.digest(&to));
        let step = HoldStep::Extend { from, to, reserved_at };
        let mut check = Check::of_hold(Hold::new(self.id, self.hold_for, step));
        for ((limit, tag), (&held, &extra)) in self.buckets.iter().zip(held.iter().zip(extra)) {
            check.push(Part::new(Arc::clone(limit), *tag, tokens(extra)).holding(tokens(held)));
        }
        check
    }

    fn settle(&self, held: &[u64], actual: &[u64], reserved_at: Timestamp) -> Check {
        let step = HoldStep::Settle { actual: self.digest(actual), reserved_at };
        let mut check = Check::of_hold(Hold::new(self.id, self.hold_for, step));
        for ((limit, tag), (&held, &actual)) in self.buckets.iter().zip(held.iter().zip(actual)) {
            let (held, actual) = (tokens(held), tokens(actual));
            let part = Part::settling(Arc::clone(limit), *tag, held, actual);
            check.push(if part.counts_apart() {
                Part::settling(Arc::clone(limit), *tag, tokens(0), actual).holding(held)
            } else {
                part
            });
        }
        check
    }
}

/// Returns a quota that releases what is not settled after one second, and an equal one that does
/// not.
fn releasing_and_charging() -> [Arc<Limit>; 2] {
    let quota: Quota = "10/year".parse().unwrap();
    let charging = Arc::new(Limit::new("charging", Algorithm::Quota(quota)).unwrap());
    [releasing_after(Duration::from_secs(1)), charging]
}

fn releasing_after(hold_for: Duration) -> Arc<Limit> {
    let quota = "10/year".parse::<Quota>().unwrap().releasing(hold_for).unwrap();
    Arc::new(Limit::new("releasing", Algorithm::Quota(quota)).unwrap())
}

/// Returns when a second of the store's clock begins: this many after the one that contains `at`.
fn second_after(at: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_unix_micros((at.unix_micros() / 1_000_000 + seconds) * 1_000_000)
}

fn remaining(decision: &Decision) -> Vec<u64> {
    decision.verdicts().iter().map(|verdict| verdict.remaining).collect()
}

fn outcome(decision: &Decision) -> (bool, Guarded) {
    (decision.is_allowed(), decision.guarded().expect("it is a step of a hold"))
}

pub async fn a_hold_takes_its_estimate_and_is_corrected_by_its_settlement(fixture: &Fixture) {
    let (requests, daily) = (limit("requests", "1/day", 10), limit("tokens", "1/day", 1_000));
    let fractional = limit("parts", "7/day", 1_000);
    let client = fixture.client();
    let held = Holding::of(1, &[(&requests, client), (&daily, client), (&fractional, client)]);
    let reserved = fixture.decide(held.reserve(&[1, 600, 600])).await;
    assert_eq!(outcome(&reserved), (true, Guarded::First));
    assert_eq!(
        reserved.verdicts().iter().map(|one| one.remaining).collect::<Vec<_>>(),
        [9, 400, 400]
    );
    let settle = held.settle(&[1, 600, 600], &[1, 250, 700], reserved.at());
    let settled = fixture.decide(settle).await;
    assert_eq!(outcome(&settled), (true, Guarded::First));
    assert!(settled.verdicts().iter().all(|verdict| verdict.admitted));
    assert_eq!(
        settled.verdicts().iter().map(|one| one.remaining).collect::<Vec<_>>(),
        [9, 750, 300]
    );
    assert_eq!(fixture.remaining(&daily, client).await, 750);
    assert_eq!(fixture.remaining(&fractional, client).await, 300);
}

pub async fn each_step_of_a_hold_is_made_once(fixture: &Fixture) {
    let (daily, client) = (limit("tokens", "1/day", 1_000), fixture.client());
    let held = Holding::of(1, &[(&daily, client)]);
    let reserved = fixture.decide(held.reserve(&[500])).await;
    assert_eq!(outcome(&fixture.decide(held.reserve(&[500])).await), (true, Guarded::Repeated));
    assert_eq!(outcome(&fixture.decide(held.reserve(&[501])).await), (false, Guarded::Conflict));
    assert_eq!(fixture.remaining(&daily, client).await, 500);

    let extend = held.extend(&[500], &[100], reserved.at());
    assert_eq!(outcome(&fixture.decide(extend.clone()).await), (true, Guarded::First));
    assert_eq!(outcome(&fixture.decide(extend.clone()).await), (true, Guarded::Repeated));
    assert_eq!(outcome(&fixture.decide(held.reserve(&[500])).await), (false, Guarded::Conflict));
    let other = held.extend(&[500], &[101], reserved.at());
    assert_eq!(outcome(&fixture.decide(other).await), (false, Guarded::Conflict));
    assert_eq!(fixture.remaining(&daily, client).await, 400);

    let settle = held.settle(&[600], &[50], reserved.at());
    assert_eq!(outcome(&fixture.decide(settle.clone()).await), (true, Guarded::First));
    assert_eq!(outcome(&fixture.decide(settle).await), (true, Guarded::Repeated));
    for late in [held.settle(&[600], &[51], reserved.at()), extend, held.reserve(&[500])] {
        let refused = fixture.decide(late).await;
        assert_eq!(outcome(&refused), (false, Guarded::Conflict));
        assert_eq!(refused.verdicts()[0].remaining, 950);
        assert!(!refused.verdicts()[0].admitted);
    }
    assert_eq!(fixture.remaining(&daily, client).await, 950);
    // Another hold, and the same id for another client, are others.
    let other = Holding::of(2, &[(&daily, client)]);
    assert_eq!(outcome(&fixture.decide(other.reserve(&[50])).await), (true, Guarded::First));
    let other = Holding::of(1, &[(&daily, fixture.client())]);
    assert_eq!(outcome(&fixture.decide(other.reserve(&[50])).await), (true, Guarded::First));
    assert_eq!(fixture.remaining(&daily, client).await, 900);
}

pub async fn a_denied_reservation_takes_nothing_and_may_be_made_again(fixture: &Fixture) {
    let (requests, daily) = (limit("requests", "1/day", 10), limit("tokens", "1/day", 1_000));
    let client = fixture.client();
    let held = Holding::of(1, &[(&requests, client), (&daily, client)]);
    assert!(fixture.take(&daily, client, 500).await.is_allowed());
    for _ in 0..2 {
        let denied = fixture.decide(held.reserve(&[1, 501])).await;
        assert_eq!(outcome(&denied), (false, Guarded::First));
        assert!(matches!(denied.retry(), Retry::After(_)));
        assert_eq!(denied.binding().map(|verdict| verdict.limit.name()), Some("tokens"));
    }
    assert_eq!(fixture.remaining(&requests, client).await, 10);
    fixture.act(Action::GiveBack, &daily, client, 1).await;
    let reserved = fixture.decide(held.reserve(&[1, 501])).await;
    assert_eq!(outcome(&reserved), (true, Guarded::First));
    let extend = held.extend(&[1, 501], &[0, 1], reserved.at());
    assert_eq!(outcome(&fixture.decide(extend.clone()).await), (false, Guarded::First));
    assert_eq!(outcome(&fixture.decide(held.reserve(&[1, 501])).await), (true, Guarded::Repeated));
    fixture.act(Action::GiveBack, &daily, client, 1).await;
    assert_eq!(outcome(&fixture.decide(extend).await), (true, Guarded::First));
    assert_eq!(fixture.remaining(&daily, client).await, 0);
}

pub async fn a_hold_that_is_not_known_is_settled_late_and_once(fixture: &Fixture) {
    let (daily, client) = (limit("tokens", "1/day", 1_000), fixture.client());
    assert!(fixture.take(&daily, client, 700).await.is_allowed());
    let now = fixture.now().await;
    let held = Holding::of(1, &[(&daily, client)]);
    let settle = held.settle(&[700], &[100], now);
    assert_eq!(outcome(&fixture.decide(settle.clone()).await), (true, Guarded::Late));
    assert_eq!(outcome(&fixture.decide(settle).await), (true, Guarded::Repeated));
    assert_eq!(fixture.remaining(&daily, client).await, 900);
    let other = Holding::of(2, &[(&daily, client)]);
    let extend = other.extend(&[100], &[200], now);
    assert_eq!(outcome(&fixture.decide(extend.clone()).await), (true, Guarded::Late));
    assert_eq!(outcome(&fixture.decide(extend).await), (true, Guarded::Repeated));
    let settle = other.settle(&[300], &[400], now);
    assert_eq!(outcome(&fixture.decide(settle).await), (true, Guarded::First));
    assert_eq!(fixture.remaining(&daily, client).await, 600);
    // Never above the burst.
    let third = Holding::of(3, &[(&daily, client)]);
    let settle = third.settle(&[500], &[0], now);
    assert_eq!(outcome(&fixture.decide(settle).await), (true, Guarded::Late));
    assert_eq!(fixture.remaining(&daily, client).await, 1_000);
}

pub async fn nothing_is_given_back_after_the_lifetime_of_a_hold(fixture: &Fixture) {
    let (daily, client) = (limit("tokens", "1/day", 1_000), fixture.client());
    let held = Holding::of(1, &[(&daily, client)]).lasting(Duration::from_millis(20));
    let reserved = fixture.decide(held.reserve(&[600])).await;
    assert_eq!(outcome(&reserved), (true, Guarded::First));
    // Records and their keys in Redis are gone after whole milliseconds.
    let end = reserved.at().after(Duration::from_millis(40));
    fixture.wait_until(end.after(Duration::from_millis(2))).await;
    let settle = held.settle(&[600], &[100], reserved.at());
    for _ in 0..2 {
        let settled = fixture.decide(settle.clone()).await;
        assert!(settled.is_allowed());
        assert!(!settled.verdicts()[0].admitted, "it is not given back");
        assert_eq!(settled.verdicts()[0].remaining, 400);
    }
    let charge = held.settle(&[600], &[700], reserved.at());
    let charged = fixture.decide(charge).await;
    assert!(charged.is_allowed() && charged.verdicts()[0].admitted);
    assert_eq!(fixture.remaining(&daily, client).await, 300);
    // The id is free again.
    assert_eq!(outcome(&fixture.decide(held.reserve(&[1])).await), (true, Guarded::First));
}

pub async fn a_repeated_reservation_ends_with_the_first_one(fixture: &Fixture) {
    let (daily, client) = (limit("tokens", "1/day", 1_000), fixture.client());
    let held = Holding::of(1, &[(&daily, client)]).lasting(Duration::from_millis(500));
    let reserved = fixture.decide(held.reserve(&[600])).await;
    let end = reserved.hold_ends_at().unwrap();
    assert_eq!(end, reserved.at().after(Duration::from_secs(1)));
    fixture.wait_until(reserved.at().after(Duration::from_millis(20))).await;
    for hold_for in [500, 100, 5_000] {
        let again = held.clone().lasting(Duration::from_millis(hold_for));
        let repeated = fixture.decide(again.reserve(&[600])).await;
        // A slow machine may have forgotten it.
        if outcome(&repeated) == (true, Guarded::Repeated) {
            assert_eq!(repeated.hold_ends_at(), Some(end));
        } else {
            assert!(repeated.at() >= end);
            return;
        }
    }
    // Settled by a reservation that ends earlier, its record stays until then.
    let early = held.clone().lasting(Duration::from_millis(100));
    let settle = early.settle(&[600], &[100], reserved.at());
    let settled = fixture.decide(settle).await;
    fixture.wait_until(reserved.at().after(Duration::from_millis(300))).await;
    let again = fixture.decide(held.settle(&[600], &[100], reserved.at())).await;
    if again.at() < end && outcome(&settled) == (true, Guarded::First) {
        assert_eq!(outcome(&again), (true, Guarded::Repeated));
    }
}

pub async fn an_extension_makes_a_hold_last_longer(fixture: &Fixture) {
    let (daily, client) = (limit("tokens", "1/day", 1_000), fixture.client());
    let held = Holding::of(1, &[(&daily, client)]).lasting(Duration::from_millis(500));
    let (lifetime, reserved) = (Duration::from_secs(1), fixture.decide(held.reserve(&[600])).await);
    fixture.wait_until(reserved.at().after(Duration::from_millis(500))).await;
    let mut end = reserved.at().after(lifetime);
    // It takes nothing more, and later a hundred.
    for (before, extra) in [(600, 0), (600, 100)] {
        let extended = fixture.decide(held.extend(&[before], &[extra], reserved.at())).await;
        if extended.at() >= reserved.at().after(lifetime) {
            return; // The machine is too slow.
        }
        assert_eq!(outcome(&extended), (true, Guarded::First));
        end = extended.at().after(lifetime);
        assert_eq!(extended.hold_ends_at(), Some(end));
    }
    let repeated = fixture.decide(held.extend(&[600], &[100], reserved.at())).await;
    if repeated.at() < reserved.at().after(lifetime) {
        assert_eq!(outcome(&repeated), (true, Guarded::Repeated));
        assert_eq!(repeated.hold_ends_at(), Some(end), "it ends with the one before");
    }
    fixture.wait_until(reserved.at().after(lifetime + Duration::from_millis(50))).await;
    let began_at = end.before(lifetime);
    let settled = fixture.decide(held.settle(&[700], &[100], began_at)).await;
    if settled.at() < end {
        assert_eq!(outcome(&settled), (true, Guarded::First), "the record lasts longer too");
        assert_eq!(settled.verdicts()[0].remaining, 900);
    }
}

pub async fn a_quota_that_releases_has_back_what_nobody_settles(fixture: &Fixture) {
    let ([releasing, charging], client) = (releasing_and_charging(), fixture.client());
    let look_for = |cost, other| {
        let look = check(Action::Peek).with(&releasing, client, tokens(cost));
        look.with(&charging, client, tokens(other))
    };
    let look = look_for(0, 0);
    let of = |number| {
        let held = Holding::of(number, &[(&releasing, client), (&charging, client)]);
        held.lasting(Duration::from_secs(1))
    };

    let settled = of(1);
    let reserved = fixture.decide(settled.reserve(&[8, 8])).await;
    assert_eq!((outcome(&reserved), remaining(&reserved)), ((true, Guarded::First), vec![2, 2]));
    let settle = settled.settle(&[8, 8], &[3, 3], reserved.at());
    let [first, again, after] =
        fixture.decide_at_once([settle.clone(), settle, look.clone()]).await;
    // A slow machine may have been too late for the quota that charges.
    let left = if outcome(&first).1 == Guarded::Late { vec![7, 2] } else { vec![7, 7] };
    assert_eq!((outcome(&again), remaining(&again)), ((true, Guarded::Repeated), left.clone()));
    assert_eq!([remaining(&first), remaining(&after)], [left.clone(), left.clone()]);

    let (more, less) = (of(2), of(3));
    let [held, other] =
        fixture.decide_at_once([more.reserve(&[1, 1]), less.reserve(&[1, 1])]).await;
    assert_eq!(remaining(&other), [left[0] - 2, left[1] - 2]);
    // The record is gone too: a hold lasts twice its second, and Redis keeps it for whole ms.
    fixture.wait_until(other.at().after(Duration::from_millis(2_002))).await;
    let released = look_for(left[0], left[1] - 2);
    let released = fixture.decide(released).await;
    assert_eq!((released.is_allowed(), remaining(&released)), (true, vec![left[0], left[1] - 2]));
    let settle = more.settle(&[1, 1], &[3, 3], held.at());
    let charged = fixture.decide(settle.clone()).await;
    // All that was used beside what was used more.
    assert_eq!(remaining(&charged), [left[0] - 3, left[1].saturating_sub(4)]);
    assert_eq!(outcome(&charged), (true, Guarded::Late));
    let settle = less.settle(&[1, 1], &[0, 0], other.at());
    fixture.decide(settle).await;
    let charged = fixture.decide(look).await;
    assert_eq!(remaining(&charged), [left[0] - 3, left[1].saturating_sub(4)], "it is too late");
}

pub async fn an_extension_keeps_what_a_quota_would_release(fixture: &Fixture) {
    let ([releasing, charging], client) = (releasing_and_charging(), fixture.client());
    let held = Holding::of(1, &[(&releasing, client), (&charging, client)]);
    let look_for = |cost| {
        let look = check(Action::Peek).with(&releasing, client, tokens(cost));
        look.with(&charging, client, tokens(0))
    };
    // A state of which nothing is used would be forgotten as a whole.
    fixture.take(&releasing, client, 1).await;
    let reserved = fixture.decide(held.reserve(&[5, 5])).await;
    assert_eq!(remaining(&reserved), [4, 5]);
    fixture.wait_until(second_after(reserved.at(), 1)).await;
    let extended = fixture.decide(held.extend(&[5, 5], &[1, 1], reserved.at())).await;
    assert_eq!((outcome(&extended), remaining(&extended)), ((true, Guarded::First), vec![3, 4]));
    fixture.wait_until(second_after(extended.at(), 1)).await;
    let kept = fixture.decide(look_for(4)).await;
    // A slow machine may look too late.
    if kept.at() < second_after(extended.at(), 2) {
        let found = (kept.is_allowed(), remaining(&kept));
        assert_eq!(found, (false, vec![3, 4]), "it was renewed");
    }
    fixture.wait_until(second_after(extended.at(), 2)).await;
    let released = fixture.decide(look_for(9)).await;
    let found = (released.is_allowed(), remaining(&released));
    assert_eq!(found, (true, vec![9, 4]), "nobody has renewed it");

    // What was released counts again with an extension.
    let again = fixture.decide(held.extend(&[6, 6], &[1, 1], extended.at())).await;
    assert_eq!((outcome(&again), remaining(&again)), ((true, Guarded::First), vec![2, 3]));
    let settled = fixture.decide(held.settle(&[7, 7], &[2, 2], again.at())).await;
    assert_eq!((outcome(&settled), remaining(&settled)), ((true, Guarded::First), vec![7, 8]));
}

pub async fn a_settlement_after_the_lifetime_of_a_hold_ends_no_other_one(fixture: &Fixture) {
    let (releasing, client) = (releasing_after(LONG), fixture.client());
    let of = |number| Holding::of(number, &[(&releasing, client)]);
    let held = of(1).lasting(Duration::from_millis(20));
    let reserved = fixture.decide(held.reserve(&[3])).await;
    let other = fixture.decide(of(2).reserve(&[4])).await;
    assert_eq!(remaining(&other), [3]);
    // Records and their keys in Redis are gone after whole milliseconds.
    fixture.wait_until(reserved.at().after(Duration::from_millis(42))).await;
    // Nothing is known of the hold, so each of these is made.
    for left in [2, 1] {
        let settled = fixture.decide(held.settle(&[3], &[1], reserved.at())).await;
        assert_eq!((outcome(&settled), remaining(&settled)), ((true, Guarded::Late), vec![left]));
    }
    let settled = fixture.decide(of(2).settle(&[4], &[0], other.at())).await;
    assert_eq!((outcome(&settled), remaining(&settled)), ((true, Guarded::First), vec![5]));
}

pub async fn a_hold_is_settled_under_another_rate(fixture: &Fixture) {
    for (name, before, after) in
        [("whole", "1/day", "2/day"), ("parts", "7/day", "11/day"), ("mixed", "1/day", "7/day")]
    {
        let (old, client) = (limit(name, before, 1_000), fixture.client());
        let new = Arc::new(old.with_algorithm(algorithm(after, 2_000)));
        let held = Holding::of(1, &[(&old, client)]);
        let reserved = fixture.decide(held.reserve(&[600])).await;
        let held = held.under(&[&new]);
        let settle = held.settle(&[600], &[100], reserved.at());
        assert_eq!(outcome(&fixture.decide(settle.clone()).await), (true, Guarded::First));
        assert_eq!(outcome(&fixture.decide(settle).await), (true, Guarded::Repeated));
        let left = fixture.remaining(&new, client).await;
        // A change of the rate rounds down.
        assert!((899..=900).contains(&left), "{new}: {left}");
    }
}

pub async fn a_settlement_may_leave_a_debt_that_refill_pays(fixture: &Fixture) {
    let (fast, client) = (limit("tokens", "10/second", 100), fixture.client());
    let held = Holding::of(1, &[(&fast, client)]);
    let reserved = fixture.decide(held.reserve(&[100])).await;
    let settled = fixture.decide(held.settle(&[100], &[105], reserved.at())).await;
    assert_eq!(outcome(&settled), (true, Guarded::First));
    let look = fixture.act(Action::Peek, &fast, client, 0).await;
    // A slow machine may have paid it.
    if look.at() < reserved.at().after(Duration::from_millis(400)) {
        assert!(look.is_denied(), "{look:?}");
    }
    fixture.wait_until(reserved.at().after(Duration::from_millis(620))).await;
    assert!(fixture.take(&fast, client, 1).await.is_allowed());
}

pub async fn leases_and_holds_share_a_bucket(fixture: &Fixture) {
    let (daily, client) = (limit("tokens", "1/day", 100), fixture.client());
    let lease = fixture.act(Action::Lend { least: 8 }, &daily, client, 40).await;
    assert!(lease.is_allowed());
    let held = Holding::of(1, &[(&daily, client)]);
    assert_eq!(outcome(&fixture.decide(held.reserve(&[61])).await), (false, Guarded::First));
    let reserved = fixture.decide(held.reserve(&[60])).await;
    assert_eq!(outcome(&reserved), (true, Guarded::First));
    let settle = held.settle(&[60], &[20], reserved.at());
    assert_eq!(outcome(&fixture.decide(settle).await), (true, Guarded::First));
    let end = Action::EndLease { term: Term::at(lease.at()), lent: 40 };
    let ended = fixture.act(end, &daily, client, 40).await;
    let left = fixture.remaining(&daily, client).await;
    assert_eq!(left, if ended.is_allowed() { 80 } else { 40 });
}

pub async fn steps_of_a_hold_in_one_batch_are_decided_in_order(fixture: &Fixture) {
    let (daily, client) = (limit("tokens", "1/day", 1_000), fixture.client());
    let (one, other) = (Holding::of(1, &[(&daily, client)]), Holding::of(2, &[(&daily, client)]));
    let now = fixture.now().await;
    let decisions = fixture
        .decide_at_once([
            one.reserve(&[300]),
            other.reserve(&[600]),
            one.reserve(&[300]),
            check(Action::Take).with(&daily, client, tokens(101)),
            one.extend(&[300], &[100], now),
            one.extend(&[300], &[100], now),
            other.settle(&[600], &[100], now),
            check(Action::Take).with(&daily, client, tokens(500)),
            one.settle(&[400], &[900], now),
            other.settle(&[600], &[100], now),
            other.settle(&[600], &[101], now),
        ])
        .await;
    let expected = [
        (true, Some(Guarded::First), 700),
        (true, Some(Guarded::First), 100),
        (true, Some(Guarded::Repeated), 100),
        (false, None, 100),
        (true, Some(Guarded::First), 0),
        (true, Some(Guarded::Repeated), 0),
        (true, Some(Guarded::First), 500),
        (true, None, 0),
        (true, Some(Guarded::First), 0),
        (true, Some(Guarded::Repeated), 0),
        (false, Some(Guarded::Conflict), 0),
    ];
    let decided = decisions.map(|decision| {
        (decision.is_allowed(), decision.guarded(), decision.verdicts()[0].remaining)
    });
    assert_eq!(decided, expected);
}

pub async fn a_hold_of_several_clients_is_all_or_nothing(fixture: &Fixture) {
    let (daily, wide) = (limit("tokens", "1/day", 100), limit("wide", "1/day", 1_000));
    let clients: Vec<Tag> = (0..6).map(|_| fixture.client()).collect();
    let mut buckets: Vec<_> = clients.iter().map(|client| (&daily, *client)).collect();
    buckets.push((&wide, clients[0]));
    let held = Holding::of(1, &buckets);
    let costs = [60, 60, 60, 60, 60, 60, 500];
    fixture.take(&daily, clients[5], 50).await;
    for _ in 0..2 {
        let denied = fixture.decide(held.reserve(&costs)).await;
        assert_eq!(outcome(&denied), (false, Guarded::First));
        for client in &clients[..5] {
            assert_eq!(fixture.remaining(&daily, *client).await, 100);
        }
    }
    fixture.act(Action::GiveBack, &daily, clients[5], 50).await;
    let reserved = fixture.decide(held.reserve(&costs)).await;
    assert_eq!(outcome(&reserved), (true, Guarded::First));
    assert_eq!(outcome(&fixture.decide(held.reserve(&costs)).await), (true, Guarded::Repeated));
    let other = held.reserve(&[60, 60, 60, 60, 60, 61, 500]);
    assert_eq!(outcome(&fixture.decide(other).await), (false, Guarded::Conflict));

    let too_much = held.extend(&costs, &[10, 0, 0, 0, 0, 41, 0], reserved.at());
    assert_eq!(outcome(&fixture.decide(too_much).await), (false, Guarded::First));
    let extend = held.extend(&costs, &[10, 0, 0, 0, 0, 40, 0], reserved.at());
    assert_eq!(outcome(&fixture.decide(extend.clone()).await), (true, Guarded::First));
    assert_eq!(outcome(&fixture.decide(extend).await), (true, Guarded::Repeated));
    let extended = [70, 60, 60, 60, 60, 100, 500];
    let settle = held.settle(&extended, &[1, 60, 70, 0, 0, 100, 501], reserved.at());
    assert_eq!(outcome(&fixture.decide(settle.clone()).await), (true, Guarded::First));
    assert_eq!(outcome(&fixture.decide(settle).await), (true, Guarded::Repeated));
    let mut left = Vec::new();
    for client in &clients {
        left.push(fixture.remaining(&daily, *client).await);
    }
    assert_eq!(left, [99, 40, 30, 100, 100, 0]);
    assert_eq!(fixture.remaining(&wide, clients[0]).await, 499);
}

pub async fn a_step_that_is_sent_many_times_at_once_is_made_once(fixture: &Fixture) {
    let (daily, client) = (limit("tokens", "1/day", 1_000), fixture.client());
    let held = Holding::of(1, &[(&daily, client)]);
    let now = fixture.now().await;
    for (step, left) in [(held.reserve(&[400]), 600), (held.settle(&[400], &[100], now), 900)] {
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (store, step) = (Arc::clone(&fixture.store), step.clone());
                tokio::spawn(async move { store.decide(&step).await.unwrap() })
            })
            .collect();
        let mut first = 0;
        for task in tasks {
            let decision = task.await.unwrap();
            assert!(decision.is_allowed());
            first += u32::from(decision.guarded() == Some(Guarded::First));
        }
        assert_eq!(first, 1);
        assert_eq!(fixture.remaining(&daily, client).await, left);
    }
}
