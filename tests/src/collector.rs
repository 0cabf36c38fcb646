//! A collector of traces and metrics, which receives OTLP over HTTP.

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value},
};
use prost::Message;

use crate::request_recorder::RequestRecorder;

/// A server on a port of its own that records `/v1/traces` and `/v1/metrics` in Protobuf.
///
/// It runs until the test's runtime ends.
#[derive(Debug)]
pub struct Collector {
    recorder: RequestRecorder,
}

/// A span that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The span's name.
    pub name: String,
    /// The trace that it belongs to, in hexadecimal digits.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The id of the span above it; empty when there is none.
    pub parent: String,
    /// Its start and its end, in nanoseconds.
    pub time: (u64, u64),
    /// Whether its status is an error.
    pub failed: bool,
    /// Its attributes, as text.
    pub attributes: Vec<(String, String)>,
    /// The attributes of the service that sent it.
    pub service: Vec<(String, String)>,
}

// === impl Collector ===

impl Collector {
    /// Starts the collector.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        Self { recorder: RequestRecorder::start().await }
    }

    /// Returns the URL for exporters.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.recorder.address())
    }

    /// Returns the spans received so far, in the order of their arrival.
    ///
    /// # Panics
    /// When a request does not contain spans.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.received::<ExportTraceServiceRequest>("/v1/traces")
            .into_iter()
            .flat_map(spans)
            .collect()
    }

    /// Returns the names of the metrics received so far.
    ///
    /// # Panics
    /// When a request does not contain metrics.
    #[must_use]
    pub fn metrics(&self) -> Vec<String> {
        let sent = self
            .received::<ExportMetricsServiceRequest>("/v1/metrics")
            .into_iter()
            .flat_map(|request| request.resource_metrics);
        sent.flat_map(|sent| sent.scope_metrics)
            .flat_map(|scope| scope.metrics)
            .map(|metric| metric.name)
            .collect()
    }

    /// Returns all bytes received so far, with the heads of the requests.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.recorder.requests().into_iter().flat_map(|request| request.bytes).collect()
    }

    fn received<M: Message + Default>(&self, path: &str) -> Vec<M> {
        let requests =
            self.recorder.requests().into_iter().filter(|request| request.target == path);
        requests
            .map(|request| M::decode(&*request.body).expect("exporters send valid messages"))
            .collect()
    }
}

// === impl Span ===

impl Span {
    /// Returns an attribute; empty when there is none of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for sent in request.resource_spans {
        let service = texts(sent.resource.unwrap_or_default().attributes);
        spans.extend(sent.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| Span {
            name: span.name,
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            time: (span.start_time_unix_nano, span.end_time_unix_nano),
            // As numbered in the protocol.
            failed: span.status.is_some_and(|status| status.code == 2),
            attributes: texts(span.attributes),
            service: service.clone(),
        }));
    }
    spans
}

fn texts(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    let text = |value: Value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(value) => value.to_string(),
        other => format!("{other:?}"),
    };
    let texts = attributes
        .into_iter()
        .map(|KeyValue { key, value, .. }| (key, value.and_then(|value| value.value).map(text)));
    texts.map(|(key, value)| (key, value.unwrap_or_default())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
