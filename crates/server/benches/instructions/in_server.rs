//! Counts in the built binary, which has one worker thread.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use sluice_testkit::RedisServer;

use crate::{
    count::Count,
    protocol::{Ask, Protocol},
    redis_use::RedisUse,
    subject::{Asker, Door, Mode, Subject},
    support::sender,
    traffic::{Outcome, Traffic},
    valgrind,
};

const IN_FLIGHT: usize = 64;
const DECISIONS: usize = 10_240;
const WARM_UP: usize = 2_560;

/// Counts the decisions of a server, to which each of `IN_FLIGHT` clients sends a request when it
/// has the response to its last one.
pub(crate) fn count(door: Door, mode: Mode, traffic: Traffic, file: &Path) -> Count {
    let redis = RedisServer::start();
    let wrapper = valgrind::callgrind(file);
    let subject = Subject::start_under(Some(wrapper), door, mode, Outcome::Admitted, &redis);
    let server = subject.server();
    let used = || (mode != Mode::Memory).then(|| RedisUse::of(&redis, Mode::SENDS));
    sender().block_on(async {
        let askers = door.connect(server.address(), IN_FLIGHT).await;
        let askers = send(askers, traffic, 0..WARM_UP).await;
        let before = used();
        valgrind::zero(server.id());
        send(askers, traffic, WARM_UP..WARM_UP + DECISIONS).await;
        let file = valgrind::dump(server.id(), file);
        let calls = used().zip(before).map(|(after, before)| after.calls - before.calls);
        Count { decisions: DECISIONS, calls, file }
    })
}

/// Sends the requests of these numbers, and returns the connections.
async fn send(askers: Vec<Asker>, traffic: Traffic, numbers: std::ops::Range<usize>) -> Vec<Asker> {
    let next = Arc::new(AtomicUsize::new(numbers.start));
    let tasks: Vec<_> = askers
        .into_iter()
        .map(|mut asker| {
            let next = Arc::clone(&next);
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        return asker;
                    }
                    assert!(asker.ask(traffic.client(number)).await.is_allowed);
                }
            })
        })
        .collect();
    let mut askers = Vec::new();
    for task in tasks {
        askers.push(task.await.unwrap());
    }
    askers
}
