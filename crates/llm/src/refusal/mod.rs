//! Answers of our own, which clients of each vendor understand as the vendor's.

mod body;
mod rate_limits;
mod retry;

pub use body::{Problem, Refusal};
pub use rate_limits::{Counted, RateLimit, rate_limit_headers};
pub use retry::retry_headers;
