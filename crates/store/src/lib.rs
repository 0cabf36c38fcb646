//! Stores: where token buckets are kept and checks are decided.
//!
//! A [`Store`] decides a [`Check`](sluice_core::Check), all or nothing, by its own clock, and
//! returns a [`Decision`](sluice_core::Decision). It knows nothing of HTTP, policies or metrics.
//!
//! - [`MemoryStore`] keeps buckets in the process.
//! - [`RedisStore`] keeps them in Redis, where a fleet of replicas shares them.
//! - [`Failover`] wraps a store, and decides in its place while it is unavailable.
//! - [`Denials`] wraps a store, and repeats its denials for as long as they hold.
//!
//! The documentation of [`Store`] shows how to write another one, that of [`ManualClock`] how to
//! test without waiting.

mod background_task;
mod clock;
mod cold_start;
mod denials;
mod error;
mod failover;
mod fleet;
mod formats;
mod join_all;
mod leases;
mod memory;
mod node_id;
mod prehashed;
#[cfg(feature = "redis")]
mod redis;
mod returns;
mod round_trip;
mod spanning;
mod store;
mod store_future;

pub use clock::{Clock, ManualClock, MonotonicClock};
pub use cold_start::ColdStart;
pub use denials::{Denials, DenialsState};
pub use error::{StoreError, StoreErrorKind};
pub use failover::{BreakerState, Failover, FailoverState};
pub use fleet::{Fleet, LiveReplica, Replica};
pub use formats::Formats;
pub use leases::Leasing;
pub use memory::MemoryStore;
pub use node_id::NodeId;
#[cfg(feature = "redis")]
pub use redis::{
    PemContent, RedisAddress, RedisAddressError, RedisError, RedisHandle, RedisScript,
    RedisSettings, RedisStore, SentinelSettings, ServerMemory, bucket_key,
};
pub use returns::{ObserveReturns, SubscriptionId};
pub use round_trip::{ObserveRoundTrips, RoundTrip};
pub use store::Store;
pub use store_future::{MaybeReady, StoreFuture};
