//! The figures of a fleet in Redis.
//!
//! All keys are `prefix:{figures}:...`, so that they share a slot: a flush is one pipeline to one
//! server, also in a Cluster. What must not be added twice goes through `lua/figures.lua`, which
//! knows the number of each replica's last flush; what may be, such as who was seen, by plain
//! commands beside it.
//!
//! | key | what |
//! |---|---|
//! | `replicas` | hash: what each replica holds, and the number of its last flush |
//! | `totals`, `endpoints` | hashes of sums |
//! | `gauges` | hash: the last report of each |
//! | `running`, `finished` | sorted sets of deployments |
//! | `clients:N`, `limited:N`, `active:N:ENDPOINT` | HyperLogLogs of the slice N |
//! | `top:N` | sorted set of the clients limited most often in the slice N |

mod read;
mod write;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use deadpool_redis::Connection;
use redis::{Pipeline, Value};
use sluice_core::Timestamp;

use super::{
    RedisError, RedisSettings, connections::Connections, keys::Keys, scripts, store_error,
};
use crate::{
    StoreError, StoreFuture,
    figures::{Figures, FleetFigures, Flush, Gauges, Slice},
};

/// How long a call may take at least: nobody waits for it on a request's way.
const PATIENCE: Duration = Duration::from_millis(500);

/// Keeps the figures of a fleet in the Redis that has its buckets, on connections of their own, so
/// that no decision waits behind them.
#[derive(Debug)]
pub struct RedisFigures {
    connections: Connections,
    keys: Keys,
    timeout: Duration,
    /// The server's clock less the system's, in microseconds, as last seen; `i64::MIN` until then.
    clock_ahead_us: AtomicI64,
}

impl RedisFigures {
    /// The figures at `settings`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the settings are impossible, or outside of a tokio runtime.
    pub fn new(settings: &RedisSettings) -> Result<Self, RedisError> {
        let timeout = settings.timeout.max(PATIENCE);
        let settings = RedisSettings { timeout, connections: 1, ..settings.clone() };
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(RedisError::NoRuntime);
        }
        Ok(Self {
            connections: Connections::new(&settings)?,
            keys: Keys::new(&settings.prefix)?,
            timeout,
            clock_ahead_us: AtomicI64::new(i64::MIN),
        })
    }

    /// How many connections are open, at work or idle.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.connections.open()
    }

    async fn add(&self, flush: &Flush) -> Result<Gauges, StoreError> {
        let mut connection = self.connections.get().await?;
        let now = self.now(&mut connection).await?;
        let pipeline = write::pipeline(&self.keys, flush, now);
        let answers = match self.send(&mut connection, &pipeline).await {
            Err(error) if scripts::is_no_script(&error) => {
                let load = scripts::FIGURES.load();
                let mut loading = redis::pipe();
                loading.add_command(load);
                // What is sent twice with the pipeline may be.
                match self.send(&mut connection, &loading).await {
                    Ok(_) => self.send(&mut connection, &pipeline).await,
                    failed => failed,
                }
            }
            answers => answers,
        };
        let answers = self.unless_broken(connection, answers)?;
        self.tell_time(answers.first());
        read::gauges(&answers[answers.len().saturating_sub(write::GAUGE_ANSWERS)..], now)
    }

    async fn read_all(&self) -> Result<FleetFigures, StoreError> {
        let mut connection = self.connections.get().await?;
        let now = self.now(&mut connection).await?;
        let answers = self.send(&mut connection, &read::first(&self.keys, now)).await;
        let (mut connection, answers) = self.keep(connection, answers)?;
        let mut figures = read::read_first(&answers, now)?;
        let slice = Slice::at(now);
        let answers = self
            .send(&mut connection, &read::second(&self.keys, slice, figures.endpoints.keys()))
            .await;
        let answers = self.unless_broken(connection, answers)?;
        read::read_second(&answers, &mut figures)?;
        Ok(figures)
    }

    /// The server's time, to the few milliseconds that a round trip takes. It is asked once, and
    /// told by every flush.
    async fn now(&self, connection: &mut Connection) -> Result<Timestamp, StoreError> {
        if self.clock_ahead_us.load(Ordering::Relaxed) == i64::MIN {
            let time = redis::cmd("TIME")
                .query_async::<Value>(&mut **connection)
                .await
                .map_err(|error| store_error(error, self.timeout))?;
            self.tell_time(Some(&time));
        }
        let ahead = match self.clock_ahead_us.load(Ordering::Relaxed) {
            i64::MIN => {
                return Err(StoreError::Unreadable {
                    what: "TIME was answered with no time".to_owned(),
                });
            }
            ahead => ahead,
        };
        Ok(Timestamp::from_unix_micros(system_micros().saturating_add(ahead)))
    }

    fn tell_time(&self, answer: Option<&Value>) {
        if let Some(micros) = answer.and_then(read::time) {
            self.clock_ahead_us.store(micros - system_micros(), Ordering::Relaxed);
        }
    }

    async fn send(
        &self,
        connection: &mut Connection,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, redis::RedisError> {
        pipeline.query_async(&mut **connection).await
    }

    fn unless_broken(
        &self,
        connection: Connection,
        answers: Result<Vec<Value>, redis::RedisError>,
    ) -> Result<Vec<Value>, StoreError> {
        self.keep(connection, answers).map(|(_, answers)| answers)
    }

    /// The connection, unless it failed: what came late would be somebody else's answer.
    fn keep(
        &self,
        connection: Connection,
        answers: Result<Vec<Value>, redis::RedisError>,
    ) -> Result<(Connection, Vec<Value>), StoreError> {
        match answers {
            Ok(answers) => Ok((connection, answers)),
            Err(error) => {
                drop(Connection::take(connection));
                Err(store_error(error, self.timeout))
            }
        }
    }
}

impl Figures for RedisFigures {
    fn flush<'a>(&'a self, flush: &'a Flush) -> StoreFuture<'a, Result<Gauges, StoreError>> {
        StoreFuture::pending(self.add(flush))
    }

    fn read(&self) -> StoreFuture<'_, Result<FleetFigures, StoreError>> {
        StoreFuture::pending(self.read_all())
    }

    fn depart<'a>(&'a self, replica: &'a str) -> StoreFuture<'a, Result<(), StoreError>> {
        StoreFuture::pending(async move {
            let mut connection = self.connections.get().await?;
            let mut command = redis::cmd("HDEL");
            command.arg(self.keys.figures("replicas")).arg(replica);
            command
                .query_async::<()>(&mut *connection)
                .await
                .map_err(|error| store_error(error, self.timeout))
        })
    }
}

fn system_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// What cannot be read, as an error.
fn unreadable(what: &str) -> StoreError {
    StoreError::Unreadable { what: what.to_owned() }
}

/// Used by several threads, each with a clone.
impl Figures for Arc<RedisFigures> {
    fn flush<'a>(&'a self, flush: &'a Flush) -> StoreFuture<'a, Result<Gauges, StoreError>> {
        (**self).flush(flush)
    }

    fn read(&self) -> StoreFuture<'_, Result<FleetFigures, StoreError>> {
        (**self).read()
    }

    fn depart<'a>(&'a self, replica: &'a str) -> StoreFuture<'a, Result<(), StoreError>> {
        (**self).depart(replica)
    }
}
