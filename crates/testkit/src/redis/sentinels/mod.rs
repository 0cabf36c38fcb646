//! A Redis with replicas, and its sentinels, as a value.

mod group;
mod options;
mod starting;

pub use group::Sentinels;
pub use options::SentinelOptions;
