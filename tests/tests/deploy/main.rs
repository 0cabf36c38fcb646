//! The files in `deploy/` and the compose files, checked by the programs that read them.
//!
//! | module | checked by |
//! |---|---|
//! | `image` | hadolint, and Cargo with the files of the build context |
//! | `config_schema` | Python's jsonschema, and Helm's values |
//! | `compose` | Docker Compose, and `sluice` itself |
//! | `compose_auth` | Docker Compose, promtool and Prometheus |
//! | `compose_variables` | Docker Compose and Prometheus |
//! | `load_balancer` | nginx, in front of real replicas |
//! | `chart` | Helm, Kubernetes' schemas, promtool, and `sluice` itself |
//! | `first_alert` | Helm, Prometheus, and `sluice` itself |
//! | `prometheus` | promtool, amtool, and the catalogue of metrics |
//! | `runbooks` | the alerts, the panels, and the catalogue of metrics |
//! | `dashboards` | Grafana's types in Python and TypeScript, Prometheus' grammar, the catalogue |
//! | `grafana_alerts` | Grafana's types in Python, and Prometheus |
//! | `document` | the document "Rate Limiting & Metrics", and the names of tests |
#![allow(clippy::panic, reason = "a helper of tests fails by panicking, as an assertion does")]

mod chart;
mod compose;
mod compose_auth;
mod compose_variables;
mod config_schema;
mod dashboards;
mod denials;
mod document;
mod first_alert;
mod grafana_alerts;
mod image;
mod load_balancer;
mod programs;
mod prometheus;
mod promql;
mod runbooks;
