//! The set-up: how the service is named, where the metrics go, and how much memory they can take.

use std::fmt;

use opentelemetry::{Key, KeyValue, metrics::MeterProvider};
use opentelemetry_sdk::{
    Resource,
    metrics::{Instrument, MeterProviderBuilder, SdkMeterProvider, Stream, reader::MetricReader},
};
#[cfg(feature = "otlp")]
use {
    crate::otlp::{self, Exporters, Otlp},
    opentelemetry_sdk::trace::SdkTracer,
    tracing::Subscriber,
    tracing_opentelemetry::OpenTelemetryLayer,
    tracing_subscriber::registry::LookupSpan,
};

use crate::{
    catalogue::catalogue,
    error::TelemetryError,
    metric::Metric,
    prometheus::Prometheus,
    recorders::{all::Recorders, custom::MAX_CUSTOM_SERIES, replica::BuildInfo},
};

/// The instrumentation scope, which OTLP receivers show beside each metric.
const SCOPE: &str = "sluice";

/// The recorders and the exporters behind them. Keep it as long as the process records.
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkMeterProvider,
    recorders: Recorders,
    prometheus: Prometheus,
    // The last field, because fields are dropped in this order and the provider sends through the
    // exporters.
    #[cfg(feature = "otlp")]
    exporters: Option<Exporters>,
}

/// Builds a [`Telemetry`].
pub struct TelemetryBuilder {
    service_name: String,
    instance: Option<String>,
    build: BuildInfo,
    provider: MeterProviderBuilder,
    #[cfg(feature = "otlp")]
    otlp: Otlp,
}

// === impl Telemetry ===

impl Telemetry {
    /// Returns a builder with the Prometheus exporter and no other reader.
    #[must_use]
    pub fn builder() -> TelemetryBuilder {
        TelemetryBuilder {
            service_name: "sluice".to_owned(),
            instance: None,
            build: BuildInfo::default(),
            provider: SdkMeterProvider::builder(),
            #[cfg(feature = "otlp")]
            otlp: Otlp::default(),
        }
    }

    /// Returns the typed recorders. Clone them for the code that records.
    #[must_use]
    pub fn recorders(&self) -> &Recorders {
        &self.recorders
    }

    /// Returns the Prometheus exporter.
    #[must_use]
    pub fn prometheus(&self) -> &Prometheus {
        &self.prometheus
    }

    /// Returns the layer that sends spans by OTLP, to be added to the subscriber that also logs.
    /// `None` unless traces are requested.
    ///
    /// A span costs more than a decision. The sampler (`OTEL_TRACES_SAMPLER`) selects the spans
    /// that are sent; a filter on this layer selects the spans that are made at all.
    #[cfg(feature = "otlp")]
    #[must_use]
    pub fn trace_layer<S>(&self) -> Option<OpenTelemetryLayer<S, SdkTracer>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        self.exporters.as_ref()?.tracer_provider().map(|provider| otlp::layer(provider, SCOPE))
    }

    /// Sends what the exporters still hold and stops them. Blocks until that is done, for some
    /// seconds at most. Recording afterwards has no effect.
    ///
    /// # Errors
    ///
    /// [`TelemetryError::Shutdown`] if an exporter could not send its last values.
    pub fn shutdown(&self) -> Result<(), TelemetryError> {
        let metrics = self.provider.shutdown().map_err(TelemetryError::Shutdown);
        #[cfg(feature = "otlp")]
        let metrics = self.exporters.as_ref().map_or(Ok(()), Exporters::shutdown).and(metrics);
        metrics
    }
}

// === impl TelemetryBuilder ===

impl TelemetryBuilder {
    /// Sets the service's name for OTLP receivers. The default is `sluice`; `OTEL_SERVICE_NAME` has
    /// precedence over both.
    #[must_use]
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.service_name = name.into();
        self
    }

    /// Sets the replica's name for OTLP receivers (`service.instance.id`). Prometheus names its
    /// targets by itself.
    #[must_use]
    pub fn instance(mut self, id: impl Into<String>) -> Self {
        self.instance = Some(id.into());
        self
    }

    /// Sets the version and revision that `sluice_build_info` shows.
    #[must_use]
    pub fn build_info(mut self, build: BuildInfo) -> Self {
        self.build = build;
        self
    }

    /// Adds a reader beside the Prometheus exporter, such as one that sends the metrics
    /// periodically.
    #[must_use]
    pub fn reader(mut self, reader: impl MetricReader) -> Self {
        self.provider = self.provider.with_reader(reader);
        self
    }

    /// Sends metrics and traces to the targets in `otlp`.
    #[cfg(feature = "otlp")]
    #[must_use]
    pub fn otlp(mut self, otlp: Otlp) -> Self {
        self.otlp = otlp;
        self
    }

    /// Builds the set-up.
    ///
    /// # Errors
    ///
    /// [`TelemetryError`] if an exporter cannot be set up. A collector that cannot be reached is
    /// not an error, because it may start later.
    pub fn build(self) -> Result<Telemetry, TelemetryError> {
        let resource = self.resource();
        let (prometheus, exporter) = Prometheus::with_exporter()?;
        let provider = self.provider.with_reader(exporter).with_view(bounded);
        #[cfg(feature = "otlp")]
        let (provider, exporters) = Exporters::attach(&self.otlp, provider, &resource)?;
        let provider = provider.with_resource(resource).build();
        let recorders = Recorders::new(&provider.meter(SCOPE), &self.build);
        #[cfg(feature = "otlp")]
        if let Some(exporters) = &exporters {
            exporters.count_failures(&recorders.exports);
        }
        Ok(Telemetry {
            provider,
            recorders,
            prometheus,
            #[cfg(feature = "otlp")]
            exporters,
        })
    }

    /// Returns the attributes in `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, and those of
    /// this builder that are not set there.
    fn resource(&self) -> Resource {
        const NAME: Key = Key::from_static_str("service.name");
        const VERSION: Key = Key::from_static_str("service.version");
        const INSTANCE: Key = Key::from_static_str("service.instance.id");

        let detected = Resource::builder().build();
        let mut builder = Resource::builder();
        // The SDK sets a default name that starts with `unknown_service`; ours replaces it.
        if detected.get(&NAME).is_none_or(|name| name.as_str().starts_with("unknown_service")) {
            builder = builder.with_service_name(self.service_name.clone());
        }
        if detected.get(&VERSION).is_none() {
            builder = builder.with_attribute(KeyValue::new(VERSION, self.build.version.clone()));
        }
        if let Some(instance) = self.instance.clone().filter(|_| detected.get(&INSTANCE).is_none())
        {
            builder = builder.with_attribute(KeyValue::new(INSTANCE, instance));
        }
        builder.build()
    }
}

impl fmt::Debug for TelemetryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryBuilder")
            .field("service_name", &self.service_name)
            .field("instance", &self.instance)
            .field("build", &self.build)
            .finish_non_exhaustive()
    }
}

/// Sizes the SDK's table of each metric by the number of series that the metric can have. The SDK
/// would otherwise allocate 2,000 entries for each.
fn bounded(instrument: &Instrument) -> Option<Stream> {
    let known = catalogue().find(|metric| metric.name == instrument.name());
    let series = known.map_or(MAX_CUSTOM_SERIES, Metric::max_series);
    // Building fails only for invalid settings; the only setting here is a positive number.
    Stream::builder().with_cardinality_limit(series).build().ok()
}
