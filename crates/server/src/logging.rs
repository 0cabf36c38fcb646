//! Where the process says what happens to it: structured lines on standard error, and spans to
//! where traces are collected.

use std::io::IsTerminal;

use sluice_telemetry::{TRACE_TARGET, Telemetry};
use tracing::{Dispatch, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, ParseError, filter_fn},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use sluice_config::{LogFormat, LogSettings};

/// Starts logging for the whole process, as the first to do so, and the collecting of spans if
/// `telemetry` sends traces.
///
/// # Errors
/// When the level is no filter.
///
/// # Panics
/// When logging was started already.
pub(crate) fn start(settings: &LogSettings, telemetry: &Telemetry) -> Result<(), ParseError> {
    subscriber(settings, telemetry)?.init();
    Ok(())
}

fn subscriber(settings: &LogSettings, telemetry: &Telemetry) -> Result<Dispatch, ParseError> {
    let level = EnvFilter::builder().parse(&settings.level)?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match settings.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    // Lines show no spans of traces, so that where these go nowhere they are not made at all,
    // whatever the level.
    let no_spans = filter_fn(|made| !is_traced(made)).with_max_level_hint(LevelFilter::TRACE);
    let lines = lines.with_filter(level.and(no_spans));
    let registry = Registry::default().with(lines);
    Ok(match telemetry.trace_layer() {
        Some(spans) => registry
            .with(spans.with_filter(filter_fn(is_traced).with_max_level_hint(LevelFilter::DEBUG)))
            .into(),
        // Not `with(None)`: a layer that has no filter, though it does nothing, has every span
        // made.
        None => registry.into(),
    })
}

/// Whether something is a span of a trace.
fn is_traced(made: &Metadata<'_>) -> bool {
    made.is_span() && made.target() == TRACE_TARGET
}

#[cfg(test)]
mod tests {
    use sluice_telemetry::{DecisionSpan, MethodLabel, Otlp, RequestSpan};
    use tracing::dispatcher::with_default;

    use super::*;

    fn made_with(level: &str, otlp: Otlp) -> [bool; 3] {
        let settings = LogSettings { format: LogFormat::Json, level: level.to_owned() };
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
    fn spans_of_traces_are_made_where_traces_are_sent_and_only_there() {
        let settings = LogSettings { format: LogFormat::Text, level: "info".to_owned() };
        let telemetry = Telemetry::builder().build().unwrap();
        // What callsites compare their level with, before anybody is asked about them. The process
        // has one for all subscribers, hence not a test of its own.
        let hint = with_default(&subscriber(&settings, &telemetry).unwrap(), LevelFilter::current);
        assert_eq!(hint, LevelFilter::INFO);

        // Nobody has to be there: whoever sends does not look before it has something to send.
        let variable = |name: &str| {
            (name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").then(|| "http://127.0.0.1:1".to_owned())
        };
        let sent = || Otlp::from_variables(variable).unwrap();
        assert_eq!(made_with("trace", Otlp::default()), [false, false, true]);
        assert_eq!(made_with("info", sent()), [true, true, true]);
        assert_eq!(
            made_with("off", sent()),
            [true, true, false],
            "what is logged is another matter"
        );
    }
}
