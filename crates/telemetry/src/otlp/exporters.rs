//! The exporters, and the thread that they run on.

use std::sync::Arc;

use opentelemetry_otlp::{
    MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::{Resource, metrics::MeterProviderBuilder, trace::SdkTracerProvider};
use tokio::runtime::{Handle, Runtime};

use super::{
    client::client,
    reported::{ExportReport, Reported},
    target::{Otlp, Target, Transport},
};
use crate::{
    error::TelemetryError,
    recorders::exports::{ExportRecorder, Signal},
};

/// Sends metrics and traces until it is dropped.
#[derive(Debug)]
pub(crate) struct Exporters {
    tracer_provider: Option<SdkTracerProvider>,
    reports: [Arc<ExportReport>; 2],
    // The last field, because fields are dropped in this order and the exporters run on it.
    _runtime: OwnRuntime,
}

/// A runtime beside the service's own, so that a slow collector takes no worker from requests, and
/// so that a program without a runtime can send too.
#[derive(Debug)]
struct OwnRuntime(Option<Runtime>);

// === impl Exporters ===

impl Exporters {
    /// Makes `provider` send to the targets in `otlp`, and returns the exporters that do so, or
    /// `None` if nothing is sent.
    pub(crate) fn attach(
        otlp: &Otlp,
        mut provider: MeterProviderBuilder,
        resource: &Resource,
    ) -> Result<(MeterProviderBuilder, Option<Self>), TelemetryError> {
        if !otlp.is_on() {
            return Ok((provider, None));
        }
        let runtime = OwnRuntime::start()?;
        let handle = runtime.handle();
        // The gRPC transport spawns the connection's task on the current runtime.
        let _entered = handle.enter();
        let [metrics, traces] = [Signal::Metrics, Signal::Traces].map(ExportReport::new);
        if let Some(target) = &otlp.metrics {
            let exporter = Reported::new(metric_exporter(target, handle)?, &metrics);
            provider = provider.with_periodic_exporter(exporter);
        }
        let tracer_provider = otlp
            .traces
            .as_ref()
            .map(|target| tracer_provider(target, handle, resource, &traces))
            .transpose()?;
        Ok((
            provider,
            Some(Self { tracer_provider, reports: [metrics, traces], _runtime: runtime }),
        ))
    }

    /// Counts the exports that fail from now on.
    pub(crate) fn count_failures(&self, recorder: &ExportRecorder) {
        self.reports.iter().for_each(|report| report.count_with(recorder));
    }

    pub(crate) fn tracer_provider(&self) -> Option<&SdkTracerProvider> {
        self.tracer_provider.as_ref()
    }

    pub(crate) fn shutdown(&self) -> Result<(), TelemetryError> {
        self.tracer_provider
            .as_ref()
            .map_or(Ok(()), |provider| provider.shutdown().map_err(TelemetryError::Shutdown))
    }
}

fn metric_exporter(target: &Target, runtime: &Handle) -> Result<MetricExporter, TelemetryError> {
    let Target { transport, endpoint, timeout, tls } = target;
    let builder = MetricExporter::builder();
    match transport {
        Transport::Grpc => {
            let builder = builder.with_tonic().with_endpoint(endpoint).with_timeout(*timeout);
            let builder =
                if target.is_plain() { builder } else { builder.with_tls_config(tls.for_grpc()?) };
            builder.build()
        }
        Transport::Http => builder
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(client(endpoint, tls, *timeout, runtime)?)
            .with_endpoint(endpoint)
            .with_timeout(*timeout)
            .build(),
    }
    .map_err(TelemetryError::Exporter)
}

fn tracer_provider(
    target: &Target,
    runtime: &Handle,
    resource: &Resource,
    report: &Arc<ExportReport>,
) -> Result<SdkTracerProvider, TelemetryError> {
    let Target { transport, endpoint, timeout, tls } = target;
    let builder = SpanExporter::builder();
    let exporter = match transport {
        Transport::Grpc => {
            let builder = builder.with_tonic().with_endpoint(endpoint).with_timeout(*timeout);
            let builder =
                if target.is_plain() { builder } else { builder.with_tls_config(tls.for_grpc()?) };
            builder.build()
        }
        Transport::Http => builder
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(client(endpoint, tls, *timeout, runtime)?)
            .with_endpoint(endpoint)
            .with_timeout(*timeout)
            .build(),
    }
    .map_err(TelemetryError::Exporter)?;
    Ok(SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_batch_exporter(Reported::new(exporter, report))
        .build())
}

// === impl OwnRuntime ===

impl OwnRuntime {
    fn start() -> Result<Self, TelemetryError> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder
            .worker_threads(1)
            .max_blocking_threads(2)
            .thread_name("otlp")
            .enable_all()
            .build();
        runtime.map(|runtime| Self(Some(runtime))).map_err(TelemetryError::Thread)
    }

    fn handle(&self) -> &Handle {
        self.0.as_ref().expect("only `drop` takes the runtime out").handle()
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Dropping a runtime blocks, which panics inside another runtime; this does not block.
            runtime.shutdown_background();
        }
    }
}
