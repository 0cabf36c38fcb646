//! The limiter with the memory store, metrics on, and the policy of the project's document: 100
//! requests a minute with a burst of 10 on the path that is asked for. So with one client nearly
//! all decisions are denials, and with many all are admissions.

use std::{
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use sluice::{Client, Limiter, Request, Telemetry};
use sluice_testkit::policies;

use crate::handshake;

pub(crate) const DECISIONS: usize = 100_000;

/// Decides as often before the count as in it, so that every bucket exists.
pub(crate) fn run(clients: usize) {
    let telemetry = Telemetry::builder().build().unwrap();
    let limiter = Limiter::builder(policies::document()).recorders(telemetry.recorders()).build();
    let names: Vec<String> = (0..clients).map(|number| format!("client-{number:06}")).collect();
    let decide = || {
        for number in 0..DECISIONS {
            let name = &names[number.wrapping_mul(7_919) % clients];
            let request = Request::new(Client::Key(name.as_bytes()), "GET", "/api/v1/blueprints");
            black_box(ready(limiter.check(&request))).unwrap();
        }
    };
    decide();
    handshake::when_told(decide);
}

/// Polls a future that is ready, so that no runtime is counted. The memory store decides at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the memory store decides at once"),
    }
}
