//! What happens to limits and to callers while something happens to Redis.
//!
//! Three stores as replicas have them, each with its own connections and circuit breakers, share
//! limits under load in this process, and a real Redis fails in a certain way. A test counts the
//! tokens that were admitted against the promise, the errors, and who had to wait. The stores are
//! those of the server; `redis_outages` has the same with whole replicas. Leases and holds are
//! tested with replicas that are processes.
//!
//! Every test has a seed. It is short by default; `cargo xtask faults` runs more rounds with other
//! seeds, adds the network partition, and prints the table that `docs/reliability.md` is about.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster_failover;
mod denials;
mod holds;
mod leases;
mod load;
mod lost_memory;
mod lost_primary;
mod partition;
mod random;
mod record;
mod scale;
mod scene;
mod sentinel;
mod slot_moves;
mod stores;
