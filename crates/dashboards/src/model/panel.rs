//! A panel, and methods to build it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    datasource::Datasource,
    field::{
        Color, FieldConfig, FieldDefaults, Lines, MappedText, Mapping, Matcher, Override, Property,
        PropertyValue, Stacking, Step, Thresholds, Unit,
    },
    options::{
        BarOptions, Legend, LineOptions, Options, Reduce, StatOptions, StateOptions, TableOptions,
        Tooltip,
    },
};

/// A panel, or a heading above panels.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Panel {
    /// The id, which is unique in the dashboard.
    pub id: u32,
    #[serde(rename = "type")]
    kind: PanelKind,
    /// The title above the panel.
    pub title: &'static str,
    /// What the panel shows. Grafana shows this text when the pointer is over the title.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: &'static str,
    /// The position.
    pub grid_pos: GridPos,
    #[serde(skip_serializing_if = "Option::is_none")]
    collapsed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    panels: Option<Vec<()>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    datasource: Option<Datasource>,
    /// The queries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field_config: Option<FieldConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<Options>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    transformations: Vec<Transformation>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum PanelKind {
    Row,
    TimeSeries,
    Stat,
    BarGauge,
    #[serde(rename = "state-timeline")]
    StateTimeline,
    Table,
}

/// A position in the grid, in columns and lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GridPos {
    /// The first of its columns, from 0 to 23.
    pub x: u32,
    /// The first of its lines.
    pub y: u32,
    /// The width in columns.
    pub w: u32,
    /// The height in lines.
    pub h: u32,
}

/// A query.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The id, which is unique in the panel: `A`, `B` and so on.
    pub ref_id: String,
    datasource: Datasource,
    /// The expression in `PromQL`, with Grafana's variables.
    pub expr: String,
    legend_format: &'static str,
    editor_mode: &'static str,
    range: bool,
    instant: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
struct Transformation {
    id: &'static str,
    options: Organize,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Organize {
    exclude_by_name: BTreeMap<&'static str, bool>,
    rename_by_name: BTreeMap<&'static str, &'static str>,
}

// === impl Panel ===

impl Panel {
    fn new(
        kind: PanelKind,
        title: &'static str,
        description: &'static str,
        defaults: FieldDefaults,
        options: Options,
    ) -> Self {
        Self {
            id: 0,
            kind,
            title,
            description,
            grid_pos: GridPos::default(),
            collapsed: None,
            panels: None,
            datasource: Some(Datasource::SELECTED),
            targets: Vec::new(),
            field_config: Some(FieldConfig { defaults, overrides: Vec::new() }),
            options: Some(options),
            transformations: Vec::new(),
        }
    }

    /// Creates a heading above panels.
    #[must_use]
    pub fn row(title: &'static str) -> Self {
        Self {
            id: 0,
            kind: PanelKind::Row,
            title,
            description: "",
            grid_pos: GridPos::default(),
            collapsed: Some(false),
            panels: Some(Vec::new()),
            datasource: None,
            targets: Vec::new(),
            field_config: None,
            options: None,
            transformations: Vec::new(),
        }
    }

    /// Creates a panel with lines over time.
    #[must_use]
    pub fn time_series(title: &'static str, description: &'static str) -> Self {
        let defaults = FieldDefaults {
            min: Some(0),
            color: Some(Color { mode: "palette-classic" }),
            custom: Some(Lines {
                draw_style: "line",
                line_width: 1,
                fill_opacity: 10,
                show_points: "never",
                span_nulls: false,
                stacking: Stacking { mode: "none", group: "A" },
            }),
            ..FieldDefaults::default()
        };
        let options = LineOptions {
            legend: Legend::below(vec!["mean", "max"]),
            tooltip: Tooltip { mode: "multi", sort: "desc" },
        };
        Self::new(PanelKind::TimeSeries, title, description, defaults, Options::Lines(options))
    }

    /// Creates a panel with the latest value and a small graph behind it.
    #[must_use]
    pub fn stat(title: &'static str, description: &'static str) -> Self {
        let options = StatOptions {
            reduce_options: Reduce::last(),
            orientation: "auto",
            text_mode: "auto",
            color_mode: "value",
            graph_mode: "area",
            justify_mode: "auto",
        };
        let defaults =
            FieldDefaults { color: Some(Color { mode: "thresholds" }), ..FieldDefaults::default() };
        Self::new(PanelKind::Stat, title, description, defaults, Options::Stat(options))
            .thresholds(&[])
    }

    /// Creates a panel with a bar for each series, over the whole time range.
    #[must_use]
    pub fn bars(title: &'static str, description: &'static str) -> Self {
        let options = BarOptions {
            reduce_options: Reduce::last(),
            orientation: "horizontal",
            display_mode: "gradient",
            show_unfilled: true,
        };
        let defaults = FieldDefaults {
            min: Some(0),
            color: Some(Color { mode: "palette-classic" }),
            ..FieldDefaults::default()
        };
        Self::new(PanelKind::BarGauge, title, description, defaults, Options::Bars(options))
    }

    /// Creates a panel with a coloured band over time for each series.
    #[must_use]
    pub fn states(title: &'static str, description: &'static str) -> Self {
        let options = StateOptions {
            merge_values: true,
            show_value: "auto",
            align_value: "left",
            row_height: 0.8,
            legend: Legend::below(Vec::new()),
            tooltip: Tooltip { mode: "single", sort: "none" },
        };
        let defaults =
            FieldDefaults { color: Some(Color { mode: "thresholds" }), ..FieldDefaults::default() };
        Self::new(PanelKind::StateTimeline, title, description, defaults, Options::States(options))
    }

    /// Creates a table with a row for each series and a column for each label. `columns` renames
    /// columns, from the label's name to the heading.
    #[must_use]
    pub fn table(
        title: &'static str,
        description: &'static str,
        columns: &[(&'static str, &'static str)],
    ) -> Self {
        let mut panel = Self::new(
            PanelKind::Table,
            title,
            description,
            FieldDefaults::default(),
            Options::Table(TableOptions { show_header: true }),
        );
        panel.transformations = vec![Transformation {
            id: "organize",
            options: Organize {
                exclude_by_name: std::iter::once(("Time", true)).collect(),
                rename_by_name: columns.iter().copied().collect(),
            },
        }];
        panel
    }

    /// Adds a query over time. `legend` is the template of the series' names.
    #[must_use]
    pub fn query(self, legend: &'static str, expr: String) -> Self {
        self.target(legend, expr, true, None)
    }

    /// Adds a query at the end of the time range.
    #[must_use]
    pub fn query_now(self, legend: &'static str, expr: String) -> Self {
        let format = matches!(self.kind, PanelKind::Table).then_some("table");
        self.target(legend, expr, false, format)
    }

    fn target(
        mut self,
        legend: &'static str,
        expr: String,
        range: bool,
        format: Option<&'static str>,
    ) -> Self {
        let ref_id = self.next_ref_id();
        self.targets.push(Target {
            ref_id,
            datasource: Datasource::SELECTED,
            expr,
            legend_format: legend,
            editor_mode: "code",
            range,
            instant: !range,
            format,
        });
        self
    }

    fn next_ref_id(&self) -> String {
        let letters = ["A", "B", "C", "D", "E", "F", "G", "H"];
        letters
            .get(self.targets.len())
            .map_or_else(|| format!("Q{}", self.targets.len()), |letter| (*letter).to_owned())
    }

    pub(crate) fn at(self, grid_pos: GridPos) -> Self {
        Self { grid_pos, ..self }
    }

    /// Sets the unit of the values.
    #[must_use]
    pub fn unit(mut self, unit: Unit) -> Self {
        self.defaults().unit = unit;
        self
    }

    /// Sets the number of digits after the decimal point.
    #[must_use]
    pub fn decimals(mut self, decimals: u32) -> Self {
        self.defaults().decimals = Some(decimals);
        self
    }

    /// Shows the values of the last query in another unit, with an axis on the right.
    #[must_use]
    pub fn on_the_right(mut self, unit: Unit) -> Self {
        let options = self.targets.last().map(|target| target.ref_id.clone()).unwrap_or_default();
        let properties = vec![
            Property { id: "unit", value: PropertyValue::Unit(unit) },
            Property { id: "custom.axisPlacement", value: PropertyValue::Text("right") },
        ];
        if let Some(config) = &mut self.field_config {
            config
                .overrides
                .push(Override { matcher: Matcher { id: "byFrameRefID", options }, properties });
        }
        self
    }

    /// Stacks the series, whose sum is meaningful.
    #[must_use]
    pub fn stacked(mut self) -> Self {
        if let Some(lines) = &mut self.defaults().custom {
            lines.stacking.mode = "normal";
            lines.fill_opacity = 40;
        }
        self
    }

    /// Sets the colours of the value: green, then each colour from its value upwards.
    #[must_use]
    pub fn thresholds(mut self, steps: &[(f64, &'static str)]) -> Self {
        let first = Step { color: "green", value: None };
        let steps = std::iter::once(first)
            .chain(steps.iter().map(|(value, color)| Step { color, value: Some(*value) }));
        self.defaults().thresholds = Some(Thresholds { mode: "absolute", steps: steps.collect() });
        self
    }

    /// Shows texts instead of numbers. Each element has the number, its text and its colour.
    #[must_use]
    pub fn texts(mut self, texts: &[(&'static str, &'static str, &'static str)]) -> Self {
        let options = texts
            .iter()
            .enumerate()
            .map(|(index, (value, text, color))| (*value, MappedText { text, color, index }))
            .collect();
        self.defaults().mappings = vec![Mapping { kind: "value", options }];
        self
    }

    fn defaults(&mut self) -> &mut FieldDefaults {
        let config = self.field_config.get_or_insert_with(|| FieldConfig {
            defaults: FieldDefaults::default(),
            overrides: Vec::new(),
        });
        &mut config.defaults
    }
}
