//! Error bodies.
//!
//! The shapes are those of the vendors' pages on errors, and what their SDKs read of them:
//! `_make_status_error` in openai-python and anthropic-sdk-python (`_client.py`), `APIError` in
//! python-genai (`google/genai/errors.py`), `retryDelay` of `google.rpc.RetryInfo` in gemini-cli
//! (`googleQuotaErrors.ts`).

use serde_json::{Value, json};
use sluice_core::Retry;

use super::{rate_limits::Counted, retry::retry_headers};
use crate::wire::Vendor;

/// Why a request gets no answer from the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem<'a> {
    /// 400: the request cannot be read. The field is named where it is one.
    BadRequest {
        /// The field.
        field: Option<&'a str>,
    },
    /// 401: the client has not said who it is.
    Unauthorized,
    /// 403: the client may not do this.
    Forbidden,
    /// 413: the body is too large.
    TooLarge,
    /// 429: a limit denies it.
    RateLimited {
        /// What the limit counts.
        counts: Counted,
        /// When the same request will be admitted.
        retry: Retry,
    },
    /// 500: an error of our own.
    Internal,
    /// 502: the vendor cannot be reached, or its answer cannot be read.
    BadGateway,
    /// 503: limits cannot be decided, or the vendor takes no requests.
    Unavailable,
    /// 504: the vendor took too long.
    Timeout,
}

/// An answer of our own in the shape of a vendor. Its content type is `application/json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Header fields that say whether and when to try again.
    pub headers: Vec<(&'static str, String)>,
    /// The body: a JSON document.
    pub body: String,
}

impl Refusal {
    /// Makes the answer. The message is for people; it must contain nothing of the request's text.
    #[must_use]
    pub fn new(vendor: Vendor, problem: &Problem<'_>, message: &str) -> Self {
        let body = match vendor {
            Vendor::OpenAi => openai(problem, message),
            Vendor::Anthropic => anthropic(problem, message),
            Vendor::Gemini => gemini(problem, message),
        };
        let headers = match problem {
            Problem::RateLimited { retry, .. } => retry_headers(*retry),
            _ => Vec::new(),
        };
        Self { status: problem.status(), headers, body: body.to_string() }
    }
}

impl Problem<'_> {
    /// Returns the HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::BadRequest { .. } => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::TooLarge => 413,
            Self::RateLimited { .. } => 429,
            Self::Internal => 500,
            Self::BadGateway => 502,
            Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }
}

fn openai(problem: &Problem<'_>, message: &str) -> Value {
    let (kind, code) = match problem {
        Problem::BadRequest { .. } => ("invalid_request_error", None),
        Problem::Unauthorized => ("invalid_request_error", Some("invalid_api_key")),
        Problem::Forbidden => ("invalid_request_error", Some("permission_denied")),
        Problem::TooLarge => ("invalid_request_error", Some("request_too_large")),
        Problem::RateLimited { counts: Counted::Requests, .. } => {
            ("requests", Some("rate_limit_exceeded"))
        }
        Problem::RateLimited { .. } => ("tokens", Some("rate_limit_exceeded")),
        Problem::Internal | Problem::BadGateway => ("server_error", None),
        Problem::Unavailable => ("server_error", Some("service_unavailable")),
        Problem::Timeout => ("server_error", Some("timeout")),
    };
    let param = match problem {
        Problem::BadRequest { field } => *field,
        _ => None,
    };
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
}

fn anthropic(problem: &Problem<'_>, message: &str) -> Value {
    let kind = match problem {
        Problem::BadRequest { .. } => "invalid_request_error",
        Problem::Unauthorized => "authentication_error",
        Problem::Forbidden => "permission_error",
        Problem::TooLarge => "request_too_large",
        Problem::RateLimited { .. } => "rate_limit_error",
        Problem::Internal | Problem::BadGateway => "api_error",
        Problem::Unavailable => "overloaded_error",
        Problem::Timeout => "timeout_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

fn gemini(problem: &Problem<'_>, message: &str) -> Value {
    let status = match problem {
        Problem::BadRequest { .. } | Problem::TooLarge => "INVALID_ARGUMENT",
        Problem::Unauthorized => "UNAUTHENTICATED",
        Problem::Forbidden => "PERMISSION_DENIED",
        Problem::RateLimited { .. } => "RESOURCE_EXHAUSTED",
        Problem::Internal => "INTERNAL",
        Problem::BadGateway | Problem::Unavailable => "UNAVAILABLE",
        Problem::Timeout => "DEADLINE_EXCEEDED",
    };
    let mut error = json!({"code": problem.status(), "message": message, "status": status});
    let detail = match problem {
        Problem::RateLimited { retry, .. } => retry.after_seconds().map(|seconds| {
            json!({
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": format!("{seconds}s"),
            })
        }),
        Problem::BadRequest { field: Some(field) } => Some(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": field, "description": message}],
        })),
        _ => None,
    };
    if let Some(detail) = detail {
        error["details"] = json!([detail]);
    }
    json!({"error": error})
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PROBLEMS: [Problem<'_>; 9] = [
        Problem::BadRequest { field: Some("max_tokens") },
        Problem::Unauthorized,
        Problem::Forbidden,
        Problem::TooLarge,
        Problem::RateLimited {
            counts: Counted::InputTokens,
            retry: Retry::After(Duration::from_millis(1_500)),
        },
        Problem::Internal,
        Problem::BadGateway,
        Problem::Unavailable,
        Problem::Timeout,
    ];

    fn body(vendor: Vendor, problem: &Problem<'_>) -> Value {
        let refusal = Refusal::new(vendor, problem, "why \"it\" is so");
        assert_eq!(refusal.status, problem.status());
        serde_json::from_str(&refusal.body).unwrap()
    }

    #[test]
    fn every_problem_has_the_shape_of_the_vendor() {
        for problem in &PROBLEMS {
            let openai = body(Vendor::OpenAi, problem);
            assert_eq!(openai["error"]["message"], "why \"it\" is so");
            assert!(openai["error"]["type"].is_string(), "{openai}");
            let anthropic = body(Vendor::Anthropic, problem);
            assert_eq!(anthropic["type"], "error");
            assert!(anthropic["error"]["type"].is_string(), "{anthropic}");
            let gemini = body(Vendor::Gemini, problem);
            assert_eq!(gemini["error"]["code"], problem.status());
            assert!(gemini["error"]["status"].is_string(), "{gemini}");
        }
    }

    #[test]
    fn a_denial_says_when_to_try_again() {
        let problem = &PROBLEMS[4];
        assert_eq!(body(Vendor::OpenAi, problem)["error"]["code"], "rate_limit_exceeded");
        assert_eq!(body(Vendor::OpenAi, problem)["error"]["type"], "tokens");
        assert_eq!(body(Vendor::Anthropic, problem)["error"]["type"], "rate_limit_error");
        let gemini = body(Vendor::Gemini, problem);
        assert_eq!(gemini["error"]["status"], "RESOURCE_EXHAUSTED");
        assert_eq!(gemini["error"]["details"][0]["retryDelay"], "2s");
        for vendor in Vendor::ALL {
            let refusal = Refusal::new(vendor, problem, "");
            assert_eq!(refusal.headers[0], ("retry-after-ms", "1500".to_owned()));
        }
    }

    #[test]
    fn a_denial_that_no_wait_helps_names_no_wait() {
        let problem = &Problem::RateLimited { counts: Counted::Requests, retry: Retry::Never };
        assert_eq!(body(Vendor::Gemini, problem)["error"]["details"], Value::Null);
        let refusal = Refusal::new(Vendor::OpenAi, problem, "");
        assert_eq!(refusal.headers, [("x-should-retry", "false".to_owned())]);
        assert_eq!(body(Vendor::OpenAi, problem)["error"]["type"], "requests");
    }

    #[test]
    fn a_bad_request_names_the_field() {
        let problem = &PROBLEMS[0];
        assert_eq!(body(Vendor::OpenAi, problem)["error"]["param"], "max_tokens");
        let gemini = body(Vendor::Gemini, problem);
        assert_eq!(gemini["error"]["details"][0]["fieldViolations"][0]["field"], "max_tokens");
    }
}
