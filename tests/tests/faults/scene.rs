//! A fault under load, from before it until all is well again.

use std::time::Duration;

use sluice_core::{Partition, Source};
use sluice_testkit::{RedisCluster, RedisServer};
use sluice_tests::window_limit::now;

use crate::{
    load::{CALLERS_HERE, Load, Places},
    random::Random,
    record::{Effect, Place},
    stores::{STORES, Stores},
};

/// The decisions of each store before and after a fault.
const DECISIONS: u64 = 60;
/// A fault comes after up to so many milliseconds of load.
const LATEST_FAULT_MS: u64 = 500;

/// The partition that the tests of clusters are about, and the hash tag of its keys.
const PARTITION: Partition = Partition::of(7);
const HASH_TAG: &str = "{Z5}";

/// Timeouts in a row after which a breaker opens.
const TIMEOUTS: u64 = 3;

/// What a fault has at hand.
pub(crate) struct Scene<'a> {
    pub(crate) load: &'a Load,
    stores: &'a Stores,
}

/// Puts `stores` under load, lets `fault` happen, and returns its effect on the callers.
pub(crate) async fn under_load(
    (name, seed): (&str, u64),
    stores: &Stores,
    places: &Places,
    fault: impl AsyncFnOnce(&Scene<'_>),
) -> Effect {
    let load = Load::start(stores, places, seed);
    load.wait_for(Place::Here, Source::Store, DECISIONS).await;
    let delay = Duration::from_millis(Random::new(seed).below(LATEST_FAULT_MS));
    tokio::time::sleep(delay).await;
    let began = now();
    fault(&Scene { load: &load, stores }).await;
    load.stop().await.effect(name, seed, began)
}

impl Scene<'_> {
    /// Waits until Redis decides again for every client, and has for a while.
    pub(crate) async fn wait_until_recovered(&self) {
        self.stores.wait_until_recovered().await;
        self.load.wait_for(Place::Here, Source::Store, DECISIONS).await;
    }

    /// Waits until each store has decided without Redis for a while.
    pub(crate) async fn wait_for_local_decisions(&self) {
        self.load.wait_for(Place::Here, Source::Local, DECISIONS).await;
    }
}

/// Returns the places in a cluster, and the primary of the partition that is [`Place::Here`].
pub(crate) fn places_in<'a>(
    stores: &Stores,
    cluster: &'a RedisCluster,
) -> (Places, &'a RedisServer) {
    (Places::of_cluster(stores, PARTITION), cluster.primary_of(slot(cluster)))
}

/// Returns the slot of the partition that is [`Place::Here`].
pub(crate) fn slot(cluster: &RedisCluster) -> u16 {
    cluster.slot_of(HASH_TAG)
}

/// Returns the places where there is only one server.
pub(crate) fn only_place() -> Places {
    Places::only(PARTITION)
}

/// Fails if callers waited for timeouts again and again: `opened` is how often breakers opened, and
/// `unanswered` how often a caller waited.
#[track_caller]
pub(crate) fn assert_waits_are_few(unanswered: u64, opened: u64) {
    // A few that did not open a breaker, as when a replica took over in time.
    let most = TIMEOUTS * CALLERS_HERE * opened.max(STORES as u64);
    assert!(unanswered <= most, "{unanswered} calls waited in vain, and {opened} breakers opened");
}
