//! Logging to standard error, and the collection of spans for traces.

mod error_chain;
mod json_lines;

use std::io::IsTerminal;

pub use self::error_chain::error_chain;
use self::json_lines::JsonLines;
use sluice_config::{LogFormat, LogSettings};
use sluice_telemetry::{TRACE_TARGET, Telemetry};
use tracing::{Dispatch, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, ParseError, filter_fn},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Starts logging for the whole process, and the collection of spans if `telemetry` sends traces.
///
/// # Errors
///
/// [`ParseError`] if the level is not a valid filter.
///
/// # Panics
///
/// If logging was started before.
pub(crate) fn start(settings: &LogSettings, telemetry: &Telemetry) -> Result<(), ParseError> {
    subscriber(settings, telemetry)?.init();
    Ok(())
}

fn subscriber(settings: &LogSettings, telemetry: &Telemetry) -> Result<Dispatch, ParseError> {
    let level = EnvFilter::builder().parse(&settings.level)?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match settings.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.event_format(JsonLines).boxed(),
    };
    // Log lines do not show the spans of traces. With this filter, these spans are not even made
    // unless traces are sent, at any log level.
    let no_spans =
        filter_fn(|metadata| !is_trace_span(metadata)).with_max_level_hint(LevelFilter::TRACE);
    let lines = lines.with_filter(level.and(no_spans));
    let registry = Registry::default().with(lines);
    Ok(match telemetry.trace_layer() {
        Some(spans) => registry
            .with(
                spans.with_filter(filter_fn(is_trace_span).with_max_level_hint(LevelFilter::DEBUG)),
            )
            .into(),
        // Not `with(None)`: a layer without a filter makes `tracing` create every span, even if the
        // layer does nothing.
        None => registry.into(),
    })
}

/// Whether `metadata` describes a span of a trace.
fn is_trace_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == TRACE_TARGET
}

#[cfg(test)]
mod tests {
    use sluice_telemetry::{DecisionSpan, MethodLabel, Otlp, RequestSpan};
    use tracing::dispatcher::with_default;

    use super::*;

    /// Whether a request's span, a decision's span and another span are made.
    fn made_with(level: &str, otlp: Otlp) -> [bool; 3] {
        let settings =
            LogSettings { format: LogFormat::Json, level: level.to_owned(), decisions: None };
        let telemetry = Telemetry::builder().otlp(otlp).build().unwrap();
        with_default(&subscriber(&settings, &telemetry).unwrap(), || {
            let request = !RequestSpan::http(MethodLabel::Get).span().is_disabled();
            [
                request,
                !DecisionSpan::single().is_disabled(),
                !tracing::info_span!("another").is_disabled(),
            ]
        })
    }

    #[test]
    fn spans_of_traces_are_made_only_if_traces_are_sent() {
        let settings =
            LogSettings { format: LogFormat::Text, level: "info".to_owned(), decisions: None };
        let telemetry = Telemetry::builder().build().unwrap();
        // Callsites compare their level with this hint before they ask a subscriber. The hint is
        // shared by all subscribers of the process, so this is not a separate test.
        let hint = with_default(&subscriber(&settings, &telemetry).unwrap(), LevelFilter::current);
        assert_eq!(hint, LevelFilter::INFO);

        // Nothing has to listen there, because the exporter connects only when it sends.
        let variable = |name: &str| {
            (name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").then(|| "http://127.0.0.1:1".to_owned())
        };
        let sent = || Otlp::from_variables(variable).unwrap();
        assert_eq!(made_with("trace", Otlp::default()), [false, false, true]);
        assert_eq!(made_with("info", sent()), [true, true, true]);
        assert_eq!(
            made_with("off", sent()),
            [true, true, false],
            "the log level does not affect traces"
        );
    }
}
