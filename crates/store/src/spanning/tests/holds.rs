//! Steps of holds in several groups.

use sluice_core::{CostsDigest, Guarded, Hold, HoldId, HoldStep};

use super::*;

fn of_hold(step: HoldStep) -> Check {
    Check::of_hold(Hold::new(HoldId::from_bytes([3; 16]), Duration::from_secs(600), step))
}

fn reserve(parts: &[(&Arc<Limit>, u64)]) -> Check {
    let costs = parts.iter().map(|(_, tokens)| tokens).sum();
    let check = of_hold(HoldStep::Reserve { costs: CostsDigest::from_number(costs) });
    parts.iter().fold(check, |check, (limit, tokens)| {
        check.with(limit, tag(0), Cost::new(*tokens).unwrap())
    })
}

fn settle(parts: &[(&Arc<Limit>, u64, u64)]) -> Check {
    let actual = CostsDigest::from_number(parts.iter().map(|(.., actual)| actual + 1).sum());
    let mut check = of_hold(HoldStep::Settle { actual, reserved_at: START });
    for (limit, held, actual) in parts {
        let [held, actual] = [*held, *actual].map(|tokens| Cost::new(tokens).unwrap());
        check.push(Part::settling(Arc::clone(limit), tag(0), held, actual));
    }
    check
}

fn remaining(groups: &Arc<Groups>, check: &Check) -> Vec<u64> {
    groups.buckets(check).into_iter().map(|(remaining, _)| remaining).collect()
}

fn records(groups: &Arc<Groups>) -> Vec<usize> {
    groups.stores.iter().map(MemoryStore::records).collect()
}

#[test]
fn a_denial_undoes_what_was_held_and_the_same_step_may_be_made_again() {
    let groups = Groups::new();
    let [a, b, c] = [limit("a0", 10), limit("b1", 20), limit("c2", 30)];
    let parts = [(&a, 5), (&b, 5), (&c, 31)];
    for _ in 0..2 {
        let denied = decide(&groups, &reserve(&parts)).unwrap();
        assert!(denied.is_denied());
        assert_eq!(denied.guarded(), Some(Guarded::First));
        assert_eq!(remaining(&groups, &reserve(&parts)), [10, 20, 30]);
        assert_eq!(records(&groups), [0, 0, 0]);
    }
    let parts = [(&a, 5), (&b, 5), (&c, 30)];
    for guarded in [Guarded::First, Guarded::Repeated, Guarded::Repeated] {
        let reserved = decide(&groups, &reserve(&parts)).unwrap();
        assert_eq!((reserved.is_allowed(), reserved.guarded()), (true, Some(guarded)));
    }
    assert_eq!(remaining(&groups, &reserve(&parts)), [5, 15, 0]);
    let other = decide(&groups, &reserve(&[(&a, 5), (&b, 5), (&c, 29)])).unwrap();
    assert_eq!((other.is_allowed(), other.guarded()), (false, Some(Guarded::Conflict)));
    assert_eq!(remaining(&groups, &reserve(&parts)), [5, 15, 0], "what was held is held");
    let settled = decide(&groups, &settle(&[(&a, 5, 0), (&b, 5, 5), (&c, 30, 20)])).unwrap();
    assert_eq!((settled.is_allowed(), settled.guarded()), (true, Some(Guarded::First)));
    assert_eq!(remaining(&groups, &reserve(&parts)), [10, 15, 10]);
}

#[test]
fn what_fails_in_one_group_stays_held_in_others_and_goes_on_from_there() {
    let groups = Groups::new();
    let [a, b] = [limit("a0", 10), limit("b1", 20)];
    let parts = [(&a, 5), (&b, 5)];
    groups.set(1, Fate::Fails);
    for _ in 0..2 {
        assert!(decide(&groups, &reserve(&parts)).is_err());
        assert_eq!(remaining(&groups, &reserve(&parts)), [5, 20]);
    }
    groups.set(1, Fate::Decided);
    let reserved = decide(&groups, &reserve(&parts)).unwrap();
    assert_eq!((reserved.is_allowed(), reserved.guarded()), (true, Some(Guarded::First)));
    assert_eq!(remaining(&groups, &reserve(&parts)), [5, 15]);

    // A settlement goes on in the same way.
    let settlement = settle(&[(&a, 5, 1), (&b, 5, 2)]);
    groups.set(0, Fate::Fails);
    assert!(decide(&groups, &settlement).is_err());
    groups.set(0, Fate::Decided);
    for guarded in [Guarded::First, Guarded::Repeated] {
        assert_eq!(decide(&groups, &settlement).unwrap().guarded(), Some(guarded));
        assert_eq!(remaining(&groups, &reserve(&parts)), [9, 18]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_its_hold() {
    let groups = Groups::new();
    let [a, b] = [limit("a0", 10), limit("b1", 20)];
    let check = reserve(&[(&a, 5), (&b, 5)]);
    groups.set(1, Fate::Hangs);
    let split_check = split(&check, group_of).unwrap();
    let mut deciding = Box::pin(decide_in_order(&check, split_check, groups.sender()));
    assert!(deciding.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(deciding);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(remaining(&groups, &check), [5, 15]);
    groups.set(1, Fate::Decided);
    let repeated = decide(&groups, &check).unwrap();
    assert_eq!((repeated.is_allowed(), repeated.guarded()), (true, Some(Guarded::Repeated)));
    assert_eq!(remaining(&groups, &check), [5, 15]);
}

/// Another attempt may hold the tokens that this one found.
#[test]
fn a_denial_does_not_undo_what_another_attempt_has_made() {
    let groups = Groups::new();
    let [a, b] = [limit("a0", 10), limit("b1", 20)];
    let check = reserve(&[(&a, 5), (&b, 15)]);
    groups.set(1, Fate::Fails);
    assert!(decide(&groups, &check).is_err());
    groups.set(1, Fate::Decided);
    let take = super::check(Action::Take, &[(&b, 10)]);
    assert!(groups.stores[1].decide_now(&take).is_allowed());
    assert!(decide(&groups, &check).unwrap().is_denied());
    assert_eq!(remaining(&groups, &check), [5, 10]);
    assert_eq!(records(&groups), [1, 0, 0]);
}
