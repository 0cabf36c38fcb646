//! How values are shown: their unit, colours, texts and lines.

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

/// The unit of values. Values with the same unit share an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// A number, shortened with k and M.
    #[default]
    #[serde(rename = "short")]
    Count,
    /// A share from 0 to 1, shown in percent.
    #[serde(rename = "percentunit")]
    Share,
    /// Seconds, shown in milliseconds or minutes where these are clearer.
    #[serde(rename = "s")]
    Seconds,
    /// Bytes, with units that are powers of 1,024.
    #[serde(rename = "bytes")]
    Bytes,
    /// Requests per second.
    #[serde(rename = "reqps")]
    RequestsPerSecond,
    /// Operations per second.
    #[serde(rename = "ops")]
    OperationsPerSecond,
    /// The things in the legend, per second.
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

/// Colours by value. Each colour applies from its value upwards.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Thresholds {
    pub(super) mode: &'static str,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Step {
    pub(super) color: &'static str,
    /// The lowest value, or `None` for the first step, which has no lower bound.
    pub(super) value: Option<f64>,
}

/// Texts that are shown instead of numbers.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Mapping {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) options: BTreeMap<&'static str, MappedText>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct MappedText {
    pub(super) text: &'static str,
    pub(super) color: &'static str,
    pub(super) index: usize,
}

/// Settings for the series of one query.
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
