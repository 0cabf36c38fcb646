//! Denials that replicas repeat without Redis, and what ends them: real processes.
//!
//! One bucket that does not refill within a test is used by one test at a time, so the test knows
//! how many tokens it holds.
//!
//! - `calls`: what a client that keeps asking costs Redis.
//! - `ends`: tokens that are returned, and a limit that changes, end denials on every replica.
//! - `history`: whatever happens to messages, no denial outlives what was returned by ten seconds.

mod calls;
mod ends;
mod fleet;
mod history;
