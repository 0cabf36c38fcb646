//! The wrapped store and the books of its leases, which requests and background tasks share.

use std::{
    sync::{Arc, Weak},
    task::{Context, Waker},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use sluice_core::{BucketId, Check, Decision, Tag};
use tokio::runtime::Handle;

use super::{ask::Ask, book::Book};
use crate::{
    Clock, Store, StoreError,
    background_task::{BackgroundTask, RunPermit},
};

/// Books, each with a lock of its own, so that threads rarely wait for each other.
const BOOKS: usize = 16;
/// The most buckets that are followed: some megabytes.
const BUCKETS: usize = 10_000;
/// How often idle leases are looked for.
const PAUSE: Duration = Duration::from_millis(50);
/// The most settlements in one round trip.
const BATCH: usize = 256;

/// A store, and what this replica has leased from it.
pub(super) struct SharedBooks<S> {
    pub(super) inner: S,
    pub(super) clock: Arc<dyn Clock>,
    books: Box<[Mutex<Book>]>,
    pub(super) idle_task: BackgroundTask,
}

impl<S: Store> SharedBooks<S> {
    pub(super) fn new(inner: S, clock: Arc<dyn Clock>) -> Self {
        let books = (0..BOOKS).map(|_| Mutex::new(Book::with_capacity(BUCKETS / BOOKS)));
        Self { inner, clock, books: books.collect(), idle_task: BackgroundTask::default() }
    }

    pub(super) fn book(&self, tag: Tag) -> MutexGuard<'_, Book> {
        self.books[usize::from(tag.part()) % BOOKS].lock()
    }

    /// Sends `ask`. A store that is reached over a network is waited for in the background: no
    /// request waits for it, and none that is given up loses the lease.
    pub(super) fn send(self: &Arc<Self>, ask: Ask) {
        let open = OpenAsk { books: Arc::clone(self), ask: Some(ask) };
        // Dropped, and so lost, where there is nothing that could wait.
        let Ok(runtime) = Handle::try_current() else { return };
        let mut asking = Box::pin(open.send());
        // Sent at once, so that it shares a round trip with what its request sends next.
        if asking.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            runtime.spawn(asking);
        }
    }

    /// Settles leases that are not used any more, and forgets buckets that are not.
    pub(super) async fn return_idle(&self) {
        self.settle_with(|book| book.idle(self.clock.now())).await;
    }

    /// Settles all leases, and makes no more.
    pub(super) async fn stop(&self) {
        self.settle_with(|book| book.stop(self.clock.now())).await;
    }

    /// Leases again after a stop.
    pub(super) fn resume(&self) {
        self.books.iter().for_each(|book| book.lock().resume());
    }

    pub(super) fn hold_any(&self) -> bool {
        self.books.iter().any(|book| book.lock().holds_any())
    }

    /// Notes that a check puts tokens into its buckets.
    pub(super) fn refilled(&self, buckets: impl Iterator<Item = BucketId>) {
        for bucket in buckets {
            self.book(bucket.tag).refilled(&bucket, self.clock.now());
        }
    }

    /// Starts the task that returns idle leases, unless it runs. It ends when the replica holds no
    /// lease any more. The first lease starts it, since only then is there certainly a runtime.
    fn start_returning(self: &Arc<Self>) {
        self.idle_task.start(|permit| return_leases(Arc::downgrade(self), permit));
    }

    /// Sends settlements, each once. One whose reply is lost may have arrived: sent twice, it would
    /// make tokens.
    async fn settle_with(&self, take: impl Fn(&mut Book) -> Vec<Check>) {
        for book in &self.books {
            let settlements = take(&mut book.lock());
            for batch in settlements.chunks(BATCH) {
                self.inner.decide_all(batch).await;
            }
        }
    }
}

/// Returns idle leases as long as there are leases. Does not keep the store alive in its pauses.
async fn return_leases<S: Store>(books: Weak<SharedBooks<S>>, permit: RunPermit) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(books) = books.upgrade() else { return };
        books.return_idle().await;
        if !books.hold_any() {
            // Released before looking again, so that no lease is missed: one that was granted since
            // either finds the permit free, or is seen here.
            drop(permit);
            if books.hold_any() {
                books.start_returning();
            }
            return;
        }
    }
}

/// An ask that is in flight. If it is dropped, no reply will come.
struct OpenAsk<S: Store> {
    books: Arc<SharedBooks<S>>,
    ask: Option<Ask>,
}

impl<S: Store> OpenAsk<S> {
    async fn send(mut self) {
        let Some(ask) = &self.ask else { return };
        let lent = self.books.inner.decide_all(&ask.checks).await.pop();
        let Some(Ok(decision)) = lent else { return };
        let Some(ask) = self.ask.take() else { return };
        self.lent(&ask, &decision).await;
    }

    async fn lent(&self, ask: &Ask, decision: &Decision) {
        let (books, now) = (&self.books, self.books.clock.now());
        let unwanted = books.book(ask.tag()).lent(ask, decision, now);
        if let Some(unwanted) = unwanted {
            let _: Result<Decision, StoreError> = books.inner.decide(&unwanted).await;
        }
        if decision.is_allowed() {
            books.start_returning();
        }
    }
}

impl<S: Store> Drop for OpenAsk<S> {
    fn drop(&mut self) {
        if let Some(ask) = self.ask.take() {
            let now = self.books.clock.now();
            self.books.book(ask.tag()).lost(&ask, now);
        }
    }
}
