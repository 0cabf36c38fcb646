//! Buckets in Redis, shared by a fleet.
//!
//! One script call, `lua/check.lua`, decides a batch of checks by the server's own clock. Checks
//! gather while a call is in flight (`lanes`). Keys contain no client in plain text (`keys`).
//!
//! A batch takes this way: [`RedisStore`] → `lanes` → `call_plan` lays out the arguments →
//! `scripts` sends them on one of the `connections` → `check_reply` turns the reply into decisions,
//! with the help of `bucket_state`.
//!
//! Sentinel and Cluster will be further ways to find the connection for a tag. What lies above and
//! below that choice will not change.

mod access;
mod address;
mod announce;
mod bucket_state;
mod call_plan;
mod check_reply;
mod connections;
mod error_meaning;
mod greeting;
mod keys;
mod lanes;
mod redis_error;
mod redis_handle;
mod redis_settings;
mod redis_store;
mod round_trip_span;
mod scripts;
mod sentinels;
mod server_memory;
mod tls;

pub use self::{
    address::{RedisAddress, RedisAddressError},
    redis_error::{PemContent, RedisError},
    redis_handle::RedisHandle,
    redis_settings::{RedisSettings, SentinelSettings},
    redis_store::RedisStore,
    scripts::RedisScript,
    server_memory::ServerMemory,
};
