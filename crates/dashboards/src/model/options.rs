//! The options of each kind of panel.

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Options {
    Lines(LineOptions),
    Stat(StatOptions),
    Bars(BarOptions),
    States(StateOptions),
    Table(TableOptions),
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LineOptions {
    pub(super) legend: Legend,
    pub(super) tooltip: Tooltip,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Legend {
    pub(super) display_mode: &'static str,
    pub(super) placement: &'static str,
    pub(super) show_legend: bool,
    pub(super) calcs: Vec<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Tooltip {
    pub(super) mode: &'static str,
    pub(super) sort: &'static str,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatOptions {
    pub(super) reduce_options: Reduce,
    pub(super) orientation: &'static str,
    pub(super) text_mode: &'static str,
    pub(super) color_mode: &'static str,
    pub(super) graph_mode: &'static str,
    pub(super) justify_mode: &'static str,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BarOptions {
    pub(super) reduce_options: Reduce,
    pub(super) orientation: &'static str,
    pub(super) display_mode: &'static str,
    pub(super) show_unfilled: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Reduce {
    pub(super) calcs: Vec<&'static str>,
    pub(super) fields: &'static str,
    pub(super) values: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StateOptions {
    pub(super) merge_values: bool,
    pub(super) show_value: &'static str,
    pub(super) align_value: &'static str,
    pub(super) row_height: f64,
    pub(super) legend: Legend,
    pub(super) tooltip: Tooltip,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TableOptions {
    pub(super) show_header: bool,
}

// === impl Legend ===

impl Legend {
    pub(super) fn below(calcs: Vec<&'static str>) -> Self {
        Self {
            display_mode: if calcs.is_empty() { "list" } else { "table" },
            placement: "bottom",
            show_legend: true,
            calcs,
        }
    }
}

// === impl Reduce ===

impl Reduce {
    pub(super) fn last() -> Self {
        Self { calcs: vec!["lastNotNull"], fields: "", values: false }
    }
}
