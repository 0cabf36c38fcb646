//! What this process has counted and not yet flushed.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::{Mutex, RwLock};
use sluice_core::Tag;
use sluice_slo::Slo;
use sluice_telemetry::{ConnectionKind, MonthCost, OTHER, Recorders, SloState};

use crate::{
    convert::micros,
    costs::CostReport,
    fleet::OpenConnections,
    flush::{Deltas, DeploymentChange, DeploymentPhase, EndpointDeltas, GaugeReport},
    gauges::{GaugeKey, Gauges},
    history::{HistoryCounters, Series, SeriesCounter},
    last_values::LastValues,
    reported_clients::{ClientMark, ReportedClients},
    running::{Charged, RunningChange},
    sharded::Sharded,
    slice::SLICE,
    slos::{SloCounters, SloReport},
    totals::{Total, Totals},
};

/// Endpoints that have counters of their own. Further ones are counted as `other`, as in the
/// metrics.
const MAX_ENDPOINTS: usize = 250;
/// Clients to report at the next flush. When the list is full, a client is skipped and retried at
/// its next request.
const MAX_PENDING_CLIENTS: usize = 1 << 16;
/// Parts of the list of denied clients, each with its own lock.
const LIMITED_PARTS: usize = 16;
/// Denied clients in each part. Further ones are skipped until the next flush.
const MAX_LIMITED_PER_PART: usize = 4_096;
/// Deployments and gauges to report at the next flush. While the store is away, the oldest
/// deployment changes and the newest gauges are dropped.
const MAX_CHANGES: usize = 1_000;

/// Places of the sums of an endpoint.
const REQUESTS: usize = 0;
const REJECTED: usize = 1;

/// Counts, for one process, what its fleet reports. Cheap to clone; clones share the counts.
///
/// Counting a decision costs a request two additions and one look-up. A
/// [`Reporter`](crate::Reporter) does the rest in the background.
#[derive(Clone, Debug)]
pub struct StatsCounters {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    totals: Sharded<{ Total::ALL.len() }>,
    endpoints: RwLock<HashMap<Arc<str>, Arc<EndpointCounters>>>,
    clients: Arc<Clients>,
    changes: Mutex<Changes>,
    history: HistoryCounters,
    slos: SloCounters,
    last_values: LastValues,
    recorders: Recorders,
}

/// Counts the decisions for one endpoint.
#[derive(Debug)]
pub struct EndpointCounters {
    number: u64,
    sums: Sharded<2>,
    /// Clients to report at the next flush.
    pending: Mutex<Vec<Tag>>,
    clients: Arc<Clients>,
}

/// What all endpoints share.
#[derive(Debug)]
struct Clients {
    reported: ReportedClients,
    /// The current time slice by this machine's clock. Read once a flush, not at each request.
    slice: AtomicU64,
    /// How many clients all endpoints have to report.
    pending: AtomicUsize,
    /// Denied clients with their denials.
    limited: [Mutex<HashMap<Tag, u64>>; LIMITED_PARTS],
}

#[derive(Debug, Default)]
struct Changes {
    deployments: Vec<DeploymentChange>,
    running: Vec<RunningChange>,
    gauges: BTreeMap<GaugeKey, GaugeReport>,
}

impl StatsCounters {
    /// Makes counters that are all zero. The gauges of the fleet are recorded with `recorders`.
    #[must_use]
    pub fn new(recorders: &Recorders) -> Self {
        let clients = Clients {
            reported: ReportedClients::new(),
            slice: AtomicU64::new(current_slice()),
            pending: AtomicUsize::new(0),
            limited: std::array::from_fn(|_| Mutex::default()),
        };
        Self {
            inner: Arc::new(Inner {
                totals: Sharded::new(),
                endpoints: RwLock::default(),
                clients: Arc::new(clients),
                changes: Mutex::default(),
                history: HistoryCounters::default(),
                slos: SloCounters::default(),
                last_values: LastValues::new(recorders),
                recorders: recorders.clone(),
            }),
        }
    }

    /// Adds `amount` to a total of the fleet.
    pub fn add(&self, total: Total, amount: u64) {
        if amount > 0 {
            self.inner.totals.add(total as usize, amount);
        }
    }

    /// Replaces the service level objectives for which responses are counted.
    pub fn set_slos(&self, slos: Vec<Slo>) {
        self.inner.slos.replace(slos, |series| self.series(series));
    }

    /// Returns the service level objectives.
    #[must_use]
    pub fn slos(&self) -> Arc<[Slo]> {
        self.inner.slos.slos()
    }

    /// Counts an HTTP response with this status, which took `duration`, to a request for
    /// `endpoint`: a value of the metric label, never a raw path.
    pub fn count_http_response(&self, endpoint: &str, status: u16, duration: Duration) {
        self.inner.slos.count(endpoint, status, duration);
        self.add(Total::HttpRequests, 1);
        self.add(Total::HttpMicros, micros(duration));
        match status {
            400..500 => self.add(Total::HttpClientErrors, 1),
            500..600 => self.add(Total::HttpServerErrors, 1),
            _ => {}
        }
    }

    /// Returns the counters of `endpoint`: a configured pattern or `other`, never a raw path.
    ///
    /// Keep them with the endpoint instead of looking them up at each request.
    #[must_use]
    pub fn endpoint(&self, endpoint: &Arc<str>) -> Arc<EndpointCounters> {
        if let Some(known) = self.inner.endpoints.read().get(endpoint) {
            return Arc::clone(known);
        }
        let mut endpoints = self.inner.endpoints.write();
        let has_room = endpoints.len() < MAX_ENDPOINTS;
        let name = if has_room { Arc::clone(endpoint) } else { Arc::from(OTHER) };
        let number = endpoints.len() as u64 + 1;
        let counters = || {
            Arc::new(EndpointCounters {
                number,
                sums: Sharded::new(),
                pending: Mutex::default(),
                clients: Arc::clone(&self.inner.clients),
            })
        };
        Arc::clone(endpoints.entry(name).or_insert_with(counters))
    }

    /// Returns the counter of `series` in the hourly sums of the fleet, or that of `other` when
    /// this process has too many series.
    ///
    /// Keep it where amounts are added often, instead of looking it up each time.
    #[must_use]
    pub fn series(&self, series: &Series) -> Arc<SeriesCounter> {
        self.inner.history.series(series, &self.inner.recorders)
    }

    /// Notes that what was added to series since the last call was added now. The reporter calls it
    /// every second, whether or not the store can be reached.
    pub(crate) fn tick(&self) {
        self.inner.history.tick(Instant::now());
    }

    /// Notes that a deployment has started or finished.
    pub(crate) fn change_deployment(&self, id: Option<&str>, phase: DeploymentPhase) {
        let mut changes = self.inner.changes.lock();
        if changes.deployments.len() >= MAX_CHANGES {
            changes.deployments.remove(0);
        }
        changes.deployments.push(DeploymentChange::new(id, phase, Instant::now()));
        drop(changes);
        self.inner.last_values.change_deployment(phase);
    }

    /// Notes that a deployment that costs by the hour was created or deleted.
    pub(crate) fn change_running(&self, change: RunningChange) {
        let mut changes = self.inner.changes.lock();
        if changes.running.len() >= MAX_CHANGES {
            changes.running.remove(0);
        }
        changes.running.push(change);
    }

    /// Notes a report of a gauge's value; `None` removes the gauge.
    pub(crate) fn set_gauge(&self, key: GaugeKey, value: Option<f64>) {
        self.inner.last_values.set(&key, value);
        let mut changes = self.inner.changes.lock();
        if changes.gauges.len() < MAX_CHANGES || changes.gauges.contains_key(&key) {
            changes.gauges.insert(key, GaugeReport::new(value, Instant::now()));
        }
    }

    /// Returns everything that was counted since the last call, and starts again at zero.
    pub(crate) fn take(&self) -> Deltas {
        let inner = &*self.inner;
        inner.clients.slice.store(current_slice(), Ordering::Relaxed);
        let mut totals = Totals::default();
        for (&total, amount) in Total::ALL.iter().zip(inner.totals.take()) {
            totals.add(total, amount);
        }
        inner.clients.pending.store(0, Ordering::Relaxed);
        let endpoints = inner
            .endpoints
            .read()
            .iter()
            .filter_map(|(name, counters)| Some((Arc::clone(name), counters.take()?)))
            .collect();
        let limited =
            inner.clients.limited.iter().flat_map(|part| mem::take(&mut *part.lock())).collect();
        let Changes { deployments, running, gauges } = mem::take(&mut *inner.changes.lock());
        inner.history.tick(Instant::now());
        let history = inner.history.take();
        Deltas { totals, endpoints, limited, deployments, gauges, history, running }
    }

    /// Returns the connections that this process has open.
    pub(crate) fn open_connections(&self) -> OpenConnections {
        let system = &self.inner.recorders.system;
        OpenConnections {
            http: system.open_connections(ConnectionKind::Http),
            websocket: system.open_connections(ConnectionKind::WebSocket),
            grpc: system.open_connections(ConnectionKind::Grpc),
            database: system.database_connections(),
        }
    }

    /// Records what this process has charged deployments.
    pub(crate) fn record_charged(&self, charged: &Charged) {
        let cost = &self.inner.recorders.cost;
        cost.set_running(charged.running);
        for ((kind, currency), amount) in &charged.amounts {
            cost.add_deployment(kind, currency, *amount);
        }
    }

    /// Records what the fleet costs in this month.
    pub(crate) fn record_costs(&self, report: &CostReport) {
        let costs = report.totals.iter().map(|(currency, sums)| MonthCost {
            currency: currency.clone(),
            so_far: sums.month,
            forecast: sums.forecast,
        });
        self.inner.recorders.cost.set_month(costs.collect());
    }

    /// Records how the fleet meets its objectives.
    pub(crate) fn record_slos(&self, report: &SloReport) {
        let slos = report.slos.iter().map(|status| SloState {
            name: status.slo.name.as_str().into(),
            objective: status.slo.objective.ratio(),
            good: status.good_ratio(),
            budget_left: status.budget_left(),
        });
        self.inner.recorders.slo.set(slos.collect());
    }

    /// Records the gauges of the fleet, as the store returned them.
    pub(crate) fn record_gauges(&self, gauges: Gauges) {
        self.inner.last_values.replace(gauges);
    }
}

impl EndpointCounters {
    /// Counts a decision about a request of `client`.
    pub fn count_decision(&self, client: Tag, is_denied: bool) {
        self.sums.add(REQUESTS, 1);
        let clients = &*self.clients;
        let mark = ClientMark::new(client, self.number, clients.slice.load(Ordering::Relaxed));
        if !clients.reported.contains(mark)
            && clients.pending.fetch_add(1, Ordering::Relaxed) < MAX_PENDING_CLIENTS
        {
            clients.reported.insert(mark);
            self.pending.lock().push(client);
        }
        if is_denied {
            self.sums.add(REJECTED, 1);
            clients.count_denial(client);
        }
    }

    /// Returns what was counted since the last call, if anything was.
    fn take(&self) -> Option<EndpointDeltas> {
        let [requests, rejected] = self.sums.take();
        let clients = mem::take(&mut *self.pending.lock());
        if requests == 0 && clients.is_empty() {
            return None;
        }
        Some(EndpointDeltas { requests, rejected, clients })
    }
}

impl Clients {
    fn count_denial(&self, client: Tag) {
        let mut part = self.limited[usize::from(client.part()) % LIMITED_PARTS].lock();
        if let Some(denials) = part.get_mut(&client) {
            *denials += 1;
        } else if part.len() < MAX_LIMITED_PER_PART {
            part.insert(client, 1);
        }
    }
}

fn current_slice() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() / SLICE.as_secs())
}
