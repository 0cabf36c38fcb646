//! The statistics of one process, in its memory.

mod days;
mod distinct;
mod running;
mod slice_stats;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::Arc,
};

use parking_lot::Mutex;
use sluice_core::{Tag, Timestamp};
use sluice_store::{Clock, Fleet, MonotonicClock, StoreError, StoreFuture};

use self::{days::Days, distinct::Distinct, running::Priced, slice_stats::SliceStats};
use crate::{
    bounds::{
        MAX_DEPLOYMENT_AGE, MAX_DEPLOYMENTS, MAX_ENDPOINTS, MAX_GAUGES, MEMORY_OF_ENDS,
        START_TOLERANCE,
    },
    convert::{not_negative, store_time},
    fleet::{EndpointStats, FleetStats, OpenConnections, ReplicaStats, top_limited},
    flush::{Deltas, DeploymentChange, DeploymentPhase, Flush, GaugeReport},
    gauges::{GaugeKey, Gauges},
    history::History,
    running::Charged,
    slice::Slice,
    stats_store::StatsStore,
    totals::Totals,
};

/// Keeps the statistics of the replicas in this process, usually one. They are lost when the
/// process ends.
pub struct MemoryStats<C = MonotonicClock> {
    state: Mutex<State>,
    clock: C,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Timestamp>,
    totals: Totals,
    /// Requests and denials of each endpoint.
    endpoints: BTreeMap<Box<str>, (u64, u64)>,
    /// Newest first.
    slices: VecDeque<SliceStats>,
    /// Active deployments by id, with their starts.
    running: HashMap<Box<str>, Timestamp>,
    /// Deployments that finished, by id, with their ends.
    finished: HashMap<Box<str>, Timestamp>,
    /// Deployments without an id: starts less ends.
    unnamed: i64,
    gauges: HashMap<GaugeKey, (f64, Timestamp)>,
    replicas: HashMap<Box<str>, Replica>,
    /// Hourly sums.
    days: Days,
    priced: Priced,
}

#[derive(Debug)]
struct Replica {
    last_flush: u64,
    flushed_at: Timestamp,
    connections: OpenConnections,
}

impl MemoryStats {
    /// Makes an empty stats store on the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(MonotonicClock::new())
    }

    /// Makes an empty stats store that can be handed to a [`Reporter`](crate::Reporter).
    #[must_use]
    pub fn shared() -> Arc<dyn StatsStore> {
        Arc::new(Self::new())
    }
}

impl Default for MemoryStats {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Clock> MemoryStats<C> {
    /// Makes an empty stats store that takes the time from `clock`.
    pub fn with_clock(clock: C) -> Self {
        Self { state: Mutex::default(), clock }
    }
}

impl<C: Clock> StatsStore for MemoryStats<C> {
    fn flush<'a>(&'a self, flush: &'a Flush) -> StoreFuture<'a, Result<Gauges, StoreError>> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.flush(flush, now);
        StoreFuture::ready(Ok(state.gauges(now)))
    }

    fn read(&self) -> StoreFuture<'_, Result<FleetStats, StoreError>> {
        StoreFuture::ready(Ok(self.state.lock().read(self.clock.now())))
    }

    fn charge_deployments(&self) -> StoreFuture<'_, Result<Charged, StoreError>> {
        let now = self.clock.now();
        let State { priced, days, .. } = &mut *self.state.lock();
        let charged = priced.charge(now, |series, amounts| {
            for (hour, amount) in amounts {
                days.add_to(*hour, series, *amount);
            }
        });
        StoreFuture::ready(Ok(charged))
    }

    fn read_history(&self) -> StoreFuture<'_, Result<History, StoreError>> {
        let now = self.clock.now();
        let state = self.state.lock();
        StoreFuture::ready(Ok(History::new(now, state.since, state.days.last(now))))
    }

    fn depart<'a>(&'a self, replica: &'a str) -> StoreFuture<'a, Result<(), StoreError>> {
        self.state.lock().replicas.remove(replica);
        StoreFuture::ready(Ok(()))
    }
}

impl<C> fmt::Debug for MemoryStats<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStats").finish_non_exhaustive()
    }
}

impl State {
    fn flush(&mut self, flush: &Flush, now: Timestamp) {
        self.since.get_or_insert(now);
        self.replicas.retain(|_, replica| now.since(replica.flushed_at) < MEMORY_OF_ENDS);
        let known = self.replicas.get(&*flush.replica).map_or(0, |replica| replica.last_flush);
        let replica = Replica {
            last_flush: known.max(flush.number),
            flushed_at: now,
            connections: flush.connections,
        };
        self.replicas.insert((&*flush.replica).into(), replica);
        if flush.number > known {
            self.add(&flush.deltas, now);
        }
    }

    fn add(&mut self, deltas: &Deltas, now: Timestamp) {
        self.totals += &deltas.totals;
        for (endpoint, more) in &deltas.endpoints {
            if self.endpoints.len() < MAX_ENDPOINTS || self.endpoints.contains_key(&**endpoint) {
                let (requests, rejected) = self.endpoints.entry((&**endpoint).into()).or_default();
                *requests = requests.saturating_add(more.requests);
                *rejected = rejected.saturating_add(more.rejected);
            }
        }
        self.current_slice(now).add(deltas);
        self.days.add(&deltas.history, now);
        self.priced.change(&deltas.running, now);
        for change in &deltas.deployments {
            self.change_deployment(change, store_time(now, change.at));
        }
        self.running.retain(|_, started| now.since(*started) < MAX_DEPLOYMENT_AGE);
        self.finished.retain(|_, finished| now.since(*finished) < MEMORY_OF_ENDS);
        self.gauges.retain(|key, (_, reported)| key.is_valid_after(now.since(*reported)));
        if deltas.gauges.keys().any(|key| !self.gauges.contains_key(key)) {
            self.make_room_for_gauges();
        }
        for (key, report) in &deltas.gauges {
            self.set_gauge(key, report, store_time(now, report.at));
        }
    }

    /// The current time slice. After the clock has stepped back, the newest slice stays current.
    fn current_slice(&mut self, now: Timestamp) -> &mut SliceStats {
        let slice = Slice::at(now);
        if self.slices.front().is_none_or(|newest| newest.slice < slice) {
            self.slices.push_front(SliceStats::new(slice));
            self.slices.retain(|old| old.slice.is_in_last_hour(slice));
        }
        self.slices.front_mut().expect("a slice was added if there was none")
    }

    fn change_deployment(&mut self, change: &DeploymentChange, at: Timestamp) {
        match (&change.id, change.phase) {
            (None, DeploymentPhase::Started) => self.unnamed += 1,
            (None, DeploymentPhase::Finished) => self.unnamed -= 1,
            (Some(id), DeploymentPhase::Started) => {
                let is_over = self
                    .finished
                    .get(id)
                    .is_some_and(|finished| finished.after(START_TOLERANCE) >= at);
                if !is_over && self.running.len() < MAX_DEPLOYMENTS {
                    self.running.entry(id.clone()).or_insert(at);
                }
            }
            (Some(id), DeploymentPhase::Finished) => {
                self.running.remove(id);
                if self.finished.len() < MAX_DEPLOYMENTS {
                    self.finished.insert(id.clone(), at);
                }
            }
        }
    }

    /// Removes the gauges with the oldest reports if there is no room. Expired ones were removed
    /// before, so all of these are still valid.
    fn make_room_for_gauges(&mut self) {
        if self.gauges.len() < MAX_GAUGES {
            return;
        }
        let mut by_age: Vec<_> =
            self.gauges.iter().map(|(key, (_, reported))| (*reported, key.clone())).collect();
        by_age.sort_unstable();
        for (_, key) in by_age.iter().take(MAX_GAUGES / 10) {
            self.gauges.remove(key);
        }
    }

    fn set_gauge(&mut self, key: &GaugeKey, report: &GaugeReport, at: Timestamp) {
        let known = self.gauges.get(key);
        if known.is_some_and(|(_, reported)| *reported > at)
            || (known.is_none() && self.gauges.len() >= MAX_GAUGES)
        {
            return;
        }
        match report.value {
            Some(value) => drop(self.gauges.insert(key.clone(), (value, at))),
            None => drop(self.gauges.remove(key)),
        }
    }

    fn gauges(&self, now: Timestamp) -> Gauges {
        let is_active = |started: &&Timestamp| now.since(**started) < MAX_DEPLOYMENT_AGE;
        let named = self.running.values().filter(is_active).count() as u64;
        let valid = self
            .gauges
            .iter()
            .filter(|(key, (_, reported))| key.is_valid_after(now.since(*reported)));
        Gauges {
            active_deployments: named + not_negative(self.unnamed),
            reported: valid.map(|(key, (value, _))| (key.clone(), *value)).collect(),
        }
    }

    fn read(&self, now: Timestamp) -> FleetStats {
        let last_hour =
            || self.slices.iter().filter(|stats| stats.slice.is_in_last_hour(Slice::at(now)));
        let endpoint = |name: &str, (requests, rejected): (u64, u64)| {
            let active_clients =
                Distinct::union(last_hour().filter_map(|stats| stats.active.get(name)));
            (name.into(), EndpointStats { requests, rejected, active_clients })
        };
        let mut denials: HashMap<Tag, u64> = HashMap::new();
        for (client, count) in last_hour().flat_map(|stats| &stats.top) {
            *denials.entry(*client).or_default() += count;
        }
        let replica = |replica: &Replica| ReplicaStats {
            connections: replica.connections,
            flushed_ago: now.since(replica.flushed_at),
        };
        FleetStats {
            since: self.since,
            totals: self.totals,
            endpoints: self.endpoints.iter().map(|(name, sums)| endpoint(name, *sums)).collect(),
            clients: Distinct::union(last_hour().map(|stats| &stats.clients)),
            limited_clients: Distinct::union(last_hour().map(|stats| &stats.limited)),
            top_limited: top_limited(
                denials.into_iter().map(|(client, count)| (client.to_string().into(), count)),
            ),
            gauges: self.gauges(now),
            replicas: self
                .replicas
                .iter()
                .map(|(id, known)| (id.clone(), replica(known)))
                .filter(|(_, replica)| replica.flushed_ago < Fleet::FORGOTTEN_AFTER)
                .collect(),
        }
    }
}
