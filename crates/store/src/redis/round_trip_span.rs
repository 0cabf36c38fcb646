//! The trace span of a check's round trip.

use std::time::Instant;

use tracing::{Span, debug_span, field::Empty};

use super::job::{Answer, Miss};

/// The same as `sluice_telemetry::TRACE_TARGET`; this crate does not depend on that one.
const TRACE_TARGET: &str = "sluice::trace";

/// Lasts from the moment when checks are handed to the lanes until their results arrive, or the
/// caller stops waiting. It belongs to the caller and not to the round trip, which carries the
/// checks of several callers and may outlast some of them.
#[derive(Debug)]
pub(super) struct RoundTripSpan {
    span: Span,
    /// `None` if spans are disabled, and after the results have arrived.
    started: Option<Instant>,
}

impl RoundTripSpan {
    /// Starts as a child of the current span.
    pub(super) fn start() -> Self {
        let span = debug_span!(
            target: TRACE_TARGET,
            "store round trip",
            otel.kind = "client",
            otel.status_code = Empty,
            db.system.name = "redis",
            db.operation.name = "EVALSHA",
            db.operation.batch.size = Empty,
            "error.type" = Empty,
            sluice.gathered_us = Empty,
        );
        let started = (!span.is_disabled()).then(Instant::now);
        Self { span, started }
    }

    /// Ends with the results of a round trip that was sent at `sent` and carried `checks` checks,
    /// including those of other callers.
    pub(super) fn end(&mut self, sent: Instant, checks: usize, answers: &[Answer]) {
        let Some(started) = self.started.take() else { return };
        let gathered = sent.saturating_duration_since(started).as_micros();
        self.span.record("sluice.gathered_us", i64::try_from(gathered).unwrap_or(i64::MAX));
        self.span.record("db.operation.batch.size", checks);
        let failed = answers.iter().find_map(|answer| match answer {
            Err(Miss::Failed(error)) => Some(error),
            Ok(_) | Err(Miss::Redirected(_)) => None,
        });
        if let Some(error) = failed {
            self.span.record("otel.status_code", "error");
            self.span.record("error.type", error.kind().as_str());
        }
    }
}

impl Drop for RoundTripSpan {
    fn drop(&mut self) {
        if self.started.is_some() {
            self.span.record("otel.status_code", "error");
            self.span.record("error.type", "given_up");
        }
    }
}
