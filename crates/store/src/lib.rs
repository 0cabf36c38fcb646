//! Where buckets live: the [`Store`] trait, the memory and Redis stores, and wrappers that are
//! stores over a store.
//!
//! A store answers a [`Check`](sluice_core::Check) with a [`Decision`](sluice_core::Decision), all
//! or nothing, and tells the time itself. It knows nothing of HTTP, policies or metrics.

mod clock;
mod error;
mod failover;
mod fleet;
mod memory;
mod prehashed;
mod redis;
mod round_trip;
mod store;
mod store_future;

pub use clock::{Clock, ManualClock, MonotonicClock};
pub use error::{StoreError, StoreErrorKind};
pub use failover::{BreakerState, Failover, FailoverState};
pub use fleet::{Fleet, LiveReplica, Replica};
pub use memory::MemoryStore;
pub use redis::{PrefixError, RedisError, RedisHandle, RedisScript, RedisSettings, RedisStore};
pub use round_trip::{ObserveRoundTrips, RoundTrip};
pub use store::Store;
pub use store_future::StoreFuture;
