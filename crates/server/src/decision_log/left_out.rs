//! Reports how many lines were left out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{runtime::Handle, time::sleep};

/// How long after the first line that is left out their number is reported.
const REPORT_AFTER: Duration = Duration::from_secs(1);

/// The lines that were left out since the last report. They are reported once a second at most, and
/// also if no line follows.
#[derive(Debug, Default)]
pub(super) struct LeftOut(Arc<AtomicU64>);

impl LeftOut {
    /// Counts a line. The first one after a report starts the wait for the next.
    pub(super) fn count(&self) {
        if self.0.fetch_add(1, Relaxed) > 0 {
            return;
        }
        // Decisions are made on a runtime. Without one, the number is reported at the end.
        if let Ok(runtime) = Handle::try_current() {
            let count = Arc::clone(&self.0);
            runtime.spawn(async move {
                sleep(REPORT_AFTER).await;
                report(&count);
            });
        }
    }
}

impl Drop for LeftOut {
    /// Reports what a replica that stops has not yet reported.
    fn drop(&mut self) {
        report(&self.0);
    }
}

fn report(count: &AtomicU64) {
    let left_out = count.swap(0, Relaxed);
    if left_out > 0 {
        tracing::warn!(
            target: "sluice::decisions",
            left_out,
            "more decisions than log.decisions.per_second: some were not logged"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::advance;
    use tracing::{
        Event, Subscriber,
        field::{Field, Visit},
        subscriber::set_default,
    };
    use tracing_subscriber::{
        Layer,
        layer::{Context, SubscriberExt},
    };

    use super::*;

    /// Keeps the numbers that are reported.
    #[derive(Clone, Default)]
    struct Reported(Arc<Mutex<Vec<u64>>>);

    impl Reported {
        fn take(&self) -> Vec<u64> {
            std::mem::take(&mut *self.0.lock().unwrap())
        }
    }

    impl<S: Subscriber> Layer<S> for Reported {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            event.record(&mut self.clone());
        }
    }

    impl Visit for Reported {
        fn record_u64(&mut self, field: &Field, value: u64) {
            if field.name() == "left_out" {
                self.0.lock().unwrap().push(value);
            }
        }

        fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_reported_also_when_nothing_follows_and_once() {
        let reported = Reported::default();
        let _guard = set_default(tracing_subscriber::registry().with(reported.clone()));
        let left_out = LeftOut::default();
        let burst = async |lines: u64| {
            (0..lines).for_each(|_| left_out.count());
            // The task has to begin to wait before the time goes on.
            tokio::task::yield_now().await;
        };
        burst(40).await;
        advance(REPORT_AFTER / 2).await;
        burst(2).await;
        assert_eq!(reported.take(), [0; 0], "not yet");
        advance(REPORT_AFTER).await;
        tokio::task::yield_now().await;
        assert_eq!(reported.take(), [42]);
        advance(REPORT_AFTER * 10).await;
        assert_eq!(reported.take(), [0; 0], "nothing was left out since");
        burst(3).await;
        drop(left_out);
        assert_eq!(reported.take(), [3], "a replica that stops does not wait");
        advance(REPORT_AFTER * 2).await;
        tokio::task::yield_now().await;
        assert_eq!(reported.take(), [0; 0]);
    }
}
