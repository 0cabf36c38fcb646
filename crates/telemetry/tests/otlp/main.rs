//! What is sent by OTLP arrives: over gRPC and over HTTP, metrics and traces, with the names
//! `/metrics` has.

mod collector;
mod tls;

use std::time::Duration;

use http::HeaderMap;
use sluice_telemetry::{Otlp, SourceLabel, Telemetry, TelemetryError, join_trace, propagate_trace};
use tracing_subscriber::layer::SubscriberExt;

use self::collector::{Collector, Received};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A set-up that sends to `endpoint`, and is stopped by the tests before a second of its interval
/// is over.
fn telemetry(endpoint: &str, protocol: &str) -> Telemetry {
    telemetry_with(endpoint, protocol, &[]).expect("the parts are sound")
}

/// As [`telemetry`], with these variables too.
fn telemetry_with(
    endpoint: &str,
    protocol: &str,
    variables: &[(&str, &str)],
) -> Result<Telemetry, TelemetryError> {
    let otlp = Otlp::from_variables(|name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.to_owned()),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some(protocol.to_owned()),
        _ => {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        }
    });
    let builder = Telemetry::builder().service_name("sluice-test").instance("replica-1");
    builder.otlp(otlp.expect("the variables are sound")).build()
}

fn record_and_stop(telemetry: &Telemetry) -> Result<(), TelemetryError> {
    let limit = telemetry.recorders().decisions.bind("org-writes");
    limit.denied(SourceLabel::Store);
    limit.denied(SourceLabel::Store);
    telemetry.recorders().decisions.check_duration(SourceLabel::Store, Duration::from_millis(1));

    let subscriber = tracing_subscriber::registry().with(telemetry.trace_layer());
    tracing::subscriber::with_default(subscriber, || {
        let headers = HeaderMap::from_iter([(
            "traceparent".parse().expect("a name"),
            PARENT.parse().expect("a value"),
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
        .expect("the collector takes everything");
    assert_received(&collector.received());
}

#[test]
fn metrics_and_traces_arrive_over_http() {
    let collector = Collector::start();
    record_and_stop(&telemetry(&collector.http_endpoint(), "http/protobuf"))
        .expect("the collector takes everything");
    assert_received(&collector.received());
}

#[test]
fn a_set_up_may_live_and_die_inside_a_runtime() {
    let collector = Collector::start();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    runtime.block_on(async {
        let telemetry = telemetry(&collector.grpc_endpoint(), "grpc");
        record_and_stop(&telemetry).expect("the collector takes everything");
        drop(telemetry);
    });
    assert_received(&collector.received());
}

#[test]
fn a_collector_that_is_away_stops_nothing() {
    // Nobody listens on a port that was just given back.
    let endpoint = Collector::start().http_endpoint();
    let telemetry = telemetry(&endpoint, "http/protobuf");
    telemetry.recorders().decisions.bind("org-writes").denied(SourceLabel::Store);
    let text = telemetry.prometheus().render().expect("it renders");
    assert!(text.contains(r#"limit="org-writes",outcome="denied",source="store"} 1"#), "{text}");
    assert!(telemetry.shutdown().is_err(), "what could not be sent is said to be lost");
}

#[test]
fn nothing_listens_for_spans_unless_traces_are_sent() {
    let telemetry = Telemetry::builder().build().expect("the parts are sound");
    assert!(telemetry.trace_layer::<tracing_subscriber::Registry>().is_none());
}

#[test]
fn the_trace_goes_on_to_whoever_is_asked_next() {
    let collector = Collector::start();
    let telemetry = telemetry(&collector.grpc_endpoint(), "grpc");
    let subscriber = tracing_subscriber::registry().with(telemetry.trace_layer());
    let mut headers = HeaderMap::new();
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!("check");
        join_trace(
            &span,
            &HeaderMap::from_iter([(
                "traceparent".parse().expect("a name"),
                PARENT.parse().expect("a value"),
            )]),
        );
        propagate_trace(&span, &mut headers);
    });
    let passed_on = headers["traceparent"].to_str().expect("it is text");
    let parts: Vec<&str> = passed_on.split('-').collect();
    assert_eq!((parts[0], parts[1], parts[3]), ("00", "0af7651916cd43dd8448eb211c80319c", "01"));
    assert_ne!(parts[2], "b7ad6b7169203331");
    assert_eq!(headers.len(), 1, "no vendor has said anything: {headers:?}");
}

#[test]
fn without_traces_nothing_is_passed_on() {
    let mut headers = HeaderMap::new();
    propagate_trace(&tracing::info_span!("check"), &mut headers);
    assert!(headers.is_empty());
}
