//! A decision in the process costs no allocation once its bucket is there.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use sluice::{Checked, Client, Limiter, LimiterError, Request, Telemetry};
use sluice_testkit::policies;

/// The memory store answers at once: no runtime is needed, whose own allocations would count too.
fn check(limiter: &Limiter, request: &Request<'_>) -> Result<Checked, LimiterError> {
    match pin!(limiter.check(request)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(checked) => checked,
        Poll::Pending => unreachable!("the memory store answers at once"),
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
    // The first of each kind makes the bucket, and the thread's own parts of what is shared.
    (0..12).for_each(|_| decide());
    let allocations = allocation_counter::measure(|| (0..100).for_each(|_| decide()));
    assert_eq!(allocations.count_total, 0);
    assert!(allowed >= 10 && denied > 0, "{allowed} {denied}");
}
