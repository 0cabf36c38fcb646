//! A decision in memory allocates nothing once its bucket exists.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use sluice::{Checked, Client, Limiter, LimiterError, Request, Telemetry};
use sluice_testkit::policies;

/// Checks without a runtime, whose own allocations would count too. The memory store decides at
/// once, so the future is ready.
fn check(limiter: &Limiter, request: &Request<'_>) -> Result<Checked, LimiterError> {
    match pin!(limiter.check(request)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(checked) => checked,
        Poll::Pending => unreachable!("the memory store decides at once"),
    }
}

#[test]
fn a_decision_in_memory_allocates_nothing() {
    let telemetry = Telemetry::builder().build().unwrap();
    let limiter = Limiter::builder(policies::document()).recorders(telemetry.recorders()).build();
    let request = Request::new(Client::Key(b"alice"), "POST", "/api/v1/tools/execute");
    let (mut allowed, mut denied) = (0, 0);
    let mut decide = || {
        let decision = check(&limiter, &request).unwrap().decision;
        *(if decision.is_allowed() { &mut allowed } else { &mut denied }) += 1;
    };
    // The first decisions create the bucket and the counters of this thread.
    (0..12).for_each(|_| decide());
    let allocations = allocation_counter::measure(|| (0..100).for_each(|_| decide()));
    assert_eq!(allocations.count_total, 0);
    assert!(allowed >= 10 && denied > 0, "{allowed} {denied}");
}
