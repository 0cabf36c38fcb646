//! Text that is never shown.

use std::fmt;

/// Text that is never shown: not by `Debug`, not in errors, not by `sluice config show`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

/// What stands where a secret would.
pub(crate) const MASK: &str = "***";

impl Secret {
    /// Keeps `text` from being shown.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text itself: for the one who needs it, and nobody's log.
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
