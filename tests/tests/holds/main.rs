//! Holds over HTTP, `POST /v1/reserve`, `/v1/extend` and `/v1/settle`: with whole replicas, which a
//! test kills, on a real Redis, which it also kills.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod abuse;
mod crashes;
mod desk;
mod keys;
mod outages;
mod parallel;
mod replicas;
