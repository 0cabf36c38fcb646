//! Why an event is rejected, and the checks of its fields.

use std::time::Duration;

use sluice_core::{Currency, MicroUnits, MoneyError, TokenUsageError};
use sluice_telemetry::{CustomValueError, MAX_VALUE_BYTES};

use crate::convert::micros;

/// The largest count in an event. The sums of ten million such events do not overflow.
const MAX_COUNT: u64 = 1_000_000_000_000;
/// The longest endpoint in an event, in bytes: servers accept few paths that are longer.
const MAX_ENDPOINT_BYTES: usize = 8_192;
/// The largest cost in an event.
pub const MAX_EVENT_COST: MicroUnits = MicroUnits::from_units(1_000_000);
/// The longest duration in an event.
const MAX_DURATION: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// Why an event is rejected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// A name is empty, too long, or contains control characters.
    #[error("{field} must be 1 to {MAX_VALUE_BYTES} bytes of text without control characters")]
    Name {
        /// The field's name.
        field: String,
    },
    /// A count is too large.
    #[error("{field}: {number} is too large: an event counts at most {MAX_COUNT}")]
    Count {
        /// The field's name.
        field: &'static str,
        /// The count.
        number: u64,
    },
    /// A duration is too long.
    #[error("duration_seconds: {seconds} is too long: at most {}", MAX_DURATION.as_secs())]
    Duration {
        /// The duration, in whole seconds.
        seconds: u64,
    },
    /// An endpoint is not a path.
    #[error("endpoint: must be a path that begins with `/`, of at most {MAX_ENDPOINT_BYTES} bytes")]
    Endpoint,
    /// A status is no HTTP status.
    #[error("status: {status} is not an HTTP status: send a number from 100 to 599")]
    Status {
        /// The status.
        status: u64,
    },
    /// A share is not between 0 and 1.
    #[error("{field}: {number} is not a share: write a number from 0 to 1")]
    Share {
        /// The field's name.
        field: &'static str,
        /// The number.
        number: f64,
    },
    /// A cost is not an amount of money.
    #[error("cost: {number} {reason}")]
    Cost {
        /// The cost.
        number: f64,
        /// What is wrong with it.
        reason: MoneyError,
    },
    /// A currency is not one.
    #[error("currency: `{text}` is not a currency: write three capital letters, as in `USD`")]
    Currency {
        /// The currency.
        text: String,
    },
    /// A currency without the cost that it is for.
    #[error("currency: the cost is missing: add `cost`, or remove `currency`")]
    CurrencyWithoutCost,
    /// More tokens were read from a cache and written to it than were consumed.
    #[error("tokens_cached: {0}")]
    CachedTokens(#[from] TokenUsageError),
    /// A number of resources without the name of the blueprint that has them.
    #[error("resources: the blueprint is missing: add `blueprint` with its name")]
    ResourcesWithoutBlueprint,
    /// A custom metric is not declared, or is declared differently.
    #[error(transparent)]
    Custom(#[from] CustomValueError),
}

pub(super) fn check_name(field: &str, text: &str) -> Result<(), EventError> {
    let is_valid =
        (1..=MAX_VALUE_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
    if is_valid {
        Ok(())
    } else {
        Err(EventError::Name { field: field.chars().take(MAX_VALUE_BYTES).collect() })
    }
}

pub(super) fn check_optional_name(field: &str, text: Option<&str>) -> Result<(), EventError> {
    text.map_or(Ok(()), |text| check_name(field, text))
}

pub(super) const fn check_count(field: &'static str, number: u64) -> Result<(), EventError> {
    if number <= MAX_COUNT { Ok(()) } else { Err(EventError::Count { field, number }) }
}

pub(super) fn check_endpoint(text: &str) -> Result<(), EventError> {
    let is_path = text.starts_with('/') && text.len() <= MAX_ENDPOINT_BYTES;
    if is_path { Ok(()) } else { Err(EventError::Endpoint) }
}

pub(super) const fn check_status(status: u64) -> Result<(), EventError> {
    match status {
        100..600 => Ok(()),
        _ => Err(EventError::Status { status }),
    }
}

pub(super) const fn check_duration(duration: Duration) -> Result<(), EventError> {
    if duration.as_nanos() <= MAX_DURATION.as_nanos() {
        Ok(())
    } else {
        Err(EventError::Duration { seconds: duration.as_secs() })
    }
}

pub(super) fn check_share(field: &'static str, number: f64) -> Result<(), EventError> {
    if (0.0..=1.0).contains(&number) { Ok(()) } else { Err(EventError::Share { field, number }) }
}

/// The reported cost and its currency; `default` is the currency of a cost that names none.
pub(super) fn checked_cost(
    cost: Option<f64>,
    currency: Option<&str>,
    default: Currency,
) -> Result<Option<(MicroUnits, Currency)>, EventError> {
    let currency = currency.map(|text| {
        let shown = || text.chars().take(16).collect();
        text.parse::<Currency>().map_err(|_| EventError::Currency { text: shown() })
    });
    let currency = currency.transpose()?;
    let Some(number) = cost else {
        return if currency.is_some() { Err(EventError::CurrencyWithoutCost) } else { Ok(None) };
    };
    let cost = MicroUnits::rounded_up(number, MAX_EVENT_COST)
        .map_err(|reason| EventError::Cost { number, reason })?;
    Ok(Some((cost, currency.unwrap_or(default))))
}

/// The instance's name, as gauge keys have it: empty if the report covers all instances.
pub(super) fn checked_instance(name: Option<&str>) -> Result<&str, EventError> {
    check_optional_name("instance", name).map(|()| name.unwrap_or_default())
}

/// The duration in microseconds.
pub(super) fn checked_micros(duration: Option<Duration>) -> Result<Option<u64>, EventError> {
    duration.map_or(Ok(()), check_duration)?;
    Ok(duration.map(micros))
}
