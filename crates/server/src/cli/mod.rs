//! The command line.
//!
//! ```text
//! sluice [serve] [--config FILE] [--listen-http ADDRESS] ...   run a replica
//! sluice config check [FILE]                                   print all errors of a file
//! sluice config show [--config FILE] ...                       print the effective configuration
//! sluice config schema                                         print the JSON Schema of a file
//! sluice explain METHOD PATH [--client NAME] ...                say which limits apply, and why
//! sluice health [ADDRESS] [--config FILE]                      check whether a replica is ready
//! sluice openapi                                               print the OpenAPI document
//! ```
//!
//! Each command is a module with its arguments and a function that runs it. A command writes to
//! the output that it is handed, and returns the exit code. `parser` puts them together.

mod config_check;
mod config_show;
mod exit;
mod explain;
mod health;
mod layers;
mod parser;
mod request_flags;
mod words;

pub use exit::EXIT_CONFIG;
pub use parser::Cli;
