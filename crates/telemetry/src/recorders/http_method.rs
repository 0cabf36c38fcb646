//! The methods of HTTP requests, as label values.

use crate::labels::label_values;

label_values! {
    /// A request's method.
    pub enum MethodLabel {
        /// GET
        Get => "GET",
        /// HEAD
        Head => "HEAD",
        /// POST
        Post => "POST",
        /// PUT
        Put => "PUT",
        /// PATCH
        Patch => "PATCH",
        /// DELETE
        Delete => "DELETE",
        /// OPTIONS
        Options => "OPTIONS",
        /// CONNECT
        Connect => "CONNECT",
        /// TRACE
        Trace => "TRACE",
        /// Any other method, so that clients cannot create label values.
        Other => "other",
    }
}

// === impl MethodLabel ===

impl MethodLabel {
    /// Returns the label of the method with this name, compared with case, or
    /// [`Other`](Self::Other).
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let known = Self::ALL.iter().find(|method| method.as_str() == name);
        known.copied().unwrap_or(Self::Other)
    }
}
