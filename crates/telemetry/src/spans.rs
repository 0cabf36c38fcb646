//! The spans of a trace, typed as the instruments are: nothing else names a span or its attributes,
//! but the store, which names its own round trips.
//!
//! No attribute holds a client, an address or a raw path.

use tracing::{Span, debug_span, field::Empty};

use crate::{MethodLabel, OTHER, OutcomeLabel, SourceLabel};

/// The target of all spans that are made for traces. They are at level `debug`, so that nobody who
/// only logs pays for them.
pub const TRACE_TARGET: &str = "sluice::trace";

/// A request, from its head to the head of its answer. Ends when it is dropped.
#[derive(Clone, Debug)]
pub struct RequestSpan(Span);

/// A decision, or those of a batch, from the matching of limits to the answer. Ends when it is
/// dropped.
#[derive(Debug)]
pub struct DecisionSpan(Span);

// === impl RequestSpan ===

impl RequestSpan {
    /// Starts the span of a request over HTTP, beneath the current one if there is one.
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

    /// Starts the span of a call by gRPC, beneath the current one if there is one.
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

    /// The span, to run the request's work in.
    #[must_use]
    pub const fn span(&self) -> &Span {
        &self.0
    }

    /// The request was answered: with this status, under this pattern or [`OTHER`]. Where spans are
    /// sent, it is then called `GET /orders`.
    #[cfg_attr(
        not(feature = "otlp"),
        expect(unused_variables, reason = "the method is for the name alone")
    )]
    pub fn responded(&self, method: MethodLabel, endpoint: &str, status: u16) {
        if self.0.is_disabled() {
            return;
        }
        if endpoint != OTHER {
            self.0.record("http.route", endpoint);
            // The layer that sends spans takes a field's value for a name only while the span has
            // not been entered.
            #[cfg(feature = "otlp")]
            crate::otlp::rename(&self.0, format!("{} {endpoint}", method.as_str()));
        }
        self.0.record("http.response.status_code", status);
        // What the client did wrong is no error of the server's span.
        if status >= 500 {
            self.0.record("otel.status_code", "error");
        }
    }

    /// The call was answered with this status of gRPC's, which is looked for if the span is made.
    pub fn grpc_responded(&self, status: impl FnOnce() -> i32) {
        // Those that are the server's fault, as the conventions of OpenTelemetry list them.
        const FAULTS: [i32; 6] = [2, 4, 12, 13, 14, 15];
        if self.0.is_disabled() {
            return;
        }
        let status = status();
        self.0.record("rpc.grpc.status_code", status);
        if FAULTS.contains(&status) {
            self.0.record("otel.status_code", "error");
        }
    }
}

// === impl DecisionSpan ===

impl DecisionSpan {
    /// Starts the span of one decision, beneath the current one if there is one.
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

    /// Starts the span of a batch of decisions, beneath the current one if there is one.
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

    /// Whether nobody looks: then there is nothing to find out for it either.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.0.is_disabled()
    }

    /// Does `what` inside of the span, so that spans made meanwhile lie beneath it.
    pub fn in_scope<T>(&self, what: impl FnOnce() -> T) -> T {
        self.0.in_scope(what)
    }

    /// What was to be done with the tokens: `take`, `peek`.
    pub fn set_action(&self, action: &'static str) {
        self.0.record("sluice.action", action);
    }

    /// The pattern that covers the request's path.
    pub fn set_endpoint(&self, pattern: &str) {
        self.0.record("sluice.endpoint", pattern);
    }

    /// Who decided what; `limit` binds, if any applies.
    pub fn set_decision(&self, outcome: OutcomeLabel, source: SourceLabel, limit: Option<&str>) {
        self.0.record("sluice.outcome", outcome.as_str());
        self.0.record("sluice.source", source.as_str());
        if let Some(limit) = limit {
            self.0.record("sluice.limit", limit);
        }
    }

    /// It could not be decided, be it that the store failed or that nothing sensible was asked.
    pub fn set_undecided(&self) {
        self.0.record("sluice.outcome", OutcomeLabel::Error.as_str());
    }

    /// How the decisions of a batch came out.
    pub fn set_batch_counts(&self, allowed: usize, denied: usize, undecided: usize) {
        self.0.record("sluice.allowed", allowed);
        self.0.record("sluice.denied", denied);
        self.0.record("sluice.undecided", undecided);
    }

    /// Something is undecided that should have been decided: the span has failed.
    pub fn mark_failed(&self) {
        self.0.record("otel.status_code", "error");
    }
}

impl Drop for DecisionSpan {
    fn drop(&mut self) {
        // A span that was entered lasts until it was last left, and the answer may have been waited
        // for since.
        self.0.in_scope(|| ());
    }
}
