//! The gateway: a reverse proxy that forwards allowed requests to an upstream, and the upstream's
//! responses to the client.
//!
//! Every path on the HTTP port that is not Sluice's own is checked as it would be without an
//! upstream. Sluice responds to denied requests itself; the upstream does not see them. Allowed
//! requests are forwarded:
//!
//! - Bodies are streamed in both directions, frame by frame, as fast as the receiver reads. Nothing
//!   is buffered as a whole, so server-sent events arrive as they are sent, and a large upload
//!   needs no memory. Trailers are forwarded. `WebSockets`, and other protocols that the settings
//!   name, are copied as bytes (`upgrade`).
//! - Each side may use HTTP/1.1 or HTTP/2, independently of the other.
//! - Hop-by-hop fields are removed (`hop_by_hop`). `X-Forwarded-*` and `Forwarded` say where a
//!   request comes from (`forwarded`). The upstream gets the path that the decision was about
//!   (`target`), and the fields that it was made by (`deciding_fields`); a path that servers
//!   interpret differently was rejected before.
//! - A request goes to the upstream with the fewest requests in flight. It is sent again, there or
//!   at another upstream, only if the upstream did not process it, or if that does no harm
//!   (`exchange`). An upstream that cannot be reached is avoided for a while if there are others.
//!   One that fails its health checks gets no requests until it passes them.
//! - Connections to an upstream are bounded (`pool`). A request that finds all of them in use waits
//!   for one, for a limited time.
//! - Errors are problems: 502 when the upstream cannot be reached or breaks the connection, 503
//!   when no upstream is healthy or all are busy, 504 when the upstream does not respond in time.
//!   Once a response has begun, the only way to report an error is to abort it, so that the client
//!   does not take it for complete.
//! - Sluice's own responses have CORS fields where the request has an `Origin` (`cors`), so that a
//!   page can read the status and `Retry-After`.
//! - The slots of limits on requests in flight are held to the last byte of the response, or until
//!   a tunnel is closed (`occupied`). A request that loses one is cut off, if the limit says so.
//! - When the client disconnects, the upstream is notified at once: its connection is closed, or
//!   its stream is reset.

mod connect;
mod cors;
mod deciding_fields;
mod destination;
mod error;
mod exchange;
mod failure_log;
mod forwarded;
mod gateway;
mod health;
mod hop_by_hop;
mod location;
mod occupied;
mod pool;
mod rate_limit_fields;
mod received;
mod request_body;
mod response;
mod target;
mod tunnel;
mod upgrade;
mod upstream;
mod upstream_body;
mod upstream_request;
mod upstreams;

pub use self::{
    deciding_fields::DecidingFields, destination::Destination, error::OpenGatewayError,
    gateway::Gateway, health::Watch, occupied::OccupiedSlots, upstream_body::UpstreamBody,
    upstream_request::ClientConnection,
};
