//! Leases: a store over a store, which decides with tokens that it took ahead of need.
//!
//! | file | what it does |
//! |---|---|
//! | `leasing_store` | the wrapper: decides with leases, or sends checks to the store |
//! | `local_decision` | decisions that are made with leases, whole or in part |
//! | `shared_books` | what the wrapper shares with its tasks: sends asks and settlements |
//! | `book` | all leases of a replica, without I/O and without a clock |
//! | `followed` | one bucket of the book: its leases, when to ask for more, when to return them |
//! | `holding` | the tokens of one term |
//! | `demand`, `estimate` | how many tokens requests ask for; how many there are |
//! | `eligibility` | which parts of a check can be leased, and how large a block is |
//! | `ask` | what is sent to get a lease |

mod ask;
mod book;
mod demand;
mod eligibility;
mod estimate;
mod followed;
mod holding;
mod leasing_store;
mod local_decision;
mod shared_books;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use leasing_store::Leasing;
