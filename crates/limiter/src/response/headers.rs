//! Writes the header fields that report a decision to the client.
//!
//! Two conventions report the same state:
//!
//! - The older one: `X-RateLimit-Limit` (tokens per period of the limit that binds, as written: 10
//!   of 10/hour), `X-RateLimit-Remaining`, and `X-RateLimit-Reset` (when the bucket is full, in
//!   Unix seconds). The first is the burst where that is larger, since no more than it may remain.
//! - The newer one, draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy:
//!   "default";q=60;w=60` (60 tokens every 60 seconds) and `RateLimit: "default";r=9;t=1` (9 tokens
//!   left, full in one second). Each enforced limit that applies has an item, and the one that
//!   binds is first.
//!
//! A quota has its tokens in the place of the burst, and the end of its window in the place of when
//! the bucket is full. A limit on requests in flight has no `X-RateLimit-Reset`, and its items say
//! `q=20;qu="concurrent-requests"` and `r=5`.
//!
//! A denial that ends by waiting also has `Retry-After`. When no limit applies, there are no
//! fields. All seconds are rounded up, so that a client that waits as long never returns too early.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use sluice_core::{Algorithm, Decision, Limit, RefillRate, Timestamp, Verdict, whole_seconds};

/// The name of a header field, as text and as a [`HeaderName`].
#[derive(Debug)]
pub struct Name {
    text: &'static str,
    header: HeaderName,
}

impl Name {
    const fn new(text: &'static str) -> Self {
        Self { text, header: HeaderName::from_static(text) }
    }

    /// Returns the name, in lower case.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        self.text
    }
}

pub(super) static X_LIMIT: Name = Name::new("x-ratelimit-limit");
pub(super) static X_REMAINING: Name = Name::new("x-ratelimit-remaining");
pub(super) static X_RESET: Name = Name::new("x-ratelimit-reset");
pub(super) static POLICY: Name = Name::new("ratelimit-policy");
pub(super) static STATE: Name = Name::new("ratelimit");
pub(super) static RETRY: Name = Name::new("retry-after");

/// The largest number of fields that a decision has.
pub const MOST_FIELDS: usize = 6;

/// The fields in the order in which they are written. One whose value is empty is absent.
static ORDER: [&Name; MOST_FIELDS] = [&X_LIMIT, &X_REMAINING, &X_RESET, &POLICY, &STATE, &RETRY];

/// A map with a content type and the names of the fields of an admission that has a reset, in their
/// order. To copy it takes half the time of inserting each name, for which a map has to hash it.
static ADMITTED: LazyLock<HeaderMap> = LazyLock::new(|| {
    let mut headers = HeaderMap::with_capacity(MOST_FIELDS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(""));
    for name in &ORDER[..MOST_FIELDS - 1] {
        headers.insert(name.header.clone(), HeaderValue::from_static(""));
    }
    headers
});

/// The largest number in a structured field (RFC 9651, section 3.3.1).
const MAX_STRUCTURED_INTEGER: u64 = 999_999_999_999_999;
/// Capacity for the values of one limit with a name of usual length, so that one allocation is
/// enough for all fields.
const USUAL_BYTES: usize = 160;
/// Capacity for a body: a decision by one limit fits without a reallocation.
const USUAL_BODY_BYTES: usize = 512;

/// Sets the fields that report `decision` in `headers`.
pub fn write(decision: &Decision, headers: &mut HeaderMap) {
    fields(decision, |name, value| {
        headers.insert(name.header.clone(), to_header(value));
    });
}

/// Returns the fields that report `decision` with a content type, and the body that `write_body`
/// appends to a text. They share one allocation.
pub fn with_body(
    decision: &Decision,
    content_type: HeaderValue,
    write_body: impl FnOnce(&mut Vec<u8>),
) -> (HeaderMap, Bytes) {
    let mut text = Vec::with_capacity(USUAL_BYTES + USUAL_BODY_BYTES);
    let ends = Values::of(decision, &mut text);
    let start = text.len();
    write_body(&mut text);
    let text = Bytes::from(text);
    let has_reset = |verdict: &Verdict| verdict.reset_in.is_some();
    let headers = if decision.is_allowed() && decision.binding().is_some_and(has_reset) {
        let mut headers = ADMITTED.clone();
        let mut places = headers.values_mut();
        let mut set_next = |value| *places.next().expect("an admission has these fields") = value;
        set_next(content_type);
        ends.pass(&text, |_, value| set_next(to_header(value)));
        headers
    } else {
        let mut headers = HeaderMap::with_capacity(MOST_FIELDS + 1);
        headers.insert(CONTENT_TYPE, content_type);
        ends.pass(&text, |name, value| drop(headers.insert(name.header.clone(), to_header(value))));
        headers
    };
    (headers, text.slice(start..))
}

fn to_header(value: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(value).expect("digits and a limit's name are printable ASCII")
}

/// Calls `add` with each field that reports `decision`: its name and its value.
pub fn fields(decision: &Decision, add: impl FnMut(&'static Name, Bytes)) {
    let mut text = Vec::with_capacity(USUAL_BYTES);
    let ends = Values::of(decision, &mut text);
    ends.pass(&Bytes::from(text), add);
}

/// Returns the verdicts of all limits: first the one that binds, then the other enforced limits,
/// then the shadow limits.
pub fn in_order(decision: &Decision) -> impl Iterator<Item = &Verdict> {
    let binding = decision.binding();
    let is_binding =
        move |verdict: &&Verdict| binding.is_some_and(|binding| std::ptr::eq(binding, *verdict));
    let of_mode = move |enforced| {
        decision
            .verdicts()
            .iter()
            .filter(move |verdict| verdict.limit.denies() == enforced && !is_binding(verdict))
    };
    binding.into_iter().chain(of_mode(true)).chain(of_mode(false))
}

fn enforced(decision: &Decision) -> impl Iterator<Item = &Verdict> {
    in_order(decision).take_while(|verdict| verdict.limit.denies())
}

/// Returns when everything is left again, in Unix seconds, rounded up; `None` for slots.
#[must_use]
pub fn reset_unix_seconds(decision: &Decision, verdict: &Verdict) -> Option<u64> {
    let reset_at = verdict.reset_at(decision.at())?;
    Some(u64::try_from(reset_at.unix_seconds_rounded_up()).unwrap_or(0))
}

/// Returns the number that clients see as the limit: the tokens per period as written, and never
/// less than what may remain.
#[must_use]
pub fn shown_limit(algorithm: &Algorithm) -> u64 {
    let tokens = algorithm.rate().map_or(0, |rate| rate.refill_rate().tokens());
    tokens.max(algorithm.capacity())
}

/// A refill rate in whole seconds, as structured header fields report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Tokens that come back in [`seconds`](Self::seconds).
    pub tokens: u64,
    /// The period. When it is not a whole number of seconds, its least multiple that is.
    pub seconds: u64,
}

impl Window {
    const SECOND_US: u64 = 1_000_000;

    /// Converts `rate`. Its tokens and period stay as they are when the period is a whole number of
    /// seconds.
    #[must_use]
    pub fn of(rate: RefillRate) -> Self {
        let period = rate.period();
        if period.subsec_micros() == 0 {
            return Self { tokens: rate.tokens(), seconds: period.as_secs() };
        }
        // 2 per 1500 ms become 4 per 3 s: both are multiplied by the least number that makes the
        // period whole seconds.
        let rest = u64::from(period.subsec_micros());
        let times = Self::SECOND_US / common_divisor(rest, Self::SECOND_US);
        Self {
            tokens: rate.tokens().saturating_mul(times),
            seconds: period.as_secs() * times + rest * times / Self::SECOND_US,
        }
    }
}

const fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Writes the values of the fields one after another into a text, in the order of [`ORDER`].
struct Values<'t> {
    text: &'t mut Vec<u8>,
    ends: Ends,
}

/// Where each value ends.
#[derive(Default)]
struct Ends {
    ends: [usize; MOST_FIELDS],
    count: usize,
}

impl<'t> Values<'t> {
    /// Writes what reports `decision` into `text`, which is empty.
    fn of(decision: &Decision, text: &'t mut Vec<u8>) -> Ends {
        let mut values = Self { text, ends: Ends::default() };
        if let Some(binding) = decision.binding() {
            values.write(decision, binding);
        }
        values.ends
    }

    fn write(&mut self, decision: &Decision, binding: &Verdict) {
        self.number(shown_limit(binding.limit.algorithm()));
        self.end();
        self.number(binding.remaining);
        self.end();
        if let Some(reset) = reset_unix_seconds(decision, binding) {
            self.number(reset);
        }
        self.end();

        for verdict in enforced(decision) {
            self.item(&verdict.limit);
            self.policy(verdict.limit.algorithm(), decision.at());
        }
        self.end();
        for verdict in enforced(decision) {
            self.item(&verdict.limit);
            self.parameter(";r=", verdict.remaining);
            if let Some(reset_in) = verdict.reset_in {
                self.parameter(";t=", whole_seconds(reset_in));
            }
        }
        self.end();

        if let Some(seconds) = decision.retry().after_seconds() {
            self.number(seconds);
            self.end();
        }
    }

    /// Writes the parameters of a limit in `RateLimit-Policy`.
    fn policy(&mut self, algorithm: &Algorithm, now: Timestamp) {
        let window = match algorithm {
            Algorithm::TokenBucket(rate) => Some(Window::of(rate.refill_rate())),
            _ => algorithm.window(now).map(|window| Window {
                tokens: algorithm.capacity(),
                seconds: whole_seconds(window),
            }),
        };
        self.parameter(";q=", window.map_or(algorithm.capacity(), |window| window.tokens));
        match window {
            Some(window) => self.parameter(";w=", window.seconds),
            None => self.text.extend_from_slice(b";qu=\"concurrent-requests\""),
        }
    }

    fn number(&mut self, number: u64) {
        self.text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Begins the item of `limit` in a list: its name as a string of a structured field. No
    /// character of a limit's name needs to be escaped there.
    fn item(&mut self, limit: &Limit) {
        let is_first = self.text.len() == self.ends.last();
        self.text.extend_from_slice(if is_first { b"\"" } else { b", \"" });
        self.text.extend_from_slice(limit.name().as_bytes());
        self.text.push(b'"');
    }

    fn parameter(&mut self, name: &str, number: u64) {
        self.text.extend_from_slice(name.as_bytes());
        self.number(number.min(MAX_STRUCTURED_INTEGER));
    }

    /// Ends a value.
    fn end(&mut self) {
        let Ends { ends, count } = &mut self.ends;
        ends[*count] = self.text.len();
        *count += 1;
    }
}

impl Ends {
    /// Returns where the last value ends.
    fn last(&self) -> usize {
        self.count.checked_sub(1).map_or(0, |last| self.ends[last])
    }

    /// Calls `add` with the name of each field and its value, which is a part of `text`.
    fn pass(&self, text: &Bytes, mut add: impl FnMut(&'static Name, Bytes)) {
        let mut start = 0;
        for (name, &end) in ORDER.iter().zip(&self.ends[..self.count]) {
            if end > start {
                add(name, text.slice(start..end));
            }
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sluice_core::{Action, Mode, Settled, Source, Timestamp};
    use sluice_testkit::decisions::{check_of, limit, tag};

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);

    fn fields(decision: &Decision) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        write(decision, &mut headers);
        headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect()
    }

    fn field(decision: &Decision, name: &str) -> Option<String> {
        fields(decision).into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    #[test]
    fn the_fields_of_an_allowed_check_report_what_is_left() {
        let decision = check_of(Action::Take, &[(&limit("default", "60/minute", 10), 1)], NOW);
        let expected = [
            ("x-ratelimit-limit", "60"),
            ("x-ratelimit-remaining", "9"),
            ("x-ratelimit-reset", "1800000001"),
            ("ratelimit-policy", "\"default\";q=60;w=60"),
            ("ratelimit", "\"default\";r=9;t=1"),
        ];
        let expected: Vec<_> =
            expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut fields = fields(&decision);
        fields.sort_by_key(|(name, _)| expected.iter().position(|(known, _)| known == name));
        assert_eq!(fields, expected);
    }

    #[test]
    fn the_fields_of_a_denied_check_report_when_to_retry() {
        let limit = limit("slow", "1 per 90s", 2);
        let mut bucket = Settled::full(limit.algorithm(), NOW);
        bucket.take(2);
        let mut buckets = [bucket.bucket()];
        let later = NOW.after(Duration::from_micros(500_000));
        let check =
            sluice_core::Check::new(Action::Take).with(&limit, tag(), sluice_core::Cost::ONE);
        let decision = check.decide(&mut buckets, later, Source::Store);
        assert!(decision.is_denied());
        assert_eq!(
            field(&decision, "retry-after").as_deref(),
            Some("90"),
            "89.5 seconds, rounded up"
        );
        assert_eq!(
            field(&decision, "x-ratelimit-limit").as_deref(),
            Some("2"),
            "1 per 90s is what comes back, but 2 may remain"
        );
        assert_eq!(field(&decision, "x-ratelimit-remaining").as_deref(), Some("0"));
        assert_eq!(field(&decision, "x-ratelimit-reset").as_deref(), Some("1800000180"));
        assert_eq!(field(&decision, "ratelimit-policy").as_deref(), Some("\"slow\";q=1;w=90"));
        assert_eq!(field(&decision, "ratelimit").as_deref(), Some("\"slow\";r=0;t=180"));
    }

    #[test]
    fn the_limit_is_what_is_written_and_never_less_than_what_may_remain() {
        for (rate, burst, shown) in [
            ("60/minute", 10, "60"),
            ("10/hour", 10, "10"),
            ("10/hour", 1, "10"),
            ("1000000/day", 100, "1000000"),
            ("1/second", 30, "30"),
            ("1/minute", 3, "3"),
            ("100 per 90s", 7, "100"),
            ("5 per 250ms", 5, "5"),
        ] {
            let decision = check_of(Action::Take, &[(&limit("x", rate, burst), 1)], NOW);
            let field = |name| field(&decision, name).unwrap();
            assert_eq!(field("x-ratelimit-limit"), shown, "{rate}, burst {burst}");
            assert_eq!(field("x-ratelimit-remaining"), (burst - 1).to_string());
        }
    }

    #[test]
    fn a_cost_above_the_burst_has_no_retry_after() {
        let decision = check_of(Action::Take, &[(&limit("default", "60/minute", 10), 11)], NOW);
        assert!(decision.is_denied());
        assert_eq!(field(&decision, "retry-after"), None);
        assert_eq!(
            field(&decision, "x-ratelimit-remaining").as_deref(),
            Some("10"),
            "a denied check takes nothing"
        );
    }

    #[test]
    fn every_enforced_limit_has_an_item_and_the_binding_one_is_first() {
        let (wide, narrow) = (limit("wide", "1000/hour", 100), limit("narrow", "5/second", 5));
        let shadow =
            std::sync::Arc::new((*limit("shadow", "1/day", 1)).clone().with_mode(Mode::Shadow));
        let decision = check_of(Action::Take, &[(&wide, 1), (&shadow, 1), (&narrow, 1)], NOW);
        assert_eq!(field(&decision, "x-ratelimit-limit").as_deref(), Some("5"));
        assert_eq!(
            field(&decision, "ratelimit-policy").as_deref(),
            Some("\"narrow\";q=5;w=1, \"wide\";q=1000;w=3600")
        );
        assert_eq!(
            field(&decision, "ratelimit").as_deref(),
            Some("\"narrow\";r=4;t=1, \"wide\";r=99;t=4")
        );
    }

    #[test]
    fn without_an_enforced_limit_there_are_no_fields() {
        assert_eq!(fields(&Decision::unlimited(NOW)), []);
        let shadow =
            std::sync::Arc::new((*limit("shadow", "1/day", 1)).clone().with_mode(Mode::Shadow));
        assert_eq!(
            fields(&check_of(Action::Take, &[(&shadow, 5)], NOW)),
            [],
            "clients do not see shadow limits"
        );
    }

    #[test]
    fn a_response_has_the_same_fields_its_content_type_and_its_body() {
        let limit = limit("default", "60/minute", 10);
        let json = HeaderValue::from_static("application/json");
        for decision in [
            check_of(Action::Take, &[(&limit, 1)], NOW),
            check_of(Action::Take, &[(&limit, 11)], NOW),
            Decision::unlimited(NOW),
        ] {
            let mut expected = HeaderMap::new();
            write(&decision, &mut expected);
            expected.insert(CONTENT_TYPE, json.clone());
            let (headers, body) =
                with_body(&decision, json.clone(), |text| text.extend_from_slice(b"{}"));
            assert_eq!((headers, &*body), (expected, &b"{}"[..]));
        }
    }

    #[test]
    fn a_fractional_period_is_reported_in_whole_seconds() {
        let window = |rate: &str| {
            let Window { tokens, seconds } = Window::of(rate.parse().unwrap());
            (tokens, seconds)
        };
        assert_eq!(window("60/minute"), (60, 60));
        assert_eq!(window("5 per 250ms"), (20, 1));
        assert_eq!(window("2 per 1500ms"), (4, 3));
        assert_eq!(window("1 per 7us"), (1_000_000, 7));
    }

    #[test]
    fn numbers_stay_within_structured_fields() {
        let huge = limit("huge", "1000000000000 per 7us", 10_000_000_000_000_000);
        let decision = check_of(Action::Peek, &[(&huge, 1)], NOW);
        assert_eq!(
            field(&decision, "ratelimit-policy").as_deref(),
            Some("\"huge\";q=999999999999999;w=7")
        );
        assert_eq!(
            field(&decision, "ratelimit").as_deref(),
            Some("\"huge\";r=999999999999999;t=0")
        );
    }
}
