//! A check's round trip as a span, for whoever collects traces.

use std::time::Instant;

use sluice_core::Decision;
use tracing::{Span, debug_span, field::Empty};

use crate::StoreError;

/// What `sluice_telemetry::TRACE_TARGET` says; this crate does not know that one.
const TRACE_TARGET: &str = "sluice::trace";

/// From the moment checks are handed to the lanes until their answers are there, or nobody waits
/// for them any more: it belongs to who waits, since a trip that carries the checks of many may
/// outlast some of them.
#[derive(Debug)]
pub(super) struct RoundTripSpan {
    span: Span,
    /// `None` when nobody collects spans, and once the answers are there.
    started: Option<Instant>,
}

impl RoundTripSpan {
    /// Starts beneath the current span.
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

    /// The answers are there, brought by a trip that departed then with this many checks, others'
    /// included.
    pub(super) fn returned(
        mut self,
        departed: Instant,
        checks: usize,
        answers: &[Result<Decision, StoreError>],
    ) {
        let Some(started) = self.started.take() else { return };
        let gathered = departed.saturating_duration_since(started).as_micros();
        self.span.record("sluice.gathered_us", i64::try_from(gathered).unwrap_or(i64::MAX));
        self.span.record("db.operation.batch.size", checks);
        if let Some(Err(error)) = answers.iter().find(|answer| answer.is_err()) {
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
