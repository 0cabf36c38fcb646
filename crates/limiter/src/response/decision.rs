//! A decision as JSON.
//!
//! ```json
//! {
//!   "status": 200, "allowed": true,
//!   "limit": 60, "window": 60, "remaining": 9, "reset": 1800000001,
//!   "limits": [
//!     {
//!       "name": "default", "algorithm": "token_bucket", "limit": 60, "window": 60,
//!       "requests_per_minute": 60, "burst": 10,
//!       "mode": "enforce", "cost": 1, "admitted": true, "remaining": 9, "reset": 1800000001
//!     }
//!   ]
//! }
//! ```
//!
//! The members at the top describe the binding limit: `limit` is the number of tokens that it has
//! per `window` seconds, as written, or its burst if that is larger (`X-RateLimit-Limit` is the
//! same number); `remaining` are left, and at `reset` (Unix seconds, rounded up) the bucket is
//! full.
//! `limits` holds the verdict of every limit: the one that binds is first, shadow limits are last.
//! Members that do not apply are left out: only a token bucket has `requests_per_minute` and
//! `burst`. Of a quota, `limit` is the quota and `reset` the end of the window; a limit on requests
//! in flight has neither `window` nor `reset`.
//! When no limit applies, there are only `status` and `allowed`, and `limits` is empty.
//!
//! A denial has the same members and is also an RFC 9457 problem. It adds `type`, `title` and
//! `detail`; `error` and `message`, for clients that do not read problems; `retry_after` in whole
//! seconds, rounded up; and `never`. When the cost is above the burst, `never` is true and there is
//! no `retry_after`.

use std::{fmt, time::Duration};

use http::StatusCode;
use serde::{Serialize, Serializer, ser::SerializeSeq};
use sluice_core::{Algorithm, Decision, Mode, Rate, Retry, Verdict};

use super::{
    headers::{self, reset_unix_seconds, shown_limit},
    problem_kind::ProblemKind,
};

/// The JSON body that reports a decision.
///
/// Its members at the top describe the binding limit, and `limits` holds every limit's verdict.
/// A denial is also an RFC 9457 problem.
#[derive(Debug, Serialize)]
pub struct DecisionBody<'d> {
    status: u16,
    allowed: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    denial: Option<Denial<'d>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    binding: Option<Binding>,
    limits: Verdicts<'d>,
}

/// The state of the binding limit.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(super) struct Binding {
    /// The tokens per `window` as written, or the burst if that is larger: no more can remain.
    limit: u64,
    /// The period of the rate, or the length of the window, in seconds: a whole number unless the
    /// period is not. Absent for a limit on requests in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = f64, nullable = false, required = false))]
    window: Option<Seconds>,
    /// The remaining tokens.
    remaining: u64,
    /// When the bucket is full again, or the window ends, in Unix seconds. Absent for a limit on
    /// requests in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    reset: Option<u64>,
}

/// What a denial adds: it depends on the verdict of the binding limit.
#[derive(Debug)]
struct Denial<'d>(&'d Verdict);

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(super) struct DenialBody<'r> {
    /// The problem's stable name: `urn:sluice:problem:rate-limited`, or
    /// `urn:sluice:problem:cost-above-burst`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The title, which is the same for every problem of the type.
    title: &'static str,
    /// Which limit denies the request, and when to try again.
    detail: &'r str,
    /// `rate_limit_exceeded`, or `cost_above_burst`.
    error: &'static str,
    /// The same as `detail`, for clients that do not read problems.
    message: &'r str,
    /// Whole seconds until the same cost would be allowed, rounded up; absent when waiting does not
    /// help.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    retry_after: Option<u64>,
    /// Whether the cost is above what the bucket can ever hold.
    never: bool,
}

/// A span in seconds, without a fraction if it is whole.
#[derive(Debug)]
struct Seconds(Duration);

#[derive(Debug)]
struct Verdicts<'d>(&'d Decision);

/// The verdict of one limit.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Limit))]
pub(super) struct VerdictBody<'d> {
    /// The limit's name.
    name: &'d str,
    /// `token_bucket`, `quota`, `at_most` or `concurrent`.
    algorithm: &'static str,
    /// The tokens per `window` as written, or the burst if that is larger.
    limit: u64,
    /// The period of the rate, or the length of the window, in seconds: a whole number unless the
    /// period is not. Absent for a limit on requests in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = f64, nullable = false, required = false))]
    window: Option<Seconds>,
    /// The rate of a token bucket, rounded down; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    requests_per_minute: Option<u64>,
    /// The most tokens that a token bucket holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    burst: Option<u64>,
    /// `enforce`, or `shadow` for a limit that never denies.
    mode: &'static str,
    /// Tokens that the request costs.
    cost: u64,
    /// Whether its bucket held that many.
    admitted: bool,
    /// The remaining tokens.
    remaining: u64,
    /// When the bucket is full again, or the window ends, in Unix seconds. Absent for a limit on
    /// requests in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    reset: Option<u64>,
    /// Whole seconds until the same cost would be admitted, rounded up; absent when it is admitted
    /// now or never will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    retry_after: Option<u64>,
    /// Whether the cost is above what the bucket can ever hold; absent when it is not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    never: bool,
}

// === impl DecisionBody ===

impl<'d> DecisionBody<'d> {
    /// Creates the body that reports `decision`.
    #[must_use]
    pub fn of(decision: &'d Decision) -> Self {
        let binding = decision.binding();
        Self {
            status: ProblemKind::of(decision).map_or(StatusCode::OK, ProblemKind::status).as_u16(),
            allowed: decision.is_allowed(),
            denial: binding.filter(|_| decision.is_denied()).map(Denial),
            binding: binding.map(|verdict| Binding {
                limit: shown_limit(verdict.limit.algorithm()),
                window: Seconds::of(decision, verdict),
                remaining: verdict.remaining,
                reset: reset_unix_seconds(decision, verdict),
            }),
            limits: Verdicts(decision),
        }
    }

    /// Appends the body to `text` as JSON. `serde_json` writes the same, in several times the time:
    /// it looks for characters to escape in the names of members and limits too.
    pub fn write(&self, text: &mut Vec<u8>) {
        let Self { status, allowed, denial, binding, limits: Verdicts(decision) } = self;
        add_number(text, r#"{"status":"#, (*status).into());
        add_bool(text, r#","allowed":"#, *allowed);
        if let Some(denial) = denial {
            denial.with_body(|body| body.write(text));
        }
        if let Some(Binding { limit, window, remaining, reset }) = binding {
            add_number(text, r#","limit":"#, *limit);
            if let Some(window) = window {
                window.write(text);
            }
            add_number(text, r#","remaining":"#, *remaining);
            add_optional(text, r#","reset":"#, *reset);
        }
        text.extend_from_slice(br#","limits":["#);
        for (place, verdict) in headers::in_order(decision).enumerate() {
            if place > 0 {
                text.push(b',');
            }
            VerdictBody::of(decision, verdict).write(text);
        }
        text.extend_from_slice(b"]}");
    }

    /// Returns the reason of a denial, for people; `None` when the decision allows.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        self.denial.as_ref().map(ToString::to_string)
    }
}

/// The start of the member that [`Seconds`] are in.
const WINDOW: &str = r#","window":"#;

/// Appends a value after `start`: the name of its member, with what separates it from the one
/// before.
fn add(text: &mut Vec<u8>, start: &'static str, value: &(impl Serialize + ?Sized)) {
    text.extend_from_slice(start.as_bytes());
    serde_json::to_writer(text, value).expect("numbers and strings are always valid JSON");
}

/// Appends a number as [`add`] does.
fn add_number(text: &mut Vec<u8>, start: &'static str, number: u64) {
    text.extend_from_slice(start.as_bytes());
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a number as [`add`] does, if there is one.
fn add_optional(text: &mut Vec<u8>, start: &'static str, number: Option<u64>) {
    if let Some(number) = number {
        add_number(text, start, number);
    }
}

/// Appends a truth value as [`add`] does.
fn add_bool(text: &mut Vec<u8>, start: &'static str, value: bool) {
    text.extend_from_slice(start.as_bytes());
    text.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Appends a string as [`add`] does, in which no character needs to be escaped.
fn add_plain(text: &mut Vec<u8>, start: &'static str, string: &str) {
    text.extend_from_slice(start.as_bytes());
    text.push(b'"');
    text.extend_from_slice(string.as_bytes());
    text.push(b'"');
}

// === impl Seconds ===

impl Seconds {
    fn of(decision: &Decision, verdict: &Verdict) -> Option<Self> {
        verdict.limit.algorithm().window(decision.at()).map(Self)
    }

    fn write(&self, text: &mut Vec<u8>) {
        match self.0.subsec_nanos() {
            0 => add_number(text, WINDOW, self.0.as_secs()),
            _ => add(text, WINDOW, self),
        }
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.subsec_nanos() {
            0 => serializer.serialize_u64(self.0.as_secs()),
            _ => serializer.serialize_f64(self.0.as_secs_f64()),
        }
    }
}

// === impl Denial ===

impl Denial<'_> {
    fn with_body<T>(&self, read: impl FnOnce(&DenialBody<'_>) -> T) -> T {
        let retry = self.0.retry;
        let kind = ProblemKind::of_denial(retry);
        let error = if kind == ProblemKind::CostAboveBurst {
            "cost_above_burst"
        } else {
            "rate_limit_exceeded"
        };
        let never = retry == Retry::Never;
        let reason = self.to_string();
        let retry_after = retry.after_seconds();
        read(&DenialBody {
            kind: kind.type_uri(),
            title: kind.title(),
            detail: &reason,
            error,
            message: &reason,
            retry_after,
            never,
        })
    }
}

impl Serialize for Denial<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_body(|body| body.serialize(serializer))
    }
}

impl DenialBody<'_> {
    fn write(&self, text: &mut Vec<u8>) {
        add_plain(text, r#","type":"#, self.kind);
        add_plain(text, r#","title":"#, self.title);
        add(text, r#","detail":"#, self.detail);
        add_plain(text, r#","error":"#, self.error);
        add(text, r#","message":"#, self.message);
        add_optional(text, r#","retry_after":"#, self.retry_after);
        add_bool(text, r#","never":"#, self.never);
    }
}

impl fmt::Display for Denial<'_> {
    /// Writes the reason, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { limit, cost, remaining, retry, .. } = self.0;
        let (asked, left) = (limit.amount(cost.tokens()), limit.amount(*remaining));
        let is_in_flight = matches!(limit.algorithm(), Algorithm::Concurrent(_));
        let Some(seconds) = retry.after_seconds() else {
            if cost.tokens() <= limit.algorithm().capacity() {
                return write!(
                    f,
                    "limit {limit} does not count any more what is held, as it was not renewed in \
                     time: reserve it again"
                );
            }
            return write!(
                f,
                "a cost of {asked} is above what limit {limit} can ever hold: ask for less at a \
                 time"
            );
        };
        match cost.tokens() {
            // What asks for nothing is denied only by a limit that has given more than it has.
            0 if is_in_flight => write!(f, "limit {limit} has more requests in flight than that"),
            0 => write!(f, "limit {limit} is in debt, as more was used than it had"),
            _ if is_in_flight => {
                write!(f, "limit {limit} has room for {left} of the {asked} requests asked for")
            }
            _ if limit.counts_money() => {
                write!(
                    f,
                    "limit {limit} has {left} units of the currency, and {asked} are asked for"
                )
            }
            _ => write!(f, "limit {limit} has {left} of the {asked} tokens asked for"),
        }?;
        write!(f, ": try again in {seconds} s")
    }
}

// === impl Verdicts ===

impl Serialize for Verdicts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(decision) = self;
        let mut list = serializer.serialize_seq(Some(decision.verdicts().len()))?;
        for verdict in headers::in_order(decision) {
            list.serialize_element(&VerdictBody::of(decision, verdict))?;
        }
        list.end()
    }
}

// === impl VerdictBody ===

impl<'d> VerdictBody<'d> {
    fn of(decision: &Decision, verdict: &'d Verdict) -> Self {
        let algorithm = verdict.limit.algorithm();
        Self {
            name: verdict.limit.name(),
            algorithm: algorithm.name(),
            limit: shown_limit(algorithm),
            window: Seconds::of(decision, verdict),
            requests_per_minute: algorithm
                .rate()
                .map(|rate| rate.refill_rate().tokens_per_minute()),
            burst: algorithm.rate().map(Rate::burst),
            mode: match verdict.limit.mode() {
                Mode::Enforce => "enforce",
                Mode::Shadow => "shadow",
                Mode::Off => "off",
            },
            cost: verdict.cost.tokens(),
            admitted: verdict.admitted,
            remaining: verdict.remaining,
            reset: reset_unix_seconds(decision, verdict),
            retry_after: verdict.retry.after_seconds(),
            never: verdict.retry == Retry::Never,
        }
    }

    fn write(&self, text: &mut Vec<u8>) {
        // A limit's name is printable ASCII without quotes and backslashes.
        add_plain(text, r#"{"name":"#, self.name);
        add_plain(text, r#","algorithm":"#, self.algorithm);
        add_number(text, r#","limit":"#, self.limit);
        if let Some(window) = &self.window {
            window.write(text);
        }
        add_optional(text, r#","requests_per_minute":"#, self.requests_per_minute);
        add_optional(text, r#","burst":"#, self.burst);
        add_plain(text, r#","mode":"#, self.mode);
        add_number(text, r#","cost":"#, self.cost);
        add_bool(text, r#","admitted":"#, self.admitted);
        add_number(text, r#","remaining":"#, self.remaining);
        add_optional(text, r#","reset":"#, self.reset);
        add_optional(text, r#","retry_after":"#, self.retry_after);
        if self.never {
            add_bool(text, r#","never":"#, self.never);
        }
        text.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use sluice_core::{
        Action, Check, Concurrent, Cost, Counts, Limit, Metering, Settled, Source, Timestamp,
    };
    use sluice_testkit::decisions::{check_of, limit, tag};

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);

    /// Returns the body, which is the same text however it is written.
    fn body(decision: &Decision) -> Value {
        let (body, mut text) = (DecisionBody::of(decision), b"a prefix".to_vec());
        body.write(&mut text);
        let text = std::str::from_utf8(&text).unwrap().strip_prefix("a prefix").unwrap();
        assert_eq!(text, serde_json::to_string(&body).unwrap());
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_allowed_check_reports_the_limit_that_binds_and_all_others() {
        let shadow = Arc::new((*limit("try", "1/day", 1)).clone().with_mode(Mode::Shadow));
        let decision =
            check_of(Action::Take, &[(&shadow, 2), (&limit("default", "60/minute", 10), 2)], NOW);
        let expected = json!({
            "status": 200, "allowed": true,
            "limit": 60, "window": 60, "remaining": 8, "reset": 1_800_000_002_u64,
            "limits": [
                {
                    "name": "default", "algorithm": "token_bucket", "limit": 60, "window": 60,
                    "requests_per_minute": 60, "burst": 10, "mode": "enforce",
                    "cost": 2, "admitted": true, "remaining": 8, "reset": 1_800_000_002_u64,
                },
                {
                    "name": "try", "algorithm": "token_bucket", "limit": 1, "window": 86_400,
                    "requests_per_minute": 1, "burst": 1, "mode": "shadow",
                    "cost": 2, "admitted": false, "remaining": 1, "reset": 1_800_000_000_u64,
                    "never": true,
                },
            ],
        });
        assert_eq!(body(&decision), expected);
    }

    #[test]
    fn a_denied_check_is_a_problem_with_the_members_of_older_clients() {
        let limit = limit("default", "60/minute", 10);
        let mut bucket = Settled::full(limit.algorithm(), NOW);
        bucket.take(8);
        let mut buckets = [bucket.bucket()];
        let check = Check::new(Action::Take).with(&limit, tag(), Cost::new(5).unwrap());
        let reason =
            "limit default (60/minute, burst 10) has 2 of the 5 tokens asked for: try again in 3 s";
        let expected = json!({
            "allowed": false,
            "type": "urn:sluice:problem:rate-limited", "title": "Too many requests",
            "status": 429, "detail": reason,
            "error": "rate_limit_exceeded", "message": reason, "retry_after": 3, "never": false,
            "limit": 60, "window": 60, "remaining": 2, "reset": 1_800_000_008_u64,
            "limits": [
                {
                    "name": "default", "algorithm": "token_bucket", "limit": 60, "window": 60,
                    "requests_per_minute": 60, "burst": 10, "mode": "enforce",
                    "cost": 5, "admitted": false, "remaining": 2, "reset": 1_800_000_008_u64,
                    "retry_after": 3,
                },
            ],
        });
        assert_eq!(body(&check.decide(&mut buckets, NOW, Source::Store)), expected);
    }

    /// Returns why a limit denies that gave `taken`, and is asked for `cost`.
    fn why_denied(limit: &Arc<Limit>, taken: u64, cost: u64) -> String {
        let mut bucket = Settled::full(limit.algorithm(), NOW);
        bucket.take(taken);
        let mut buckets = [bucket.bucket()];
        let check = Check::new(Action::Take).with(limit, tag(), Cost::new(cost).unwrap());
        let decision = check.decide(&mut buckets, NOW, Source::Store);
        DecisionBody::of(&decision).detail().unwrap()
    }

    #[test]
    fn money_is_in_units_of_the_currency_and_slots_are_requests() {
        let money = (*limit("money", "1000000/day", 1_000_000)).clone();
        let money = Arc::new(money.with_metering(Some(Metering::new(Counts::Money))));
        assert_eq!(
            why_denied(&money, 20_012, 1_000_000),
            "limit money (1/day, burst 1) has 0.979988 units of the currency, and 1 are asked \
             for: try again in 1730 s"
        );
        let slots = Algorithm::Concurrent(Concurrent::new(2).unwrap());
        let slots = Arc::new(Limit::new("exports", slots).unwrap());
        let denied = check_of(Action::Take, &[(&slots, 3)], NOW);
        assert_eq!(
            DecisionBody::of(&denied).detail().unwrap(),
            "a cost of 3 is above what limit exports (2 concurrent) can ever hold: ask for less \
             at a time"
        );
        let lost = Verdict {
            limit: Arc::clone(&slots),
            cost: Cost::NONE,
            admitted: false,
            remaining: 2,
            reset_in: None,
            retry: Retry::Never,
        };
        let denied = Decision::new(false, [lost], NOW, Source::Store);
        assert_eq!(
            DecisionBody::of(&denied).detail().unwrap(),
            "limit exports (2 concurrent) does not count any more what is held, as it was not \
             renewed in time: reserve it again"
        );
        let verdict = Verdict {
            limit: slots,
            cost: Cost::ONE,
            admitted: false,
            remaining: 0,
            reset_in: None,
            retry: Retry::After(Duration::from_secs(30)),
        };
        let denied = Decision::new(false, [verdict], NOW, Source::Store);
        assert_eq!(
            DecisionBody::of(&denied).detail().unwrap(),
            "limit exports (2 concurrent) has room for 0 of the 1 requests asked for: try again \
             in 30 s"
        );
    }

    #[test]
    fn a_debt_is_called_a_debt() {
        let tokens = (*limit("tokens", "60/minute", 10)).clone();
        let tokens = Arc::new(tokens.with_metering(Some(Metering::new(Counts::TOTAL_TOKENS))));
        let verdict = Verdict {
            limit: tokens,
            cost: Cost::NONE,
            admitted: false,
            remaining: 0,
            reset_in: Some(Duration::from_secs(17)),
            retry: Retry::After(Duration::from_secs(7)),
        };
        let denied = Decision::new(false, [verdict], NOW, Source::Store);
        assert_eq!(
            DecisionBody::of(&denied).detail().unwrap(),
            "limit tokens (60/minute, burst 10) is in debt, as more was used than it had: try \
             again in 7 s"
        );
    }

    #[test]
    fn the_limit_and_its_window_are_what_is_written() {
        for (rate, burst, shown, window) in [
            ("10/hour", 10, 10, json!(3_600)),
            ("1/minute", 3, 3, json!(60)),
            ("2 per 1500ms", 2, 2, json!(1.5)),
            ("5 per 250ms", 1, 5, json!(0.25)),
        ] {
            let body = body(&check_of(Action::Take, &[(&limit("x", rate, burst), 1)], NOW));
            assert_eq!((&body["limit"], &body["window"]), (&json!(shown), &window), "{rate}");
            let of_limit = &body["limits"][0];
            assert_eq!((&of_limit["limit"], &of_limit["window"]), (&json!(shown), &window));
        }
    }

    #[test]
    fn a_cost_above_the_burst_is_never_allowed() {
        let denied =
            body(&check_of(Action::Take, &[(&limit("default", "60/minute", 10), 11)], NOW));
        assert_eq!(denied["never"], true);
        assert_eq!(denied.get("retry_after"), None);
        assert_eq!(denied["type"], "urn:sluice:problem:cost-above-burst");
        assert_eq!(
            denied["detail"],
            "a cost of 11 is above what limit default (60/minute, burst 10) can ever hold: \
             ask for less at a time"
        );
        assert_eq!(denied["remaining"], 10);
    }

    #[test]
    fn without_a_limit_the_body_only_allows() {
        assert_eq!(
            body(&Decision::unlimited(NOW)),
            json!({ "status": 200, "allowed": true, "limits": [] })
        );
    }
}
