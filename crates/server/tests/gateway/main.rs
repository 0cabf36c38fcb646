//! The gateway over real sockets: clients before it, upstreams behind it that stream, echo, stall
//! and break.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod failures;
mod handing_on;
mod scene;
mod several;
mod streams;
mod tls;
mod upgrades;
