//! The admin routes: health, metrics, monitoring, the console and the OpenAPI document. They are
//! never limited.

pub(crate) mod access;
pub(crate) mod console;
pub(crate) mod description;
pub mod health;
pub(crate) mod metrics;
pub(crate) mod monitoring;
mod port;
mod routes;
mod shared_text;
mod shortened;
pub(crate) mod store_part;

pub(crate) use self::routes::is_probe_path;
#[cfg(test)]
pub(crate) use self::routes::{PATHS, covering};
pub use self::{port::AdminPort, routes::AdminRoutes};
