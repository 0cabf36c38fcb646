//! A request that an application has responded to.

use std::time::Duration;

use sluice_telemetry::{CompletedResponse, MethodLabel};

use super::error::{
    EventError, check_count, check_duration, check_endpoint, check_name, check_status,
};

/// A request to an application, which has responded to it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HttpRequest<'a> {
    /// The method, in capitals: `GET`. One that HTTP does not define is counted as `other`.
    pub method: &'a str,
    /// The path that was requested or, better, the pattern of the route that matched it:
    /// `/orders/{id}`.
    pub endpoint: &'a str,
    /// The status code of the response.
    pub status: u16,
    /// How long the response took.
    pub duration: Duration,
    /// The size of the request's body, if known.
    pub request_bytes: Option<u64>,
    /// The size of the response's body, if known.
    pub response_bytes: Option<u64>,
}

impl<'a> HttpRequest<'a> {
    /// Makes an event for a request that got a response with this status after `duration`.
    #[must_use]
    pub const fn new(method: &'a str, endpoint: &'a str, status: u16, duration: Duration) -> Self {
        Self { method, endpoint, status, duration, request_bytes: None, response_bytes: None }
    }

    /// Sets the size of the request's body.
    #[must_use]
    pub fn with_request_bytes(self, bytes: impl Into<Option<u64>>) -> Self {
        Self { request_bytes: bytes.into(), ..self }
    }

    /// Sets the size of the response's body.
    #[must_use]
    pub fn with_response_bytes(self, bytes: impl Into<Option<u64>>) -> Self {
        Self { response_bytes: bytes.into(), ..self }
    }

    /// Returns what is recorded of the response, if the event is valid.
    pub(super) fn checked(&self) -> Result<CompletedResponse, EventError> {
        let &Self { method, endpoint, status, duration, request_bytes, response_bytes } = self;
        check_name("method", method)?;
        check_endpoint(endpoint)?;
        check_status(status.into())?;
        check_duration(duration)?;
        request_bytes.map_or(Ok(()), |bytes| check_count("request_bytes", bytes))?;
        response_bytes.map_or(Ok(()), |bytes| check_count("response_bytes", bytes))?;
        let method = MethodLabel::from_name(method);
        Ok(CompletedResponse { method, status, duration, request_bytes, response_bytes })
    }
}
