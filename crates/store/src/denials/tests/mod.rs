//! The promises of the denial cache, on clocks that only a test moves and with reports that only a
//! test delivers.

mod model;
mod reporting;
mod rules;

use std::sync::Arc;

use sluice_core::{Action, Algorithm, Check, Cost, Limit, Rate, Subject, Tag, Tagger};

use crate::Denials;

use self::reporting::{Link, Server};

/// A replica: its cache, and what it hears of its server.
struct Replica {
    denials: Denials<Link>,
    link: Link,
}

impl Replica {
    fn of(server: &Arc<Server>) -> Self {
        Self::knowing(server, Denials::<Link>::MAX_ENTRIES)
    }

    fn knowing(server: &Arc<Server>, entries: usize) -> Self {
        let link = Link::to(server);
        let clock = Arc::clone(&server.local) as Arc<dyn crate::Clock>;
        Self { denials: Denials::new(link.clone(), clock, entries), link }
    }
}

fn limit(name: &str, rate: &str, burst: u64) -> Arc<Limit> {
    let rate = Rate::new(rate.parse().unwrap(), burst).unwrap();
    Arc::new(Limit::new(name, Algorithm::TokenBucket(rate)).unwrap())
}

fn client(number: u32) -> Tag {
    Tagger::new(b"").tag(Subject::Client(&number.to_be_bytes()))
}

fn check(action: Action, limit: &Arc<Limit>, cost: u64) -> Check {
    Check::new(action).with(limit, client(0), Cost::new(cost).unwrap())
}

fn take(limit: &Arc<Limit>, cost: u64) -> Check {
    check(Action::Take, limit, cost)
}
