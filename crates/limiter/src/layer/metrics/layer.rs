use std::{fmt, sync::Arc};

use http::Extensions;
use sluice_telemetry::HttpRecorder;
use tower_layer::Layer;

use super::{label::Label, service::Metrics, traffic::Traffic};
use crate::stats::StatsCounters;

/// Counts and measures what a service answers.
///
/// See the [module docs](super) for an example.
#[derive(Clone)]
pub struct MetricsLayer<L = ()> {
    traffic: Arc<Traffic>,
    label: L,
}

impl MetricsLayer {
    /// Records with `recorder`.
    #[must_use]
    pub fn new(recorder: &HttpRecorder) -> Self {
        Self { traffic: Arc::new(Traffic::new(recorder)), label: () }
    }

    /// As [`MetricsLayer::new`], and `stats` counts too, for the [stats](crate::stats) of the
    /// fleet.
    #[must_use]
    pub fn with_stats(recorder: &HttpRecorder, stats: &StatsCounters) -> Self {
        Self { traffic: Arc::new(Traffic::with_stats(recorder, stats)), label: () }
    }
}

impl<L> MetricsLayer<L> {
    /// Finds in a request's extensions the pattern that its path matched, as the router says it
    /// there.
    ///
    /// It has to be one of few: what is not among the first 200 is recorded as `other`.
    #[must_use]
    pub fn with_endpoint<F>(self, endpoint: F) -> MetricsLayer<F>
    where
        F: for<'r> Fn(&'r Extensions) -> Option<&'r str>,
    {
        MetricsLayer { traffic: self.traffic, label: endpoint }
    }
}

impl<S, L: Label + Clone> Layer<S> for MetricsLayer<L> {
    type Service = Metrics<S, L>;

    fn layer(&self, inner: S) -> Self::Service {
        Metrics::new(inner, Arc::clone(&self.traffic), self.label.clone())
    }
}

impl<L> fmt::Debug for MetricsLayer<L> {
    /// Leaves out the closure, of which there is nothing to show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsLayer").field("traffic", &self.traffic).finish_non_exhaustive()
    }
}
