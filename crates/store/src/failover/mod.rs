//! A store over a store that may become unavailable: [`Failover`].
//!
//! | file | what it does |
//! |---|---|
//! | `failover_store` | the wrapper: sends calls to the store, or decides without it |
//! | `several_nodes` | sends checks and batches whose buckets are on several nodes |
//! | `guarded_store` | what the wrapper shares with the recovery tasks |
//! | `breaker`, `breakers` | count a node's failures, and reject calls while it is unavailable |
//! | `waiting`, `slow_calls`, `timeout` | wait for the store |
//! | `without_store`, `local_fallback`, `limit_share`, `fleet_size` | decide without the store |
//! | `ledger`, `charge_order`, `partition_set` | remember what was admitted without the store |
//! | `steps_in_doubt` | remembers which steps of holds the store may have made as well |
//! | `recovery`, `recovery_task` | probe a node, charge what is owed, close its breaker |
//! | `node_tasks` | start and stop one task for each node |

mod breaker;
mod breakers;
mod charge_order;
mod failover_state;
mod failover_store;
mod fleet_size;
mod guarded_store;
mod ledger;
mod limit_share;
mod local_fallback;
mod node_tasks;
mod partition_set;
mod recovery;
mod recovery_task;
mod several_nodes;
mod slow_calls;
mod steps_in_doubt;
#[cfg(test)]
mod tests;
mod timeout;
mod waiting;
mod without_store;

pub use self::{breaker::BreakerState, failover_state::FailoverState, failover_store::Failover};
