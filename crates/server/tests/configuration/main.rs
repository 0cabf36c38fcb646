//! The configuration as operators meet it: the command line, and a running replica.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod command_line;
mod reloading;
