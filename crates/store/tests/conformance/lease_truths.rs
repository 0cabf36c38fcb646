//! What is true of every store that lends tokens.

use std::{sync::Arc, time::Duration};

use sluice_core::{Action, Decision, Limit, Tag, Term};

use crate::fixture::{Fixture, limit};

async fn lend(fixture: &Fixture, limit: &Arc<Limit>, client: Tag, want: u64) -> Decision {
    fixture.act(Action::Lend { least: 8 }, limit, client, want).await
}

/// Returns what a decision lent.
fn lent(decision: &Decision) -> u64 {
    let verdict = &decision.verdicts()[0];
    assert_eq!(decision.is_allowed(), verdict.cost.tokens() > 0);
    verdict.cost.tokens()
}

/// Ends the lease of a decision, of which `unspent` tokens return. Returns whether it was out.
async fn settle(
    fixture: &Fixture,
    limit: &Arc<Limit>,
    client: Tag,
    lease: &Decision,
    unspent: u64,
) -> bool {
    let lent = u32::try_from(lent(lease)).unwrap();
    let action = Action::EndLease { term: Term::at(lease.at()), lent };
    fixture.act(action, limit, client, unspent).await.is_allowed()
}

pub async fn half_of_what_is_there_is_lent_and_half_of_the_burst(fixture: &Fixture) {
    let (daily, client) = (limit("daily", "1/day", 100), fixture.client());
    assert_eq!(lent(&lend(fixture, &daily, client, 1_000).await), 50);
    assert_eq!(fixture.remaining(&daily, client).await, 50);
    assert_eq!(lent(&lend(fixture, &daily, client, 1_000).await), 0, "half of the burst is out");

    let (other, client) = (limit("other", "1/day", 100), fixture.client());
    assert!(fixture.take(&other, client, 60).await.is_allowed());
    assert_eq!(lent(&lend(fixture, &other, client, 1_000).await), 20);
    assert_eq!(lent(&lend(fixture, &other, client, 9).await), 9);
    assert_eq!(lent(&lend(fixture, &other, client, 1_000).await), 0, "fewer than 8");
    assert_eq!(fixture.remaining(&other, client).await, 11);
}

pub async fn what_is_not_spent_of_a_lease_returns_once(fixture: &Fixture) {
    let (daily, client) = (limit("daily", "1/day", 100), fixture.client());
    let lease = lend(fixture, &daily, client, 40).await;
    assert!(settle(fixture, &daily, client, &lease, 30).await);
    assert_eq!(fixture.remaining(&daily, client).await, 90);
    assert!(!settle(fixture, &daily, client, &lease, 30).await);
    assert_eq!(fixture.remaining(&daily, client).await, 90);
}

pub async fn a_lease_that_has_ended_counts_as_spent(fixture: &Fixture) {
    let (daily, client) = (limit("daily", "1/day", 100), fixture.client());
    let lease = lend(fixture, &daily, client, 40).await;
    fixture.wait_until(Term::at(lease.at()).lease_end()).await;
    assert!(!settle(fixture, &daily, client, &lease, 40).await);
    assert_eq!(fixture.remaining(&daily, client).await, 60);
    assert_eq!(lent(&lend(fixture, &daily, client, 40).await), 30, "nothing is out any more");
}

pub async fn a_bucket_refills_only_up_to_what_is_not_leased(fixture: &Fixture) {
    let (fast, client) = (limit("fast", "1000/second", 100), fixture.client());
    let lease = lend(fixture, &fast, client, 40).await;
    assert!(fixture.take(&fast, client, 60).await.is_allowed());
    let lease_end = Term::at(lease.at()).lease_end();
    fixture.wait_until(lease.at().after(Duration::from_millis(200))).await;
    let looked = fixture.act(Action::Peek, &fast, client, 0).await;
    // A slow machine may have taken too long.
    if looked.at() < lease_end {
        assert_eq!(looked.verdicts()[0].remaining, 60);
    }
    let reset = fixture.act(Action::Reset, &fast, client, 0).await;
    if reset.at() < lease_end {
        assert_eq!(reset.verdicts()[0].remaining, 60);
    }
    fixture.wait_until(lease_end.after(Duration::from_millis(40))).await;
    assert_eq!(fixture.remaining(&fast, client).await, 100);
}
