//! Metrics and traces arrive at a collector, over gRPC and over HTTP, with the names that
//! `/metrics` has.

mod collector;
mod tls;

use std::time::Duration;

use http::HeaderMap;
use sluice_telemetry::{Otlp, SourceLabel, Telemetry, TelemetryError, join_trace, propagate_trace};
use tracing_subscriber::layer::SubscriberExt;

use self::collector::{Collector, Received};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Returns a set-up that sends to `endpoint`.
fn telemetry(endpoint: &str, protocol: &str) -> Telemetry {
    telemetry_with(endpoint, protocol, &[]).expect("the set-up is valid")
}

/// Returns a set-up as [`telemetry`] does, with further variables.
fn telemetry_with(
    endpoint: &str,
    protocol: &str,
    variables: &[(&str, &str)],
) -> Result<Telemetry, TelemetryError> {
    let otlp = Otlp::from_variables(|name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.to_owned()),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(protocol.to_owned()),
        // Far more than a slow machine needs.
        "OTEL_EXPORTER_OTLP_TIMEOUT" => Some("120000".to_owned()),
        _ => {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        }
    });
    let builder = Telemetry::builder().service_name("sluice-test").instance("replica-1");
    builder.otlp(otlp.expect("the variables are valid")).build()
}

fn record_and_stop(telemetry: &Telemetry) -> Result<(), TelemetryError> {
    let limit = telemetry.recorders().decisions.bind("org-writes");
    limit.denied(SourceLabel::Store);
    limit.denied(SourceLabel::Store);
    telemetry.recorders().decisions.check_duration(SourceLabel::Store, Duration::from_millis(1));

    let subscriber = tracing_subscriber::registry().with(telemetry.trace_layer());
    tracing::subscriber::with_default(subscriber, || {
        let headers = HeaderMap::from_iter([(
            "traceparent".parse().expect("the name is valid"),
            PARENT.parse().expect("the value is valid"),
        )]);
        let span = tracing::info_span!("check", limit = "org-writes", outcome = "denied");
        join_trace(&span, &headers);
        span.in_scope(|| tracing::info_span!("round_trip").in_scope(|| ()));
    });
    telemetry.shutdown()
}

fn assert_received(received: &Received) {
    assert_eq!(received.services, ["sluice-test".to_owned()].into());
    assert_eq!(received.instances, ["replica-1".to_owned()].into());
    let denied = ["limit=org-writes", "outcome=denied", "source=store"].map(str::to_owned).to_vec();
    assert_eq!(received.sums.get(&("sluice_decisions_total".to_owned(), denied)), Some(&2));
    assert_eq!(received.histograms.get("sluice_check_duration_seconds"), Some(&"s".to_owned()));

    let check = &received.spans["check"];
    assert_eq!(check.trace_id, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(check.parent_id, "b7ad6b7169203331");
    assert!(check.attributes.contains(&"outcome=denied".to_owned()), "{:?}", check.attributes);
    let round_trip = &received.spans["round_trip"];
    assert_eq!((&round_trip.trace_id, &round_trip.parent_id), (&check.trace_id, &check.span_id));
}

#[test]
fn metrics_and_traces_arrive_over_grpc() {
    let collector = Collector::start();
    record_and_stop(&telemetry(&collector.grpc_endpoint(), "grpc"))
        .expect("the collector accepts everything");
    assert_received(&collector.received());
}

#[test]
fn metrics_and_traces_arrive_over_http() {
    let collector = Collector::start();
    record_and_stop(&telemetry(&collector.http_endpoint(), "http/protobuf"))
        .expect("the collector accepts everything");
    assert_received(&collector.received());
}

#[test]
fn a_set_up_can_be_built_and_dropped_inside_a_runtime() {
    let collector = Collector::start();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    runtime.block_on(async {
        let telemetry = telemetry(&collector.grpc_endpoint(), "grpc");
        record_and_stop(&telemetry).expect("the collector accepts everything");
        drop(telemetry);
    });
    assert_received(&collector.received());
}

#[test]
fn an_unreachable_collector_does_not_prevent_recording() {
    // No process listens on a port that was just released.
    let endpoint = Collector::start().http_endpoint();
    let telemetry = telemetry(&endpoint, "http/protobuf");
    telemetry.recorders().decisions.bind("org-writes").denied(SourceLabel::Store);
    let text = telemetry.prometheus().render().expect("the metrics render");
    assert!(text.contains(r#"limit="org-writes",outcome="denied",source="store"} 1"#), "{text}");
    assert!(telemetry.shutdown().is_err(), "the loss of unsent values is reported");
}

#[test]
fn there_is_no_trace_layer_unless_traces_are_sent() {
    let telemetry = Telemetry::builder().build().expect("the set-up is valid");
    assert!(telemetry.trace_layer::<tracing_subscriber::Registry>().is_none());
}

#[test]
fn the_trace_is_propagated_to_the_next_server() {
    let collector = Collector::start();
    let telemetry = telemetry(&collector.grpc_endpoint(), "grpc");
    let subscriber = tracing_subscriber::registry().with(telemetry.trace_layer());
    let mut headers = HeaderMap::new();
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!("check");
        join_trace(
            &span,
            &HeaderMap::from_iter([(
                "traceparent".parse().expect("the name is valid"),
                PARENT.parse().expect("the value is valid"),
            )]),
        );
        propagate_trace(&span, &mut headers);
    });
    let propagated = headers["traceparent"].to_str().expect("the value is text");
    let parts: Vec<&str> = propagated.split('-').collect();
    assert_eq!((parts[0], parts[1], parts[3]), ("00", "0af7651916cd43dd8448eb211c80319c", "01"));
    assert_ne!(parts[2], "b7ad6b7169203331");
    assert_eq!(headers.len(), 1, "no empty tracestate is sent: {headers:?}");
}

#[test]
fn nothing_is_propagated_without_traces() {
    let mut headers = HeaderMap::new();
    propagate_trace(&tracing::info_span!("check"), &mut headers);
    assert!(headers.is_empty());
}
