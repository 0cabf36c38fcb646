//! The configuration from outside: the command line and a running process.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod command_line;
mod reloading;
