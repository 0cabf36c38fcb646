//! The binary `sluice` as a library: its configuration, and the doors through which checks come in.

pub mod cli;
pub mod config;
pub mod engine;
pub mod front_ends;
pub mod health;
