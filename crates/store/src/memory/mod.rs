//! Buckets in the process: for a single replica, for tests, and as the local fallback of a
//! [`Failover`](crate::Failover).

mod announcements;
mod memory_store;
mod records;
mod shard;

pub use memory_store::MemoryStore;
