//! Reads the fields of a request whole. All of identification and the limits read them here.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use sluice_core::{Attributes, RepeatedField, RequestError, one_value};

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

    /// Returns the value of the header `name`, of which all lines are read; `None` without one.
    ///
    /// # Errors
    /// When two of its lines differ, since whoever reads them next could choose another one.
    pub fn value(&self, name: &HeaderName) -> Result<Option<&'h [u8]>, RequestError> {
        self.only(name)
            .map_err(|RepeatedField| RequestError::FieldAmbiguous { header: name.to_string() })
    }

    fn only(
        &self,
        name: impl http::header::AsHeaderName,
    ) -> Result<Option<&'h [u8]>, RepeatedField> {
        one_value(self.headers.get_all(name).iter().map(HeaderValue::as_bytes))
    }
}

impl fmt::Debug for Headers<'_> {
    /// Shows names only, since some values are keys and tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.headers.keys()).finish()
    }
}

impl Attributes for Headers<'_> {
    fn get(&self, name: &str) -> Result<Option<&[u8]>, RepeatedField> {
        self.only(name)
    }
}

/// Returns the value of the header `name`, which identifies a client. An empty one counts as
/// absent.
pub(super) fn identifying<'h>(
    headers: Headers<'h>,
    name: &HeaderName,
) -> Result<Option<&'h [u8]>, RequestError> {
    match headers.only(name) {
        Ok(value) => Ok(value.filter(|value| !value.is_empty())),
        Err(RepeatedField) => Err(RequestError::ClientAmbiguous { header: name.to_string() }),
    }
}

/// Returns the key of a client in the header `name`.
pub(super) fn key<'h>(
    headers: Headers<'h>,
    name: &HeaderName,
) -> Result<Option<&'h [u8]>, RequestError> {
    match identifying(headers, name)? {
        Some(key) if key.len() > MAX_KEY_BYTES => {
            Err(RequestError::ClientTooLong { bytes: key.len(), most: MAX_KEY_BYTES })
        }
        key => Ok(key),
    }
}

/// Returns the text of the header `name`; `None` when it is empty or no text.
pub(super) fn text<'h>(
    headers: Headers<'h>,
    name: &HeaderName,
) -> Result<Option<&'h str>, RequestError> {
    let value = headers.value(name)?.filter(|value| !value.is_empty());
    Ok(value.and_then(|value| std::str::from_utf8(value).ok()))
}
