//! The figures of one process.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    hash::Hash,
    time::Instant,
};

use hyperloglockless::{DefaultHasher, HyperLogLog};
use parking_lot::Mutex;
use sluice_core::{Tag, Timestamp};

use super::{
    Deltas, DeploymentChange, EndpointFigures, Figures, FleetFigures, Flush, GaugeKey, GaugeReport,
    Gauges, Held, LATE_START, MAX_DEPLOYMENT_AGE, MAX_ENDPOINTS, MAX_GAUGES, MAX_TOP, Phase,
    ReplicaFigures, Slice, TOP_TOLD, Totals,
};
use crate::{Clock, MonotonicClock, StoreError, StoreFuture, fleet::FORGOTTEN_AFTER};

/// 8,192 registers of a byte: within 1.2 % of the truth in two of three counts.
const PRECISION: u8 = 13;
/// What finished is remembered for as long, so that a report of its start that comes late does not
/// revive it.
const FINISHED_KEPT: std::time::Duration = std::time::Duration::from_secs(60 * 60);
/// Deployments that are remembered by id.
const MAX_DEPLOYMENTS: usize = 10_000;

/// Keeps the figures of the replicas in this process, as a rule one. They are gone when it ends.
pub struct MemoryFigures<C = MonotonicClock> {
    state: Mutex<State>,
    clock: C,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Timestamp>,
    totals: Totals,
    endpoints: BTreeMap<Box<str>, (u64, u64)>,
    /// Newest first.
    slices: VecDeque<SliceFigures>,
    running: HashMap<Box<str>, Timestamp>,
    finished: HashMap<Box<str>, Timestamp>,
    /// Deployments without an id: those started less those finished.
    unnamed: i64,
    gauges: HashMap<GaugeKey, (f64, Timestamp)>,
    replicas: HashMap<Box<str>, Replica>,
}

#[derive(Debug)]
struct Replica {
    last_flush: u64,
    told_at: Timestamp,
    held: Held,
}

/// What happened in one slice of time.
#[derive(Debug)]
struct SliceFigures {
    slice: Slice,
    clients: Distinct,
    limited: Distinct,
    active: HashMap<Box<str>, Distinct>,
    top: HashMap<Tag, u64>,
}

/// Counts how many different things it has seen.
#[derive(Clone, Debug)]
struct Distinct(HyperLogLog<DefaultHasher>);

impl MemoryFigures {
    /// No figures yet, on the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(MonotonicClock::new())
    }
}

impl Default for MemoryFigures {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Clock> MemoryFigures<C> {
    /// No figures yet, with the time told by `clock`.
    pub fn with_clock(clock: C) -> Self {
        Self { state: Mutex::default(), clock }
    }
}

impl<C: Clock> Figures for MemoryFigures<C> {
    fn flush<'a>(&'a self, flush: &'a Flush) -> StoreFuture<'a, Result<Gauges, StoreError>> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.flush(flush, now);
        StoreFuture::ready(Ok(state.gauges(now)))
    }

    fn read(&self) -> StoreFuture<'_, Result<FleetFigures, StoreError>> {
        StoreFuture::ready(Ok(self.state.lock().read(self.clock.now())))
    }

    fn depart<'a>(&'a self, replica: &'a str) -> StoreFuture<'a, Result<(), StoreError>> {
        self.state.lock().replicas.remove(replica);
        StoreFuture::ready(Ok(()))
    }
}

impl<C> fmt::Debug for MemoryFigures<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFigures").finish_non_exhaustive()
    }
}

// === impl State ===

impl State {
    fn flush(&mut self, flush: &Flush, now: Timestamp) {
        self.since.get_or_insert(now);
        self.replicas.retain(|_, replica| now.since(replica.told_at) < FINISHED_KEPT);
        let known = self.replicas.get(&*flush.replica).map_or(0, |replica| replica.last_flush);
        let last_flush = known.max(flush.number);
        self.replicas.insert(
            (&*flush.replica).into(),
            Replica { last_flush, told_at: now, held: flush.held },
        );
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
        self.current(now).add(deltas);
        for change in &deltas.deployments {
            self.deployment(change, at(now, change.at));
        }
        self.running.retain(|_, started| now.since(*started) < MAX_DEPLOYMENT_AGE);
        self.finished.retain(|_, finished| now.since(*finished) < FINISHED_KEPT);
        self.gauges.retain(|key, (_, said)| key.holds_after(now.since(*said)));
        if self.gauges.len() >= MAX_GAUGES
            && deltas.gauges.keys().any(|key| !self.gauges.contains_key(key))
        {
            // All are the whole's, or of living instances: those that nobody spoke of for the
            // longest time make room.
            let mut by_age: Vec<_> =
                self.gauges.iter().map(|(key, (_, said))| (*said, key.clone())).collect();
            by_age.sort_unstable();
            for (_, key) in by_age.iter().take(MAX_GAUGES / 10) {
                self.gauges.remove(key);
            }
        }
        for (key, report) in &deltas.gauges {
            self.gauge(key, report, at(now, report.at));
        }
    }

    /// The slice of now. A clock that steps back goes on counting in the newest.
    fn current(&mut self, now: Timestamp) -> &mut SliceFigures {
        let slice = Slice::at(now);
        if self.slices.front().is_none_or(|newest| newest.slice < slice) {
            self.slices.push_front(SliceFigures::new(slice));
            self.slices.retain(|old| old.slice.is_looked_at(slice));
        }
        self.slices.front_mut().expect("a slice was put there if there was none")
    }

    fn deployment(&mut self, change: &DeploymentChange, at: Timestamp) {
        match (&change.id, change.phase) {
            (None, Phase::Started) => self.unnamed += 1,
            (None, Phase::Finished) => self.unnamed -= 1,
            (Some(id), Phase::Started) => {
                let is_over =
                    self.finished.get(id).is_some_and(|finished| finished.after(LATE_START) >= at);
                if !is_over && self.running.len() < MAX_DEPLOYMENTS {
                    self.running.entry(id.clone()).or_insert(at);
                }
            }
            (Some(id), Phase::Finished) => {
                self.running.remove(id);
                if self.finished.len() < MAX_DEPLOYMENTS {
                    self.finished.insert(id.clone(), at);
                }
            }
        }
    }

    fn gauge(&mut self, key: &GaugeKey, report: &GaugeReport, at: Timestamp) {
        let known = self.gauges.get(key);
        if known.is_some_and(|(_, said)| *said > at)
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
        let named = self
            .running
            .values()
            .filter(|started| now.since(**started) < MAX_DEPLOYMENT_AGE)
            .count() as u64;
        let holding =
            self.gauges.iter().filter(|(key, (_, said))| key.holds_after(now.since(*said)));
        Gauges {
            active_deployments: named + u64::try_from(self.unnamed).unwrap_or(0),
            reported: holding.map(|(key, (value, _))| (key.clone(), *value)).collect(),
        }
    }

    fn read(&self, now: Timestamp) -> FleetFigures {
        let looked_at =
            || self.slices.iter().filter(|figures| figures.slice.is_looked_at(Slice::at(now)));
        let endpoint = |name: &str, (requests, rejected): (u64, u64)| {
            let active_clients =
                Distinct::union(looked_at().filter_map(|figures| figures.active.get(name)));
            (name.into(), EndpointFigures { requests, rejected, active_clients })
        };
        let mut top: HashMap<Tag, u64> = HashMap::new();
        looked_at()
            .flat_map(|figures| &figures.top)
            .for_each(|(tag, count)| *top.entry(*tag).or_default() += count);
        let live = |replica: &Replica| ReplicaFigures {
            held: replica.held,
            told_ago: now.since(replica.told_at),
        };
        FleetFigures {
            since: self.since,
            totals: self.totals,
            endpoints: self.endpoints.iter().map(|(name, sums)| endpoint(name, *sums)).collect(),
            clients: Distinct::union(looked_at().map(|figures| &figures.clients)),
            limited_clients: Distinct::union(looked_at().map(|figures| &figures.limited)),
            top_limited: most(top.into_iter().map(|(tag, count)| (tag.to_string().into(), count))),
            gauges: self.gauges(now),
            replicas: self
                .replicas
                .iter()
                .map(|(id, replica)| (id.clone(), live(replica)))
                .filter(|(_, replica)| replica.told_ago < FORGOTTEN_AFTER)
                .collect(),
        }
    }
}

/// When something said at `said` was said, by a store's clock that shows `now`.
pub(crate) fn at(now: Timestamp, said: Instant) -> Timestamp {
    let age = i64::try_from(said.elapsed().as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_unix_micros(now.unix_micros().saturating_sub(age))
}

/// The clients counted most often, the first most.
pub(crate) fn most(counted: impl Iterator<Item = (Box<str>, u64)>) -> Vec<(Box<str>, u64)> {
    let mut counted: Vec<_> = counted.collect();
    counted.sort_unstable_by(|(a, most), (b, more)| more.cmp(most).then_with(|| a.cmp(b)));
    counted.truncate(TOP_TOLD);
    counted
}

// === impl SliceFigures ===

impl SliceFigures {
    fn new(slice: Slice) -> Self {
        Self {
            slice,
            clients: Distinct::default(),
            limited: Distinct::default(),
            active: HashMap::new(),
            top: HashMap::new(),
        }
    }

    fn add(&mut self, deltas: &Deltas) {
        for (endpoint, more) in deltas.endpoints.iter().filter(|(_, more)| !more.clients.is_empty())
        {
            if self.active.len() < MAX_ENDPOINTS || self.active.contains_key(&**endpoint) {
                let active = self.active.entry((&**endpoint).into()).or_default();
                more.clients.iter().for_each(|client| active.insert(client));
            }
            more.clients.iter().for_each(|client| self.clients.insert(client));
        }
        for (client, count) in &deltas.limited {
            self.limited.insert(client);
            *self.top.entry(*client).or_default() += count;
        }
        if self.top.len() > MAX_TOP {
            let mut counts: Vec<_> = self.top.values().copied().collect();
            let (_, least, _) = counts.select_nth_unstable_by(MAX_TOP - 1, |a, b| b.cmp(a));
            let least = *least;
            let mut room = MAX_TOP - self.top.values().filter(|count| **count > least).count();
            self.top.retain(|_, count| {
                *count > least || {
                    let stays = *count == least && room > 0;
                    room -= usize::from(stays);
                    stays
                }
            });
        }
    }
}

// === impl Distinct ===

impl Distinct {
    fn insert(&mut self, thing: &impl Hash) {
        self.0.insert(thing);
    }

    /// How many different things several have seen together.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count is neither below zero nor beyond 64 bits"
    )]
    fn union<'a>(mut all: impl Iterator<Item = &'a Self>) -> u64 {
        let Some(first) = all.next() else { return 0 };
        let mut together = first.clone();
        for other in all {
            together.0.union(&other.0).expect("all have the same precision and seed");
        }
        together.0.raw_count().round() as u64
    }
}

impl Default for Distinct {
    fn default() -> Self {
        Self(HyperLogLog::seeded(PRECISION, 0))
    }
}
