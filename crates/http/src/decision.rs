//! Decisions as HTTP responses: the status, the header fields, and [`DecisionBody`] as JSON.

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode};
use sluice::response::{DecisionBody, PROBLEM_JSON, headers};
use sluice_core::Decision;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Returns a response of status 200 or 429 with the decision as its body.
#[must_use]
pub fn respond(decision: &Decision) -> Response {
    let content_type = if decision.is_allowed() { JSON } else { PROBLEM_JSON };
    let body = DecisionBody::of(decision);
    let (fields, body) = headers::with_body(decision, content_type, |text| body.write(text));
    response(decision, fields, Body::from(body))
}

/// Returns status 200 without a body, for callers that read only the status, or status 429 as
/// [`respond`] does.
#[must_use]
pub fn respond_without_body(decision: &Decision) -> Response {
    if decision.is_denied() {
        return respond(decision);
    }
    let mut fields = HeaderMap::with_capacity(headers::MOST_FIELDS);
    headers::write(decision, &mut fields);
    response(decision, fields, Body::empty())
}

fn response(decision: &Decision, fields: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status(decision);
    *response.headers_mut() = fields;
    response
}

/// Returns the HTTP status of a decision: 200 or 429.
#[must_use]
pub const fn status(decision: &Decision) -> StatusCode {
    if decision.is_allowed() { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS }
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;
    use sluice_core::{Action, Timestamp};
    use sluice_testkit::decisions::{check_of, limit};

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);

    #[test]
    fn a_response_has_status_media_type_and_header_fields() {
        let limit = limit("default", "60/minute", 10);
        let allowed = respond(&check_of(Action::Take, &[(&limit, 1)], NOW));
        assert_eq!(allowed.status(), 200);
        assert_eq!(allowed.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(allowed.headers()["x-ratelimit-remaining"], "9");
        let denied = respond_without_body(&check_of(Action::Take, &[(&limit, 11)], NOW));
        assert_eq!(denied.status(), 429);
        assert_eq!(denied.headers()[CONTENT_TYPE], "application/problem+json");
        let brief = respond_without_body(&check_of(Action::Take, &[(&limit, 1)], NOW));
        assert_eq!(brief.headers().get(CONTENT_TYPE), None);
        assert_eq!(brief.headers()["ratelimit"], "\"default\";r=9;t=1");
    }
}
