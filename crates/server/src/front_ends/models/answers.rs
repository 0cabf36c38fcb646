//! Responses in the shape of a vendor.

use axum::{body::Body, response::Response};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use sluice::{
    holds::HoldError,
    response::{ProblemKind, headers},
};
use sluice_core::{Counts, Decision, Limit, Retry, TokenWeights, Verdict};
use sluice_http::Problem;
use sluice_llm::{Counted, Problem as Refused, RateLimit, Refusal, Vendor, rate_limit_headers};
use sluice_telemetry::ModelVendor;

use super::asked::{Asked, Unreadable};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Writes responses in the shape of this vendor.
#[derive(Clone, Copy, Debug)]
pub(super) struct VendorAnswers(pub(super) Vendor);

impl VendorAnswers {
    /// Returns the label of the vendor in metrics.
    pub(super) const fn label(self) -> ModelVendor {
        label(self.0)
    }

    /// Returns the response to a request that a limit denies.
    pub(super) fn denied(self, denial: &Decision) -> Box<Response> {
        let retry = denial.retry();
        let message = denial.binding().map_or_else(
            || "a rate limit is reached".to_owned(),
            |verdict| why_denied(verdict, retry),
        );
        // Vendors have no word for money.
        let counts = denial.binding().map_or(Counted::Requests, |verdict| {
            counted(&verdict.limit).unwrap_or(Counted::Tokens)
        });
        let mut response = self.response(&Refused::RateLimited { counts, retry }, &message);
        headers::write(denial, response.headers_mut());
        self.write_limits(denial, response.headers_mut());
        response
    }

    /// Returns the response to a request that cannot be read.
    pub(super) fn unreadable(self, unreadable: Unreadable) -> Box<Response> {
        match unreadable {
            Unreadable::Body(problem) => self.problem(problem),
            Unreadable::Request(error) => {
                self.response(&Refused::BadRequest { field: error.field() }, &error.to_string())
            }
            Unreadable::Compressed => self.response(
                &Refused::BadRequest { field: None },
                "the body is compressed, so that what it uses cannot be estimated: send it without \
                 `Content-Encoding`",
            ),
        }
    }

    /// Returns the response to a request for which nothing could be held.
    pub(super) fn not_held(self, error: HoldError, asked: &Asked) -> Box<Response> {
        match error {
            HoldError::Request(error) => self.problem(error.into()),
            HoldError::Store(error) => self.problem(error.into()),
            HoldError::NotEstimated { limit, .. }
                if asked.is_read && asked.request.model().is_none() =>
            {
                self.response(
                    &Refused::BadRequest { field: Some("model") },
                    &format!(
                        "limit `{limit}` counts money, and the request names no model, so that it \
                         has no price: send `model`"
                    ),
                )
            }
            HoldError::NotEstimated { limit, .. } if asked.is_read => self.response(
                &Refused::BadRequest { field: Some("model") },
                &format!(
                    "limit `{limit}` counts money, and this model has no price: use another model, \
                     or have its price added"
                ),
            ),
            HoldError::NotEstimated { limit, .. } => self.response(
                &Refused::TooLarge,
                &format!(
                    "limit `{limit}` counts money, and the body is too large, or no JSON, to find \
                     the model in it: send a shorter one"
                ),
            ),
            other => self.problem(Problem::new(ProblemKind::Internal, other.to_string())),
        }
    }

    /// Returns the response that reports a problem, with its status and header fields.
    pub(super) fn problem(self, problem: Problem) -> Box<Response> {
        let status = problem.status();
        let refused = match status {
            StatusCode::UNAUTHORIZED => Refused::Unauthorized,
            StatusCode::FORBIDDEN => Refused::Forbidden,
            StatusCode::PAYLOAD_TOO_LARGE => Refused::TooLarge,
            StatusCode::BAD_GATEWAY => Refused::BadGateway,
            StatusCode::SERVICE_UNAVAILABLE => Refused::Unavailable,
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => Refused::Timeout,
            status if status.is_client_error() => Refused::BadRequest { field: None },
            _ => Refused::Internal,
        };
        let refusal = Refusal::new(self.0, &refused, problem.detail());
        let mut response = problem.into_response().map(|_| Body::from(refusal.body));
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        Box::new(response)
    }

    /// Writes what remains of the limits in the vendor's own header fields.
    pub(super) fn write_limits(self, decision: &Decision, fields: &mut HeaderMap) {
        let limits: Vec<RateLimit> = decision
            .verdicts()
            .iter()
            .filter(|verdict| verdict.limit.denies())
            .filter_map(|verdict| {
                Some(RateLimit {
                    counts: counted(&verdict.limit)?,
                    limit: headers::shown_limit(verdict.limit.algorithm()),
                    remaining: verdict.remaining,
                    reset_in: verdict.reset_in?,
                })
            })
            .collect();
        for (name, value) in rate_limit_headers(self.0, &limits, decision.at()) {
            if let Ok(value) = HeaderValue::try_from(value) {
                fields.insert(HeaderName::from_static(name), value);
            }
        }
    }

    fn response(self, refused: &Refused<'_>, message: &str) -> Box<Response> {
        let Refusal { status, headers, body, .. } = Refusal::new(self.0, refused, message);
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, JSON);
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                fields.insert(name, value);
            }
        }
        Box::new(response)
    }
}

/// Returns the label of a vendor in metrics.
pub(super) const fn label(vendor: Vendor) -> ModelVendor {
    match vendor {
        Vendor::OpenAi => ModelVendor::OpenAi,
        Vendor::Anthropic => ModelVendor::Anthropic,
        Vendor::Gemini => ModelVendor::Gemini,
    }
}

/// Returns what a limit counts, as vendors have it. They have no fields for money.
fn counted(limit: &Limit) -> Option<Counted> {
    let Some(metering) = limit.metering() else { return Some(Counted::Requests) };
    let Counts::Tokens(TokenWeights { input, cached_input, cache_write, output }) = metering.counts
    else {
        return None;
    };
    let counts_input = input > 0 || cached_input > 0 || cache_write > 0;
    Some(match (counts_input, output > 0) {
        (true, false) => Counted::InputTokens,
        (false, true) => Counted::OutputTokens,
        _ => Counted::Tokens,
    })
}

fn why_denied(verdict: &Verdict, retry: Retry) -> String {
    let limit = verdict.limit.name();
    let needs = verdict.limit.metering().map_or_else(String::new, |metering| {
        if verdict.cost.tokens() == 0 {
            return ": it is in debt, as more was used than it had".to_owned();
        }
        let [cost, remaining] =
            [verdict.cost.tokens(), verdict.remaining].map(|tokens| verdict.limit.amount(tokens));
        let unit = match metering.counts {
            Counts::Tokens(_) => "tokens",
            Counts::Money => "units of the currency",
        };
        format!(": the request may use {cost} {unit}, and {remaining} remain")
    });
    match retry.after_seconds() {
        Some(seconds) => {
            format!("rate limit `{limit}` is reached{needs}. Try again in {seconds} s")
        }
        None => format!("rate limit `{limit}` never admits this request{needs}"),
    }
}
