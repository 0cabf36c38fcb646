//! The Prometheus exporter: all metrics as text, on demand.

use opentelemetry_prometheus::PrometheusExporter;
use prometheus::{Registry, TextEncoder};

use crate::error::TelemetryError;

/// Renders the metrics for a Prometheus scrape. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Prometheus {
    registry: Registry,
}

impl Prometheus {
    /// The content type of the text that [`render`](Self::render) returns.
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Creates the exporter. It adds no suffixes, because the names of the catalogue have them.
    pub(crate) fn with_exporter() -> Result<(Self, PrometheusExporter), TelemetryError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_units()
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .map_err(TelemetryError::Setup)?;
        Ok((Self { registry }, exporter))
    }

    /// Returns the current value of every metric in the Prometheus text format, sorted by name and
    /// labels.
    ///
    /// # Errors
    ///
    /// [`TelemetryError::Render`] if a metric cannot be written. No recorder of this crate makes
    /// such a metric.
    pub fn render(&self) -> Result<String, TelemetryError> {
        TextEncoder::new().encode_to_string(&self.registry.gather()).map_err(TelemetryError::Render)
    }
}
