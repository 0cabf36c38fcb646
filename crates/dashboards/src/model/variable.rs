//! Variables that a viewer can set.

use serde::Serialize;

use super::datasource::Datasource;

/// A variable that a viewer can set.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Variable {
    /// Selects one of the Prometheus servers that Grafana has.
    Datasource(DatasourceVariable),
    /// Selects values of a label.
    Query(QueryVariable),
}

/// The selection of a Prometheus server.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatasourceVariable {
    name: &'static str,
    label: &'static str,
    query: &'static str,
    refresh: u32,
    multi: bool,
    include_all: bool,
}

/// The selection of values of a label.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryVariable {
    name: &'static str,
    label: &'static str,
    datasource: Datasource,
    query: VariableQuery,
    refresh: u32,
    sort: u32,
    multi: bool,
    include_all: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    all_value: Option<&'static str>,
    current: Current,
}

/// The query of a variable.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VariableQuery {
    query: String,
    ref_id: &'static str,
}

/// The values that are selected first.
#[derive(Clone, Debug, Serialize)]
struct Current {
    selected: bool,
    text: &'static str,
    value: &'static str,
}

// === impl Variable ===

impl Variable {
    /// Returns the selection of the Prometheus server that all queries use.
    fn datasource() -> Self {
        Self::Datasource(DatasourceVariable {
            name: "datasource",
            label: "Prometheus",
            query: "prometheus",
            refresh: 1,
            multi: false,
            include_all: false,
        })
    }

    /// Returns the variables that select fleets. Without Kubernetes, they have no namespace.
    pub(crate) fn of_fleets() -> Vec<Self> {
        vec![
            Self::datasource(),
            Self::optional_label("namespace", "Namespace", "sluice_build_info"),
            Self::label("job", "Job", r#"sluice_build_info{namespace=~"$namespace"}"#),
        ]
    }

    /// Returns the selection of values that the label `name` has in `series`, where "All" stands
    /// for all of them.
    pub(crate) fn label(name: &'static str, label: &'static str, series: &str) -> Self {
        Self::query(name, label, series, None)
    }

    /// Returns the selection of a label's values, where "All" also stands for series that do not
    /// have the label.
    fn optional_label(name: &'static str, label: &'static str, series: &str) -> Self {
        Self::query(name, label, series, Some(".*"))
    }

    fn query(
        name: &'static str,
        label: &'static str,
        series: &str,
        all_value: Option<&'static str>,
    ) -> Self {
        let query = format!("label_values({series}, {name})");
        Self::Query(QueryVariable {
            name,
            label,
            datasource: Datasource::SELECTED,
            query: VariableQuery { query, ref_id: "A" },
            // 2 also reads the values again when the time range changes, because replicas start and
            // stop.
            refresh: 2,
            sort: 1,
            multi: true,
            include_all: true,
            all_value,
            current: Current { selected: true, text: "All", value: "$__all" },
        })
    }
}
