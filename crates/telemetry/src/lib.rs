//! What Sluice counts and how it is read: the OpenTelemetry set-up, the Prometheus exporter and the
//! catalogue of instruments.
//!
//! A [`Telemetry`] is built once, near `main`. It owns the exporters and hands out [`Recorders`],
//! one typed recorder per subject; nothing outside this crate names an instrument. What lies on a
//! request's way is *bound*: the caller binds its limit or endpoint once, keeps the small value it
//! gets, and recording is then a plain method call.
//!
//! ```
//! use sluice_telemetry::{Source, Telemetry};
//!
//! let telemetry = Telemetry::builder().build()?;
//! let decisions = telemetry.recorders().decisions.bind("org-writes");
//! decisions.allowed(Source::Store);
//!
//! let text = telemetry.prometheus().render()?;
//! assert!(text.contains(r#"sluice_decisions_total{limit="org-writes",outcome="allowed",source="store"} 1"#));
//! # Ok::<(), sluice_telemetry::TelemetryError>(())
//! ```
//!
//! Labels hold fixed words ([`Source`], [`Outcome`]) or names from the configuration or an
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
pub use self::otlp::{Otlp, join_trace, pass_trace_on};
pub use self::{
    catalogue::{Kind, MAX_SERIES, Metric, catalogue},
    error::TelemetryError,
    labels::{Label, LabelSet, MAX_VALUE_BYTES, OTHER, Values},
    prometheus::Prometheus,
    recorders::{
        Recorders,
        blueprint::BlueprintRecorder,
        custom::{
            CustomError, CustomKind, CustomMetric, CustomMetricError, CustomRecorder,
            MAX_CUSTOM_LABELS, MAX_CUSTOM_METRICS,
        },
        decisions::{BoundDecisions, DecisionRecorder, Outcome, Source},
        deployment::DeploymentRecorder,
        http::{BoundEndpoint, HttpRecorder, Method},
        llm::{LlmRecorder, LlmRequest},
        rate_limit::{BoundHits, RateLimitRecorder},
        replica::{BuildInfo, Reload, ReplicaRecorder},
        store::{Breaker, RoundTrip, StoreFault, StoreRecorder},
        system::{Connection, OpenConnection, Scope, SystemRecorder},
        tool::ToolRecorder,
        upstream::{BoundUpstream, UpstreamRecorder, UpstreamResult},
    },
    setup::{Builder, Telemetry},
    spans::{DecisionSpan, RequestSpan, TRACE_TARGET},
};
