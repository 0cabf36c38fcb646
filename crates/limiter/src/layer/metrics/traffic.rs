use std::{collections::HashMap, time::Duration};

use arc_swap::ArcSwap;
use sluice_telemetry::{BoundEndpoint, HttpRecorder, MethodLabel, OTHER};

use crate::stats::StatsCounters;

/// The most endpoints that are kept; more than the recorder tells apart.
const MOST: usize = 256;

/// Counts and measures answers by endpoint: what [`MetricsLayer`](super::MetricsLayer) does with
/// them, for servers that are no tower service.
#[derive(Debug)]
pub struct Traffic {
    recorder: HttpRecorder,
    /// Counts for the fleet, where one is told.
    stats: Option<StatsCounters>,
    other: BoundEndpoint,
    /// What records the answers of each endpoint, bound when it is first seen.
    bound: ArcSwap<HashMap<Box<str>, BoundEndpoint>>,
}

/// What is counted of one answer.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// The request's method.
    pub method: MethodLabel,
    /// The status code.
    pub status: u16,
    /// From the request's head to the end of the answer.
    pub took: Duration,
    /// The size of the request's body.
    pub request_bytes: u64,
    /// The size of the answer's body.
    pub response_bytes: u64,
}

impl Traffic {
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

    /// As [`Traffic::new`], and `stats` counts too, for the stats of the fleet.
    #[must_use]
    pub fn with_stats(recorder: &HttpRecorder, stats: &StatsCounters) -> Self {
        Self { stats: Some(stats.clone()), ..Self::new(recorder) }
    }

    /// A request was answered. `endpoint` is a pattern of which there are few, never a raw path;
    /// beyond the first 256 it is recorded as `other`.
    pub fn record(&self, endpoint: &str, answered: Answered) {
        let Answered { method, status, took, request_bytes, response_bytes } = answered;
        let bound = self.bound.load();
        let new;
        let endpoint = match bound.get(endpoint) {
            Some(known) => known,
            None => {
                new = self.bind(endpoint);
                &new
            }
        };
        self.answered(endpoint, method, status, took, response_bytes);
        endpoint.request_size(method, request_bytes);
    }

    pub(super) const fn other(&self) -> &BoundEndpoint {
        &self.other
    }

    pub(super) fn get(&self, endpoint: &str) -> BoundEndpoint {
        self.bound.load().get(endpoint).map_or_else(|| self.bind(endpoint), BoundEndpoint::clone)
    }

    /// Records the answer alone: a request's body may end later.
    pub(super) fn answered(
        &self,
        endpoint: &BoundEndpoint,
        method: MethodLabel,
        status: u16,
        took: Duration,
        response_bytes: u64,
    ) {
        if let Some(stats) = &self.stats {
            stats.count_http_response(status, took);
        }
        endpoint.responded(method, status, took);
        endpoint.response_size(method, response_bytes);
    }

    fn bind(&self, endpoint: &str) -> BoundEndpoint {
        // Whoever takes paths for patterns should not fill the memory too.
        if self.bound.load().len() >= MOST {
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
    use sluice_telemetry::Recorders;

    use super::*;

    #[test]
    fn endpoints_without_end_do_not_fill_the_memory() {
        let traffic = Traffic::new(&Recorders::disabled().http);
        for path in 0..2 * MOST {
            traffic.get(&format!("/{path}"));
        }
        assert_eq!(traffic.bound.load().len(), MOST);
    }
}
