//! What one process has counted and not yet told.

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
use sluice_store::{
    Deltas, DeploymentChange, EndpointDeltas, GaugeKey, GaugeReport, Gauges, Held, Phase, SLICE,
    Total, Totals,
};
use sluice_telemetry::{ConnectionKind, OTHER, Recorders};

use super::{
    board::Board,
    seen::{Mark, Seen},
    sharded::Sharded,
};

/// Endpoints that are counted each by itself; further ones are `other`, as in the metrics.
const MAX_ENDPOINTS: usize = 250;
/// Clients that wait to be told of. Whoever finds no room is told of when he asks again.
const MAX_CLIENTS: usize = 1 << 16;
/// Parts of the list of limited clients, each behind a lock of its own.
const LIMITED_PARTS: usize = 16;
/// Limited clients in each part. A flood of others is not told of.
const MAX_LIMITED: usize = 4_096;
/// Deployments and gauges that wait to be told of: while the store is away, the oldest changes are
/// forgotten.
const MAX_CHANGES: usize = 1_000;

/// Counts for one process what its fleet is to know. Cheap to clone; clones count together.
///
/// On a request's way it costs two additions and one look-up; all else is done when it is told.
#[derive(Clone, Debug)]
pub struct Tally {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    totals: Sharded<{ Total::ALL.len() }>,
    endpoints: RwLock<HashMap<Arc<str>, Arc<EndpointTally>>>,
    clients: Arc<Clients>,
    changes: Mutex<Changes>,
    board: Board,
    recorders: Recorders,
}

/// What one endpoint has counted.
#[derive(Debug)]
pub(crate) struct EndpointTally {
    number: u64,
    /// Requests, then those of them that were denied.
    sums: Sharded<2>,
    waiting: Mutex<Vec<Tag>>,
    clients: Arc<Clients>,
}

/// What endpoints share.
#[derive(Debug)]
struct Clients {
    seen: Seen,
    /// The slice that runs, by this machine's clock; read once a flush, not at each request.
    slice: AtomicU64,
    /// How many wait to be told of at all endpoints.
    waiting: AtomicUsize,
    limited: [Mutex<HashMap<Tag, u64>>; LIMITED_PARTS],
}

#[derive(Debug, Default)]
struct Changes {
    deployments: Vec<DeploymentChange>,
    gauges: BTreeMap<GaugeKey, GaugeReport>,
}

// === impl Tally ===

impl Tally {
    /// A tally with nothing counted; gauges of the fleet are told on `recorders`.
    #[must_use]
    pub fn new(recorders: &Recorders) -> Self {
        let clients = Clients {
            seen: Seen::new(),
            slice: AtomicU64::new(current_slice()),
            waiting: AtomicUsize::new(0),
            limited: std::array::from_fn(|_| Mutex::default()),
        };
        Self {
            inner: Arc::new(Inner {
                totals: Sharded::new(),
                endpoints: RwLock::default(),
                clients: Arc::new(clients),
                changes: Mutex::default(),
                board: Board::new(recorders),
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

    /// An HTTP request was answered with `status` after `took`.
    pub fn http_answered(&self, status: u16, took: Duration) {
        self.add(Total::HttpRequests, 1);
        self.add(Total::HttpMicros, micros(took));
        match status {
            400..500 => self.add(Total::HttpClientErrors, 1),
            500..600 => self.add(Total::HttpServerErrors, 1),
            _ => {}
        }
    }

    /// The tally of `endpoint`: a configured pattern or `other`, never a raw path. Keep it with the
    /// endpoint.
    pub(crate) fn endpoint(&self, endpoint: &Arc<str>) -> Arc<EndpointTally> {
        if let Some(known) = self.inner.endpoints.read().get(endpoint) {
            return Arc::clone(known);
        }
        let mut endpoints = self.inner.endpoints.write();
        let has_room = endpoints.len() < MAX_ENDPOINTS;
        let name = if has_room { Arc::clone(endpoint) } else { Arc::from(OTHER) };
        let number = endpoints.len() as u64 + 1;
        let tally = || {
            let waiting = Mutex::default();
            Arc::new(EndpointTally {
                number,
                sums: Sharded::new(),
                waiting,
                clients: Arc::clone(&self.inner.clients),
            })
        };
        Arc::clone(endpoints.entry(name).or_insert_with(tally))
    }

    /// A deployment has started or finished.
    pub(crate) fn deployment(&self, id: Option<&str>, phase: Phase) {
        let mut changes = self.inner.changes.lock();
        if changes.deployments.len() >= MAX_CHANGES {
            changes.deployments.remove(0);
        }
        changes.deployments.push(DeploymentChange {
            id: id.map(Into::into),
            phase,
            at: Instant::now(),
        });
        drop(changes);
        self.inner.board.deployment(phase == Phase::Started);
    }

    /// Somebody says what a gauge shows; `None` takes it away.
    pub(crate) fn gauge(&self, key: GaugeKey, value: Option<f64>) {
        self.inner.board.say(&key, value);
        let mut changes = self.inner.changes.lock();
        if changes.gauges.len() < MAX_CHANGES || changes.gauges.contains_key(&key) {
            changes.gauges.insert(key, GaugeReport { value, at: Instant::now() });
        }
    }

    /// Everything counted since the last time; counting begins anew.
    pub(crate) fn take(&self) -> Deltas {
        let inner = &*self.inner;
        inner.clients.slice.store(current_slice(), Ordering::Relaxed);
        let mut totals = Totals::default();
        for (&total, amount) in Total::ALL.iter().zip(inner.totals.take()) {
            totals.add(total, amount);
        }
        inner.clients.waiting.store(0, Ordering::Relaxed);
        let endpoints = inner
            .endpoints
            .read()
            .iter()
            .filter_map(|(name, tally)| Some((Arc::clone(name), tally.take()?)))
            .collect();
        let limited =
            inner.clients.limited.iter().flat_map(|part| mem::take(&mut *part.lock())).collect();
        let Changes { deployments, gauges } = mem::take(&mut *inner.changes.lock());
        Deltas { totals, endpoints, limited, deployments, gauges }
    }

    /// What this process holds now.
    pub(crate) fn held(&self) -> Held {
        let system = &self.inner.recorders.system;
        Held {
            http: system.open_connections(ConnectionKind::Http),
            websocket: system.open_connections(ConnectionKind::WebSocket),
            grpc: system.open_connections(ConnectionKind::Grpc),
            database: system.database_connections(),
        }
    }

    /// Tells the gauges of the fleet.
    pub(crate) fn show(&self, gauges: Gauges) {
        self.inner.board.show(gauges);
    }
}

// === impl EndpointTally ===

impl EndpointTally {
    /// A request of `client` was decided.
    pub(crate) fn decided(&self, client: Tag, denied: bool) {
        self.sums.add(0, 1);
        let clients = &*self.clients;
        let mark = Mark::new(client, self.number, clients.slice.load(Ordering::Relaxed));
        if !clients.seen.has(mark) && clients.waiting.fetch_add(1, Ordering::Relaxed) < MAX_CLIENTS
        {
            clients.seen.set(mark);
            self.waiting.lock().push(client);
        }
        if denied {
            self.sums.add(1, 1);
            clients.limited(client);
        }
    }

    /// What was counted since the last time, if anything.
    fn take(&self) -> Option<EndpointDeltas> {
        let [requests, rejected] = self.sums.take();
        let clients = mem::take(&mut *self.waiting.lock());
        if requests == 0 && clients.is_empty() {
            return None;
        }
        Some(EndpointDeltas { requests, rejected, clients })
    }
}

impl Clients {
    fn limited(&self, client: Tag) {
        let mut part = self.limited[usize::from(client.part()) % LIMITED_PARTS].lock();
        if let Some(times) = part.get_mut(&client) {
            *times += 1;
        } else if part.len() < MAX_LIMITED {
            part.insert(client, 1);
        }
    }
}

/// Whole microseconds.
pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn current_slice() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() / SLICE.as_secs())
}
