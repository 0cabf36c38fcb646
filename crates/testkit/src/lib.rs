//! Real servers as values, for tests only.
//!
//! A test that needs Redis starts one, uses it, and drops it. Tests share nothing, so they run in
//! parallel in any number of processes:
//!
//! ```
//! use sluice_testkit::RedisServer;
//!
//! let redis = RedisServer::start();
//! redis.command(&["SET", "greeting", "hello"]);
//! assert_eq!(redis.command(&["GET", "greeting"]).text(), "hello");
//! println!("clients connect to {}", redis.url());
//! ```
//!
//! Everything here is blocking and needs no runtime, so that tests with and without async code can
//! use it. An error is a panic whose message names the remedy, since that is how a test fails.
//!
//! - [`RedisServer`]: a Redis process, optionally with TLS and users, which can be paused, killed
//!   and restarted.
//! - [`RedisCluster`]: Redis processes that form a cluster, whose slots and primaries can be moved.
//! - [`Sentinels`]: a Redis with replicas, and the sentinels that watch it.
//! - [`documented_user`]: the user of Redis that operators are told to make.
//! - [`RedisProgram`]: the versions of Redis and Valkey that tests can run.
//! - [`Sluice`]: the built `sluice` as a process, with its own ports, file and log.
//! - [`Proxy`]: nginx, Caddy, Traefik, HAProxy or Envoy with a configuration from the test.
//! - [`AsgiApp`]: a Python application.
//! - [`eventually()`]: waits until a condition is true, instead of sleeping.
//! - [`decisions`]: limits, and decisions on full buckets.
//! - [`paths`]: spellings of one path, as hostile clients write them.
//! - [`policies`]: the policy of the project's document.
//! - [`strategies`]: rates, bursts and costs for property tests.
//! - [`ReservedPort`]: a TCP port that no other test gets at the same time.
//!
//! A server ends when its value is dropped, also in a test that panics. Do not keep one in a
//! `static`: statics are never dropped.
#![allow(clippy::panic, reason = "a helper of tests fails by panicking, as an assertion does")]

mod asgi;
mod child;
pub mod decisions;
mod eventually;
pub mod paths;
pub mod policies;
mod ports;
mod probe;
mod process;
mod programs;
mod proxy;
mod redis;
mod server;
pub mod strategies;

pub use asgi::AsgiApp;
pub use eventually::{
    Outcome, eventually, eventually_async, eventually_async_within, eventually_within,
};
pub use ports::ReservedPort;
pub use process::{Sluice, SluiceOptions, built_sluice};
pub use programs::Program;
pub use proxy::{Proxy, ProxyKind};
pub use redis::{
    ClusterOptions, CommandError, RedisCluster, RedisOptions, RedisProgram, RedisServer, Reply,
    SentinelOptions, Sentinels, documented_user,
};
