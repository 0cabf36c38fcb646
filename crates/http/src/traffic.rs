//! Counts and measures the requests of a port.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use axum::body::HttpBody;
use http::{Request, Response};
use sluice::{
    layer::metrics::{CompletedResponse, ResponseRecorder},
    stats::{LabelledEndpoint, StatsCounters},
};
use sluice_telemetry::{MethodLabel, OTHER, Recorders};

/// Counts and measures requests: those to the API apart from those to Sluice's own endpoints.
#[derive(Debug)]
pub struct Traffic {
    api: ResponseRecorder,
    /// Without the statistics of the fleet, which are about the endpoints that can be limited.
    exempt: ResponseRecorder,
    own: ResponseRecorder,
}

/// The endpoint of a request: the value of the metric label `endpoint`, and in which metrics it is
/// counted. The label is never a raw path.
#[derive(Clone, Debug)]
pub enum EndpointLabel {
    /// The path of one of Sluice's own endpoints.
    Own(&'static str),
    /// An endpoint of the API.
    Api(Arc<str>),
    /// A path of the API that no pattern covers, folded.
    ApiPath(Arc<str>),
    /// An endpoint of the API that is exempt from limits.
    ExemptApi(Arc<str>),
    /// The endpoint of the API of a request whose path was not matched.
    UnknownApi,
}

/// A request that has no response yet.
#[derive(Clone, Copy, Debug)]
pub struct StartedRequest {
    method: MethodLabel,
    started: Instant,
    request_bytes: u64,
}

/// A request that is being responded to. If it is dropped before that, its client has abandoned it,
/// which is recorded with the status 499.
#[derive(Debug)]
pub struct PendingResponse {
    request: StartedRequest,
    traffic: Arc<Traffic>,
    label: OnceLock<EndpointLabel>,
    has_response: bool,
}

/// A response whose body is still being sent. It is recorded when the body ends.
#[derive(Debug)]
pub struct UnfinishedResponse {
    request: StartedRequest,
    traffic: Arc<Traffic>,
    label: EndpointLabel,
    status: u16,
}

impl EndpointLabel {
    /// The label of a request that is not for the API, and for none of Sluice's own endpoints.
    pub const OTHER: Self = Self::Own(OTHER);

    /// Returns the label's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Own(path) => path,
            Self::Api(label) | Self::ApiPath(label) | Self::ExemptApi(label) => label,
            Self::UnknownApi => OTHER,
        }
    }

    /// Returns the endpoint's pattern, for a span: `other` in place of a path, since spans do not
    /// show what clients send.
    #[must_use]
    pub fn route(&self) -> &str {
        if matches!(self, Self::ApiPath(_)) { OTHER } else { self.as_str() }
    }
}

impl From<LabelledEndpoint> for EndpointLabel {
    fn from(endpoint: LabelledEndpoint) -> Self {
        let LabelledEndpoint { label, is_exempt, is_path, .. } = endpoint;
        match (is_exempt, is_path) {
            (true, _) => Self::ExemptApi(label),
            (false, true) => Self::ApiPath(label),
            (false, false) => Self::Api(label),
        }
    }
}

impl Traffic {
    /// Records with `recorders`, and counts in `stats` the requests to the API that are not exempt.
    #[must_use]
    pub fn new(recorders: &Recorders, stats: &StatsCounters) -> Self {
        Self {
            api: ResponseRecorder::new(&recorders.http).with_stats(stats),
            exempt: ResponseRecorder::new(&recorders.http),
            own: ResponseRecorder::new(&recorders.own_http),
        }
    }

    fn record(&self, label: &EndpointLabel, response: &CompletedResponse) {
        let recorder = match label {
            EndpointLabel::Own(_) => &self.own,
            EndpointLabel::ExemptApi(_) => &self.exempt,
            EndpointLabel::Api(_) | EndpointLabel::ApiPath(_) | EndpointLabel::UnknownApi => {
                &self.api
            }
        };
        recorder.record(label.as_str(), response);
    }
}

impl StartedRequest {
    /// Starts the measurement of `request`.
    pub fn new(request: &Request<impl HttpBody>) -> Self {
        Self {
            method: MethodLabel::from_name(request.method().as_str()),
            started: Instant::now(),
            request_bytes: request.body().size_hint().lower(),
        }
    }

    /// Returns when the request came.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// Returns the method.
    #[must_use]
    pub const fn method(&self) -> MethodLabel {
        self.method
    }

    /// Records `response`, whose body is known already.
    pub fn record(
        self,
        traffic: &Traffic,
        label: &EndpointLabel,
        response: &Response<impl HttpBody>,
    ) {
        let completed = CompletedResponse {
            method: self.method,
            status: response.status().as_u16(),
            duration: self.started.elapsed(),
            request_bytes: Some(self.request_bytes),
            response_bytes: Some(response.body().size_hint().lower()),
        };
        traffic.record(label, &completed);
    }

    /// Keeps the request until the body of its response ends.
    #[must_use]
    pub const fn until_body_ends(
        self,
        traffic: Arc<Traffic>,
        label: EndpointLabel,
        status: u16,
    ) -> UnfinishedResponse {
        UnfinishedResponse { request: self, traffic, label, status }
    }
}

impl PendingResponse {
    /// The status of an abandoned request, as nginx has it.
    const ABANDONED: u16 = 499;

    /// Expects a response to `request`.
    #[must_use]
    pub const fn new(request: StartedRequest, traffic: Arc<Traffic>) -> Self {
        Self { request, traffic, label: OnceLock::new(), has_response: false }
    }

    /// Returns the request.
    #[must_use]
    pub const fn request(&self) -> &StartedRequest {
        &self.request
    }

    /// Sets the label of the request, as soon as it is known.
    pub fn is_at(&self, label: EndpointLabel) {
        let _ = self.label.set(label);
    }

    /// Notes that there is a response, and returns the request, to record both.
    pub fn has_response(mut self) -> StartedRequest {
        self.has_response = true;
        self.request
    }
}

impl Drop for PendingResponse {
    fn drop(&mut self) {
        if !self.has_response {
            let label = self.label.take().unwrap_or(EndpointLabel::OTHER);
            self.request
                .until_body_ends(Arc::clone(&self.traffic), label, Self::ABANDONED)
                .finish(self.request.request_bytes, 0);
        }
    }
}

impl UnfinishedResponse {
    /// Records the response with the sizes that both bodies had, in bytes.
    pub fn finish(self, request_bytes: u64, response_bytes: u64) {
        let Self { request: StartedRequest { method, started, .. }, traffic, label, status } = self;
        let response = CompletedResponse {
            method,
            status,
            duration: started.elapsed(),
            request_bytes: Some(request_bytes),
            response_bytes: Some(response_bytes),
        };
        traffic.record(&label, &response);
    }
}
