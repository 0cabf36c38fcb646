//! A dashboard.

use serde::Serialize;

use super::{panel::Panel, variable::Variable};

/// A dashboard.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dashboard {
    /// Part of the dashboard's URL, so that links survive a change of the title.
    pub uid: &'static str,
    /// The title in lists.
    pub title: &'static str,
    /// What the dashboard is for.
    pub description: &'static str,
    /// The tags by which lists can be filtered.
    pub tags: Vec<&'static str>,
    /// The time zone. `browser` is that of the viewer.
    pub timezone: &'static str,
    /// The version of the JSON model.
    pub schema_version: u32,
    /// The revision, which Grafana increases when a user saves the dashboard.
    pub version: u32,
    /// Whether viewers can change the dashboard.
    pub editable: bool,
    /// How panels share the crosshair. 1 shows it at the same time in all panels.
    pub graph_tooltip: u32,
    /// How often the panels refresh.
    pub refresh: &'static str,
    /// The time range that is shown first.
    pub time: TimeRange,
    /// The variables that a viewer can set.
    pub templating: Templating,
    /// The events that all panels show.
    pub annotations: Annotations,
    /// The links to other dashboards.
    pub links: Vec<Link>,
    /// The panels, each with its position.
    pub panels: Vec<Panel>,
}

/// A time range.
#[derive(Clone, Debug, Serialize)]
pub struct TimeRange {
    /// The start, relative to now.
    pub from: &'static str,
    /// The end.
    pub to: &'static str,
}

/// The events that all panels show. Our dashboards have none.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Annotations {
    /// The queries for events.
    pub list: Vec<()>,
}

/// A link to the dashboards with certain tags.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// The link's text.
    pub title: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    icon: &'static str,
    tooltip: &'static str,
    /// The tags of the dashboards.
    pub tags: Vec<&'static str>,
    as_dropdown: bool,
    keep_time: bool,
    include_vars: bool,
    target_blank: bool,
}

/// The variables that a viewer can set.
#[derive(Clone, Debug, Serialize)]
pub struct Templating {
    /// The variables. One that depends on another comes after it.
    pub list: Vec<Variable>,
}

// === impl Link ===

impl Link {
    pub(crate) fn to_tagged(title: &'static str, tag: &'static str) -> Self {
        Self {
            title,
            kind: "dashboards",
            icon: "external link",
            tooltip: "",
            tags: vec![tag],
            as_dropdown: false,
            keep_time: true,
            include_vars: true,
            target_blank: false,
        }
    }
}
