//! Where the process says what happens to it: structured lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, Layer, Registry, filter::ParseError, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{LogFormat, LogSettings};

/// Starts logging for the whole process, as the first to do so.
///
/// # Errors
/// When the level is no filter.
///
/// # Panics
/// When logging was started already.
pub(crate) fn start(settings: &LogSettings) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(&settings.level)?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let layer = match settings.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    Registry::default().with(layer.with_filter(filter)).init();
    Ok(())
}
