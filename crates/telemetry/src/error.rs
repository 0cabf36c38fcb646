//! Errors of setting up, reading and stopping telemetry.

#[cfg(feature = "otlp")]
use std::path::PathBuf;

use opentelemetry_sdk::error::OTelSdkError;

/// Why telemetry could not be set up, read or stopped. Recording never fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The Prometheus exporter could not be set up.
    #[error("the Prometheus exporter could not be set up")]
    Setup(#[source] OTelSdkError),
    /// The metrics could not be written as text.
    #[error("the metrics could not be written in the Prometheus text format")]
    Render(#[source] prometheus::Error),
    /// The exporters did not stop cleanly. Values that they had not yet sent are lost.
    #[error("the exporters did not stop cleanly, so values that were not yet sent may be lost")]
    Shutdown(#[source] OTelSdkError),
    /// An environment variable has an invalid value.
    #[cfg(feature = "otlp")]
    #[error("{name}: `{value}` must be {expected}")]
    Variable {
        /// The variable's name.
        name: String,
        /// The variable's value.
        value: String,
        /// The values that are valid.
        expected: &'static str,
    },
    /// An OTLP exporter could not be set up.
    #[cfg(feature = "otlp")]
    #[error("the OTLP exporter could not be set up")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
    /// The system's certificates, which an `https` endpoint needs, could not be read.
    #[cfg(feature = "otlp")]
    #[error("the system's certificates, which an OTLP endpoint with https needs, cannot be read")]
    Certificates(#[source] std::io::Error),
    /// A file that a variable names could not be read.
    #[cfg(feature = "otlp")]
    #[error("the file {} for TLS to an OTLP endpoint cannot be read", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The error of reading it.
        #[source]
        source: std::io::Error,
    },
    /// A file that a variable names has the wrong content.
    #[cfg(feature = "otlp")]
    #[error(
        "the file {} for TLS to an OTLP endpoint must contain {expected} in PEM format",
        file.display()
    )]
    NotPem {
        /// The file.
        file: PathBuf,
        /// The content that is needed.
        expected: &'static str,
    },
    /// A certificate is not usable, or does not match its key.
    #[cfg(feature = "otlp")]
    #[error("the certificates for TLS to an OTLP endpoint are not usable")]
    Tls(#[source] rustls::Error),
    /// The thread that sends by OTLP could not be started.
    #[cfg(feature = "otlp")]
    #[error("the thread that sends by OTLP could not be started")]
    Thread(#[source] std::io::Error),
}
