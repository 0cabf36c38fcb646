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
    /// A variable of the environment holds what it must not.
    #[cfg(feature = "otlp")]
    #[error("{name}: `{value}` must be {wanted}")]
    Variable {
        /// The variable.
        name: String,
        /// What it holds.
        value: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// An OTLP exporter could not be set up.
    #[cfg(feature = "otlp")]
    #[error("the OTLP exporter could not be set up")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
    /// The system's certificates could not be read, which an `https` endpoint needs.
    #[cfg(feature = "otlp")]
    #[error("the system's certificates could not be read for an OTLP endpoint with https")]
    Certificates(#[source] std::io::Error),
    /// The thread that exports could not be started.
    #[cfg(feature = "otlp")]
    #[error("the thread that exports by OTLP could not be started")]
    Thread(#[source] std::io::Error),
}
