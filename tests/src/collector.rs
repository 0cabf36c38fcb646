//! A collector of traces and metrics, as OTLP over HTTP brings them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value},
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const MAX_FIELDS: usize = 64;

/// An HTTP/1.1 server on a port of its own that takes `/v1/traces` and `/v1/metrics` in Protobuf, and keeps what it was sent.
///
/// It lives as long as the test's runtime.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
}

#[derive(Debug, Default)]
struct Received {
    spans: Vec<Span>,
    metrics: Vec<String>,
    bytes: Vec<u8>,
}

/// A span that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What it is called.
    pub name: String,
    /// The trace that it belongs to, in hexadecimal digits.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The id of the span above it; empty when there is none.
    pub parent: String,
    /// When it began and ended, in nanoseconds.
    pub time: (u64, u64),
    /// Whether it says that it failed.
    pub failed: bool,
    /// Its attributes, as texts.
    pub attributes: Vec<(String, String)>,
    /// Those of the service that sent it.
    pub service: Vec<(String, String)>,
}

// === impl Collector ===

impl Collector {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let received = Arc::<Mutex<Received>>::default();
        let inbox = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inbox = Arc::clone(&inbox);
                // An exporter that breaks off sends again.
                tokio::spawn(async move { drop(take_all(stream, &inbox).await) });
            }
        });
        Self { address, received }
    }

    /// What exporters are told of it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans received so far, in the order of their arrival.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.look(|received| received.spans.clone())
    }

    /// The names of the metrics received so far.
    #[must_use]
    pub fn metrics(&self) -> Vec<String> {
        self.look(|received| received.metrics.clone())
    }

    /// Everything received so far, as it stood on the wire, heads of requests included.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.look(|received| received.bytes.clone())
    }

    fn look<T>(&self, look: impl FnOnce(&Received) -> T) -> T {
        look(&self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Span ===

impl Span {
    /// An attribute; empty when it has none of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }
}

/// Takes what comes over one connection, until it ends.
async fn take_all(mut stream: TcpStream, inbox: &Mutex<Received>) -> io::Result<()> {
    let mut received = Vec::new();
    loop {
        while let Some((path, start, end)) = parse(&received)? {
            let request: Vec<u8> = received.drain(..end).collect();
            let taken = inbox.lock().unwrap_or_else(PoisonError::into_inner).take(&path, &request, start);
            let status = if taken { "200 OK" } else { "400 Bad Request" };
            stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await?;
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

/// The path of the request at the start of `bytes`, and where its body starts and ends; `None` while it is not whole.
fn parse(bytes: &[u8]) -> io::Result<Option<(String, usize, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let parsed = head.parse(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    let httparse::Status::Complete(start) = parsed else { return Ok(None) };
    let length = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok()).unwrap_or(0);
    let path = head.path.unwrap_or_default().to_owned();
    Ok((bytes.len() >= start + length).then_some((path, start, start + length)))
}

impl Received {
    /// Keeps a request to `path` whose body begins at `start`; says whether it made sense.
    fn take(&mut self, path: &str, request: &[u8], start: usize) -> bool {
        self.bytes.extend_from_slice(request);
        let body = &request[start..];
        match path {
            "/v1/traces" => ExportTraceServiceRequest::decode(body).is_ok_and(|traces| self.take_traces(traces)),
            "/v1/metrics" => ExportMetricsServiceRequest::decode(body).is_ok_and(|metrics| self.take_metrics(metrics)),
            _ => false,
        }
    }

    fn take_traces(&mut self, traces: ExportTraceServiceRequest) -> bool {
        for sent in traces.resource_spans {
            let service = texts(sent.resource.unwrap_or_default().attributes);
            for span in sent.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                self.spans.push(Span {
                    name: span.name,
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    time: (span.start_time_unix_nano, span.end_time_unix_nano),
                    // As numbered in the protocol.
                    failed: span.status.is_some_and(|status| status.code == 2),
                    attributes: texts(span.attributes),
                    service: service.clone(),
                });
            }
        }
        true
    }

    fn take_metrics(&mut self, metrics: ExportMetricsServiceRequest) -> bool {
        let scopes = metrics.resource_metrics.into_iter().flat_map(|sent| sent.scope_metrics);
        self.metrics.extend(scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name));
        true
    }
}

fn texts(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    let text = |value: Value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(truth) => truth.to_string(),
        other => format!("{other:?}"),
    };
    let texts = attributes.into_iter().map(|KeyValue { key, value, .. }| (key, value.and_then(|value| value.value).map(text)));
    texts.map(|(key, value)| (key, value.unwrap_or_default())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
