//! A store over a store that may become unavailable: [`Failover`].
//!
//! | file | what it does |
//! |---|---|
//! | `failover_store` | the wrapper: sends calls to the store, or decides without it |
//! | `guarded_store` | what the wrapper shares with the recovery task |
//! | `breaker` | counts failures, and rejects calls while the store is unavailable |
//! | `timeout` | waits for the store |
//! | `local_fallback`, `limit_share`, `fleet_size` | decide without the store |
//! | `ledger` | remembers what was admitted without the store |
//! | `recovery`, `recovery_task` | probe the store, charge what is owed, close the breaker |

mod breaker;
mod failover_state;
mod failover_store;
mod fleet_size;
mod guarded_store;
mod ledger;
mod limit_share;
mod local_fallback;
mod recovery;
mod recovery_task;
#[cfg(test)]
mod tests;
mod timeout;

pub use self::{breaker::BreakerState, failover_state::FailoverState, failover_store::Failover};
