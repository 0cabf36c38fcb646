//! How long the caller of a gRPC call waits.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

const GRPC_TIMEOUT: &str = "grpc-timeout";
/// The most digits of a `grpc-timeout`, by the protocol.
const MAX_DIGITS: usize = 8;

/// What the response needs to arrive before the caller gives up: the way here and back, and a late
/// turn of either process.
const MARGIN: Duration = Duration::from_millis(3);

/// The time until which a decision is of use to its caller; none if the caller did not say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallDeadline(Option<Instant>);

impl CallDeadline {
    /// The deadline of a caller that did not say how long it waits.
    pub(crate) const NONE: Self = Self(None);

    /// Returns the deadline of a call that arrived now with these header fields. A field that is
    /// not a `grpc-timeout` of the protocol says nothing.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let timeout = headers.get(GRPC_TIMEOUT).and_then(|value| parse(value.as_bytes()));
        Self(timeout.and_then(|timeout| Instant::now().checked_add(timeout.saturating_sub(MARGIN))))
    }

    /// Returns the earlier one of this deadline and `timeout` from now.
    pub(crate) fn at_most(self, timeout: Duration) -> Self {
        let latest = Instant::now().checked_add(timeout);
        Self(self.0.into_iter().chain(latest).min())
    }

    /// Returns how long the caller still waits: zero once it is too late.
    pub(crate) fn within(self) -> Option<Duration> {
        self.0.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// Parses up to 8 digits and a unit.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_timeout_is_up_to_eight_digits_and_a_unit() {
        for (text, expected) in [
            ("20m", Some(Duration::from_millis(20))),
            ("0n", Some(Duration::ZERO)),
            ("1S", Some(Duration::from_secs(1))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("00000015u", Some(Duration::from_micros(15))),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("m", None),
            ("20", None),
            ("20 m", None),
            ("+20m", None),
            ("-20m", None),
            ("1.5S", None),
            ("20s", None),
            ("999999999m", None),
            ("99999999999999999999999H", None),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(parse(b"\xff\xffm"), None);
    }

    #[test]
    fn a_deadline_leaves_time_for_the_response() {
        let within = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, HeaderValue::from_str(value).unwrap());
            CallDeadline::of(&headers).within()
        };
        assert!(within("20m").unwrap() <= Duration::from_millis(17));
        assert_eq!(within("3m"), Some(Duration::ZERO));
        assert_eq!(within("0m"), Some(Duration::ZERO));
        assert_eq!(within("soon"), None);
        assert!(within("99999999H").is_none_or(|within| within > Duration::from_secs(3_600)));
        assert_eq!(CallDeadline::of(&HeaderMap::new()).within(), None);
    }
}
