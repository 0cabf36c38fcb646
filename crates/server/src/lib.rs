//! The binary `sluice` as a library: its configuration, and the doors through which checks come in.

mod access;
pub mod app;
pub mod cli;
pub mod engine;
pub mod front_ends;
pub mod health;
mod heartbeat;
mod listener;
mod logging;
mod monitoring;
mod openapi;
pub mod probe;
mod replica;
mod scrape;
pub mod serve;
pub mod shutdown;
pub mod store;
