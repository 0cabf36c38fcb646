//! A Redis cluster as a value.

mod forming;
mod moves;
mod nodes;
mod options;
mod view;

pub use nodes::RedisCluster;
pub use options::ClusterOptions;
