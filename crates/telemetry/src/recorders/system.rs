//! Connections and caches: those of this replica, and those that applications report.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use opentelemetry::metrics::{Gauge, Meter};

use crate::{
    catalogue::{Kind, Metric},
    labels::{Label, LabelSet, label_values},
};

label_values! {
    /// What a connection carries.
    Connection {
        /// HTTP/1.1 or HTTP/2.
        Http => "http",
        /// A WebSocket.
        WebSocket => "websocket",
        /// gRPC.
        Grpc => "grpc",
    }
}

label_values! {
    /// Whose figure it is, and so how to add it up.
    Scope {
        /// This replica's own: the sum over replicas is the fleet's.
        Replica => "replica",
        /// Reported by applications and kept for the whole fleet: every replica tells the same
        /// number.
        Fleet => "fleet",
    }
}

const KIND: Label = Label::fixed("kind", Connection::WORDS);
const SCOPE: Label = Label::fixed("scope", Scope::WORDS);
const CACHE: Label = Label::capped("cache", 30);

const CONNECTIONS: Metric = Metric {
    name: "active_connections",
    kind: Kind::Gauge,
    unit: "{connection}",
    labels: &[KIND, SCOPE],
    help: "Open connections, by kind; those of scope `replica` are this replica's own, those of scope `fleet` what applications report.",
    query: r#"sum by (kind) (active_connections{scope="replica"})"#,
};

const DATABASE_CONNECTIONS: Metric = Metric {
    name: "database_connections",
    kind: Kind::Gauge,
    unit: "{connection}",
    labels: &[SCOPE],
    help: "Open database connections; those of scope `replica` are this replica's to its store, those of scope `fleet` what applications report.",
    query: r#"sum(database_connections{scope="replica"})"#,
};

const CACHE_HIT_RATE: Metric = Metric {
    name: "cache_hit_rate",
    kind: Kind::Gauge,
    unit: "1",
    labels: &[CACHE],
    help: "Share of look-ups a cache answered, from 0 to 1, by cache.",
    query: "avg by (cache) (cache_hit_rate)",
};

pub(crate) const METRICS: &[Metric] = &[CONNECTIONS, DATABASE_CONNECTIONS, CACHE_HIT_RATE];

/// Records connections and caches.
#[derive(Clone, Debug)]
pub struct SystemRecorder {
    open: Arc<[AtomicU64; Connection::ALL.len()]>,
    reported: Arc<[AtomicU64; Connection::ALL.len()]>,
    database_connections: Gauge<u64>,
    /// The replica's own, to be asked for.
    own_database_connections: Arc<AtomicU64>,
    cache_hit_rate: Gauge<f64>,
    caches: LabelSet,
}

/// A connection of this replica; it is open until this is dropped.
#[derive(Debug)]
#[must_use = "a connection counts as closed when this is dropped"]
pub struct OpenConnection {
    open: Arc<[AtomicU64; Connection::ALL.len()]>,
    kind: Connection,
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
    pub fn connection_opened(&self, kind: Connection) -> OpenConnection {
        self.open[kind.place()].fetch_add(1, Ordering::Relaxed);
        OpenConnection { open: Arc::clone(&self.open), kind }
    }

    /// How many connections of this replica are open now.
    #[must_use]
    pub fn open_connections(&self, kind: Connection) -> u64 {
        self.open[kind.place()].load(Ordering::Relaxed)
    }

    /// Applications have this many connections open, over the whole fleet.
    pub fn connections_reported(&self, kind: Connection, count: u64) {
        self.reported[kind.place()].store(count, Ordering::Relaxed);
    }

    /// This many connections to databases are open.
    pub fn database_connections(&self, scope: Scope, count: u64) {
        self.database_connections.record(count, &[SCOPE.with(scope.as_str())]);
        if scope == Scope::Replica {
            self.own_database_connections.store(count, Ordering::Relaxed);
        }
    }

    /// How many connections to databases this replica last said it has.
    #[must_use]
    pub fn own_database_connections(&self) -> u64 {
        self.own_database_connections.load(Ordering::Relaxed)
    }

    /// A cache answers this share of look-ups, from 0 to 1; what lies outside is taken as the
    /// nearer of the two.
    ///
    /// Of caches folded into `other`, the last one reported is told.
    pub fn cache_hit_rate(&self, cache: &str, share: f64) {
        let labels = [CACHE.with(self.caches.value(cache))];
        self.cache_hit_rate.record(share.clamp(0.0, 1.0), &labels);
    }

    /// Read when asked, since opening and closing race: of two recorded numbers the older could
    /// come last.
    fn observe_connections(&self, meter: &Meter) {
        let (open, reported) = (Arc::clone(&self.open), Arc::clone(&self.reported));
        CONNECTIONS.observed(meter, move |observer| {
            for kind in Connection::ALL {
                let word = KIND.with(kind.as_str());
                let own = open[kind.place()].load(Ordering::Relaxed);
                observer.observe(own, &[word.clone(), SCOPE.with(Scope::Replica.as_str())]);
                let fleet = reported[kind.place()].load(Ordering::Relaxed);
                if fleet != UNREPORTED {
                    observer.observe(fleet, &[word, SCOPE.with(Scope::Fleet.as_str())]);
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
