//! Answers: what they used, read as they pass.

mod encoding;
mod event;
mod fields;
mod filter;
mod meter;
mod metered;
mod pattern;
mod sse;
mod usage;

pub use encoding::{ACCEPT_ENCODING, Framing};
pub use meter::Meter;
pub use metered::{Metered, Report};
