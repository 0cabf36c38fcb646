//! Text that is never shown.

use std::fmt;

/// Text that is never shown: not by `Debug`, not in errors, not by `sluice config show`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

/// What is shown in place of a secret.
pub(crate) const MASK: &str = "***";

impl Secret {
    /// Keeps `text` from being shown.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text itself. Never log it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}
