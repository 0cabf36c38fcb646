//! Traces: the layer that turns spans into OTLP, and the W3C trace context in and out.

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

/// Makes `span` a child of the caller's span, if `headers` carry a W3C trace context and traces are
/// sent; else does nothing.
///
/// To be called before the span is entered: afterwards its trace is settled.
pub fn join_trace(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let context = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    if context.span().span_context().is_valid() {
        // Refused where no layer sends traces: there is nothing to join then.
        let _nothing_to_join = span.set_parent(context);
    }
}

/// Writes the trace context of `span` into `headers`, so that whoever is asked next joins its
/// trace; nothing if traces are not sent.
pub fn propagate_trace(span: &Span, headers: &mut HeaderMap) {
    if span.is_disabled() {
        return;
    }
    TraceContextPropagator::new().inject_context(&span.context(), &mut HeaderInjector(headers));
    // Written also where there is nothing to say.
    if headers.get(TRACESTATE).is_some_and(HeaderValue::is_empty) {
        headers.remove(TRACESTATE);
    }
}

/// Gives `span` another name, if it is sent.
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
    // SourceLabel lines and threads double a span's size, and tell an operator nothing.
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(scope))
        .with_location(false)
        .with_threads(false);
    layer.with_target(false).with_tracked_inactivity(false)
}
