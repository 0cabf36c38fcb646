use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use http::{Extensions, StatusCode};
use sluice_telemetry::{BoundEndpoint, MethodLabel};

use super::traffic::Traffic;
use crate::layer::Endpoint;

/// A request and its answer, shared by all who see a part of them. The request's body may outlive
/// the answer, or end before its endpoint is known: its size is recorded when the last of them is
/// gone.
#[derive(Debug)]
pub(super) struct Exchange {
    started: Instant,
    method: MethodLabel,
    traffic: Arc<Traffic>,
    /// Set at the latest with the answer.
    endpoint: OnceLock<BoundEndpoint>,
    answered: AtomicBool,
    request_bytes: AtomicU64,
}

/// The answer of an exchange, recorded when it is dropped.
#[derive(Debug)]
pub(super) struct Answer {
    exchange: Arc<Exchange>,
    status: StatusCode,
    bytes: u64,
}

impl Exchange {
    /// Starts with a request for `endpoint`, if that is known already.
    pub(super) fn start(
        method: &http::Method,
        endpoint: Option<&str>,
        traffic: Arc<Traffic>,
    ) -> Arc<Self> {
        let endpoint =
            endpoint.map_or_else(OnceLock::new, |endpoint| OnceLock::from(traffic.get(endpoint)));
        let method = MethodLabel::from_name(method.as_str());
        Arc::new(Self {
            started: Instant::now(),
            method,
            traffic,
            endpoint,
            answered: AtomicBool::new(false),
            request_bytes: AtomicU64::new(0),
        })
    }

    pub(super) fn read(&self, bytes: u64) {
        self.request_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The answer begins, with this status and these extensions.
    pub(super) fn answer(self: Arc<Self>, status: StatusCode, extensions: &Extensions) -> Answer {
        self.endpoint.get_or_init(|| match extensions.get::<Endpoint>() {
            Some(endpoint) => self.traffic.get(endpoint.as_str()),
            None => self.traffic.other().clone(),
        });
        self.answered.store(true, Ordering::Relaxed);
        Answer { exchange: self, status, bytes: 0 }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(endpoint) = self.endpoint.get().filter(|_| *self.answered.get_mut()) {
            endpoint.request_size(self.method, *self.request_bytes.get_mut());
        }
    }
}

impl Answer {
    pub(super) const fn sent(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let Exchange { endpoint, method, started, traffic, .. } = &*self.exchange;
        if let Some(endpoint) = endpoint.get() {
            traffic.answered(
                endpoint,
                *method,
                self.status.as_u16(),
                started.elapsed(),
                self.bytes,
            );
        }
    }
}
