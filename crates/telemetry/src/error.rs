//! What can go wrong with telemetry itself.

#[cfg(feature = "otlp")]
use std::path::PathBuf;

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
    /// A file that a variable names could not be read.
    #[cfg(feature = "otlp")]
    #[error("the file {} could not be read, which is for TLS to an OTLP endpoint", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file that a variable names holds something else.
    #[cfg(feature = "otlp")]
    #[error("the file {} must hold {wanted} in PEM form, for TLS to an OTLP endpoint", file.display())]
    NotPem {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A certificate cannot be used, or does not go with its key.
    #[cfg(feature = "otlp")]
    #[error("the certificates for TLS to an OTLP endpoint cannot be used")]
    Tls(#[source] rustls::Error),
    /// The thread that exports could not be started.
    #[cfg(feature = "otlp")]
    #[error("the thread that exports by OTLP could not be started")]
    Thread(#[source] std::io::Error),
}
