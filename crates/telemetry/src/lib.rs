//! What Sluice counts and how it is read: the OpenTelemetry set-up, the Prometheus exporter and the
//! catalogue of instruments.
//!
//! A [`Telemetry`] is built once, near `main`. It owns the exporters and hands out [`Recorders`],
//! one typed recorder per subject; nothing outside this crate names an instrument. What lies on a
//! request's way is *bound*: the caller binds its limit or endpoint once, keeps the small value it
//! gets, and recording is then a plain method call.
//!
//! ```
//! use sluice_telemetry::{SourceLabel, Telemetry};
//!
//! let telemetry = Telemetry::builder().build()?;
//! let decisions = telemetry.recorders().decisions.bind("org-writes");
//! decisions.allowed(SourceLabel::Store);
//!
//! let text = telemetry.prometheus().render()?;
//! assert!(text.contains(r#"sluice_decisions_total{limit="org-writes",outcome="allowed",source="store"} 1"#));
//! # Ok::<(), sluice_telemetry::TelemetryError>(())
//! ```
//!
//! Labels hold fixed words ([`SourceLabel`], [`OutcomeLabel`]) or names from the configuration or an
//! application. Of names only so many are kept ([`LabelSet`]): the others become `other` and are
//! counted in `sluice_labels_folded_total`. The whole list of metrics is [`catalogue`].
//!
//! The spans of a trace are made here too, of `tracing`: [`RequestSpan`] and [`DecisionSpan`]. They
//! cost next to nothing until something collects spans of their target, [`TRACE_TARGET`].
//!
//! With the feature `otlp`, metrics and traces also go to an OpenTelemetry collector, where the
//! standard `OTEL_*` variables ask for it.

mod catalogue;
mod error;
mod labels;
#[cfg(feature = "otlp")]
mod otlp;
mod prometheus;
mod recorders;
mod setup;
mod spans;

#[cfg(feature = "otlp")]
pub use self::otlp::{Otlp, join_trace, propagate_trace};
pub use self::{
    catalogue::{MAX_SERIES, Metric, MetricKind, catalogue},
    error::TelemetryError,
    labels::{Label, LabelSet, LabelValues, MAX_VALUE_BYTES, OTHER},
    prometheus::Prometheus,
    recorders::{
        Recorders,
        blueprint::BlueprintRecorder,
        custom::{
            CustomKind, CustomMetric, CustomMetricError, CustomRecorder, CustomValueError,
            MAX_CUSTOM_LABELS, MAX_CUSTOM_METRICS,
        },
        decisions::{BoundDecisions, DecisionRecorder, OutcomeLabel, SourceLabel},
        deployment::DeploymentRecorder,
        http::{BoundEndpoint, HttpRecorder, MethodLabel},
        llm::{LlmRecorder, LlmRequest},
        rate_limit::{BoundHits, RateLimitRecorder},
        replica::{BuildInfo, ReloadResult, ReplicaRecorder},
        store::{BreakerLabel, RoundTripResult, StoreErrorLabel, StoreRecorder},
        system::{ConnectionKind, OpenConnection, SystemRecorder},
        tool::ToolRecorder,
        upstream::{BoundUpstream, UpstreamFailure, UpstreamRecorder},
    },
    setup::{Telemetry, TelemetryBuilder},
    spans::{DecisionSpan, RequestSpan, TRACE_TARGET},
};
