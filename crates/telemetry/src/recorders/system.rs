//! Connections and caches of this replica, and those that applications report.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use opentelemetry::metrics::{Counter, Gauge, Meter};

use crate::{
    labels::{CappedValues, label_values},
    metric::{Label, Metric, MetricKind},
};

label_values! {
    /// The protocol of a connection.
    pub enum ConnectionKind {
        /// HTTP/1.1 or HTTP/2.
        Http => "http",
        /// A WebSocket.
        WebSocket => "websocket",
        /// gRPC.
        Grpc => "grpc",
    }
}

label_values! {
    /// Why the listener ended a connection.
    pub enum ConnectionEnd {
        /// There were too many connections.
        Limit => "limit",
        /// The head of a request did not arrive in time.
        SlowHead => "slow_head",
        /// The client did not read what was ready for it.
        NotRead => "not_read",
        /// No request came for a long time.
        Idle => "idle",
        /// The connection reached its greatest age, and its requests did not end.
        Age => "age",
        /// The TLS handshake failed or took too long.
        Handshake => "handshake",
    }
}

const KIND: Label = Label::fixed("kind", ConnectionKind::TEXTS);
const SCOPE: Label = Label::fixed("scope", &[REPLICA, FLEET]);
/// The scope of a replica's own values: their sum over all replicas is the fleet's value.
const REPLICA: &str = "replica";
/// The scope of values that applications report for the whole fleet: all replicas have the same.
const FLEET: &str = "fleet";
const REASON: Label = Label::fixed("reason", ConnectionEnd::TEXTS);
const CACHE: Label = Label::capped("cache", 30);

const CONNECTIONS: Metric = Metric {
    name: "active_connections",
    kind: MetricKind::Gauge,
    unit: "{connection}",
    labels: &[KIND, SCOPE],
    help: "Shows the number of open connections, by kind and scope: `replica` for the connections \
           of this replica, `fleet` for those that applications report.",
    query: "sum by (kind) (active_connections{scope=\"replica\"})",
};

const DATABASE_CONNECTIONS: Metric = Metric {
    name: "database_connections",
    kind: MetricKind::Gauge,
    unit: "{connection}",
    labels: &[SCOPE],
    help: "Shows the number of open database connections, by scope: `replica` for the connections \
           of this replica to its store, `fleet` for those that applications report.",
    query: "sum(database_connections{scope=\"replica\"})",
};

const CACHE_HIT_RATE: Metric = Metric {
    name: "cache_hit_rate",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[CACHE],
    help: "Shows the share of lookups that a cache answered, from 0 to 1, by cache.",
    query: "avg by (cache) (cache_hit_rate)",
};

const CONNECTIONS_ENDED: Metric = Metric {
    name: "sluice_connections_ended_total",
    kind: MetricKind::Counter,
    unit: "{connection}",
    labels: &[KIND, REASON],
    help: "Counts connections that the replica ended by itself, by kind and reason: `limit` (too \
           many connections), `slow_head` (the head of a request did not arrive in time), \
           `not_read` (the client did not read the response), `idle`, `age`, `handshake` (TLS \
           failed).",
    query: "sum by (kind, reason) (rate(sluice_connections_ended_total[5m]))",
};

const REQUESTS_REFUSED: Metric = Metric {
    name: "sluice_requests_refused_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[KIND],
    help: "Counts requests that got the response `overloaded`, because too many others were in \
           progress or too many connections were open, by kind of connection.",
    query: "sum by (kind) (rate(sluice_requests_refused_total[5m]))",
};

pub(crate) const METRICS: &[Metric] =
    &[CONNECTIONS, CONNECTIONS_ENDED, REQUESTS_REFUSED, DATABASE_CONNECTIONS, CACHE_HIT_RATE];

/// Records connections and caches.
#[derive(Clone, Debug)]
pub struct SystemRecorder {
    open: Arc<[AtomicU64; ConnectionKind::ALL.len()]>,
    reported: Arc<[AtomicU64; ConnectionKind::ALL.len()]>,
    ended: Counter<u64>,
    refused: Counter<u64>,
    database_connections: Gauge<u64>,
    /// The replica's own number, kept so that it can be read back.
    own_database_connections: Arc<AtomicU64>,
    cache_hit_rate: Gauge<f64>,
    caches: CappedValues,
}

/// An open connection of this replica, which counts as closed when this is dropped.
#[derive(Debug)]
#[must_use = "a connection counts as closed when this is dropped"]
pub struct OpenConnection {
    open: Arc<[AtomicU64; ConnectionKind::ALL.len()]>,
    kind: ConnectionKind,
}

/// Stands for a number of connections that was never reported.
const UNREPORTED: u64 = u64::MAX;

// === impl SystemRecorder ===

impl SystemRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        let recorder = Self {
            open: Arc::new(std::array::from_fn(|_| AtomicU64::new(0))),
            reported: Arc::new(std::array::from_fn(|_| AtomicU64::new(UNREPORTED))),
            ended: CONNECTIONS_ENDED.counter(meter),
            refused: REQUESTS_REFUSED.counter(meter),
            database_connections: DATABASE_CONNECTIONS.gauge(meter),
            own_database_connections: Arc::default(),
            cache_hit_rate: CACHE_HIT_RATE.ratio(meter),
            caches: CappedValues::new(meter, CACHE),
        };
        recorder.observe_connections(meter);
        recorder
    }

    /// Records that a connection of this replica was opened.
    pub fn connection_opened(&self, kind: ConnectionKind) -> OpenConnection {
        self.open[kind.index()].fetch_add(1, Ordering::Relaxed);
        OpenConnection { open: Arc::clone(&self.open), kind }
    }

    /// Counts a connection that this replica ended.
    pub fn connection_ended(&self, kind: ConnectionKind, reason: ConnectionEnd) {
        self.ended.add(1, &[KIND.with(kind.as_str()), REASON.with(reason.as_str())]);
    }

    /// Counts a request that was refused because of others.
    pub fn request_refused(&self, kind: ConnectionKind) {
        self.refused.add(1, &[KIND.with(kind.as_str())]);
    }

    /// Returns the number of connections that this replica has open now.
    #[must_use]
    pub fn open_connections(&self, kind: ConnectionKind) -> u64 {
        self.open[kind.index()].load(Ordering::Relaxed)
    }

    /// Sets the number of open connections that applications report for the whole fleet.
    pub fn set_reported_connections(&self, kind: ConnectionKind, count: u64) {
        self.reported[kind.index()].store(count, Ordering::Relaxed);
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

    /// Sets the share of lookups that a cache answers, from 0 to 1. A value outside of this range
    /// is clamped to it.
    ///
    /// Caches beyond the label's cap share one series, which holds the last value set.
    pub fn set_cache_hit_rate(&self, cache: &str, share: f64) {
        let labels = [CACHE.with(self.caches.value(cache))];
        self.cache_hit_rate.record(share.clamp(0.0, 1.0), &labels);
    }

    /// Makes `meter` read the numbers of connections each time the metrics are read.
    ///
    /// They are not recorded at each change, because connections open and close concurrently: the
    /// older of two numbers could be recorded last.
    fn observe_connections(&self, meter: &Meter) {
        let (open, reported) = (Arc::clone(&self.open), Arc::clone(&self.reported));
        CONNECTIONS.observed(meter, move |observer| {
            for kind in ConnectionKind::ALL {
                let label = KIND.with(kind.as_str());
                let own = open[kind.index()].load(Ordering::Relaxed);
                observer.observe(own, &[label.clone(), SCOPE.with(REPLICA)]);
                let fleet = reported[kind.index()].load(Ordering::Relaxed);
                if fleet != UNREPORTED {
                    observer.observe(fleet, &[label, SCOPE.with(FLEET)]);
                }
            }
        });
    }
}

// === impl OpenConnection ===

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open[self.kind.index()].fetch_sub(1, Ordering::Relaxed);
    }
}
