//! Serves the streams of an HTTP/2 connection in the connection's task.
//!
//! If each stream were a task, the first one with a response would wake the connection, which the
//! runtime then runs before the other streams: every response would be a write of its own. Here the
//! connection is polled after its streams, and writes what all of them have ready.

use std::{
    fmt::{self, Debug},
    future::Future,
    mem,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures_util::{
    FutureExt,
    stream::{FuturesUnordered, StreamExt},
};
use tokio::task::{Unconstrained, unconstrained};

/// How many streams may end before the connection writes their responses, and other tasks run.
const MOST_AT_ONCE: usize = 64;

type ServedStream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Streams that have begun, and were not polled yet. Clones share them.
#[derive(Clone, Default)]
pub(super) struct NewStreams(Arc<Mutex<Vec<ServedStream>>>);

/// The streams of one connection.
#[derive(Debug, Default)]
pub(super) struct StreamSet {
    new: NewStreams,
    /// Without the budget of tasks: all streams together would have that of one.
    running: FuturesUnordered<Unconstrained<ServedStream>>,
}

// === impl NewStreams ===

impl NewStreams {
    /// Adds a stream, which ends when `serving` does. If it panics, the other streams go on.
    pub(super) fn add(&self, serving: impl Future<Output = ()> + Send + 'static) {
        let serving = Box::pin(AssertUnwindSafe(serving).catch_unwind().map(drop));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(serving);
    }

    fn take(&self) -> Vec<ServedStream> {
        mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Debug for NewStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewStreams")
    }
}

// === impl StreamSet ===

impl StreamSet {
    /// Returns where new streams are added.
    pub(super) fn new_streams(&self) -> NewStreams {
        self.new.clone()
    }

    /// Polls the streams, then the connection with `poll_connection`, and then the streams that
    /// have begun in this moment. A stream that has something to send wakes the connection's task.
    pub(super) fn poll_around<T>(
        &mut self,
        context: &mut Context<'_>,
        poll_connection: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.poll_streams(context);
        let polled = poll_connection(context);
        let new = self.new.take();
        if polled.is_pending() && !new.is_empty() {
            self.running.extend(new.into_iter().map(unconstrained));
            self.poll_streams(context);
        }
        polled
    }

    fn poll_streams(&mut self, context: &mut Context<'_>) {
        // Most connections speak HTTP/1, which has no streams.
        if self.running.is_empty() {
            return;
        }
        for _ in 0..MOST_AT_ONCE {
            match self.running.poll_next_unpin(context) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
        context.waker().wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::{Wake, Waker},
    };

    use tokio::sync::oneshot;

    use super::*;

    /// A connection whose streams each wait for a message.
    struct Fixture {
        streams: StreamSet,
        ended: Arc<AtomicUsize>,
        wakes: Arc<Wakes>,
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Fixture {
        fn new() -> Self {
            Self { streams: StreamSet::default(), ended: Arc::default(), wakes: Arc::default() }
        }

        /// Polls the connection, which begins `new` streams. Returns what each waits for, and how
        /// many streams had ended when the connection was polled.
        fn poll(&mut self, new: usize) -> (Vec<oneshot::Sender<()>>, usize) {
            let begun = self.streams.new_streams();
            let waker = Waker::from(Arc::clone(&self.wakes));
            let (mut senders, mut ended_before) = (Vec::new(), 0);
            let polled = self.streams.poll_around(&mut Context::from_waker(&waker), |_| {
                ended_before = self.ended.load(Ordering::Relaxed);
                for _ in 0..new {
                    let (sender, receiver) = oneshot::channel();
                    let ended = Arc::clone(&self.ended);
                    begun.add(async move {
                        receiver.await.expect("a stream panics if its sender is dropped");
                        ended.fetch_add(1, Ordering::Relaxed);
                    });
                    senders.push(sender);
                }
                Poll::<()>::Pending
            });
            assert!(polled.is_pending());
            (senders, ended_before)
        }

        fn ended(&self) -> usize {
            self.ended.load(Ordering::Relaxed)
        }

        fn wakes(&self) -> usize {
            self.wakes.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn the_connection_is_polled_once_after_all_streams_that_are_ready() {
        let mut fixture = Fixture::new();
        let (senders, _) = fixture.poll(3);
        senders.into_iter().for_each(|sender| sender.send(()).unwrap());
        assert!(fixture.wakes() > 0);
        assert_eq!((fixture.poll(0).1, fixture.ended()), (3, 3));
    }

    #[test]
    fn a_stream_that_panics_ends_alone() {
        let mut fixture = Fixture::new();
        let (mut senders, _) = fixture.poll(3);
        drop(senders.remove(1));
        senders.into_iter().for_each(|sender| sender.send(()).unwrap());
        assert_eq!(fixture.poll(0).1, 2);
    }

    #[test]
    fn many_streams_let_the_connection_write_in_between() {
        let mut fixture = Fixture::new();
        let (senders, _) = fixture.poll(MOST_AT_ONCE + 1);
        senders.into_iter().for_each(|sender| sender.send(()).unwrap());
        let wakes = fixture.wakes();
        assert_eq!(fixture.poll(0).1, MOST_AT_ONCE);
        assert!(fixture.wakes() > wakes, "the rest does not wait for another event");
        assert_eq!(fixture.poll(0).1, MOST_AT_ONCE + 1);
    }
}
