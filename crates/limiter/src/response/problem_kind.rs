//! The table of problem kinds: one row for each, with what HTTP and gRPC call it.

use http::StatusCode;
use sluice_core::{Decision, Retry};

use crate::error::LimiterError;

// gRPC status codes, as https://grpc.io/docs/guides/status-codes numbers them.
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const NOT_FOUND: i32 = 5;
const RESOURCE_EXHAUSTED: i32 = 8;
const FAILED_PRECONDITION: i32 = 9;
const OUT_OF_RANGE: i32 = 11;
const UNIMPLEMENTED: i32 = 12;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

/// Makes the enum and its methods from one table, so that no kind can lack a column.
macro_rules! problem_kinds {
    ($(
        $(#[$doc:meta])* $kind:ident: $slug:literal, $title:literal, $status:ident, $grpc:ident;
    )*) => {
        /// A kind of problem.
        ///
        /// Clients may rely on its [`type_uri`](ProblemKind::type_uri), which never changes. The
        /// title is for people.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ProblemKind {
            $($(#[$doc])* $kind,)*
        }

        impl ProblemKind {
            /// Returns the problem's `type`: a name, not an address, so that it is the same
            /// behind every proxy and on every host.
            #[must_use]
            pub const fn type_uri(self) -> &'static str {
                match self { $(Self::$kind => concat!("urn:sluice:problem:", $slug),)* }
            }

            /// Returns the title, which is the same for every problem of the kind.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }

            /// Returns the HTTP status of a response with this problem.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            /// Returns the code of a gRPC status with this problem.
            #[must_use]
            pub const fn grpc_code(self) -> i32 {
                match self { $(Self::$kind => $grpc,)* }
            }
        }
    };
}

problem_kinds! {
    /// The bucket holds too few tokens now. It will hold enough later.
    RateLimited: "rate-limited",
        "Too many requests", TOO_MANY_REQUESTS, RESOURCE_EXHAUSTED;
    /// The request costs more tokens than the bucket can ever hold.
    CostAboveBurst: "cost-above-burst",
        "The cost is above the burst", TOO_MANY_REQUESTS, RESOURCE_EXHAUSTED;
    /// The request identifies no client. The program is at fault, not the client.
    ClientUnknown: "client-unknown",
        "The request identifies no client", INTERNAL_SERVER_ERROR, INTERNAL;
    /// The body is not the JSON that the front end expects.
    MalformedBody: "malformed-body",
        "The body is not the expected JSON", BAD_REQUEST, INVALID_ARGUMENT;
    /// The request names a path, a client or a header field that cannot be used.
    InvalidRequest: "invalid-request",
        "The request cannot be checked", BAD_REQUEST, INVALID_ARGUMENT;
    /// The reservation is none of this fleet.
    ReservationUnknown: "reservation-unknown",
        "The reservation is not known", NOT_FOUND, NOT_FOUND;
    /// A step of a hold was made before with other costs, or the hold is settled.
    HoldConflict: "hold-conflict",
        "The hold has other costs, or is settled", CONFLICT, FAILED_PRECONDITION;
    /// The batch holds more checks than allowed.
    TooManyChecks: "too-many-checks",
        "The batch holds too many checks", BAD_REQUEST, INVALID_ARGUMENT;
    /// The body holds more events than allowed.
    TooManyEvents: "too-many-events",
        "The body holds too many events", BAD_REQUEST, INVALID_ARGUMENT;
    /// The body is longer than the front end reads.
    BodyTooLarge: "body-too-large",
        "The body is too large", PAYLOAD_TOO_LARGE, OUT_OF_RANGE;
    /// The body did not arrive in time.
    BodyTooSlow: "body-too-slow",
        "The body did not arrive in time", REQUEST_TIMEOUT, DEADLINE_EXCEEDED;
    /// The path and the header fields are longer than the server reads.
    HeadersTooLarge: "headers-too-large",
        "The header fields are too large", REQUEST_HEADER_FIELDS_TOO_LARGE, OUT_OF_RANGE;
    /// The request does not declare a JSON body.
    UnsupportedMediaType: "unsupported-media-type",
        "The body is not declared as JSON", UNSUPPORTED_MEDIA_TYPE, INVALID_ARGUMENT;
    /// The body has a transfer coding that the gateway does not understand.
    UnknownTransferCoding: "unknown-transfer-coding",
        "The transfer coding is not understood", NOT_IMPLEMENTED, UNIMPLEMENTED;
    /// The path does not support the method.
    MethodNotAllowed: "method-not-allowed",
        "The method is not allowed here", METHOD_NOT_ALLOWED, UNIMPLEMENTED;
    /// No resource exists at the path.
    NotFound: "not-found", "No resource exists here", NOT_FOUND, NOT_FOUND;
    /// The request lacks valid credentials.
    Unauthorized: "unauthorized",
        "Credentials are required", UNAUTHORIZED, UNAUTHENTICATED;
    /// The request came without the client certificate that the port requires.
    CertificateRequired: "certificate-required",
        "A client certificate is required", FORBIDDEN, UNAUTHENTICATED;
    /// Too many connections are open, or too many requests are in progress.
    Overloaded: "overloaded",
        "Too many requests at a time", SERVICE_UNAVAILABLE, UNAVAILABLE;
    /// The server failed, and the request is not the cause.
    Internal: "internal", "The server failed", INTERNAL_SERVER_ERROR, INTERNAL;
    /// The upstream has as many requests as it may have.
    UpstreamBusy: "upstream-busy",
        "The upstream is busy", SERVICE_UNAVAILABLE, UNAVAILABLE;
    /// No rate limit rules are configured.
    NoRules: "no-rules", "No rules are configured", NOT_FOUND, FAILED_PRECONDITION;
    /// The store cannot decide, and the limits that apply leave the decision to the caller.
    StoreUnavailable: "store-unavailable",
        "The store cannot decide now", SERVICE_UNAVAILABLE, UNAVAILABLE;
    /// The gateway cannot connect to the upstream, or the connection broke.
    UpstreamFailed: "upstream-failed", "The upstream failed", BAD_GATEWAY, UNAVAILABLE;
    /// The upstream did not respond in time.
    UpstreamTooSlow: "upstream-too-slow",
        "The upstream did not respond in time", GATEWAY_TIMEOUT, DEADLINE_EXCEEDED;
    /// No upstream is healthy.
    NoUpstream: "no-upstream",
        "No upstream is healthy", SERVICE_UNAVAILABLE, UNAVAILABLE;
}

impl ProblemKind {
    /// Returns the kind of a denial, or `None` when `decision` allows the request.
    #[must_use]
    pub fn of(decision: &Decision) -> Option<Self> {
        decision.is_denied().then(|| Self::of_denial(decision.retry()))
    }

    /// Returns the kind of a denial that ends as `retry` says.
    pub(super) const fn of_denial(retry: Retry) -> Self {
        match retry {
            Retry::Never => Self::CostAboveBurst,
            Retry::Now | Retry::After(_) => Self::RateLimited,
        }
    }
}

impl From<&LimiterError> for ProblemKind {
    fn from(error: &LimiterError) -> Self {
        match error {
            LimiterError::Request(_) | LimiterError::Cost(_) => Self::InvalidRequest,
            LimiterError::Store(_) => Self::StoreUnavailable,
        }
    }
}
