//! The Prometheus exporter: every instrument as text, on demand.

use opentelemetry_prometheus::PrometheusExporter;
use prometheus::{Registry, TextEncoder};

use crate::TelemetryError;

/// Renders the metrics for a Prometheus scrape. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Prometheus {
    registry: Registry,
}

impl Prometheus {
    /// The content type of [`render`](Self::render)'s text.
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Nothing is added to the catalogue's names: they carry their suffixes already, to the letter.
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

    /// Every metric as of now, in the Prometheus text format, sorted by name and labels.
    ///
    /// # Errors
    ///
    /// [`TelemetryError::Render`] if a metric cannot be written, which no recorder of this crate
    /// can cause.
    pub fn render(&self) -> Result<String, TelemetryError> {
        TextEncoder::new().encode_to_string(&self.registry.gather()).map_err(TelemetryError::Render)
    }
}

#[cfg(test)]
mod tests {
    use crate::Telemetry;

    #[test]
    fn names_are_rendered_to_the_letter() {
        let telemetry = Telemetry::builder().build().expect("the parts are sound");
        telemetry.recorders().rate_limit.bind("/api").hit();
        let text = telemetry.prometheus().render().expect("it renders");
        assert!(text.contains("\nrate_limit_hits_total{endpoint=\"/api\"} 1\n"), "{text}");
        assert!(!text.contains("otel_scope"), "{text}");
        assert!(!text.contains("target_info"), "{text}");
        assert!(!text.contains("_total_total"), "{text}");
    }

    #[test]
    fn a_label_value_is_escaped() {
        let telemetry = Telemetry::builder().build().expect("the parts are sound");
        telemetry.recorders().rate_limit.bind("/a\"b\\c\nd").hit();
        let text = telemetry.prometheus().render().expect("it renders");
        assert!(text.contains(r#"rate_limit_hits_total{endpoint="/a\"b\\c\nd"} 1"#), "{text}");
    }
}
