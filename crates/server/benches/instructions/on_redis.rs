//! The limiter with a Redis, exact, metrics on: so many tasks on one thread, each of which decides
//! again when it has its decision.

use std::{cell::Cell, rc::Rc, time::Duration};

use sluice::{Client, Limiter, Policy, Rate, RedisSettings, Request, Telemetry};
use tokio::{runtime::Builder, task::LocalSet};

use crate::{
    handshake,
    traffic::{CLIENTS, Traffic},
};

pub(crate) const DECISIONS: usize = 20_480;
const WARM_UP: usize = 5_120;

/// Decides before the count and in it. No client reaches its limit.
pub(crate) fn run(redis: &str, traffic: Traffic, in_flight: usize) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let limiter = Rc::new(runtime.block_on(async { limiter(redis) }));
    let names: Rc<[String]> = (0..CLIENTS).map(|number| format!("client-{number:06}")).collect();
    let next = Rc::new(Cell::new(0));
    let decide = |decisions: usize| {
        let end = next.get() + decisions;
        let tasks = LocalSet::new();
        for _ in 0..in_flight {
            let (limiter, names, next) = (Rc::clone(&limiter), Rc::clone(&names), Rc::clone(&next));
            tasks.spawn_local(async move {
                while next.get() < end {
                    let name = &names[traffic.client(next.replace(next.get() + 1))];
                    let request =
                        Request::new(Client::Key(name.as_bytes()), "GET", "/api/v1/things");
                    let checked = limiter.check(&request).await.unwrap();
                    assert!(checked.decision.is_allowed());
                }
            });
        }
        runtime.block_on(tasks);
    };
    decide(WARM_UP);
    handshake::when_told(|| decide(DECISIONS));
}

fn limiter(redis: &str) -> Limiter {
    let rate: Rate = "1000000/second, burst 1000000".parse().unwrap();
    let policy = Policy::builder().default_limit(rate).build().unwrap();
    let settings = RedisSettings::new(redis).timeout(Duration::from_secs(60));
    let telemetry = Telemetry::builder().build().unwrap();
    Limiter::builder(policy).recorders(telemetry.recorders()).redis(settings).build().unwrap()
}
