//! The denial cache: a client that was denied and keeps asking is answered without the store.
//!
//! A denial shows how many tokens a bucket has and when others come back. Until then, every check
//! that needs more is denied by the same arithmetic, in this process. What ends a denial earlier,
//! returned tokens, is [reported](crate::Store::report_returns) by the store.
//!
//! | file | what it does |
//! |---|---|
//! | `line` | what is known of a bucket, and for how long |
//! | `cache` | keeps lines, decides with them, and drops them |
//! | `denials_store` | the wrapper, which asks the cache first |

mod cache;
mod denials_store;
mod line;
#[cfg(test)]
mod tests;

pub use self::denials_store::{Denials, DenialsState};
