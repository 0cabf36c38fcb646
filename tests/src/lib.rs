//! What the end-to-end tests in `tests/tests/` share. They know Sluice as its users do: by its
//! binary, its ports, its files and its signals.
//!
//! - [`http`]: a client that shows the wire as it is, and can also send what no client should.
//! - [`fleet`]: several replicas on one Redis.
//! - [`crowd`]: hundreds of clients who ask all the time, and write down what they were told.
//! - [`subjects`]: what they ask about.
//! - [`promise`]: whether what they were told keeps the promise, in every window.
//! - [`audit`]: whether the tokens of a bucket add up.
//! - [`metrics`]: what `/metrics` says, as numbers.
//! - [`rush`]: clients who share a name and all ask at once.
//! - [`echo`]: an API that says what it was asked.
//! - [`behind`]: what clients see of it behind a proxy.
//! - [`prometheus`]: a Prometheus that scrapes them.
//! - [`alertmanager`]: an Alertmanager, to whom Prometheus tells its alerts.
//! - [`inbox`]: a server that takes whatever is posted to it.
//! - [`collector`]: a collector of traces and metrics; [`rotel`]: a real one.
//! - [`command`]: `sluice` as a command that ends by itself.
#![allow(clippy::panic, reason = "a helper of tests fails by panicking, as an assertion does")]

pub mod alertmanager;
pub mod audit;
pub mod buckets;
pub mod collector;
pub mod command;
pub mod concurrent;
pub mod echo;
pub mod fleet;
pub mod http;
pub mod load;
pub mod metrics;
pub mod prometheus;
pub mod request_recorder;
pub mod rotel;
pub mod through_proxy;
pub mod window_limit;
