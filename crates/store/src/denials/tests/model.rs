//! No check is denied that the store would admit, but for a report on its way, or one that was lost
//! in the last ten seconds: whatever several replicas do, in whatever order replies and reports
//! arrive, and however different the clocks are.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use sluice_core::{Action, BucketId, Check, Cost, Decision, Limit, Source, Timestamp};

use super::{Replica, client, limit, reporting::Server};
use crate::{Store, StoreError};

const REPLICAS: usize = 3;
/// How long a lost report may do harm.
const LOST_FOR: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
enum Step {
    /// A replica sends a check. Its reply waits if it is slow.
    Check {
        replica: usize,
        action: Action,
        parts: Vec<(usize, u64)>,
        is_slow: bool,
    },
    /// The oldest reply that waits arrives.
    Reply,
    Deliver {
        replica: usize,
    },
    Lose {
        replica: usize,
    },
    Resubscribe {
        replica: usize,
    },
    /// Microseconds of the server, and how much of them the replicas' clock counts.
    Pass {
        micros: u64,
        per_mille: u32,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let replica = 0..REPLICAS;
    let actions = prop_oneof![
        12 => Just(Action::Take),
        2 => Just(Action::Peek),
        2 => Just(Action::Charge),
        3 => Just(Action::GiveBack),
        1 => Just(Action::Reset),
    ];
    let parts = prop::collection::vec((0..3_usize, 0..=4_u64), 1..=2);
    let step = prop_oneof![
        12 => (replica.clone(), actions, parts, prop::bool::weighted(0.3)).prop_map(
            |(replica, action, parts, is_slow)| Step::Check { replica, action, parts, is_slow }
        ),
        3 => Just(Step::Reply),
        4 => replica.clone().prop_map(|replica| Step::Deliver { replica }),
        1 => replica.clone().prop_map(|replica| Step::Lose { replica }),
        1 => replica.prop_map(|replica| Step::Resubscribe { replica }),
        5 => (prop_oneof![0..300_000_u64, 0..3_000_000_u64], 991..=1_010_u32)
            .prop_map(|(micros, per_mille)| Step::Pass { micros, per_mille }),
    ];
    prop::collection::vec(step, 1..200)
}

type Reply<'a> = Pin<Box<dyn Future<Output = Result<Decision, StoreError>> + 'a>>;

/// When a replica lost a report about a bucket last, by its own clock.
type Lost = HashMap<(usize, BucketId), Timestamp>;

struct Run<'a> {
    replicas: &'a [Replica],
    lost: Lost,
}

impl Run<'_> {
    /// Fails if a denial from the cache is one that nothing explains.
    fn judge(&self, replica: usize, check: &Check, decision: &Decision) {
        if decision.source() != Source::Cache {
            return;
        }
        assert!(decision.is_denied(), "the cache admits nothing: {decision:?}");
        let link = &self.replicas[replica].link;
        if !link.would_admit(check) {
            return;
        }
        let is_explained = check.parts().iter().map(sluice_core::Part::bucket).any(|bucket| {
            let lost = self.lost.get(&(replica, bucket));
            link.awaits(&bucket) || lost.is_some_and(|at| link.local().since(*at) < LOST_FOR)
        });
        assert!(is_explained, "denied what the store admits: {check:?} {decision:?}");
    }
}

fn build(limits: &[Arc<Limit>], action: Action, parts: &[(usize, u64)]) -> Check {
    parts.iter().fold(Check::new(action), |check, &(index, cost)| {
        check.with(&limits[index], client(0), Cost::new(cost).expect("a small cost"))
    })
}

fn run(steps: &[Step]) {
    let server = Server::new();
    let replicas: Vec<Replica> = (0..REPLICAS).map(|_| Replica::of(&server)).collect();
    let limits = [limit("a", "1/second", 2), limit("b", "7/minute", 4), limit("c", "1/minute", 3)];
    let checks: Vec<Option<Check>> = steps
        .iter()
        .map(|step| match step {
            Step::Check { action, parts, .. } => Some(build(&limits, *action, parts)),
            _ => None,
        })
        .collect();
    let mut run = Run { replicas: &replicas, lost: Lost::new() };
    let mut waiting: Vec<Reply<'_>> = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    let mut subscriptions = 1;
    for (step, check) in steps.iter().zip(&checks) {
        match (step, check) {
            (Step::Check { replica, is_slow, .. }, Some(check)) => {
                let mut reply: Reply<'_> = Box::pin(replicas[*replica].denials.decide(check));
                // The server decides at the first poll, the reply arrives at the second one.
                match reply.as_mut().poll(&mut context) {
                    Poll::Ready(decision) => {
                        run.judge(*replica, check, &decision.expect("a memory store decides"));
                    }
                    Poll::Pending if *is_slow => waiting.push(reply),
                    Poll::Pending => {
                        assert!(reply.as_mut().poll(&mut context).is_ready());
                    }
                }
            }
            (Step::Reply, _) if !waiting.is_empty() => {
                assert!(waiting.remove(0).as_mut().poll(&mut context).is_ready());
            }
            (Step::Deliver { replica }, _) => {
                replicas[*replica].link.deliver();
            }
            (Step::Lose { replica }, _) => {
                let link = &replicas[*replica].link;
                if let Some(bucket) = link.lose() {
                    run.lost.insert((*replica, bucket), link.local());
                }
            }
            (Step::Resubscribe { replica }, _) => {
                subscriptions += 1;
                replicas[*replica].link.subscribe(subscriptions);
                // What was published before is not heard, and need not be.
                while replicas[*replica].link.lose().is_some() {}
            }
            (Step::Pass { micros, per_mille }, _) => {
                server.advance(Duration::from_micros(*micros), *per_mille);
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_is_denied_that_the_store_would_admit(steps in steps()) {
        run(&steps);
    }
}
