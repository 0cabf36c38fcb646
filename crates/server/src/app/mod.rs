//! The application: connects the store, the limiter, the front ends and the ports by the settings.
//!
//! `assembly` creates an [`App`], `reload` changes it by a new configuration, and `run` lets it
//! serve at its [`Ports`].

mod applied;
mod assembly;
mod open_error;
mod ports;
mod reload;
mod run;

pub use self::{assembly::App, open_error::OpenError, ports::Ports};
pub use crate::joining::RunError;

pub(crate) use self::assembly::telemetry;
