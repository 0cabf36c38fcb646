//! Redis fails while replicas hold leases.

use std::time::Duration;

use sluice_core::{OnStoreFailure, Source};
use sluice_store::ColdStart;
use sluice_testkit::RedisServer;
use sluice_tests::window_limit::now;
use tokio::task::block_in_place;

use super::callers::{BURST, Callers, Tokens, take};
use crate::{
    random::Random,
    scale,
    stores::{AllLayers, LONG_TIMEOUT, Stores},
};

/// For a Redis that hangs. A busy machine exceeds it, so that stores may decide locally at any
/// time.
const SHORT_TIMEOUT: Duration = Duration::from_millis(50);

/// The longest time from a grant to the end of a lease.
const LONGEST_LEASE: Duration = Duration::from_secs(2);

/// The outages of a round, in CI and in the long form.
const OUTAGES: (u64, u64) = (1, 5);
/// The decisions of each store between what happens.
const DECISIONS: u64 = 40;
const LATEST_FAULT_MS: u64 = 400;

/// How a Redis fails.
#[derive(Debug, Clone, Copy)]
struct Outage {
    name: &'static str,
    on_store_failure: OnStoreFailure,
    cold_start: ColdStart,
    fails: fn(&RedisServer),
    returns: fn(&RedisServer),
    /// Whether it has lost its memory then.
    forgets: bool,
    timeout: Duration,
}

impl Outage {
    /// It is killed, and restarts with its memory.
    const KILLED: Self = Self {
        name: "Redis killed",
        on_store_failure: OnStoreFailure::Local,
        cold_start: ColdStart::Full,
        fails: RedisServer::kill,
        returns: RedisServer::restart,
        forgets: false,
        timeout: LONG_TIMEOUT,
    };

    const HANGS: Self = Self {
        name: "Redis hangs",
        fails: RedisServer::pause,
        returns: RedisServer::resume,
        timeout: SHORT_TIMEOUT,
        ..Self::KILLED
    };

    const FORGETS: Self = Self { name: "Redis restarts empty", forgets: true, ..Self::KILLED };

    /// Lets the outage happen to stores that hold leases, again and again.
    async fn happen(self, seed: u64) -> Tokens {
        // Each write is in the file before its reply is sent, whatever the disk does.
        let keeps = ["--appendonly", "yes", "--appendfsync", "no"];
        let redis = RedisServer::start_with(if self.forgets { &[] } else { &keeps });
        let stores: Stores<AllLayers> =
            Stores::connect(&redis.url(), self.timeout, self.cold_start).await;
        // A memory of less than a second is none.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let mut random = Random::new(seed);
        let callers = Callers::start(&stores, &take(self.on_store_failure), &mut random);
        let mut instants = Vec::new();
        let outages = scale::either(OUTAGES);
        for number in 0..outages {
            callers.set_calm(true);
            callers.wait_for_leases(DECISIONS).await;
            let delay = random.below(LATEST_FAULT_MS);
            tokio::time::sleep(Duration::from_millis(delay)).await;
            callers.set_calm(false);
            block_in_place(|| (self.fails)(&redis));
            let failed = now();
            callers.wait_for_local_denials(DECISIONS).await;
            // Leases end while Redis is away, or are alive when it is back.
            if (number + seed).is_multiple_of(2) {
                let longer = LONGEST_LEASE + Duration::from_millis(random.below(500));
                tokio::time::sleep(longer).await;
            }
            instants.push((failed, now()));
            block_in_place(|| (self.returns)(&redis));
            stores.wait_until_recovered().await;
            callers.wait_for_leases(DECISIONS).await;
        }
        let mut tokens = callers.stop().await;
        tokens.count_what_is_left(&stores).await;
        self.report(seed, outages, &instants, &tokens);
        tokens
    }

    /// Adds a line to the table. No lease is spent after its end.
    fn report(self, seed: u64, outages: u64, instants: &[(i128, i128)], tokens: &Tokens) {
        let longest = LONGEST_LEASE.as_micros().cast_signed();
        let from_leases = |delay: i128| -> usize {
            let between = |&(failed, ended)| tokens.of_leases_between(failed + delay, ended);
            instants.iter().map(between).sum()
        };
        scale::report_outages(&format!(
            "| {}, {} | {seed} | {outages} | {} | {} | {} | {} | {} | {} | {} |",
            self.name,
            format!("{:?}", self.on_store_failure).to_lowercase(),
            tokens.decisions,
            tokens.from(Source::Store),
            tokens.from(Source::Lease),
            from_leases(0),
            tokens.from(Source::Local),
            tokens.beyond_by_redis(),
            tokens.beyond_locally(),
        ));
        assert_eq!(from_leases(longest), 0, "leases were spent after their end");
        assert_eq!(tokens.errors, 0, "a limit that is not `error` has no errors");
        assert_eq!(tokens.beyond_locally(), 0, "a store admitted more than its share");
    }
}

async fn nothing_is_admitted_twice(outage: Outage) {
    for seed in scale::seeds() {
        let tokens = outage.happen(seed).await;
        assert_eq!(tokens.beyond_by_redis(), 0, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_and_shares_are_all_that_is_admitted_while_redis_is_dead() {
    nothing_is_admitted_twice(Outage::KILLED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_and_shares_are_all_that_is_admitted_while_redis_hangs() {
    nothing_is_admitted_twice(Outage::HANGS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_are_all_that_is_admitted_where_an_outage_denies() {
    for seed in scale::seeds() {
        let outage = Outage { on_store_failure: OnStoreFailure::Deny, ..Outage::KILLED };
        let tokens = outage.happen(seed).await;
        assert_eq!(tokens.beyond_by_redis(), 0, "seed {seed}");
        assert_eq!(tokens.from(Source::Local), 0, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_without_its_memory_admits_one_burst_more_also_with_leases() {
    for seed in scale::seeds() {
        let tokens = Outage::FORGETS.happen(seed).await;
        let losses = scale::either(OUTAGES);
        assert!(tokens.beyond_by_redis() <= losses * BURST, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_without_its_memory_admits_no_burst_with_an_empty_cold_start() {
    for seed in scale::seeds() {
        let outage = Outage {
            cold_start: ColdStart::Empty,
            name: "Redis restarts empty, cold_start empty",
            ..Outage::FORGETS
        };
        let tokens = outage.happen(seed).await;
        assert_eq!(tokens.beyond_by_redis(), 0, "seed {seed}");
    }
}
