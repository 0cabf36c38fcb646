//! A collector inside the test: listens for both transports and keeps what it receives.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{metric::Data, number_data_point},
    resource::v1::Resource,
};
use prost::Message;
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status, service::Routes};

use crate::tls::TlsListener;

/// Listens until it is dropped.
pub(crate) struct Collector {
    scheme: &'static str,
    grpc: SocketAddr,
    http: SocketAddr,
    received: Arc<Mutex<Received>>,
    _runtime: Runtime,
}

/// Everything received. Attributes are `name=value`, in alphabetical order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) services: BTreeSet<String>,
    pub(crate) instances: BTreeSet<String>,
    /// Integer counters, by name and attributes.
    pub(crate) sums: BTreeMap<(String, Vec<String>), i64>,
    /// The unit of each histogram, by name.
    pub(crate) histograms: BTreeMap<String, String>,
    pub(crate) spans: BTreeMap<String, Span>,
}

#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) parent_id: String,
    pub(crate) attributes: Vec<String>,
}

#[derive(Clone)]
struct Inbox(Arc<Mutex<Received>>);

// === impl Collector ===

impl Collector {
    pub(crate) fn start() -> Self {
        Self::serve(None)
    }

    /// Starts a collector that accepts only TLS.
    pub(crate) fn start_with_tls(tls: &TlsAcceptor) -> Self {
        Self::serve(Some(tls))
    }

    fn serve(tls: Option<&TlsAcceptor>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let runtime = Runtime::new().expect("a runtime starts");
        let received = Arc::<Mutex<Received>>::default();
        let inbox = Inbox(Arc::clone(&received));
        let services = Routes::new(MetricsServiceServer::new(inbox.clone()))
            .add_service(TraceServiceServer::new(inbox.clone()));
        let http = Router::new()
            .route("/v1/metrics", post(receive_metrics))
            .route("/v1/traces", post(receive_traces))
            .with_state(inbox);
        let serve = |router: Router| {
            let listener =
                runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
            let address = listener.local_addr().expect("the listener is bound");
            match tls.cloned() {
                Some(tls) => drop(runtime.spawn(async move {
                    axum::serve(TlsListener { listener, tls }, router).await
                })),
                None => drop(runtime.spawn(async move { axum::serve(listener, router).await })),
            }
            address
        };
        let (grpc, http) = (serve(services.into_axum_router()), serve(http));
        Self { scheme, grpc, http, received, _runtime: runtime }
    }

    pub(crate) fn grpc_endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.grpc)
    }

    pub(crate) fn http_endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.http)
    }

    pub(crate) fn received(&self) -> Received {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// === impl MetricsService and TraceService, and the same over HTTP ===

#[tonic::async_trait]
impl MetricsService for Inbox {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.keep_metrics(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Inbox {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.keep_spans(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn receive_metrics(State(inbox): State<Inbox>, body: Bytes) -> StatusCode {
    ExportMetricsServiceRequest::decode(body).map_or(StatusCode::BAD_REQUEST, |request| {
        inbox.keep_metrics(request);
        StatusCode::OK
    })
}

async fn receive_traces(State(inbox): State<Inbox>, body: Bytes) -> StatusCode {
    ExportTraceServiceRequest::decode(body).map_or(StatusCode::BAD_REQUEST, |request| {
        inbox.keep_spans(request);
        StatusCode::OK
    })
}

// === impl Inbox ===

impl Inbox {
    fn keep_metrics(&self, request: ExportMetricsServiceRequest) {
        let mut received = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in request.resource_metrics {
            received.keep_resource(resource.resource);
            for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                match metric.data {
                    Some(Data::Sum(sum)) => {
                        for point in sum.data_points {
                            if let Some(number_data_point::Value::AsInt(value)) = point.value {
                                received
                                    .sums
                                    .insert((metric.name.clone(), texts(point.attributes)), value);
                            }
                        }
                    }
                    Some(Data::Histogram(_)) => {
                        received.histograms.insert(metric.name, metric.unit);
                    }
                    _ => {}
                }
            }
        }
    }

    fn keep_spans(&self, request: ExportTraceServiceRequest) {
        let mut received = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in request.resource_spans {
            received.keep_resource(resource.resource);
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let kept = Span {
                    trace_id: hex(&span.trace_id),
                    span_id: hex(&span.span_id),
                    parent_id: hex(&span.parent_span_id),
                    attributes: texts(span.attributes),
                };
                received.spans.insert(span.name, kept);
            }
        }
    }
}

impl Received {
    fn keep_resource(&mut self, resource: Option<Resource>) {
        for attribute in texts(resource.unwrap_or_default().attributes) {
            match attribute.split_once('=') {
                Some(("service.name", name)) => self.services.insert(name.to_owned()),
                Some(("service.instance.id", id)) => self.instances.insert(id.to_owned()),
                _ => false,
            };
        }
    }
}

fn texts(attributes: Vec<KeyValue>) -> Vec<String> {
    let mut texts: Vec<String> = attributes
        .into_iter()
        .filter_map(|attribute| match attribute.value?.value? {
            Value::StringValue(value) => Some(format!("{}={value}", attribute.key)),
            _ => None,
        })
        .collect();
    texts.sort();
    texts
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
