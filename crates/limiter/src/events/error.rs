//! What cannot be right in an event.

use std::time::Duration;

use sluice_telemetry::{CustomValueError, MAX_VALUE_BYTES};

use crate::figures::micros;

/// The most of anything that one event tells: sums of ten million such events still fit.
const MAX_COUNT: u64 = 1_000_000_000_000;
/// The longest that anything takes which one event tells.
const MAX_SPAN: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// Why an event was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// A name is missing, too long, or unprintable.
    #[error("{field} must be 1 to {MAX_VALUE_BYTES} bytes of text without control characters")]
    Name {
        /// Which.
        field: String,
    },
    /// A count is absurd.
    #[error("{field}: {number} is more than an event can tell: at most {MAX_COUNT}")]
    Count {
        /// Which.
        field: &'static str,
        /// The number.
        number: u64,
    },
    /// A duration is absurd.
    #[error("duration_seconds: {seconds} is longer than an event can tell: at most {}", MAX_SPAN.as_secs())]
    Span {
        /// The duration, in whole seconds.
        seconds: u64,
    },
    /// A share is below nothing, or above all.
    #[error("{field}: {number} is no share: write a number from 0 to 1")]
    Share {
        /// Which.
        field: &'static str,
        /// The number.
        number: f64,
    },
    /// Resources, and nobody knows of what.
    #[error("resources are those of a blueprint: add `blueprint` with its name")]
    ResourcesOfNothing,
    /// A metric that was not declared so.
    #[error(transparent)]
    Custom(#[from] CustomValueError),
}

pub(super) fn name(field: &str, text: &str) -> Result<(), EventError> {
    let fits = (1..=MAX_VALUE_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
    if fits {
        Ok(())
    } else {
        Err(EventError::Name { field: field.chars().take(MAX_VALUE_BYTES).collect() })
    }
}

/// The instance's name; empty for the whole.
pub(super) fn instance(text: Option<&str>) -> Result<&str, EventError> {
    let Some(text) = text else { return Ok("") };
    name("instance", text).map(|()| text)
}

pub(super) const fn number(field: &'static str, number: u64) -> Result<(), EventError> {
    if number <= MAX_COUNT { Ok(()) } else { Err(EventError::Count { field, number }) }
}

/// The duration in microseconds.
pub(super) fn span(span: Option<Duration>) -> Result<Option<u64>, EventError> {
    match span {
        Some(span) if span > MAX_SPAN => Err(EventError::Span { seconds: span.as_secs() }),
        span => Ok(span.map(micros)),
    }
}

pub(super) fn share(field: &'static str, number: f64) -> Result<(), EventError> {
    if (0.0..=1.0).contains(&number) { Ok(()) } else { Err(EventError::Share { field, number }) }
}
