//! Ends HTTP/2 streams whose client takes nothing of the response.
//!
//! A stream waits inside of hyper and h2 until the client permits more bytes, and no setting of
//! theirs ends the wait. The connection cannot be closed in place of the stream: a proxy sends the
//! requests of all its clients over it, and only one of them may have stopped to read.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use super::stream_set::NewStreams;

tokio::task_local! {
    /// The stream whose request is being handled.
    static STREAM: Arc<Stream>;
}

/// What a response tells about its stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Since when a part of the response waits for the client.
    waiting_since: Mutex<Option<Instant>>,
}

/// Serves each stream, until it ends or its response makes no progress.
#[derive(Clone, Debug)]
pub(super) struct StreamExecutor {
    write_timeout: Duration,
    /// The streams that the connection's task serves; without it, each stream has a task.
    connection: Option<NewStreams>,
}

pin_project! {
    /// One stream, as hyper serves it.
    #[project = ServedProjection]
    struct Served<F> {
        #[pin]
        serving: F,
        stream: Arc<Stream>,
        write_timeout: Duration,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl Stream {
    /// Returns the stream whose request is being handled; `None` over HTTP/1.
    pub(super) fn current() -> Option<Arc<Self>> {
        STREAM.try_with(Arc::clone).ok()
    }

    /// Notes that a part of the response is ready for the client.
    pub(super) fn waits_for_client(&self) {
        self.set(Some(Instant::now()));
    }

    /// Notes that the client has taken all that was ready.
    pub(super) fn waits_for_nothing(&self) {
        self.set(None);
    }

    fn set(&self, since: Option<Instant>) {
        *self.waiting_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn waiting_since(&self) -> Option<Instant> {
        *self.waiting_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamExecutor {
    pub(super) const fn new(write_timeout: Duration, connection: Option<NewStreams>) -> Self {
        Self { write_timeout, connection }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, serving: F) {
        let write_timeout = self.write_timeout;
        let served = Served { serving, stream: Arc::default(), write_timeout, timer: None };
        match &self.connection {
            Some(connection) => connection.add(served),
            None => drop(tokio::spawn(served)),
        }
    }
}

impl<F: Future> Future for Served<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let ServedProjection { serving, stream, write_timeout, timer } = self.project();
        if STREAM.sync_scope(Arc::clone(stream), || serving.poll(context)).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = stream.waiting_since() else {
            *timer = None;
            return Poll::Pending;
        };
        let deadline = since + *write_timeout;
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        // Dropping what hyper serves resets the stream.
        timer.as_mut().poll(context)
    }
}
