//! The gateway: hands on to an upstream what it allows, and what the upstream answers back to the
//! client.
//!
//! Every path on the HTTP port that is not Sluice's own is decided about as it would be without an
//! upstream. What is denied is answered here, and no upstream hears of it. What is allowed is
//! handed on:
//!
//! - Bodies go frame by frame, both ways, each side as fast as the other takes it: nothing is
//!   gathered, so server-sent events arrive as they are sent, and a large upload needs no memory.
//!   Trailers go along. Web sockets, and whatever else is an upgrade of HTTP/1.1, are carried as
//!   bytes.
//! - Either side may speak HTTP/1.1 or HTTP/2, whatever the other does.
//! - What speaks of one connection only stays on it (`hop_by_hop`); upstreams are told whom a
//!   request comes from (`forwarded`), and get the path that was decided about (`target`). A path
//!   that servers read differently was refused before.
//! - A request goes to the least busy upstream. It is tried at another one only if nothing of it
//!   was sent. An upstream that cannot be connected to is left alone for a while as long as there
//!   are others, and one that fails its health checks until it passes them.
//! - What goes wrong is answered as a problem: 502 when the upstream cannot be connected to or
//!   breaks, 503 when none is well, 504 when it is too slow. When an answer has begun, all that can
//!   be done is to break it off, so that nobody takes it for whole.
//! - When the client goes, the upstream is told at once: its connection is closed, or its stream
//!   reset.

mod connect;
mod error;
mod forwarded;
mod gateway;
mod health;
mod hop_by_hop;
mod request_body;
mod target;
mod tunnel;
mod upstream;
mod upstream_body;
mod upstream_request;
mod upstreams;

pub use self::{
    error::OpenGatewayError, gateway::Gateway, health::Watch, upstream_body::UpstreamBody,
    upstream_request::ClientConnection,
};
