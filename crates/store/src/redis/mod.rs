//! Buckets in Redis, shared by a fleet.
//!
//! One script call, `lua/check.lua`, decides a batch of checks by the server's own clock. Checks
//! gather while a call is in flight (`lanes`). A simple check that is alone is decided by
//! `lua/check_one.lua`, if its bucket is simple too. Keys contain no client in plain text (`keys`).
//!
//! A check takes this way: [`RedisStore`] → `topology`, in a cluster by `routing` → the `lanes` of
//! a `node` → their `queue` → a `batch`, in which `call_plan` lays out the arguments of each call →
//! `trip` sends it on one of the `connections` → `check_reply` turns the replies into decisions,
//! with the help of `bucket_state`.
//!
//! Beside that, a `subscription` at each server learns to which buckets tokens were returned.
//!
//! `address` reads the URL, `access` has what all servers of a store share, `sentinels` finds the
//! primary that they watch, and `cluster` knows which server has which partition.

mod access;
mod address;
mod address_error;
mod address_login;
mod announce;
mod at_server;
mod batch;
mod bucket_state;
mod call_plan;
mod check_reply;
mod cluster;
mod commands;
mod connections;
mod epoch_reader;
mod epochs;
mod error_meaning;
mod forbidden;
mod given_up;
mod greeting;
mod job;
mod keys;
mod lanes;
mod login;
mod node;
mod queue;
mod redis_error;
mod redis_handle;
mod redis_settings;
mod redis_store;
mod returns;
mod round_trip_span;
mod routing;
mod scripts;
mod sentinels;
mod server_memory;
mod subscription;
mod tls;
mod topology;
mod trip;

pub use self::{
    address::RedisAddress,
    address_error::RedisAddressError,
    keys::bucket_key,
    redis_error::{PemContent, RedisError},
    redis_handle::RedisHandle,
    redis_settings::{RedisSettings, SentinelSettings},
    redis_store::RedisStore,
    scripts::RedisScript,
    server_memory::ServerMemory,
};
