//! Exporters whose failures are logged and counted: what a collector does not accept is lost.

use std::{
    fmt,
    future::Future,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{SpanData, SpanExporter},
};
use parking_lot::Mutex;

use crate::recorders::exports::{ExportRecorder, Signal};

/// A collector that stays away is logged again after this time.
const REMINDER: Duration = Duration::from_secs(300);

/// An exporter that reports when it begins to fail, and when it works again.
#[derive(Debug)]
pub(super) struct Reported<E> {
    exporter: E,
    report: Arc<ExportReport>,
}

/// What is known about the exports of one signal.
pub(super) struct ExportReport {
    signal: Signal,
    /// Set once the recorders exist, which need the provider that exports.
    recorder: OnceLock<ExportRecorder>,
    outage: Mutex<Option<Outage>>,
}

/// Since the last export that was accepted.
struct Outage {
    failures: u64,
    logged_at: Instant,
}

// === impl Reported ===

impl<E> Reported<E> {
    pub(super) fn new(exporter: E, report: &Arc<ExportReport>) -> Self {
        Self { exporter, report: Arc::clone(report) }
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Reported<E> {
    fn export(&self, metrics: &ResourceMetrics) -> impl Future<Output = OTelSdkResult> + Send {
        let sent = self.exporter.export(metrics);
        async move { self.report.note(sent.await) }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

impl<E: SpanExporter> SpanExporter for Reported<E> {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        let sent = self.exporter.export(batch);
        async move { self.report.note(sent.await) }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

// === impl ExportReport ===

impl ExportReport {
    pub(super) fn new(signal: Signal) -> Arc<Self> {
        Arc::new(Self { signal, recorder: OnceLock::new(), outage: Mutex::default() })
    }

    /// Counts the failures from now on.
    pub(super) fn count_with(&self, recorder: &ExportRecorder) {
        // Set twice, it would be the same recorder.
        let _ = self.recorder.set(recorder.clone());
    }

    /// Logs the first failure and the first success after it, and a reminder in between.
    fn note(&self, result: OTelSdkResult) -> OTelSdkResult {
        let mut outage = self.outage.lock();
        match &result {
            Ok(()) => {
                if let Some(Outage { failures, .. }) = outage.take() {
                    tracing::info!(
                        signal = self.signal.as_str(),
                        failed_exports = failures,
                        "the OTLP collector accepts exports again"
                    );
                }
            }
            Err(error) => {
                if let Some(recorder) = self.recorder.get() {
                    recorder.failed(self.signal);
                }
                let now = Instant::now();
                let is_new = outage.is_none();
                let outage = outage.get_or_insert(Outage { failures: 0, logged_at: now });
                outage.failures += 1;
                if is_new || now.duration_since(outage.logged_at) >= REMINDER {
                    outage.logged_at = now;
                    tracing::warn!(
                        signal = self.signal.as_str(),
                        error = error as &dyn std::error::Error,
                        failed_exports = outage.failures,
                        "cannot export to the OTLP collector: what it does not accept is lost"
                    );
                }
            }
        }
        result
    }
}

impl fmt::Debug for ExportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportReport").field("signal", &self.signal).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::error::OTelSdkError;
    use tracing::{Event, Level, Subscriber, subscriber::with_default};
    use tracing_subscriber::{Layer, layer::Context, prelude::*};

    use super::*;
    use crate::Telemetry;

    /// Keeps the levels of the lines that are logged.
    #[derive(Clone, Default)]
    struct Levels(Arc<Mutex<Vec<Level>>>);

    impl<S: Subscriber> Layer<S> for Levels {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            self.0.lock().push(*event.metadata().level());
        }
    }

    #[test]
    fn an_outage_of_the_collector_is_logged_when_it_begins_and_ends_and_each_failure_is_counted() {
        let telemetry = Telemetry::builder().build().unwrap();
        let report = ExportReport::new(Signal::Traces);
        report.count_with(&telemetry.recorders().exports);
        let refused = || Err(OTelSdkError::InternalFailure("connection refused".to_owned()));

        let levels = Levels::default();
        with_default(tracing_subscriber::registry().with(levels.clone()), || {
            report.note(Ok(())).unwrap();
            for _ in 0..3 {
                report.note(refused()).unwrap_err();
            }
            report.note(Ok(())).unwrap();
            report.note(Ok(())).unwrap();
            report.note(refused()).unwrap_err();
        });
        assert_eq!(*levels.0.lock(), [Level::WARN, Level::INFO, Level::WARN]);
        let text = telemetry.prometheus().render().unwrap();
        assert!(text.contains("sluice_otlp_failed_exports_total{signal=\"traces\"} 4"), "{text}");
        assert!(text.contains("sluice_otlp_failed_exports_total{signal=\"metrics\"} 0"), "{text}");
    }

    #[test]
    fn an_outage_that_lasts_is_logged_again() {
        let report = ExportReport::new(Signal::Metrics);
        let levels = Levels::default();
        with_default(tracing_subscriber::registry().with(levels.clone()), || {
            let refused = || Err(OTelSdkError::InternalFailure("refused".to_owned()));
            report.note(refused()).unwrap_err();
            let earlier = Instant::now().checked_sub(REMINDER);
            let earlier = earlier.expect("an instant may lie before the start of the machine");
            report.outage.lock().as_mut().unwrap().logged_at = earlier;
            report.note(refused()).unwrap_err();
            report.note(refused()).unwrap_err();
        });
        assert_eq!(*levels.0.lock(), [Level::WARN, Level::WARN]);
    }
}
