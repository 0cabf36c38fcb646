//! Whatever happens to the messages that end denials, no denial outlives what was returned by more
//! than ten seconds, and no token is admitted that is not there.

use std::time::{Duration, Instant};

use sluice_testkit::{RedisServer, documented_user};
use tokio::task::block_in_place;

use super::fleet::{BURST, Fleet, Returns};
use crate::{random::Random, scale};

/// The events of a round, in CI and in the long form.
const EVENTS: (u64, u64) = (25, 120);
/// The checks after each of them.
const CHECKS: u64 = 12;
/// What a replica knows of a bucket counts for so long.
const LONGEST_DENIAL: Duration = Duration::from_secs(10);
/// A subscription that hangs is noticed within this time, or not.
const LONGEST_PAUSE_MS: u64 = 2_500;

/// A user who may return tokens, and not say so.
const SILENT: (&str, &str) = ("silent", "secret");

/// The bucket as it must be. It does not refill within a test.
#[derive(Debug)]
struct Model {
    tokens: u64,
    /// When the first token had been returned to the empty bucket. A check that was sent more than
    /// ten seconds later finds one.
    returned: Instant,
    /// The denials of tokens that were there, and the longest time after their return.
    denials: u64,
    longest: Duration,
    /// What happened.
    events: Vec<String>,
}

/// Returns a store whose user may not publish.
fn silent_returns(redis: &RedisServer) -> Returns {
    let (name, password) = SILENT;
    let mut user = documented_user("sluice", password);
    name.clone_into(&mut user[2]);
    user.retain(|rule| rule != "+publish");
    redis.command(&user);
    let login = format!("redis://{name}:{password}@");
    Returns::to(&redis.url().replace("redis://", &login), None)
}

impl Model {
    fn full() -> Self {
        Self {
            tokens: BURST,
            returned: Instant::now(),
            denials: 0,
            longest: Duration::ZERO,
            events: Vec::new(),
        }
    }

    fn return_tokens(&mut self, tokens: u64, how: &str) {
        self.events.push(format!("{how}: {tokens} beside {}", self.tokens));
        if self.tokens == 0 {
            self.returned = Instant::now();
        }
        self.tokens = (self.tokens + tokens).min(BURST);
    }

    /// Notes a decision about a check that was sent at `sent`.
    #[track_caller]
    fn decided(&mut self, sent: Instant, is_allowed: bool) {
        if is_allowed {
            assert!(self.tokens > 0, "a token that is not there: {:#?}", self.events);
            self.tokens -= 1;
            self.events.push(format!("taken, {} left", self.tokens));
        } else if self.tokens > 0 {
            let late = sent - self.returned;
            assert!(late <= LONGEST_DENIAL, "a token is denied {late:?} late: {:#?}", self.events);
            self.denials += 1;
            self.longest = self.longest.max(late);
        }
    }
}

/// Lets random events happen to the one bucket and to the messages about it.
async fn live(seed: u64) {
    let redis = RedisServer::start();
    let mut fleet = Fleet::start(&redis.url(), None).await;
    let (loud, silent) = (Returns::to(&redis.url(), None), silent_returns(&redis));
    let mut random = Random::new(seed);
    let mut model = Model::full();
    let mut unheard = 0;
    for _ in 0..scale::either(EVENTS) {
        match random.below(8) {
            0 => {
                loud.reset().await;
                model.return_tokens(BURST, "reset");
            }
            1..=3 => {
                let tokens = 1 + random.below(2);
                loud.give_back(tokens).await;
                model.return_tokens(tokens, "given back");
            }
            4 => {
                silent.give_back(2).await;
                model.return_tokens(2, "given back silently");
                unheard += 1;
            }
            5 | 6 => {
                redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
                loud.give_back(1).await;
                model.return_tokens(1, "given back after the subscriptions were cut off");
                unheard += 1;
            }
            _ => {
                let pause = Duration::from_millis(random.below(LONGEST_PAUSE_MS));
                block_in_place(|| redis.pause());
                tokio::time::sleep(pause).await;
                block_in_place(|| redis.resume());
                model.events.push(format!("paused for {pause:?}"));
            }
        }
        for _ in 0..CHECKS {
            let replica = usize::try_from(random.below(fleet.replicas.len() as u64)).unwrap();
            let sent = Instant::now();
            let is_allowed = fleet.take(replica).await;
            model.decided(sent, is_allowed);
        }
    }
    if scale::either((false, true)) {
        take_all(&mut fleet, &mut model).await;
    }
    let events = scale::either(EVENTS);
    scale::report_denials(&format!(
        "| whatever happens to messages | {seed} | {events} events, {unheard} returns that \
         nobody may have heard of | {} denials of a token that was there | {} ms |",
        model.denials,
        model.longest.as_millis()
    ));
}

/// Asks all replicas until no token is left: what nobody heard of is found all the same.
async fn take_all(fleet: &mut Fleet, model: &mut Model) {
    while model.tokens > 0 {
        for replica in 0..fleet.replicas.len() {
            let sent = Instant::now();
            let is_allowed = fleet.take(replica).await;
            model.decided(sent, is_allowed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes ten seconds: run `cargo xtask faults`"]
async fn a_return_that_nobody_heard_of_is_found_within_ten_seconds() {
    let redis = RedisServer::start();
    let mut fleet = Fleet::start(&redis.url(), None).await;
    let (silent, mut model) = (silent_returns(&redis), Model::full());
    take_all(&mut fleet, &mut model).await;
    fleet.wait_for_cached_denials().await;
    silent.give_back(2).await;
    model.return_tokens(2, "given back silently");
    take_all(&mut fleet, &mut model).await;
    let (denials, longest) = (model.denials, model.longest.as_millis());
    scale::report_denials(&format!(
        "| a return that nobody heard of | - | 1 return | {denials} denials of a token that was \
         there | {longest} ms |"
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_denial_outlives_what_was_returned_by_ten_seconds() {
    for seed in scale::seeds() {
        live(seed).await;
    }
}
