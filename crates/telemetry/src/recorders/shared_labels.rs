//! Labels that more than one recorder uses.

use crate::metric::Label;

/// The pattern that matched a request's path.
pub(super) const ENDPOINT: Label = Label::capped("endpoint", 200);

/// How an application's operation ended, in the application's own words.
pub(super) const STATUS: Label = Label::capped("status", 6);
