//! How numbers look: their unit, colours, words and lines.

use std::collections::BTreeMap;

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(super) struct FieldConfig {
    pub(super) defaults: FieldDefaults,
    pub(super) overrides: Vec<Override>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct FieldDefaults {
    pub(super) unit: Unit,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decimals: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) color: Option<Color>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) mappings: Vec<Mapping>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thresholds: Option<Thresholds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom: Option<Lines>,
}

/// How numbers are written, and which of them share an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Plain numbers, shortened with k and M.
    #[default]
    #[serde(rename = "short")]
    Count,
    /// From 0 to 1, written in percent.
    #[serde(rename = "percentunit")]
    Share,
    /// Seconds, written in ms or minutes where these fit better.
    #[serde(rename = "s")]
    Seconds,
    /// Bytes, by powers of 1,024.
    #[serde(rename = "bytes")]
    Bytes,
    /// Requests per second.
    #[serde(rename = "reqps")]
    RequestsPerSecond,
    /// Operations per second.
    #[serde(rename = "ops")]
    OperationsPerSecond,
    /// Whatever the legend says, per second.
    #[serde(rename = "cps")]
    PerSecond,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Color {
    pub(super) mode: &'static str,
}

/// How lines are drawn.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Lines {
    pub(super) draw_style: &'static str,
    pub(super) line_width: u32,
    pub(super) fill_opacity: u32,
    pub(super) show_points: &'static str,
    pub(super) span_nulls: bool,
    pub(super) stacking: Stacking,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Stacking {
    pub(super) mode: &'static str,
    pub(super) group: &'static str,
}

/// Colours by value: each holds from its value on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Thresholds {
    pub(super) mode: &'static str,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Step {
    pub(super) color: &'static str,
    /// `None` for the first: everything below the next.
    pub(super) value: Option<f64>,
}

/// A word in place of a number.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Mapping {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) options: BTreeMap<&'static str, Word>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Word {
    pub(super) text: &'static str,
    pub(super) color: &'static str,
    pub(super) index: usize,
}

/// What holds for the series of one query only.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Override {
    pub(super) matcher: Matcher,
    pub(super) properties: Vec<Property>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Matcher {
    pub(super) id: &'static str,
    pub(super) options: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Property {
    pub(super) id: &'static str,
    pub(super) value: PropertyValue,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum PropertyValue {
    Unit(Unit),
    Text(&'static str),
}
