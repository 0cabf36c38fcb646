//! A whole dashboard.

use serde::Serialize;

use super::{panel::Panel, variable::Variable};

/// A whole dashboard.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dashboard {
    /// Part of its address, so that links outlive a change of title.
    pub uid: &'static str,
    /// As lists show it.
    pub title: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// What lists can be filtered by.
    pub tags: Vec<&'static str>,
    /// Times of the viewer, not of the server.
    pub timezone: &'static str,
    /// The version of the JSON model.
    pub schema_version: u32,
    /// Counted up by Grafana when somebody saves it.
    pub version: u32,
    /// Whether viewers may change it for themselves.
    pub editable: bool,
    /// 1: the same instant is pointed at in all panels.
    pub graph_tooltip: u32,
    /// How often it reads anew.
    pub refresh: &'static str,
    /// What is shown at first.
    pub time: TimeRange,
    /// What a viewer can choose.
    pub templating: Templating,
    /// Events to be shown in all panels.
    pub annotations: Annotations,
    /// Other dashboards.
    pub links: Vec<Link>,
    /// The panels, each with its place.
    pub panels: Vec<Panel>,
}

/// From when to when.
#[derive(Clone, Debug, Serialize)]
pub struct TimeRange {
    /// The first instant, relative to now.
    pub from: &'static str,
    /// The last.
    pub to: &'static str,
}

/// Events to be shown in all panels: none.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Annotations {
    /// The kinds of events.
    pub list: Vec<()>,
}

/// A link to the dashboards with certain tags.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// What stands on it.
    pub title: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    icon: &'static str,
    tooltip: &'static str,
    /// The dashboards' tags.
    pub tags: Vec<&'static str>,
    as_dropdown: bool,
    keep_time: bool,
    include_vars: bool,
    target_blank: bool,
}

/// What a viewer can choose.
#[derive(Clone, Debug, Serialize)]
pub struct Templating {
    /// The choices, in the order in which they depend on each other.
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
