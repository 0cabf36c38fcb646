//! A Redis Cluster: which of its servers has which partition.
//!
//! | file | what it does |
//! |---|---|
//! | `servers` | finds the server that has a partition |
//! | `map` | the servers, their partitions, and the ids of the nodes |
//! | `refresh` | asks for a fresh map, and waits for one |
//! | `upkeep` | keeps the map up to date, beside the traffic |
//! | `view` | asks a server which server has which slot |
//! | `node_address` | reads where a server is |

mod map;
mod node_address;
mod refresh;
mod servers;
mod upkeep;
mod view;

pub(super) use self::{
    map::Server,
    node_address::NodeAddress,
    servers::{Cluster, Kept},
};
