//! Sluice's metrics and traces: the catalogue of metrics, typed recorders for them, and the
//! exporters for Prometheus and OTLP.
//!
//! Build a [`Telemetry`] once, in `main`. It owns the exporters and returns [`Recorders`], one
//! typed recorder for each subject. No other crate uses an instrument directly. Recorders on the
//! path of a request are *bound*: the caller binds a limit or an endpoint once, keeps the small
//! value that it gets, and then records with a plain method call.
//!
//! ```
//! use sluice_telemetry::{SourceLabel, Telemetry};
//!
//! let telemetry = Telemetry::builder().build()?;
//! let decisions = telemetry.recorders().decisions.bind("org-writes");
//! decisions.allowed(SourceLabel::Store);
//!
//! let text = telemetry.prometheus().render()?;
//! let line = r#"sluice_decisions_total{limit="org-writes",outcome="allowed",source="store"} 1"#;
//! assert!(text.contains(line));
//! # Ok::<(), sluice_telemetry::TelemetryError>(())
//! ```
//!
//! A label has either fixed values, such as [`SourceLabel`], or names from the configuration or an
//! application. Only a limited number of names is kept; further names become [`OTHER`] and are
//! counted in `sluice_labels_folded_total`. [`catalogue`] lists all metrics.
//!
//! [`RequestSpan`] and [`DecisionSpan`] make the spans of a trace with `tracing`. They cost very
//! little until a subscriber collects spans of their target, [`TRACE_TARGET`].
//!
//! With the feature `otlp`, metrics and traces are also sent to an OpenTelemetry collector, if the
//! standard `OTEL_*` variables request it.
//!
//! The files depend on each other in one direction: `metric` says what a metric is, `labels` what
//! label values are; a file in `recorders` defines the metrics of one subject; `catalogue` lists
//! them all; `setup` connects them to the exporters.

mod catalogue;
mod custom_metric;
mod error;
mod labels;
mod metric;
#[cfg(feature = "otlp")]
mod otlp;
mod prometheus;
mod recorders;
mod setup;
mod spans;

pub use opentelemetry::metrics::Meter;
pub use opentelemetry_sdk::metrics::reader::MetricReader;

#[cfg(feature = "otlp")]
pub use self::otlp::{Otlp, join_trace, propagate_trace};
pub use self::{
    catalogue::catalogue,
    custom_metric::{CustomMetricError, MAX_CUSTOM_LABELS},
    error::TelemetryError,
    labels::{MAX_VALUE_BYTES, OTHER},
    metric::{Label, LabelValues, MAX_SERIES, Metric, MetricKind},
    prometheus::Prometheus,
    recorders::{
        all::Recorders,
        blueprint::BlueprintRecorder,
        certificates::{CertificateRecorder, TlsSection},
        clients::ClientRecorder,
        cost::{CostRecorder, MonthCost},
        custom::{CustomKind, CustomMetric, CustomRecorder, CustomValueError, MAX_CUSTOM_METRICS},
        decisions::{BoundDecisions, DecisionRecorder, OutcomeLabel, SourceLabel},
        deployment::DeploymentRecorder,
        exports::{ExportRecorder, Signal},
        history::HistoryRecorder,
        holds::{
            HoldOutcome, HoldRecorder, HoldRefusal, HoldRequestLabel, HoldStepLabel, HoldTokens,
            SettlementOutcome,
        },
        http::{HTTP_DURATION_BOUNDARIES, HttpRecorder},
        http_endpoint::{BoundEndpoint, CompletedResponse},
        http_exempt::ExemptRecorder,
        http_method::MethodLabel,
        llm::{LlmRecorder, LlmRequest},
        models::{ModelRecorder, ModelRefusal, ModelVendor},
        rate_limit::{BoundHits, RateLimitRecorder},
        replica::{BuildInfo, ReloadResult, ReplicaRecorder},
        rls::{BoundRlsDomain, RlsCode, RlsRecorder},
        slo::{SloRecorder, SloState},
        slots::{OnLostLabel, SlotRecorder},
        store::{BreakerLabel, RoundTripResult, StoreErrorLabel, StoreRecorder},
        system::{ConnectionEnd, ConnectionKind, OpenConnection, SystemRecorder},
        tool::ToolRecorder,
        upstream::{BoundUpstream, UpstreamFailure, UpstreamRecorder},
    },
    setup::{Telemetry, TelemetryBuilder},
    spans::{DecisionSpan, RequestSpan, TRACE_TARGET},
};
