//! The binary `sluice` as a library: the front ends, the admin routes, and the application that
//! connects them.

pub mod admin;
pub mod app;
pub mod cli;
pub mod decision_log;
mod describe;
mod descriptors;
pub mod engine;
mod exposure;
pub mod front_ends;
mod joining;
pub mod logging;
mod openapi;
pub mod probe;
mod protocol;
mod replica;
pub mod serve;
pub mod shutdown;
pub mod store;
mod store_observer;
pub mod store_watch;
mod tls_files;
