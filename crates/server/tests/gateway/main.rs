//! The gateway over real sockets: clients before it, upstreams behind it that stream, echo, stall and break.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod handing_on;
mod scene;
mod streams;
