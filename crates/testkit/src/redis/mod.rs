//! A Redis process as a value.

mod clock;
mod options;
mod reply;
mod server;
mod tls;

pub use options::RedisOptions;
pub use reply::{CommandError, Reply};
pub use server::RedisServer;
