//! Reads single values from headers.

use std::fmt;

use http::{HeaderMap, HeaderName};
use sluice_core::{Attributes, RequestError};

/// The longest key in a header, in bytes.
const MAX_KEY_BYTES: usize = 4096;

/// The headers of a request, as the attributes that limits read.
#[derive(Clone, Copy)]
pub struct Headers<'h> {
    headers: &'h HeaderMap,
}

impl<'h> Headers<'h> {
    /// Creates attributes that are read from `headers`.
    #[must_use]
    pub const fn new(headers: &'h HeaderMap) -> Self {
        Self { headers }
    }
}

impl fmt::Debug for Headers<'_> {
    /// Shows names only, since some values are keys and tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.headers.keys()).finish()
    }
}

impl Attributes for Headers<'_> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name).map(http::HeaderValue::as_bytes)
    }
}

/// Returns the key of a client in the header `name`.
pub(super) fn key<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h [u8]>, RequestError> {
    let values = headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii());
    match only(values, name)? {
        Some(key) if key.len() > MAX_KEY_BYTES => {
            Err(RequestError::ClientTooLong { bytes: key.len(), most: MAX_KEY_BYTES })
        }
        key => Ok(key),
    }
}

/// Returns the only value that is not empty. Equal values count as one.
pub(super) fn only<'h>(
    values: impl Iterator<Item = &'h [u8]>,
    name: &HeaderName,
) -> Result<Option<&'h [u8]>, RequestError> {
    let mut found = None;
    for value in values.filter(|value| !value.is_empty()) {
        if found.is_some_and(|found| found != value) {
            return Err(RequestError::ClientAmbiguous { header: name.to_string() });
        }
        found = Some(value);
    }
    Ok(found)
}

/// Returns the text of the header `name`; `None` when it has several values, or one that is not
/// text.
pub(super) fn only_text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let values = headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii());
    std::str::from_utf8(only(values, name).ok()??).ok()
}
