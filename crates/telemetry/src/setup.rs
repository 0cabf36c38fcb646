//! The set-up: who we are, where the metrics go, and how much memory they may take.

use std::fmt;

use opentelemetry::{
    Key, KeyValue,
    metrics::{Meter, MeterProvider},
};
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
    BuildInfo, Prometheus, Recorders, TelemetryError,
    catalogue::{MAX_CUSTOM_SERIES, Metric, catalogue},
};

/// The instrumentation scope, which OTLP receivers show beside each metric.
const SCOPE: &str = "sluice";

/// The meter, the recorders over it, and the exporters behind it. Keep it as long as the process
/// records.
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkMeterProvider,
    meter: Meter,
    recorders: Recorders,
    prometheus: Prometheus,
    // Last, since what sends must outlive what is sent.
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
    /// A set-up with the Prometheus exporter and no other reader.
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

    /// The meter all instruments hang on, for a layer that wants recorders of its own.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The typed recorders, to be cloned to where things happen.
    #[must_use]
    pub fn recorders(&self) -> &Recorders {
        &self.recorders
    }

    /// The text for a Prometheus scrape.
    #[must_use]
    pub fn prometheus(&self) -> &Prometheus {
        &self.prometheus
    }

    /// The layer that sends spans by OTLP, for the subscriber that also logs; `None` unless traces
    /// were asked for.
    ///
    /// A span costs more than a decision does. The sampler (`OTEL_TRACES_SAMPLER`) decides which
    /// are sent, a filter on this layer which are made at all.
    #[cfg(feature = "otlp")]
    #[must_use]
    pub fn trace_layer<S>(&self) -> Option<OpenTelemetryLayer<S, SdkTracer>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        self.exporters.as_ref()?.tracer_provider().map(|provider| otlp::layer(provider, SCOPE))
    }

    /// Sends what exporters still hold, and stops them. Waits for that, some seconds at most.
    /// Recording stays harmless afterwards.
    ///
    /// # Errors
    ///
    /// [`TelemetryError::Shutdown`] if an exporter could not send its last figures.
    pub fn shutdown(&self) -> Result<(), TelemetryError> {
        let metrics = self.provider.shutdown().map_err(TelemetryError::Shutdown);
        #[cfg(feature = "otlp")]
        let metrics = self.exporters.as_ref().map_or(Ok(()), Exporters::shutdown).and(metrics);
        metrics
    }
}

// === impl TelemetryBuilder ===

impl TelemetryBuilder {
    /// The service's name for OTLP receivers; `OTEL_SERVICE_NAME` wins over it. `sluice` unless
    /// said.
    #[must_use]
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.service_name = name.into();
        self
    }

    /// The replica's name for OTLP receivers (`service.instance.id`). A Prometheus names its
    /// targets itself.
    #[must_use]
    pub fn instance(mut self, id: impl Into<String>) -> Self {
        self.instance = Some(id.into());
        self
    }

    /// The version and revision that `sluice_build_info` tells.
    #[must_use]
    pub fn build_info(mut self, build: BuildInfo) -> Self {
        self.build = build;
        self
    }

    /// One more reader beside the Prometheus exporter, such as a periodic one that sends by OTLP.
    #[must_use]
    pub fn reader(mut self, reader: impl MetricReader) -> Self {
        self.provider = self.provider.with_reader(reader);
        self
    }

    /// Sends metrics and traces where `otlp` says.
    #[cfg(feature = "otlp")]
    #[must_use]
    pub fn otlp(mut self, otlp: Otlp) -> Self {
        self.otlp = otlp;
        self
    }

    /// The finished set-up, with every recorder ready.
    ///
    /// # Errors
    ///
    /// [`TelemetryError`] if an exporter cannot be set up. A collector that cannot be reached is no
    /// error: it may come.
    pub fn build(self) -> Result<Telemetry, TelemetryError> {
        let resource = self.resource();
        let (prometheus, exporter) = Prometheus::with_exporter()?;
        let provider = self.provider.with_reader(exporter).with_view(bounded);
        #[cfg(feature = "otlp")]
        let (provider, exporters) = Exporters::attach(&self.otlp, provider, &resource)?;
        let provider = provider.with_resource(resource).build();
        let meter = provider.meter(SCOPE);
        let recorders = Recorders::new(&meter, &self.build);
        Ok(Telemetry {
            provider,
            meter,
            recorders,
            prometheus,
            #[cfg(feature = "otlp")]
            exporters,
        })
    }

    /// The environment's `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` first, then what was
    /// set here.
    fn resource(&self) -> Resource {
        const NAME: Key = Key::from_static_str("service.name");
        const VERSION: Key = Key::from_static_str("service.version");
        const INSTANCE: Key = Key::from_static_str("service.instance.id");

        let detected = Resource::builder().build();
        let mut builder = Resource::builder();
        // The SDK has a name for a service without one, which must not hide ours.
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

/// Gives every instrument a table of its own size; the SDK would lay out 2,000 places for each.
fn bounded(instrument: &Instrument) -> Option<Stream> {
    let known = catalogue().find(|metric| metric.name == instrument.name());
    let series = known.map_or(MAX_CUSTOM_SERIES, Metric::max_series);
    // Only an instrument's own settings could be refused here, and this sets none but a positive
    // number.
    Stream::builder().with_cardinality_limit(series).build().ok()
}
