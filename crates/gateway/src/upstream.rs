//! One upstream: its connections, its load and its health.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sluice_config::gateway::{GatewaySettings, UpstreamUrl};
use sluice_telemetry::{BoundUpstream, UpstreamRecorder};

use crate::{connect::Connector, error::ForwardError, failure_log::FailureLog, pool::Pool};

/// One upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    url: UpstreamUrl,
    pool: Arc<Pool>,
    in_flight: AtomicUsize,
    started: Instant,
    /// Until when the upstream is used only if there is no other, in milliseconds since the start.
    away_until_ms: AtomicU64,
    condition: AtomicU8,
    recorder: BoundUpstream,
    failures: FailureLog,
}

/// A request that the upstream is processing.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Upstream>);

/// The result of the active health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Healthy = 0,
    Unhealthy = 1,
}

// === impl Upstream ===

impl Upstream {
    pub(crate) fn new(
        url: UpstreamUrl,
        connector: Connector,
        settings: &GatewaySettings,
        recorder: &UpstreamRecorder,
    ) -> Self {
        let name = url.to_string();
        Self {
            recorder: recorder.bind(&name),
            failures: FailureLog::new(&name),
            pool: Arc::new(Pool::new(url.clone(), connector, settings)),
            url,
            in_flight: AtomicUsize::new(0),
            started: Instant::now(),
            away_until_ms: AtomicU64::new(0),
            condition: AtomicU8::new(Health::Healthy as u8),
        }
    }

    /// Returns the upstream's address.
    pub(crate) const fn url(&self) -> &UpstreamUrl {
        &self.url
    }

    /// Returns the upstream's connections.
    pub(crate) const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Returns the recorder of the upstream's metrics.
    pub(crate) const fn recorder(&self) -> &BoundUpstream {
        &self.recorder
    }

    /// Counts and logs a request that got no response, unless the client is the cause.
    pub(crate) fn failed(&self, cause: &ForwardError) {
        if let Some(result) = cause.counted_as() {
            self.recorder.failed(result);
        }
        if !cause.is_the_clients() {
            self.failures.failed(cause);
        }
    }

    /// Returns how many requests the upstream is processing.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a new request.
    pub(crate) fn start_request(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Returns whether the upstream passes its active health checks.
    pub(crate) fn is_healthy(&self) -> bool {
        self.condition.load(Ordering::Relaxed) == Health::Healthy as u8
    }

    /// Sets the result of the active health checks. Returns whether it changed.
    pub(crate) fn set_health(&self, condition: Health) -> bool {
        self.recorder.set_healthy(condition == Health::Healthy);
        self.condition.swap(condition as u8, Ordering::Relaxed) != condition as u8
    }

    /// Returns for how long the upstream is still avoided because it could not be reached.
    pub(crate) fn avoided_for(&self) -> Duration {
        let until = Duration::from_millis(self.away_until_ms.load(Ordering::Relaxed));
        until.saturating_sub(self.started.elapsed())
    }

    /// Avoids the upstream for `time` if there are others.
    pub(crate) fn avoid_for(&self, time: Duration) {
        let until = u64::try_from((self.started.elapsed() + time).as_millis()).unwrap_or(u64::MAX);
        self.away_until_ms.store(until, Ordering::Relaxed);
    }

    /// Stops avoiding the upstream, since it can be reached again.
    pub(crate) fn stop_avoiding(&self) {
        self.away_until_ms.store(0, Ordering::Relaxed);
    }
}

impl InFlight {
    /// Returns the upstream that processes the request.
    pub(crate) const fn upstream(&self) -> &Arc<Upstream> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
