//! The log of requests that got no response from an upstream.

use std::{error::Error, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::sleep;

/// How often failures are logged at most.
const PAUSE: Duration = Duration::from_secs(1);

/// Logs the first failure at once, and then one line per second with the number of failures, so
/// that an upstream that is down does not flood the log. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct FailureLog {
    upstream: Arc<str>,
    /// `None` when the next failure is logged at once; else the failures that are not logged yet.
    pending: Arc<Mutex<Option<Pending>>>,
}

#[derive(Debug, Default)]
struct Pending {
    count: u64,
    last: String,
}

impl FailureLog {
    /// Creates the log of the upstream with this name.
    pub(crate) fn new(upstream: &str) -> Self {
        Self { upstream: upstream.into(), pending: Arc::default() }
    }

    /// Notes a request that failed.
    pub(crate) fn failed(&self, error: &(dyn Error + 'static)) {
        let mut pending = self.pending.lock();
        if let Some(pending) = &mut *pending {
            pending.count += 1;
            pending.last = chain(error);
            return;
        }
        *pending = Some(Pending::default());
        drop(pending);
        tracing::warn!(
            upstream = &*self.upstream,
            error,
            "a request got no response from the upstream"
        );
        tokio::spawn(self.clone().log_the_rest());
    }

    async fn log_the_rest(self) {
        loop {
            sleep(PAUSE).await;
            let mut pending = self.pending.lock();
            let Some(Pending { count, last }) = pending.take().filter(|it| it.count > 0) else {
                return;
            };
            *pending = Some(Pending::default());
            drop(pending);
            tracing::warn!(
                upstream = &*self.upstream,
                requests = count,
                last_error = last,
                "more requests got no response from the upstream"
            );
        }
    }
}

/// Returns an error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
