//! Answers of every wire format, whole and in pieces.
//!
//! Beside each transcript `CASE.sse` or `CASE.json` stands what has to come of it,
//! `CASE.expected.json`, and where a chunk is taken out, what passes: `CASE.passed.sse`. The folder
//! is the wire format. All of it is made up.

mod cut;
mod expected;
mod pieces;
mod transcript;
