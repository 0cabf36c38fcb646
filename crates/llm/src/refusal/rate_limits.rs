//! The vendors' own header fields for what remains of a limit.
//!
//! Names and forms are those of the vendors' pages on rate limits: `OpenAI` writes the time until
//! the limit is whole again as Go writes a duration (`1s`, `6m0s`), Anthropic the instant as RFC
//! 3339. Gemini has none.

use std::time::{Duration, SystemTime};

use sluice_core::Timestamp;

use crate::wire::Vendor;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Counted {
    /// Requests.
    Requests,
    /// Tokens, of input and output together.
    Tokens,
    /// Tokens of input.
    InputTokens,
    /// Tokens of output.
    OutputTokens,
}

/// What remains of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// What the limit counts.
    pub counts: Counted,
    /// How many it admits in its period.
    pub limit: u64,
    /// How many it admits now.
    pub remaining: u64,
    /// The time until it is as if nothing had been taken.
    pub reset_in: Duration,
}

const ALL: [Counted; 4] =
    [Counted::Requests, Counted::Tokens, Counted::InputTokens, Counted::OutputTokens];

/// Returns the header fields in which a vendor says what remains of limits. Where several limits
/// count the same, it is the one of which the least remains. `OpenAI` has no fields for input and
/// output alone.
#[must_use]
pub fn rate_limit_headers(
    vendor: Vendor,
    limits: &[RateLimit],
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    for counted in ALL {
        let of_kind = limits.iter().filter(|limit| limit.counts == counted);
        let least = of_kind.min_by_key(|limit| limit.remaining);
        let Some((limit, names)) = least.zip(names(vendor, counted)) else {
            continue;
        };
        let reset = match vendor {
            Vendor::Anthropic => rfc3339(now.after(limit.reset_in)),
            Vendor::OpenAi | Vendor::Gemini => go_duration(limit.reset_in),
        };
        let values = [limit.limit.to_string(), limit.remaining.to_string(), reset];
        headers.extend(names.into_iter().zip(values));
    }
    headers
}

/// Returns the fields of a vendor for a limit, for what remains of it, and for when it is whole
/// again, if the vendor has them.
const fn names(vendor: Vendor, counted: Counted) -> Option<[&'static str; 3]> {
    Some(match (vendor, counted) {
        (Vendor::OpenAi, Counted::Requests) => [
            "x-ratelimit-limit-requests",
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
        ],
        (Vendor::OpenAi, Counted::Tokens) => {
            ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"]
        }
        (Vendor::Anthropic, Counted::Requests) => [
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
        ],
        (Vendor::Anthropic, Counted::Tokens) => [
            "anthropic-ratelimit-tokens-limit",
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset",
        ],
        (Vendor::Anthropic, Counted::InputTokens) => [
            "anthropic-ratelimit-input-tokens-limit",
            "anthropic-ratelimit-input-tokens-remaining",
            "anthropic-ratelimit-input-tokens-reset",
        ],
        (Vendor::Anthropic, Counted::OutputTokens) => [
            "anthropic-ratelimit-output-tokens-limit",
            "anthropic-ratelimit-output-tokens-remaining",
            "anthropic-ratelimit-output-tokens-reset",
        ],
        (Vendor::OpenAi, Counted::InputTokens | Counted::OutputTokens) | (Vendor::Gemini, _) => {
            return None;
        }
    })
}

/// Writes a duration as Go does, rounded up to milliseconds.
fn go_duration(duration: Duration) -> String {
    let millis = duration.as_micros().div_ceil(1_000);
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1_000 {
        return format!("{millis}ms");
    }
    let (minutes, millis) = (millis / 60_000, millis % 60_000);
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    let fraction = format!(".{millis:03}");
    let fraction = fraction.trim_end_matches(['0']).trim_end_matches('.');
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, minutes) => format!("{minutes}m{seconds}{fraction}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

/// The last second that RFC 3339 can write: the end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// Writes an instant, rounded up to seconds. One before 1970 is written as the beginning of it.
fn rfc3339(at: Timestamp) -> String {
    let seconds = u64::try_from(at.unix_seconds_rounded_up()).unwrap_or(0).min(LAST_SECOND);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(counts: Counted, remaining: u64, reset_ms: u64) -> RateLimit {
        RateLimit { counts, limit: 100, remaining, reset_in: Duration::from_millis(reset_ms) }
    }

    fn lines(vendor: Vendor, limits: &[RateLimit]) -> Vec<String> {
        let now = Timestamp::from_unix_micros(1_800_000_000_000_001);
        let headers = rate_limit_headers(vendor, limits, now);
        headers.into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }

    #[test]
    fn each_vendor_has_its_own_names() {
        let limits = [
            limit(Counted::Tokens, 70, 360_000),
            limit(Counted::Requests, 9, 1_000),
            limit(Counted::Requests, 5, 12),
            limit(Counted::InputTokens, 1, 0),
            limit(Counted::OutputTokens, 2, 1),
        ];
        let openai = [
            "x-ratelimit-limit-requests: 100",
            "x-ratelimit-remaining-requests: 5",
            "x-ratelimit-reset-requests: 12ms",
            "x-ratelimit-limit-tokens: 100",
            "x-ratelimit-remaining-tokens: 70",
            "x-ratelimit-reset-tokens: 6m0s",
        ];
        assert_eq!(lines(Vendor::OpenAi, &limits), openai);
        let anthropic = lines(Vendor::Anthropic, &limits);
        assert_eq!(anthropic.len(), 12);
        for line in [
            "anthropic-ratelimit-requests-reset: 2027-01-15T08:00:01Z",
            "anthropic-ratelimit-tokens-remaining: 70",
            "anthropic-ratelimit-tokens-reset: 2027-01-15T08:06:01Z",
            "anthropic-ratelimit-input-tokens-limit: 100",
            "anthropic-ratelimit-output-tokens-reset: 2027-01-15T08:00:01Z",
        ] {
            assert!(anthropic.contains(&line.to_owned()), "{line} in {anthropic:#?}");
        }
        assert_eq!(lines(Vendor::Gemini, &limits), [""; 0]);
        assert_eq!(lines(Vendor::OpenAi, &limits[3..]), [""; 0]);
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        let cases = [
            (0, "0s"),
            (1, "1ms"),
            (999_001, "1s"),
            (1_000_000, "1s"),
            (1_500_000, "1.5s"),
            (8_640_000, "8.64s"),
            (60_000_000, "1m0s"),
            (3_600_000_000, "1h0m0s"),
            (90_061_005_000, "25h1m1.005s"),
        ];
        for (micros, text) in cases {
            assert_eq!(go_duration(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn an_instant_beyond_the_calendar_is_its_end() {
        assert_eq!(rfc3339(Timestamp::from_unix_micros(i64::MAX)), "9999-12-31T23:59:59Z");
        assert_eq!(rfc3339(Timestamp::from_unix_micros(i64::MIN)), "1970-01-01T00:00:00Z");
    }
}
