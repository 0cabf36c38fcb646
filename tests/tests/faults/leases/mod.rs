//! Replicas that hold leases: `precision: leased`.
//!
//! - `processes`: replicas as processes, which are killed, stopped and ended under load, while
//!   Redis is healthy. Every window of every bucket holds its limit.
//! - `held`: the bucket refills while leases are held, and then all is spent at once.
//! - `outages`: stores as replicas have them, whose Redis fails while they hold leases.

mod callers;
mod fleet;
mod held;
mod mischief;
mod outages;
mod processes;
mod traffic;
