//! Why a request cannot be read.

use crate::number::{MOST, NotACount};

/// Why a request cannot be read. It never contains a part of the body but names of fields and
/// short numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The body has no byte, or only blanks.
    #[error("the body is empty: send a JSON object")]
    Empty,
    /// The body is not JSON.
    #[error("the body is not JSON: see line {line}, column {column}")]
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The byte in the line, from 1; 0 before the first.
        column: usize,
    },
    /// The body is JSON, but no object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// The body is nested too deeply.
    #[error("the body is nested too deeply: at most 127 levels")]
    TooDeep,
    /// A field that decides what the request may use is there twice, and parsers differ in which
    /// of them counts.
    #[error("`{field}` is there twice: write it once")]
    Repeated {
        /// The field.
        field: &'static str,
    },
    /// A field has a value of the wrong type.
    #[error("`{field}` must be {expected}")]
    Type {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A field that counts something is not a count.
    #[error("`{field}` is {problem}: write a whole number from {least} to {MOST}")]
    Count {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
        /// The smallest number that it may be.
        least: u64,
    },
}

impl RequestError {
    /// Returns the field that is wrong, where it is one.
    #[must_use]
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::Repeated { field } | Self::Type { field, .. } | Self::Count { field, .. } => {
                Some(field)
            }
            Self::Empty | Self::NotJson { .. } | Self::NotAnObject | Self::TooDeep => None,
        }
    }

    pub(super) const fn not_a_count(field: &'static str, least: u64, why: NotACount) -> Self {
        let problem = match why {
            NotACount::Negative => "negative",
            NotACount::Fraction => "not whole",
            NotACount::TooLarge => "too large",
            NotACount::NotANumber => "not a number",
        };
        Self::Count { field, problem, least }
    }

    /// The parser's own error. Its text may quote the body, so only the place is kept.
    pub(super) fn of_json(error: &serde_json::Error) -> Self {
        if error.is_data() {
            return Self::NotAnObject;
        }
        if error.to_string().starts_with("recursion limit exceeded") {
            return Self::TooDeep;
        }
        Self::NotJson { line: error.line(), column: error.column() }
    }
}
