//! Replicas as processes, and the limits that they lease.

use std::{sync::Arc, time::Duration};

use sluice_testkit::{Sluice, SluiceOptions, built_sluice};
use sluice_tests::{http::Client, metrics::Metrics, window_limit::WindowLimit};

/// The number of replicas.
pub(crate) const REPLICAS: usize = 3;

/// A limit for each client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeasedLimit {
    pub(crate) path: &'static str,
    per_second: u64,
    burst: u64,
}

/// Much traffic, a bucket that takes as long to fill as leases live, and one that hardly refills.
/// Each is there for what the others hide: at 10,000 tokens a second, a millisecond in which an
/// admission may have been is ten tokens. At one a second, not a single one is missed.
pub(crate) const LIMITS: [LeasedLimit; 3] = [
    LeasedLimit { path: "/fast", per_second: 10_000, burst: 2_000 },
    LeasedLimit { path: "/slow", per_second: 1_000, burst: 2_000 },
    LeasedLimit { path: "/still", per_second: 1, burst: 10_000 },
];

/// Running replicas.
#[derive(Debug)]
pub(crate) struct Replicas {
    pub(crate) all: Vec<Arc<Sluice>>,
}

// === impl LeasedLimit ===

impl LeasedLimit {
    pub(crate) fn window(self) -> WindowLimit {
        WindowLimit::new(self.per_second, Duration::from_secs(1), self.burst)
    }

    fn yaml(self) -> String {
        let Self { path, per_second, burst } = self;
        format!("  {path}: {{ rate: {per_second}/second, burst: {burst}, precision: leased }}\n")
    }
}

// === impl Replicas ===

impl Replicas {
    /// Starts replicas on the Redis at `url`, and waits until they are healthy.
    ///
    /// The timeout is the longest that there is, and a check that Redis does not decide is an
    /// error: no token is admitted without Redis.
    pub(crate) fn start(url: &str) -> Self {
        let limits: String = LIMITS.into_iter().map(LeasedLimit::yaml).collect();
        let config = format!(
            "store: {{ url: \"{url}\", timeout: 60s, on_failure: error }}\n\
             shutdown_delay: 0s\nendpoints:\n{limits}"
        );
        let start = || SluiceOptions::new(built_sluice()).config(&config).launch();
        let all: Vec<_> = (0..REPLICAS).map(|_| Arc::new(start())).collect();
        all.iter().for_each(|replica| replica.wait_healthy());
        Self { all }
    }

    /// Returns the number of decisions from this source, by all processes that run now.
    pub(crate) async fn decisions_from(&self, source: &str) -> u64 {
        let mut sum = 0;
        for replica in &self.all {
            let metrics = Metrics::of(&mut Client::of(replica.http_addr())).await;
            sum += metrics.count("sluice_decisions_total", &[("source", source)]);
        }
        sum
    }
}
