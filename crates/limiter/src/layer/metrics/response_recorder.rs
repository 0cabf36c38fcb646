use std::{collections::HashMap, time::Duration};

use arc_swap::ArcSwap;

use crate::{
    stats::StatsCounters,
    telemetry::{BoundEndpoint, HttpRecorder, MethodLabel, OTHER},
};

/// The most endpoints that are kept: more than the recorder has labels for.
const MAX_ENDPOINTS: usize = 256;

/// Counts and measures responses by endpoint, as [`MetricsLayer`](super::MetricsLayer) does, for
/// servers that are no tower service.
#[derive(Debug)]
pub struct ResponseRecorder {
    recorder: HttpRecorder,
    /// Counts responses for the fleet's statistics.
    stats: Option<StatsCounters>,
    other: BoundEndpoint,
    /// The recorders of the endpoints seen so far.
    bound: ArcSwap<HashMap<Box<str>, BoundEndpoint>>,
}

/// A response that has been sent, with its request.
#[derive(Clone, Copy, Debug)]
pub struct CompletedResponse {
    /// The request's method.
    pub method: MethodLabel,
    /// The status code.
    pub status: u16,
    /// The time from the request's head to the end of the response.
    pub duration: Duration,
    /// The size of the request's body.
    pub request_bytes: u64,
    /// The size of the response's body.
    pub response_bytes: u64,
}

impl ResponseRecorder {
    /// Records with `recorder`.
    #[must_use]
    pub fn new(recorder: &HttpRecorder) -> Self {
        Self {
            recorder: recorder.clone(),
            stats: None,
            other: recorder.bind(OTHER),
            bound: ArcSwap::default(),
        }
    }

    /// Counts the responses also for the [statistics of the fleet](crate::stats).
    #[cfg(feature = "stats")]
    #[must_use]
    pub fn with_stats(mut self, stats: &StatsCounters) -> Self {
        self.stats = Some(stats.clone());
        self
    }

    /// Records a response.
    ///
    /// `endpoint` is one of a few patterns, never a raw path; those after the first 256 are
    /// recorded as `other`.
    pub fn record(&self, endpoint: &str, response: CompletedResponse) {
        let CompletedResponse { method, status, duration, request_bytes, response_bytes } =
            response;
        let bound = self.bound.load();
        let new;
        let endpoint = match bound.get(endpoint) {
            Some(known) => known,
            None => {
                new = self.bind(endpoint);
                &new
            }
        };
        self.record_response(endpoint, method, status, duration, response_bytes);
        endpoint.request_size(method, request_bytes);
    }

    #[cfg(feature = "stats")]
    pub(super) const fn recorder(&self) -> &HttpRecorder {
        &self.recorder
    }

    pub(super) const fn other(&self) -> &BoundEndpoint {
        &self.other
    }

    pub(super) fn get(&self, endpoint: &str) -> BoundEndpoint {
        self.bound.load().get(endpoint).map_or_else(|| self.bind(endpoint), BoundEndpoint::clone)
    }

    /// Records the response alone: the request's body may end later.
    pub(super) fn record_response(
        &self,
        endpoint: &BoundEndpoint,
        method: MethodLabel,
        status: u16,
        duration: Duration,
        response_bytes: u64,
    ) {
        if let Some(stats) = &self.stats {
            stats.count_http_response(status, duration);
        }
        endpoint.responded(method, status, duration);
        endpoint.response_size(method, response_bytes);
    }

    fn bind(&self, endpoint: &str) -> BoundEndpoint {
        // A program that passes paths for patterns must not fill the memory.
        if self.bound.load().len() >= MAX_ENDPOINTS {
            return self.other.clone();
        }
        let new = self.recorder.bind(endpoint);
        self.bound.rcu(|bound| {
            let mut more = HashMap::clone(bound);
            more.insert(endpoint.into(), new.clone());
            more
        });
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recorders;

    #[test]
    fn the_number_of_endpoints_is_bounded() {
        let responses = ResponseRecorder::new(&Recorders::disabled().http);
        for path in 0..2 * MAX_ENDPOINTS {
            responses.get(&format!("/{path}"));
        }
        assert_eq!(responses.bound.load().len(), MAX_ENDPOINTS);
    }
}
