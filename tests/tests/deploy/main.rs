//! The files in `deploy/` and the compose files, checked by the programs that read them.
//!
//! | module | checked by |
//! |---|---|
//! | `image` | hadolint, and Cargo with the files of the build context |
//! | `config_schema` | Python's jsonschema, and Helm's values |
//! | `compose` | Docker Compose, and `sluice` itself |
//! | `load_balancer` | nginx, in front of real replicas |
//! | `chart` | Helm, Kubernetes' schemas, promtool, and `sluice` itself |
//! | `prometheus` | promtool, amtool, and the catalogue of metrics |
//! | `runbooks` | the alerts, the panels, and the catalogue of metrics |
//! | `dashboards` | Grafana's types in Python and TypeScript, Prometheus' grammar, the catalogue |
#![allow(clippy::panic, reason = "a helper of tests fails by panicking, as an assertion does")]

mod chart;
mod compose;
mod config_schema;
mod dashboards;
mod image;
mod load_balancer;
mod programs;
mod prometheus;
mod promql;
mod runbooks;
