//! Asks for a fresh map of a cluster, and waits for one.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::StoreError;

/// Asks for refreshes, and tells when one has ended.
#[derive(Debug)]
pub(super) struct Refresh {
    wanted: Arc<Notify>,
    /// How many refreshes have ended.
    ended: watch::Sender<u64>,
    last_error: Mutex<Option<StoreError>>,
}

impl Refresh {
    pub(super) fn new() -> Self {
        Self {
            wanted: Arc::new(Notify::new()),
            ended: watch::Sender::new(0),
            last_error: Mutex::new(None),
        }
    }

    /// Asks for a refresh.
    pub(super) fn request(&self) {
        self.wanted.notify_one();
    }

    /// Waits until `is_known`, for the first refresh if need be. Once that has failed, the last
    /// error is returned at once while another refresh is made: a caller has less time than it
    /// takes to find out why a server does not respond.
    ///
    /// # Errors
    /// The error of the last refresh.
    pub(super) async fn wait(&self, is_known: impl Fn() -> bool) -> Result<(), StoreError> {
        let mut ended = self.ended.subscribe();
        if is_known() {
            return Ok(());
        }
        self.request();
        if let Some(error) = self.last_error.lock().clone() {
            return Err(error);
        }
        // The sender is this value's own, so that it is there.
        let _ = ended.changed().await;
        if is_known() {
            return Ok(());
        }
        let error = self.last_error.lock().clone();
        Err(error.unwrap_or_else(|| StoreError::unreadable("the cluster lists no slots")))
    }

    /// Returns what wakes the task that reads the map.
    pub(super) fn wanted(&self) -> Arc<Notify> {
        Arc::clone(&self.wanted)
    }

    /// Tells those who wait that a map was read, or not.
    pub(super) fn end(&self, result: Result<(), StoreError>) {
        *self.last_error.lock() = result.err();
        self.ended.send_modify(|ended| *ended += 1);
    }
}

impl Drop for Refresh {
    fn drop(&mut self) {
        // Wakes the task, which then finds that the cluster is gone.
        self.wanted.notify_one();
    }
}
