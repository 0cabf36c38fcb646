//! The source of series.

use serde::Serialize;

/// The source of series.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Datasource {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) uid: &'static str,
}

// === impl Datasource ===

impl Datasource {
    /// The source that the variable `datasource` selects.
    pub(super) const SELECTED: Self = Self { kind: "prometheus", uid: "${datasource}" };
}
