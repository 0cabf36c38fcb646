use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use http::{Extensions, StatusCode, Uri};
use sluice_core::{NormalPath, fold_ids};

use super::response_recorder::ResponseRecorder;
use crate::{
    layer::MatchedEndpoint,
    telemetry::{BoundEndpoint, CompletedResponse, HttpRecorder, MethodLabel, OTHER},
};

/// A request and its response, shared by their bodies.
///
/// The request's body may outlive the response, or end before its endpoint is known, so its size is
/// recorded when both bodies are gone.
#[derive(Debug)]
pub(super) struct Exchange {
    started: Instant,
    method: MethodLabel,
    /// What was requested, where the program knows no pattern for it.
    uri: Option<Uri>,
    responses: Arc<ResponseRecorder>,
    /// Set with the response at the latest.
    endpoint: OnceLock<BoundEndpoint>,
    responded: AtomicBool,
    request_bytes: AtomicU64,
}

/// The response of an exchange, recorded when it is dropped.
#[derive(Debug)]
pub(super) struct MeasuredResponse {
    exchange: Arc<Exchange>,
    status: StatusCode,
    bytes: u64,
}

impl Exchange {
    /// Begins with a request for `endpoint`, if that is known already.
    pub(super) fn start(
        method: &http::Method,
        uri: &Uri,
        endpoint: Option<&str>,
        responses: Arc<ResponseRecorder>,
    ) -> Arc<Self> {
        let endpoint = endpoint.map(|endpoint| responses.recorder().bind(endpoint));
        let method = MethodLabel::from_name(method.as_str());
        Arc::new(Self {
            started: Instant::now(),
            method,
            uri: endpoint.is_none().then(|| uri.clone()),
            responses,
            endpoint: endpoint.map_or_else(OnceLock::new, OnceLock::from),
            responded: AtomicBool::new(false),
            request_bytes: AtomicU64::new(0),
        })
    }

    pub(super) fn read(&self, bytes: u64) {
        self.request_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Begins the response, with this status and these extensions.
    pub(super) fn respond(
        self: Arc<Self>,
        status: StatusCode,
        extensions: &Extensions,
    ) -> MeasuredResponse {
        self.endpoint.get_or_init(|| {
            let matched = extensions.get::<MatchedEndpoint>().map(MatchedEndpoint::as_str);
            match matched.filter(|endpoint| *endpoint != OTHER) {
                Some(endpoint) => self.responses.recorder().bind(endpoint),
                None => self.folded_path(status.as_u16()),
            }
        });
        self.responded.store(true, Ordering::Relaxed);
        MeasuredResponse { exchange: self, status, bytes: 0 }
    }

    /// Returns the recorder of the path that was requested, without its identifiers.
    fn folded_path(&self, status: u16) -> BoundEndpoint {
        let recorder = self.responses.recorder();
        let path = self.uri.as_ref().and_then(|uri| NormalPath::parse(uri.path()).ok());
        let label = path.and_then(|path| {
            recorder.label_of_path(&fold_ids(&path)?, HttpRecorder::confirms_path(status))
        });
        label.map_or_else(|| recorder.other().clone(), |label| recorder.bind(&label))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(endpoint) = self.endpoint.get().filter(|_| *self.responded.get_mut()) {
            endpoint.request_size(self.method, *self.request_bytes.get_mut());
        }
    }
}

impl MeasuredResponse {
    pub(super) const fn sent(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

impl Drop for MeasuredResponse {
    fn drop(&mut self) {
        let Exchange { endpoint, method, started, responses, .. } = &*self.exchange;
        if let Some(endpoint) = endpoint.get() {
            let response = CompletedResponse {
                method: *method,
                status: self.status.as_u16(),
                duration: started.elapsed(),
                // Recorded when both bodies are gone.
                request_bytes: None,
                response_bytes: Some(self.bytes),
            };
            responses.record_at(endpoint, &response);
        }
    }
}
