//! The vendors' own SDKs ask models through the gateway: they read its answers as the vendors', and
//! obey its denials.
//!
//! `cargo xtask e2e` runs the SDKs themselves ([`live`]). What they send is recorded in
//! `crates/llm/tests/sent`, one file an SDK and one line a request, and [`replay`] sends it again
//! without any SDK.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

mod gateway;
mod live;
mod recording;
mod replay;
