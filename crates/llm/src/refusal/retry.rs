//! When to try again, as the SDKs read it.
//!
//! `_parse_retry_after_header` and `_should_retry` in openai-python and anthropic-sdk-python
//! (`_base_client.py`): `retry-after-ms` comes before `retry-after`, `x-should-retry` before the
//! status. Their releases until 2025 do not obey a wait above a minute: they try again much sooner,
//! by a schedule of their own. openai-python 3 obeys two minutes, anthropic-sdk-python 2 sleeps for
//! as long as it is told. python-genai reads no header.

use std::time::Duration;

use sluice_core::Retry;

/// The longest wait that every SDK obeys.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Returns the header fields that say when to send a denied request again.
///
/// `x-should-retry: false` makes an SDK report the denial at once: where no wait helps, and where
/// the wait is longer than a minute, which some SDKs cut short and others sleep through.
#[must_use]
pub fn retry_headers(retry: Retry) -> Vec<(&'static str, String)> {
    let never = || ("x-should-retry", "false".to_owned());
    match retry {
        Retry::Now => Vec::new(),
        Retry::Never => vec![never()],
        Retry::After(wait) => {
            // A wait of 0 would be none: SDKs then use a schedule of their own.
            let millis = wait.as_micros().div_ceil(1_000).max(1);
            let seconds = millis.div_ceil(1_000);
            let mut headers =
                vec![("retry-after-ms", millis.to_string()), ("retry-after", seconds.to_string())];
            headers.extend((wait > LONGEST_WAIT).then(never));
            headers
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(micros: u64) -> Vec<String> {
        let headers = retry_headers(Retry::After(Duration::from_micros(micros)));
        headers.into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }

    #[test]
    fn waits_are_rounded_up_and_never_zero() {
        assert_eq!(after(0), ["retry-after-ms: 1", "retry-after: 1"]);
        assert_eq!(after(1_500_001), ["retry-after-ms: 1501", "retry-after: 2"]);
        assert_eq!(after(2_000_000), ["retry-after-ms: 2000", "retry-after: 2"]);
    }

    #[test]
    fn above_a_minute_and_where_no_wait_helps_an_sdk_is_not_to_retry() {
        assert_eq!(after(60_000_000), ["retry-after-ms: 60000", "retry-after: 60"]);
        let long = ["retry-after-ms: 60001", "retry-after: 61", "x-should-retry: false"];
        assert_eq!(after(60_000_001), long);
        assert_eq!(retry_headers(Retry::Never), [("x-should-retry", "false".to_owned())]);
        assert_eq!(retry_headers(Retry::Now), []);
    }
}
