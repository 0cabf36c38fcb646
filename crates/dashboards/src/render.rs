//! The list of all dashboards, and their files.

use crate::{alma, model::Dashboard, sluice};

/// Returns every dashboard.
#[must_use]
pub fn dashboards() -> Vec<Dashboard> {
    vec![alma::dashboard(), sluice::dashboard()]
}

/// Returns the name of a dashboard's file.
#[must_use]
pub fn file_name(dashboard: &Dashboard) -> String {
    format!("{}.json", dashboard.uid)
}

/// Returns the content of a dashboard's file.
#[must_use]
pub fn render(dashboard: &Dashboard) -> String {
    let mut text = serde_json::to_string_pretty(dashboard)
        .expect("a dashboard has only strings, numbers, lists and maps with string keys");
    text.push('\n');
    text
}
