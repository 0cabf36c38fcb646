//! The binary `sluice` as a library: its configuration, and the doors through which checks come in.

pub mod app;
pub mod cli;
pub mod config;
pub mod engine;
pub mod front_ends;
pub mod health;
mod heartbeat;
mod listener;
mod logging;
pub mod probe;
mod replica;
pub mod serve;
pub mod shutdown;
pub mod store;
