//! Limits on requests in flight (`concurrent`) at the gateway: a slot is held to the last byte.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

mod crashes;
mod models;
mod outages;
mod setting;
mod streams;
mod tunnels;
