//! Traces: the layer that sends spans by OTLP, and the W3C trace context in HTTP headers.

use http::{HeaderMap, HeaderValue};
use opentelemetry::{
    propagation::TextMapPropagator,
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::registry::LookupSpan;

const TRACESTATE: &str = "tracestate";

/// Makes `span` a child of the client's span, if `headers` contain a W3C trace context and traces
/// are sent. Does nothing otherwise.
///
/// Call it before the span is entered, because the trace of a span cannot change after that.
pub fn join_trace(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let context = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    if context.span().span_context().is_valid() {
        // Fails where no layer sends traces; the span then belongs to no trace.
        let _not_sent = span.set_parent(context);
    }
}

/// Writes the trace context of `span` into `headers`, so that the next server joins its trace. Does
/// nothing if traces are not sent.
pub fn propagate_trace(span: &Span, headers: &mut HeaderMap) {
    if span.is_disabled() {
        return;
    }
    TraceContextPropagator::new().inject_context(&span.context(), &mut HeaderInjector(headers));
    // The propagator writes an empty value where there is no trace state.
    if headers.get(TRACESTATE).is_some_and(HeaderValue::is_empty) {
        headers.remove(TRACESTATE);
    }
}

/// Changes the name of `span`, if it is sent.
pub(crate) fn rename(span: &Span, name: String) {
    span.context().span().update_name(name);
}

pub(crate) fn layer<S>(
    provider: &SdkTracerProvider,
    scope: &'static str,
) -> OpenTelemetryLayer<S, SdkTracer>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    // Source lines and threads would double a span's size and are of no use to an operator.
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(scope))
        .with_location(false)
        .with_threads(false);
    layer.with_target(false).with_tracked_inactivity(false)
}
