//! The statistics of a fleet in Redis.
//!
//! All keys are `prefix:{mm}:stats:name`. They share a cluster slot, so that a flush is one
//! pipeline to one server in a cluster too. What must not be added twice goes through
//! `lua/stats.lua`, which
//! knows the number of each replica's last flush, or through `lua/charge.lua`, which changes only
//! what is as it was read. What may be added twice, such as a client to a
//! `HyperLogLog`, goes beside it in plain commands.
//!
//! | name | content |
//! |---|---|
//! | `replicas` | hash: the number of each replica's last flush, and its open connections |
//! | `totals`, `endpoints` | hashes of sums |
//! | `gauges` | hash: the last report of each gauge |
//! | `running`, `finished` | sorted sets of deployments |
//! | `priced`, `deleted` | deployments that cost by the hour, and when others were deleted |
//! | `clients:N`, `limited:N`, `active:N:ENDPOINT` | HyperLogLogs of clients in the time slice N |
//! | `top:N` | sorted set of the clients denied most often in the time slice N |
//! | `day:N` | hash of the hourly sums of the day N, by `HOUR SERIES`; expires after 35 days |

mod history;
mod keys;
mod packed;
mod read;
mod running;
mod write;

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use redis::Value;
use sluice_core::Timestamp;
use sluice_store::{RedisError, RedisHandle, RedisSettings, StoreError, StoreFuture};

use self::{history::ClosedDays, keys::StatsKeys};
use crate::{
    convert::micros, fleet::FleetStats, flush::Flush, gauges::Gauges, history::History,
    running::Charged, slice::Slice, stats_store::StatsStore,
};

/// The shortest timeout of a call. No request waits for it, so it may be longer than the store's.
const MIN_TIMEOUT: Duration = Duration::from_millis(500);
/// The clock offset before the server's time is known.
const UNKNOWN: i64 = i64::MIN;

/// Keeps the statistics of a fleet in the Redis that holds its buckets, on connections of its own,
/// so that no decision waits behind them.
#[derive(Debug)]
pub struct RedisStats {
    redis: RedisHandle,
    keys: StatsKeys,
    /// The server's clock less this machine's, in microseconds, as of the last reply; or
    /// [`UNKNOWN`].
    clock_offset_us: AtomicI64,
    closed_days: ClosedDays,
}

impl RedisStats {
    /// Makes the stats store in the Redis at `settings`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the settings are invalid, or outside of a Tokio runtime.
    pub fn new(settings: &RedisSettings) -> Result<Self, RedisError> {
        let redis = RedisHandle::new(settings, MIN_TIMEOUT)?;
        let keys = StatsKeys::new(&redis);
        Ok(Self {
            redis,
            keys,
            clock_offset_us: AtomicI64::new(UNKNOWN),
            closed_days: ClosedDays::default(),
        })
    }

    /// Returns how many connections are open, busy or idle.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.redis.open_connections()
    }

    async fn add(&self, flush: &Flush) -> Result<Gauges, StoreError> {
        let now = self.now().await?;
        let pipeline = write::flush(&self.keys, flush, now);
        let replies = self.redis.run_with_script(&pipeline, &write::SCRIPT).await?;
        self.note_time(replies.first());
        let gauges = replies.len().saturating_sub(read::GAUGE_REPLIES);
        read::gauges(&replies[gauges..], now)
    }

    async fn read_all(&self) -> Result<FleetStats, StoreError> {
        let now = self.now().await?;
        let replies = self.redis.run(&read::request_sums(&self.keys, now)).await?;
        let mut stats = read::sums(&replies, now)?;
        let endpoints = stats.endpoints.keys();
        let request = read::request_clients(&self.keys, Slice::at(now), endpoints);
        read::clients(&self.redis.run(&request).await?, &mut stats)?;
        Ok(stats)
    }

    /// The server's time, to the few milliseconds that a round trip takes. It is requested once;
    /// after that every flush brings it.
    async fn now(&self) -> Result<Timestamp, StoreError> {
        if self.clock_offset_us.load(Ordering::Relaxed) == UNKNOWN {
            let replies = self.redis.run(redis::pipe().cmd("TIME")).await?;
            self.note_time(replies.first());
        }
        match self.clock_offset_us.load(Ordering::Relaxed) {
            UNKNOWN => Err(StoreError::Unreadable { what: "TIME returned no time".to_owned() }),
            offset => Ok(Timestamp::from_unix_micros(system_micros().saturating_add(offset))),
        }
    }

    fn note_time(&self, reply: Option<&Value>) {
        if let Some(server) = reply.and_then(read::time) {
            self.clock_offset_us.store(server - system_micros(), Ordering::Relaxed);
        }
    }
}

impl StatsStore for RedisStats {
    fn flush<'a>(&'a self, flush: &'a Flush) -> StoreFuture<'a, Result<Gauges, StoreError>> {
        StoreFuture::pending(self.add(flush))
    }

    fn read(&self) -> StoreFuture<'_, Result<FleetStats, StoreError>> {
        StoreFuture::pending(self.read_all())
    }

    fn charge_deployments(&self) -> StoreFuture<'_, Result<Charged, StoreError>> {
        StoreFuture::pending(async move {
            let now = self.now().await?;
            running::charge(&self.redis, &self.keys, now).await
        })
    }

    fn read_history(&self) -> StoreFuture<'_, Result<History, StoreError>> {
        StoreFuture::pending(async move {
            let now = self.now().await?;
            self.closed_days.read(&self.redis, &self.keys, now).await
        })
    }

    fn depart<'a>(&'a self, replica: &'a str) -> StoreFuture<'a, Result<(), StoreError>> {
        StoreFuture::pending(async move {
            let mut pipeline = redis::pipe();
            pipeline.cmd("HDEL").arg(&self.keys.replicas).arg(replica);
            self.redis.run(&pipeline).await.map(drop)
        })
    }
}

fn system_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(micros(since)).unwrap_or(i64::MAX)
}
