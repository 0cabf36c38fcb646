//! What can go wrong with telemetry itself.

use opentelemetry_sdk::error::OTelSdkError;

/// Telemetry could not be set up, read or stopped. Recording never fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// An exporter could not be set up.
    #[error("the metrics exporter could not be set up")]
    Setup(#[source] OTelSdkError),
    /// The metrics could not be written as text.
    #[error("the metrics could not be written in the Prometheus text format")]
    Render(#[source] prometheus::Error),
    /// Exporters did not stop cleanly; what they had not yet sent is lost.
    #[error("the metrics exporters did not stop cleanly, so their last figures may be lost")]
    Shutdown(#[source] OTelSdkError),
}
