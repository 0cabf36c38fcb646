//! Leases: a store over a store, which decides with tokens that it took ahead of need.
//!
//! | file | what it does |
//! |---|---|
//! | `book` | all leases of a replica, without I/O and without a clock |
//! | `followed` | one bucket of the book: its leases, when to ask for more, when to return them |
//! | `holding` | the tokens of one term |
//! | `demand` | how many tokens requests ask for |
//! | `eligibility` | which parts of a check can be leased, and how large a block is |
//! | `ask` | what is sent to get a lease |

mod ask;
mod book;
mod demand;
mod eligibility;
mod followed;
mod holding;
