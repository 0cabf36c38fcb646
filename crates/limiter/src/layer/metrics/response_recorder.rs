use crate::{
    stats::StatsCounters,
    telemetry::{BoundEndpoint, CompletedResponse, HttpRecorder},
};

/// Counts and measures responses by endpoint, as [`MetricsLayer`](super::MetricsLayer) does, for
/// servers that are no tower service.
#[derive(Debug)]
pub struct ResponseRecorder {
    recorder: HttpRecorder,
    /// Counts responses for the fleet's statistics.
    stats: Option<StatsCounters>,
}

impl ResponseRecorder {
    /// Records with `recorder`.
    #[must_use]
    pub fn new(recorder: &HttpRecorder) -> Self {
        Self { recorder: recorder.clone(), stats: None }
    }

    /// Counts the responses also for the [statistics of the fleet](crate::stats).
    #[cfg(feature = "stats")]
    #[must_use]
    pub fn with_stats(mut self, stats: &StatsCounters) -> Self {
        self.stats = Some(stats.clone());
        self
    }

    /// Records a response. `endpoint` is as [`HttpRecorder::record`] describes it.
    pub fn record(&self, endpoint: &str, response: &CompletedResponse) {
        self.count(endpoint, response);
        self.recorder.record(endpoint, response);
    }

    pub(super) const fn recorder(&self) -> &HttpRecorder {
        &self.recorder
    }

    /// Records a response whose endpoint is known.
    pub(super) fn record_at(&self, endpoint: &BoundEndpoint, response: &CompletedResponse) {
        self.count(endpoint.label(), response);
        endpoint.record(response);
    }

    fn count(&self, endpoint: &str, response: &CompletedResponse) {
        if let Some(stats) = &self.stats {
            stats.count_http_response(endpoint, response.status, response.duration);
        }
    }
}
