//! Several replicas on one Redis.

use std::{net::SocketAddr, time::Duration};

use sluice_testkit::{RedisServer, Sluice, SluiceOptions, built_sluice, eventually_async};

use crate::{http::Client, metrics::Metrics};

/// For [`Fleet::start`]: a timeout that even a busy machine does not exceed.
pub const LONG_TIMEOUT: Duration = Duration::from_secs(10);

/// For [`Fleet::start`]: the longest timeout that a configuration allows, for tests that fail if
/// one replica decides one request locally.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// Replicas that share one Redis and its prefix.
#[derive(Debug)]
pub struct Fleet {
    /// The replicas.
    pub replicas: Vec<Sluice>,
    /// Their store.
    pub redis: RedisServer,
}

impl Fleet {
    /// Starts `count` replicas on `redis`, with `timeout` as the store's timeout and with the
    /// sections in `yaml`, which do not contain `store`. Clients are identified by their keys.
    ///
    /// Tests that need every decision from Redis itself use [`LONG_TIMEOUT`].
    ///
    /// # Panics
    /// When they do not start.
    #[track_caller]
    pub fn start(count: usize, redis: RedisServer, timeout: Duration, yaml: &str) -> Self {
        Self::start_expecting(count, redis, timeout, None, yaml)
    }

    /// Starts replicas like [`Fleet::start`], which are told how many to expect.
    ///
    /// # Panics
    /// When they do not start.
    #[track_caller]
    pub fn start_expecting(
        count: usize,
        redis: RedisServer,
        timeout: Duration,
        expected: impl Into<Option<usize>>,
        yaml: &str,
    ) -> Self {
        let expected = expected
            .into()
            .map(|replicas| format!(", expected_replicas: {replicas}"))
            .unwrap_or_default();
        let config = format!(
            "store: {{ url: \"{}\", timeout: {}ms{expected} }}\n{yaml}",
            redis.url(),
            timeout.as_millis()
        );
        let start =
            || SluiceOptions::new(built_sluice()).identify_by_key().config(&config).launch();
        let replicas: Vec<_> = (0..count).map(|_| start()).collect();
        replicas.iter().for_each(Sluice::wait_healthy);
        Self { replicas, redis }
    }

    /// Returns the addresses on which the replicas listen.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.replicas.iter().map(Sluice::http_addr).collect()
    }

    /// Returns a client for each replica.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        self.addresses().into_iter().map(Client::of).collect()
    }

    /// Waits until every replica knows the number of replicas, which determines its share while
    /// Redis is unreachable.
    ///
    /// # Panics
    /// When a replica does not see the others in time.
    pub async fn wait_for_each_other(&self) {
        for address in self.addresses() {
            let mut client = Client::of(address);
            eventually_async("a replica sees all of its fleet", async || {
                let known = Metrics::of(&mut client).await.count("sluice_replicas_live", &[]);
                if known >= self.replicas.len() as u64 {
                    Ok(())
                } else {
                    Err(format!("it sees {known}"))
                }
            })
            .await;
        }
    }

    /// Waits until the circuit breaker of every replica is in this state: `open` when Redis is
    /// unreachable, `closed` when it is back and was charged for what was admitted without it.
    ///
    /// # Panics
    /// When a breaker does not reach the state in time.
    pub async fn wait_for_breakers(&self, state: &str) {
        for address in self.addresses() {
            let mut client = Client::of(address);
            eventually_async("the breaker of a replica changes its state", async || {
                Metrics::of(&mut client)
                    .await
                    .count("sluice_store_breaker_state", &[("state", state)])
                    == 1
            })
            .await;
        }
    }
}

/// Starts one replica with a memory store, configured by `yaml`, which identifies clients by their
/// keys.
///
/// # Panics
/// When it does not start.
#[must_use]
#[track_caller]
pub fn memory_replica(yaml: &str) -> Sluice {
    SluiceOptions::new(built_sluice()).identify_by_key().config(yaml).start()
}
