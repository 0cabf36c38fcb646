//! Replaces `sluice-stats` when the feature `stats` is off. The types have the same names and no
//! values, so that the rest of the crate needs no `cfg`.

use std::sync::Arc;

use sluice_core::Tag;

#[derive(Clone, Debug)]
pub(crate) enum StatsCounters {}

#[derive(Debug)]
pub(crate) enum EndpointCounters {}

impl StatsCounters {
    pub(crate) fn endpoint(&self, _endpoint: &Arc<str>) -> Arc<EndpointCounters> {
        match *self {}
    }

    #[cfg(all(feature = "telemetry", feature = "tower"))]
    pub(crate) fn count_http_response(
        &self,
        _endpoint: &str,
        _status: u16,
        _duration: std::time::Duration,
    ) {
        match *self {}
    }
}

impl EndpointCounters {
    pub(crate) fn count_decision(&self, _client: Tag, _denied: bool) {
        match *self {}
    }
}
