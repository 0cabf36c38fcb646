//! Reads JSON as it passes, in pieces of any size, without keeping it.
//!
//! A [`Node`] says which places of a document matter and what to call them. A [`Scanner`] walks the
//! document and reports what it finds there to a [`Sink`]: where objects and arrays begin and end,
//! numbers, and the lengths of strings. Everything else is only skipped. So a document of any size
//! takes the same memory: see [`Scanner`].

mod node;
mod scanner;

pub(crate) use node::Node;
pub(crate) use scanner::{InValue, Scanner, Sink};
