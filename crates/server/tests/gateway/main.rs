//! The gateway over real sockets, with clients before it and upstreams behind it that stream, echo,
//! stall and abort.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod cors;
mod failures;
mod fixtures;
mod forwarding;
mod paths;
mod retries;
mod several;
mod streams;
mod tls;
mod upgrades;
