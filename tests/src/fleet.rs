//! Several replicas on one Redis.

use std::{net::SocketAddr, time::Duration};

use sluice_testkit::{RedisServer, Sluice, SluiceOptions, built_sluice, eventually_async};

use crate::{http::Client, metrics::Metrics};

/// For [`Fleet::start`]: so long that a busy machine is never taken for a store that is away.
pub const LONG_TIMEOUT: Duration = Duration::from_secs(10);

/// For [`Fleet::start`]: as long as a configuration allows, where a single decision of a replica's
/// own would spoil the count.
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
    /// Starts `count` replicas on `redis`, who wait for it up to `timeout` and are configured by
    /// the sections in `yaml`, which leave out `store`.
    ///
    /// Tests that want every decision from Redis itself are [`PATIENT`].
    ///
    /// # Panics
    /// When they do not start.
    #[track_caller]
    pub fn start(count: usize, redis: RedisServer, timeout: Duration, yaml: &str) -> Self {
        let config = format!(
            "store: {{ url: \"{}\", timeout: {}ms }}\n{yaml}",
            redis.url(),
            timeout.as_millis()
        );
        let start = || SluiceOptions::new(built_sluice()).config(&config).launch();
        let replicas: Vec<_> = (0..count).map(|_| start()).collect();
        replicas.iter().for_each(Sluice::wait_healthy);
        Self { replicas, redis }
    }

    /// Where the replicas listen.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.replicas.iter().map(Sluice::http_addr).collect()
    }

    /// A client for each replica.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        self.addresses().into_iter().map(Client::of).collect()
    }

    /// Waits until every replica knows how many there are, and so how large its share is while
    /// Redis is away.
    ///
    /// # Panics
    /// When one does not find out.
    pub async fn wait_for_each_other(&self) {
        for address in self.addresses() {
            let mut client = Client::of(address);
            eventually_async("a replica knows all of its fleet", async || {
                let known = Metrics::of(&mut client).await.count("sluice_replicas_live", &[]);
                if known >= self.replicas.len() as u64 {
                    Ok(())
                } else {
                    Err(format!("it knows {known}"))
                }
            })
            .await;
        }
    }

    /// Waits until the breaker of every replica is in this state: `open` once Redis is known to be
    /// away, `closed` once it is back and knows what was admitted without it.
    ///
    /// # Panics
    /// When one does not get there.
    pub async fn wait_for_breakers(&self, state: &str) {
        for address in self.addresses() {
            let mut client = Client::of(address);
            eventually_async("the breaker of a replica turns", async || {
                Metrics::of(&mut client)
                    .await
                    .count("sluice_store_breaker_state", &[("state", state)])
                    == 1
            })
            .await;
        }
    }
}

/// A replica of its own, with buckets in its memory, configured by `yaml`.
///
/// # Panics
/// When it does not start.
#[must_use]
#[track_caller]
pub fn memory_replica(yaml: &str) -> Sluice {
    SluiceOptions::new(built_sluice()).config(yaml).start()
}
