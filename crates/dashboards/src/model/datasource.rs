//! Where series come from.

use serde::Serialize;

/// Where series come from.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Datasource {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) uid: &'static str,
}

// === impl Datasource ===

impl Datasource {
    pub(super) const CHOSEN: Self = Self { kind: "prometheus", uid: "${datasource}" };
}
