//! For tests only: real servers as values.
//!
//! A test that needs Redis starts one, uses it, and lets it fall; nothing is shared, so tests run
//! side by side in any number of processes:
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
//! Everything here is blocking and needs no runtime, so it serves plain and async tests alike. What
//! goes wrong panics with a message that says what to do, because that is how a test fails.
//!
//! - [`RedisServer`]: a Redis process, with TLS and users where asked for, to be paused, killed and
//!   restarted.
//! - [`Sluice`]: the built `sluice` as a process, with its own ports, file and log.
//! - [`Proxy`]: nginx, Caddy, Traefik, HAProxy or Envoy with a file of the test's.
//! - [`AsgiApp`]: a Python application.
//! - [`eventually`]: waits for what is bound to happen, instead of sleeping and hoping.
//! - [`decisions`]: limits, and what is decided on full buckets.
//! - [`policies`]: the policy of the project's document.
//! - [`strategies`]: rates, bursts and costs for property tests.
//! - [`ReservedPort`]: a TCP port that no other test is given meanwhile.
//!
//! A server ends when its value is dropped, also in a test that panics. Do not keep one in a
//! `static`: statics are never dropped.
#![allow(clippy::panic, reason = "a helper of tests fails by panicking, as an assertion does")]

mod asgi;
mod child;
pub mod decisions;
mod eventually;
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
pub use redis::{CommandError, RedisOptions, RedisServer, Reply};
