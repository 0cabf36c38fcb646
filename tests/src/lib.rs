//! Helpers of the end-to-end tests in `tests/tests/`, which use Sluice as its users do: through its
//! program, its ports, its files and its signals.
//!
//! - [`http`]: an HTTP client that shows responses unchanged and can send invalid requests.
//! - [`fleet`]: several replicas on one Redis.
//! - [`load`]: hundreds of clients that send checks and record the responses.
//! - [`buckets`]: the buckets that they use.
//! - [`window_limit`]: whether the recorded responses keep the limit in every window of time.
//! - [`level`]: whether the responses to a single client fit its bucket.
//! - [`audit`]: whether the tokens of a bucket add up.
//! - [`metrics`]: the numbers on the page `/metrics`.
//! - [`concurrent`]: clients that share keys and send requests at the same time.
//! - [`echo`]: an API that responds with the request it received.
//! - [`model`]: a vendor of language models that answers as a test says.
//! - [`through_proxy`]: what clients see of that API through a proxy.
//! - [`prometheus`]: a Prometheus that scrapes replicas.
//! - [`alertmanager`]: an Alertmanager that receives alerts from Prometheus.
//! - [`request_recorder`]: a server that records every request.
//! - [`tap`]: a port in front of a server, which records what passes.
//! - [`received_request`]: requests as such servers read them.
//! - [`redis_monitor`]: what Redis is sent.
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
mod fullest_window;
pub mod http;
pub mod level;
pub mod load;
pub mod metrics;
pub mod model;
pub mod prometheus;
pub mod received_request;
pub mod redis_monitor;
pub mod request_recorder;
pub mod rotel;
pub mod tap;
pub mod through_proxy;
pub mod window_limit;
