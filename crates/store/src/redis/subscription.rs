//! Listens at one server to which buckets tokens were returned.
//!
//! The connection is one of its own, beside those of decisions. It is tested each second, since a
//! connection that is cut off shows in nothing else, and opened anew when it fails, or when another
//! server takes the place of this one.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{ErrorKind, PushInfo, PushKind, RedisError, Value, aio::MultiplexedConnection};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{connections::Connections, error_meaning::Meaning, returns::Returns};
use crate::StoreError;

/// How often the connection is tested.
const TESTED_EVERY: Duration = Duration::from_secs(1);
/// How long a server may take to respond.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait after a failure.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long to wait where it is forbidden to listen.
const PERMITTED_AFTER: Duration = Duration::from_secs(10);

/// A task that listens at one server. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Subscription {
    listening: Arc<Listening>,
    connections: Arc<Connections>,
    task: AbortHandle,
}

/// Whether the task listens now, and where.
#[derive(Debug, Default)]
struct Listening {
    /// The number of the subscription; 0 while there is none.
    number: AtomicU64,
    /// The generation of its connection.
    generation: AtomicU64,
}

/// Why a subscription has ended.
enum Ended {
    /// The server does not let this user listen or publish, or does not know how.
    Refused(RedisError),
    /// The server cannot be reached, or another one has taken its place.
    Lost(Option<StoreError>),
}

impl Subscription {
    /// Starts to listen on the current runtime, once an observer wants to know.
    pub(super) fn start(connections: &Arc<Connections>, returns: &Arc<Returns>) -> Self {
        let listening = Arc::new(Listening::default());
        let task = Listener {
            connections: Arc::clone(connections),
            returns: Arc::clone(returns),
            listening: Arc::clone(&listening),
        };
        let task = tokio::spawn(task.run()).abort_handle();
        Self { listening, connections: Arc::clone(connections), task }
    }

    /// Returns the number of the subscription, which is another one after each gap; `None` while
    /// nobody listens.
    pub(super) fn number(&self) -> Option<u64> {
        let number = self.listening.number.load(Ordering::Acquire);
        let generation = self.listening.generation.load(Ordering::Acquire);
        (number > 0 && self.connections.generation() == generation).then_some(number)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task.
struct Listener {
    connections: Arc<Connections>,
    returns: Arc<Returns>,
    listening: Arc<Listening>,
}

impl Listener {
    async fn run(self) {
        self.returns.wanted().await;
        loop {
            let ended = self.listen().await;
            self.listening.number.store(0, Ordering::Release);
            match ended {
                Ended::Refused(error) => {
                    self.returns.log_refusal(&error);
                    sleep(PERMITTED_AFTER).await;
                }
                Ended::Lost(error) => {
                    tracing::debug!(
                        error = error.as_ref().map(|error| error as &dyn Error),
                        "the subscription has ended"
                    );
                    sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Listens until that ends.
    async fn listen(&self) -> Ended {
        let (sender, pushes) = mpsc::unbounded_channel();
        let (mut connection, generation) = match self.connections.open_with_pushes(sender).await {
            Ok(opened) => opened,
            Err(error) => return Ended::of_opening(error),
        };
        if let Err(ended) = self.subscribe(&mut connection).await {
            return ended;
        }
        self.listening.generation.store(generation, Ordering::Release);
        self.listening.number.store(self.returns.next_number(), Ordering::Release);
        tokio::select! {
            ended = self.test(&mut connection, generation) => ended,
            () = self.report(pushes) => Ended::Lost(None),
        }
    }

    /// Subscribes, and finds out whether this user may publish: without that, other replicas would
    /// not learn what this one returns.
    async fn subscribe(&self, connection: &mut MultiplexedConnection) -> Result<(), Ended> {
        let channel = self.returns.channel();
        self.within(connection.subscribe(&channel)).await?;
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&channel).arg("");
        self.within(publish.query_async::<Value>(connection)).await.map(drop)
    }

    /// Tests the connection, until it fails or leads to the wrong server.
    async fn test(&self, connection: &mut MultiplexedConnection, generation: u64) -> Ended {
        loop {
            sleep(TESTED_EVERY).await;
            if self.connections.generation() != generation {
                return Ended::Lost(None);
            }
            let ping = redis::cmd("PING");
            if let Err(ended) = self.within(ping.query_async::<Value>(connection)).await {
                return ended;
            }
        }
    }

    /// Reports what is published, until the connection ends.
    async fn report(&self, mut pushes: UnboundedReceiver<PushInfo>) {
        while let Some(push) = pushes.recv().await {
            match (push.kind, &*push.data) {
                (PushKind::Message, [_, Value::BulkString(key)]) => self.returns.report(key),
                (PushKind::Disconnection | PushKind::Unsubscribe, _) => return,
                _ => {}
            }
        }
    }

    async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, Ended> {
        match timeout(RESPONSE_TIMEOUT, call).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(Ended::of_call(error, &self.connections)),
            Err(_) => Err(Ended::Lost(Some(StoreError::Timeout { within: RESPONSE_TIMEOUT }))),
        }
    }
}

impl Ended {
    fn of_call(error: RedisError, connections: &Connections) -> Self {
        let is_unknown = error.to_string().contains("unknown command");
        if error.code() == Some("NOPERM") || is_unknown || Meaning::of(&error) == Meaning::Rejected
        {
            Self::Refused(error)
        } else {
            Self::Lost(Some(connections.error(error)))
        }
    }

    /// A server that does not speak the newer protocol cannot be used for this.
    fn of_opening(error: StoreError) -> Self {
        let is_old = |error: &RedisError| error.kind() == ErrorKind::RESP3NotSupported;
        let mut cause = error.source();
        while let Some(error) = cause {
            match error.downcast_ref::<RedisError>() {
                Some(error) if is_old(error) => return Self::Refused(error.clone()),
                _ => cause = error.source(),
            }
        }
        Self::Lost(Some(error))
    }
}
