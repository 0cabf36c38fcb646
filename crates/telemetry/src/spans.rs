//! Typed spans for traces. No other code names a span or its attributes, except for the store,
//! which names the spans of its round trips.
//!
//! No attribute contains a client, an address or a raw path.

use tracing::{Span, debug_span, field::Empty};

use crate::{
    labels::OTHER,
    recorders::{
        decisions::{OutcomeLabel, SourceLabel},
        http_method::MethodLabel,
    },
};

/// The target of all spans that are made for traces. Their level is `debug`, so that a program that
/// only logs does not make them.
pub const TRACE_TARGET: &str = "sluice::trace";

/// The span of a request, from the request's head to the head of its response. Ends when it is
/// dropped.
#[derive(Clone, Debug)]
pub struct RequestSpan(Span);

/// The span of one decision or of a batch, from the matching of limits to the result. Ends when it
/// is dropped.
#[derive(Debug)]
pub struct DecisionSpan(Span);

// === impl RequestSpan ===

impl RequestSpan {
    /// Starts the span of an HTTP request, as a child of the current span if there is one.
    #[must_use]
    pub fn http(method: MethodLabel) -> Self {
        Self(debug_span!(
            target: TRACE_TARGET,
            "request",
            otel.kind = "server",
            otel.name = method.as_str(),
            otel.status_code = Empty,
            http.request.method = method.as_str(),
            http.route = Empty,
            http.response.status_code = Empty,
        ))
    }

    /// Starts the span of a gRPC call, as a child of the current span if there is one.
    #[must_use]
    pub fn rpc(service: &'static str, method: &'static str) -> Self {
        Self(debug_span!(
            target: TRACE_TARGET,
            "call",
            otel.kind = "server",
            otel.name = format_args!("{service}/{method}"),
            otel.status_code = Empty,
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = method,
            rpc.grpc.status_code = Empty,
        ))
    }

    /// Returns the span, so that the request's work can run in it.
    #[must_use]
    pub const fn span(&self) -> &Span {
        &self.0
    }

    /// Records the response: its status, and the pattern that matched the request, or [`OTHER`].
    /// Where spans are sent, the span's name becomes one like `GET /orders`.
    #[cfg_attr(
        not(feature = "otlp"),
        expect(unused_variables, reason = "the method is only part of the span's name")
    )]
    pub fn responded(&self, method: MethodLabel, endpoint: &str, status: u16) {
        if self.0.is_disabled() {
            return;
        }
        if endpoint != OTHER {
            self.0.record("http.route", endpoint);
            // The layer that sends spans accepts a name from a field only until the span is
            // entered.
            #[cfg(feature = "otlp")]
            crate::otlp::rename(&self.0, format!("{} {endpoint}", method.as_str()));
        }
        self.0.record("http.response.status_code", status);
        // A client's error is not an error of the server's span.
        if status >= 500 {
            self.0.record("otel.status_code", "error");
        }
    }

    /// Records the gRPC status of the response. `status` is called only if the span is enabled.
    pub fn grpc_responded(&self, status: impl FnOnce() -> i32) {
        // The statuses that OpenTelemetry's conventions list as errors of the server.
        const SERVER_ERRORS: [i32; 6] = [2, 4, 12, 13, 14, 15];
        if self.0.is_disabled() {
            return;
        }
        let status = status();
        self.0.record("rpc.grpc.status_code", status);
        if SERVER_ERRORS.contains(&status) {
            self.0.record("otel.status_code", "error");
        }
    }
}

// === impl DecisionSpan ===

impl DecisionSpan {
    /// Starts the span of one decision, as a child of the current span if there is one.
    #[must_use]
    pub fn single() -> Self {
        Self(debug_span!(
            target: TRACE_TARGET,
            "decision",
            otel.status_code = Empty,
            sluice.action = Empty,
            sluice.limit = Empty,
            sluice.endpoint = Empty,
            sluice.outcome = Empty,
            sluice.source = Empty,
        ))
    }

    /// Starts the span of a batch of decisions, as a child of the current span if there is one.
    #[must_use]
    pub fn batch(checks: usize) -> Self {
        Self(debug_span!(
            target: TRACE_TARGET,
            "decisions",
            otel.status_code = Empty,
            sluice.checks = checks,
            sluice.allowed = Empty,
            sluice.denied = Empty,
            sluice.undecided = Empty,
        ))
    }

    /// Whether the span is not collected, so that its attributes need not be computed.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.0.is_disabled()
    }

    /// Runs `work` in the span. Spans made by `work` become its children.
    pub fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.in_scope(work)
    }

    /// Records what the check does with tokens, such as `take` or `peek`.
    pub fn set_action(&self, action: &'static str) {
        self.0.record("sluice.action", action);
    }

    /// Records the pattern that matches the request's path.
    pub fn set_endpoint(&self, pattern: &str) {
        self.0.record("sluice.endpoint", pattern);
    }

    /// Records the decision, where it was made, and the binding limit if there is one.
    pub fn set_decision(&self, outcome: OutcomeLabel, source: SourceLabel, limit: Option<&str>) {
        self.0.record("sluice.outcome", outcome.as_str());
        self.0.record("sluice.source", source.as_str());
        if let Some(limit) = limit {
            self.0.record("sluice.limit", limit);
        }
    }

    /// Records that no decision could be made, either because the store failed or because the check
    /// was invalid.
    pub fn set_undecided(&self) {
        self.0.record("sluice.outcome", OutcomeLabel::Error.as_str());
    }

    /// Records how many checks of a batch had each result.
    pub fn set_batch_counts(&self, allowed: usize, denied: usize, undecided: usize) {
        self.0.record("sluice.allowed", allowed);
        self.0.record("sluice.denied", denied);
        self.0.record("sluice.undecided", undecided);
    }

    /// Marks the span as failed, because a valid check could not be decided.
    pub fn mark_failed(&self) {
        self.0.record("otel.status_code", "error");
    }
}

impl Drop for DecisionSpan {
    fn drop(&mut self) {
        // A span that was entered ends at its last exit. The task may have waited since then, so
        // the span is entered once more to make it end now.
        self.0.in_scope(|| ());
    }
}
