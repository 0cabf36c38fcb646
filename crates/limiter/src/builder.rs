//! Ways to make a limiter.

use std::sync::Arc;

use sluice_core::{Policy, Rate};
use sluice_store::{Clock, MemoryStore, MonotonicClock, Store};
#[cfg(feature = "redis")]
use sluice_store::{Denials, Failover, Leasing, RedisError, RedisSettings, RedisStore};

use crate::{
    limiter::{Limiter, Parts},
    observed::{ObserveDecisions, Observer},
    stats::StatsCounters,
    telemetry::Recorders,
};

/// Builds a [`Limiter`]. Made by [`Limiter::builder`].
///
/// `S` is where the buckets are kept: [`InMemory`] unless [`store`](Self::store) or
/// [`redis`](Self::redis) says otherwise.
#[derive(Debug)]
#[must_use = "a builder makes no limiter until it is built"]
pub struct LimiterBuilder<S = InMemory> {
    policy: Policy,
    store: S,
    clock: Option<Arc<dyn Clock>>,
    recorders: Option<Recorders>,
    stats: Option<StatsCounters>,
    observer: Option<Observer>,
}

/// Keeps buckets in the memory of the process, in a [`MemoryStore`].
#[derive(Clone, Copy, Debug)]
pub struct InMemory;

impl Limiter {
    /// Creates a limiter in the memory of this process, with one limit: `rate` for each client.
    ///
    /// ```
    /// use sluice::Limiter;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // 60 requests a minute for each client, in bursts of up to 10.
    /// let limiter = Limiter::in_memory("60/minute, burst 10".parse()?);
    /// assert!(limiter.check_key(b"alice").await?.is_allowed());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn in_memory(rate: Rate) -> Self {
        Self::builder(Policy::per_client(rate)).build()
    }

    /// Creates a limiter whose buckets are shared by all processes with the same Redis, with one
    /// limit: `rate` for each client.
    ///
    /// While Redis is away, each process decides by its share of the limit. [`Limiter::join`] says
    /// among how many processes it is shared; without that, each takes the whole limit.
    ///
    /// ```no_run
    /// use sluice::Limiter;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::redis("redis://127.0.0.1:6379", "60/minute, burst 10".parse()?)?;
    /// let membership = limiter.join("api-7");
    /// assert!(limiter.check_key(b"alice").await?.is_allowed());
    /// membership.leave().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`LimiterBuilder::build`] for a Redis. That Redis is away is no error.
    #[cfg(feature = "redis")]
    pub fn redis(url: &str, rate: Rate) -> Result<Self, RedisError> {
        Self::builder(Policy::per_client(rate)).redis(RedisSettings::new(url)).build()
    }

    /// Starts a limiter that decides by `policy`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use sluice::{Limiter, MemoryStore, Policy, Rate};
    ///
    /// let policy = Policy::builder()
    ///     .default_limit("60/minute, burst 10".parse::<Rate>()?)
    ///     .exempt("/health")
    ///     .build()?;
    /// let limiter = Limiter::builder(policy).store(Arc::new(MemoryStore::new())).build();
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub const fn builder(policy: Policy) -> LimiterBuilder {
        LimiterBuilder {
            policy,
            store: InMemory,
            clock: None,
            recorders: None,
            stats: None,
            observer: None,
        }
    }
}

impl<S> LimiterBuilder<S> {
    /// Keeps the buckets in `store`.
    pub fn store(self, store: Arc<dyn Store>) -> LimiterBuilder<Arc<dyn Store>> {
        self.with(store)
    }

    /// Keeps the buckets in a Redis, behind a [`Failover`] with the timeout of `settings`,
    /// [repeats its denials](Denials) without a call, and [leases](Leasing) tokens of limits that
    /// say so.
    #[cfg(feature = "redis")]
    pub fn redis(self, settings: RedisSettings) -> LimiterBuilder<RedisSettings> {
        self.with(settings)
    }

    fn with<T>(self, store: T) -> LimiterBuilder<T> {
        let Self { policy, clock, recorders, stats, observer, .. } = self;
        LimiterBuilder { policy, store, clock, recorders, stats, observer }
    }

    /// Reads the time from `clock`, for instance a [`ManualClock`](crate::store::ManualClock) in a
    /// test.
    ///
    /// A store that is handed to [`store`](Self::store) and Redis decide by their own time. Then
    /// the clock dates decisions that need no store, and those that a [`Failover`] makes without
    /// Redis.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Records decisions, and round trips to Redis, as metrics.
    #[cfg(feature = "telemetry")]
    pub fn recorders(mut self, recorders: &Recorders) -> Self {
        self.recorders = Some(recorders.clone());
        self
    }

    /// Counts decisions for the [statistics of the fleet](crate::stats).
    #[cfg(feature = "stats")]
    pub fn stats(mut self, stats: &StatsCounters) -> Self {
        self.stats = Some(stats.clone());
        self
    }

    /// Hands decisions to `observer`.
    pub fn observer(mut self, observer: Arc<dyn ObserveDecisions>) -> Self {
        self.observer = Some(Observer::new(observer));
        self
    }

    fn recorders_or_none(&self) -> Recorders {
        self.recorders.clone().unwrap_or_else(Recorders::disabled)
    }

    fn clock_or_monotonic(&self) -> Arc<dyn Clock> {
        self.clock.clone().unwrap_or_else(|| Arc::new(MonotonicClock::new()))
    }
}

impl LimiterBuilder<InMemory> {
    /// Builds the limiter.
    #[must_use]
    pub fn build(self) -> Limiter {
        let store: Arc<dyn Store> = match &self.clock {
            Some(clock) => Arc::new(MemoryStore::with_clock(Arc::clone(clock))),
            None => Arc::new(MemoryStore::new()),
        };
        self.store(store).build()
    }
}

impl LimiterBuilder<Arc<dyn Store>> {
    /// Builds the limiter.
    #[must_use]
    pub fn build(self) -> Limiter {
        let (clock, recorders) = (self.clock_or_monotonic(), self.recorders_or_none());
        let Self { policy, store, stats, observer, .. } = self;
        Limiter::new(Parts { policy, store, clock, recorders, stats, observer })
    }
}

#[cfg(feature = "redis")]
impl LimiterBuilder<RedisSettings> {
    /// Builds the limiter. Nothing is sent to Redis yet: when it is away, the first checks are
    /// decided locally.
    ///
    /// # Errors
    /// When the settings are impossible, or outside of a tokio runtime.
    pub fn build(self) -> Result<Limiter, RedisError> {
        #[cfg(feature = "telemetry")]
        let observer = crate::MeteredRoundTrips::new(self.recorders_or_none().store);
        #[cfg(not(feature = "telemetry"))]
        let observer = ();
        let redis = RedisStore::new(&self.store, observer)?;
        let (timeout, clock) = (redis.timeout(), self.clock_or_monotonic());
        let expected = redis.expected_replicas();
        let store = Failover::with_clock(redis, timeout, clock).expecting(expected);
        Ok(self.store(Arc::new(Leasing::over(Denials::over(store)))).build())
    }
}
