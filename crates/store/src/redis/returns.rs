//! What the subscriptions of a store share: what they listen to, and who is told.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;
use tokio::sync::watch;

use super::keys::Keys;
use crate::ObserveReturns;

/// The observers of returned tokens.
pub(super) struct Returns {
    keys: Keys,
    observers: RwLock<Vec<Arc<dyn ObserveReturns>>>,
    /// Whether there are any.
    is_wanted: watch::Sender<bool>,
    last_number: AtomicU64,
    /// Whether the log says that a server lets nobody listen.
    is_logged: AtomicBool,
}

impl Returns {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            observers: RwLock::default(),
            is_wanted: watch::Sender::new(false),
            last_number: AtomicU64::new(0),
            is_logged: AtomicBool::new(false),
        }
    }

    /// Adds an observer.
    pub(super) fn report_to(&self, observer: Arc<dyn ObserveReturns>) {
        self.observers.write().push(observer);
        self.is_wanted.send_replace(true);
    }

    /// Waits until there is an observer.
    pub(super) async fn wanted(&self) {
        // The sender is this value's own, so that it is there.
        let _ = self.is_wanted.subscribe().wait_for(|is_wanted| *is_wanted).await;
    }

    /// Returns the channel on which servers publish.
    pub(super) fn channel(&self) -> String {
        self.keys.returned_channel()
    }

    /// Returns a number that no other subscription has had: at least 1.
    pub(super) fn next_number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Reports the bucket with this key. What is no bucket's key is left out: it is published to
    /// find out whether that is permitted, or by another program.
    pub(super) fn report(&self, key: &[u8]) {
        let key = std::str::from_utf8(key).ok();
        if let Some(bucket) = key.and_then(|key| self.keys.parse_bucket(key)) {
            self.observers.read().iter().for_each(|observer| observer.returned(&bucket));
        }
    }

    /// Logs, once, that a server lets nobody listen.
    pub(super) fn log_refusal(&self, error: &(dyn Error + 'static)) {
        if !self.is_logged.swap(true, Ordering::Relaxed) {
            let channel = self.channel();
            tracing::warn!(
                error,
                "denials are not cached, so that a denied client that keeps asking costs the store \
                 a call each time: permit this user SUBSCRIBE, PUBLISH and PING, and the channel \
                 (`+subscribe +publish +ping &{channel}`), on a server that speaks RESP3"
            );
        }
    }
}

impl fmt::Debug for Returns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Returns").field("keys", &self.keys).finish_non_exhaustive()
    }
}
