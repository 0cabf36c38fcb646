//! The gateway for language models, from end to end: the program in front of a vendor.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

mod bodies;
mod budgets;
mod changes;
mod denials;
mod endings;
mod estimates;
mod metering;
mod setting;
mod streams;
mod unlogged;
