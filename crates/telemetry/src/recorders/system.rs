//! Connections and caches: those of this replica, and those that applications report.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use opentelemetry::metrics::{Gauge, Meter};

use crate::{
    catalogue::{Metric, MetricKind},
    labels::{Label, LabelSet, label_values},
};

label_values! {
    /// What a connection carries.
    pub enum ConnectionKind {
        /// HTTP/1.1 or HTTP/2.
        Http => "http",
        /// A WebSocket.
        WebSocket => "websocket",
        /// gRPC.
        Grpc => "grpc",
    }
}

const KIND: Label = Label::fixed("kind", ConnectionKind::WORDS);
const SCOPE: Label = Label::fixed("scope", &[REPLICA, FLEET]);
/// The scope of a replica's own numbers: the fleet's is their sum over all replicas.
const REPLICA: &str = "replica";
/// The scope of numbers that applications report for the whole fleet: every replica has the same.
const FLEET: &str = "fleet";
const CACHE: Label = Label::capped("cache", 30);

const CONNECTIONS: Metric = Metric {
    name: "active_connections",
    kind: MetricKind::Gauge,
    unit: "{connection}",
    labels: &[KIND, SCOPE],
    help: "Open connections, by kind; those of scope `replica` are this replica's own, those of scope `fleet` what applications report.",
    query: r#"sum by (kind) (active_connections{scope="replica"})"#,
};

const DATABASE_CONNECTIONS: Metric = Metric {
    name: "database_connections",
    kind: MetricKind::Gauge,
    unit: "{connection}",
    labels: &[SCOPE],
    help: "Open database connections; those of scope `replica` are this replica's to its store, those of scope `fleet` what applications report.",
    query: r#"sum(database_connections{scope="replica"})"#,
};

const CACHE_HIT_RATE: Metric = Metric {
    name: "cache_hit_rate",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[CACHE],
    help: "Share of look-ups a cache answered, from 0 to 1, by cache.",
    query: "avg by (cache) (cache_hit_rate)",
};

pub(crate) const METRICS: &[Metric] = &[CONNECTIONS, DATABASE_CONNECTIONS, CACHE_HIT_RATE];

/// Records connections and caches.
#[derive(Clone, Debug)]
pub struct SystemRecorder {
    open: Arc<[AtomicU64; ConnectionKind::ALL.len()]>,
    reported: Arc<[AtomicU64; ConnectionKind::ALL.len()]>,
    database_connections: Gauge<u64>,
    /// The replica's own number, kept so that it can be read back.
    own_database_connections: Arc<AtomicU64>,
    cache_hit_rate: Gauge<f64>,
    caches: LabelSet,
}

/// A connection of this replica; it is open until this is dropped.
#[derive(Debug)]
#[must_use = "a connection counts as closed when this is dropped"]
pub struct OpenConnection {
    open: Arc<[AtomicU64; ConnectionKind::ALL.len()]>,
    kind: ConnectionKind,
}

/// Nothing was reported; no fleet has so many connections.
const UNREPORTED: u64 = u64::MAX;

// === impl SystemRecorder ===

impl SystemRecorder {
    /// A recorder on `meter`.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        let recorder = Self {
            open: Arc::new(std::array::from_fn(|_| AtomicU64::new(0))),
            reported: Arc::new(std::array::from_fn(|_| AtomicU64::new(UNREPORTED))),
            database_connections: DATABASE_CONNECTIONS.gauge(meter),
            own_database_connections: Arc::default(),
            cache_hit_rate: CACHE_HIT_RATE.ratio(meter),
            caches: LabelSet::new(meter, CACHE),
        };
        recorder.observe_connections(meter);
        recorder
    }

    /// A connection of this replica was opened.
    pub fn connection_opened(&self, kind: ConnectionKind) -> OpenConnection {
        self.open[kind.place()].fetch_add(1, Ordering::Relaxed);
        OpenConnection { open: Arc::clone(&self.open), kind }
    }

    /// How many connections of this replica are open now.
    #[must_use]
    pub fn open_connections(&self, kind: ConnectionKind) -> u64 {
        self.open[kind.place()].load(Ordering::Relaxed)
    }

    /// Applications have this many connections open, over the whole fleet.
    pub fn set_reported_connections(&self, kind: ConnectionKind, count: u64) {
        self.reported[kind.place()].store(count, Ordering::Relaxed);
    }

    /// Sets the number of database connections that this replica has open.
    pub fn set_database_connections(&self, count: u64) {
        self.database_connections.record(count, &[SCOPE.with(REPLICA)]);
        self.own_database_connections.store(count, Ordering::Relaxed);
    }

    /// Sets the number of database connections that applications report for the whole fleet.
    pub fn set_reported_database_connections(&self, count: u64) {
        self.database_connections.record(count, &[SCOPE.with(FLEET)]);
    }

    /// Returns the number last given to
    /// [`set_database_connections`](Self::set_database_connections), or 0.
    #[must_use]
    pub fn database_connections(&self) -> u64 {
        self.own_database_connections.load(Ordering::Relaxed)
    }

    /// A cache answers this share of look-ups, from 0 to 1; what lies outside is taken as the
    /// nearer of the two.
    ///
    /// Of caches folded into `other`, the last one reported is told.
    pub fn set_cache_hit_rate(&self, cache: &str, share: f64) {
        let labels = [CACHE.with(self.caches.value(cache))];
        self.cache_hit_rate.record(share.clamp(0.0, 1.0), &labels);
    }

    /// Read when asked, since opening and closing race: of two recorded numbers the older could
    /// come last.
    fn observe_connections(&self, meter: &Meter) {
        let (open, reported) = (Arc::clone(&self.open), Arc::clone(&self.reported));
        CONNECTIONS.observed(meter, move |observer| {
            for kind in ConnectionKind::ALL {
                let word = KIND.with(kind.as_str());
                let own = open[kind.place()].load(Ordering::Relaxed);
                observer.observe(own, &[word.clone(), SCOPE.with(REPLICA)]);
                let fleet = reported[kind.place()].load(Ordering::Relaxed);
                if fleet != UNREPORTED {
                    observer.observe(fleet, &[word, SCOPE.with(FLEET)]);
                }
            }
        });
    }
}

// === impl OpenConnection ===

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open[self.kind.place()].fetch_sub(1, Ordering::Relaxed);
    }
}
