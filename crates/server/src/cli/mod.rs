//! The command line.
//!
//! ```text
//! sluice [serve] [--config FILE] [--listen-http ADDRESS] ...   run a replica
//! sluice config check [FILE]                                   print all errors of a file
//! sluice config diff OLD NEW                                   say what changes for whom
//! sluice config show [--config FILE] ...                       print the effective configuration
//! sluice config schema                                         print the JSON Schema of a file
//! sluice check [URL] --client NAME [--path PATH] ...           ask a running replica
//! sluice explain METHOD PATH [--client NAME] ...               say which limits apply, and why
//! sluice explain --rls DOMAIN KEY=VALUE ...                    say which rule applies, and why
//! sluice hash CLIENT [--config FILE]                           print the hash of a client
//! sluice slo rules [--config FILE]                             print the rules of objectives
//! sluice health [ADDRESS] [--config FILE]                      check whether a replica is ready
//! sluice openapi                                               print the OpenAPI document
//! sluice completions SHELL                                     print a script for a shell
//! ```
//!
//! Each command is a module with its arguments and a function that runs it. A command writes to
//! the output that it is handed, in which `printable` escapes control characters, and returns the
//! exit code. `parser` puts them together.

mod check;
mod completions;
mod config_check;
mod config_diff;
mod config_show;
mod exit;
mod explain;
mod hash;
mod health;
mod layers;
mod parser;
mod printable;
mod request_flags;
mod slo;
mod words;

pub use exit::{EXIT_CONFIG, reject_usage};
pub use parser::Cli;
