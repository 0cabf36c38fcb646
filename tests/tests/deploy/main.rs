//! What lies in `deploy/`, and the compose files, under the eyes of the programs that will read
//! them.
//!
//! | module | judged by |
//! |---|---|
//! | `image` | hadolint, and Cargo with what the build is given |
//! | `compose` | Docker Compose, and `sluice` itself |
//! | `load_balancer` | nginx, before real replicas |
//! | `chart` | Helm's engine, Kubernetes' schemas, promtool, and `sluice` itself |
//! | `prometheus` | promtool, amtool, and the catalogue of metrics |
//! | `dashboards` | Grafana's types in Python and TypeScript, Prometheus' grammar, the catalogue |
#![allow(clippy::panic, reason = "a helper of tests fails by panicking, as an assertion does")]

mod chart;
mod compose;
mod dashboards;
mod image;
mod load_balancer;
mod programs;
mod prometheus;
mod promql;
