//! Redis processes as values: alone, in a cluster, and under sentinels.

mod clock;
mod cluster;
mod documented;
mod launch;
mod options;
mod program;
mod reply;
mod sentinels;
mod server;
mod tls;

pub use cluster::{ClusterOptions, RedisCluster};
pub use documented::documented_user;
pub use options::RedisOptions;
pub use program::RedisProgram;
pub use reply::{CommandError, Reply};
pub use sentinels::{SentinelOptions, Sentinels};
pub use server::RedisServer;
