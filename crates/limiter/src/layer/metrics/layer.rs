use std::{fmt, sync::Arc};

use http::Extensions;
use tower_layer::Layer;

use super::{
    response_recorder::ResponseRecorder,
    service::{EndpointOf, Metrics},
};
use crate::telemetry::HttpRecorder;

/// Counts and measures the responses of a service.
///
/// See the [module docs](super) for an example.
#[derive(Clone)]
pub struct MetricsLayer {
    responses: Arc<ResponseRecorder>,
    endpoint: Arc<EndpointOf>,
}

impl MetricsLayer {
    /// Records with `recorder`.
    #[must_use]
    pub fn new(recorder: &HttpRecorder) -> Self {
        Self {
            responses: Arc::new(ResponseRecorder::new(recorder)),
            endpoint: Arc::new(|_: &Extensions| None),
        }
    }

    /// Counts the responses also for the [statistics of the fleet](crate::stats).
    #[cfg(feature = "stats")]
    #[must_use]
    pub fn stats(mut self, stats: &crate::stats::StatsCounters) -> Self {
        let responses = ResponseRecorder::new(self.responses.recorder()).with_stats(stats);
        self.responses = Arc::new(responses);
        self
    }

    /// Finds among a request's extensions the pattern that its path matched, as the router puts it
    /// there.
    ///
    /// There must be few patterns: those after the first 200 are recorded as `other`.
    #[must_use]
    pub fn endpoint<F>(mut self, endpoint: F) -> Self
    where
        F: for<'r> Fn(&'r Extensions) -> Option<&'r str> + Send + Sync + 'static,
    {
        self.endpoint = Arc::new(endpoint);
        self
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = Metrics<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Metrics::new(inner, Arc::clone(&self.responses), Arc::clone(&self.endpoint))
    }
}

impl fmt::Debug for MetricsLayer {
    /// Leaves out the closure, of which there is nothing to show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsLayer").field("responses", &self.responses).finish_non_exhaustive()
    }
}
