//! A real Prometheus scrapes a fleet.
//!
//! | module | what Prometheus shows |
//! |---|---|
//! | `sums` | the responses that clients got |
//! | `panels` | data in every panel, and rules that do not fire for a healthy fleet |
//! | `custom_panels` | data for the queries that people copy from the documentation |
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

mod custom_panels;
mod panels;
mod sums;
mod traffic;
