//! What a viewer can choose.

use serde::Serialize;

use super::datasource::Datasource;

/// One thing that a viewer can choose.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Variable {
    /// One of the Prometheus servers that Grafana knows.
    Datasource(DatasourceVariable),
    /// Values of a label.
    Query(QueryVariable),
}

/// The choice of a Prometheus server.
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

/// The choice of values of a label.
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
    current: Current,
}

/// The query of a variable.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VariableQuery {
    query: String,
    ref_id: &'static str,
}

/// What is chosen at first.
#[derive(Clone, Debug, Serialize)]
struct Current {
    selected: bool,
    text: &'static str,
    value: &'static str,
}

// === impl Variable ===

impl Variable {
    /// The choice of a Prometheus server, which all queries ask.
    pub(crate) fn datasource() -> Self {
        Self::Datasource(DatasourceVariable {
            name: "datasource",
            label: "Prometheus",
            query: "prometheus",
            refresh: 1,
            multi: false,
            include_all: false,
        })
    }

    /// The choice of values of the label `name`, which the series of `series` have.
    pub(crate) fn label(name: &'static str, label: &'static str, series: &str) -> Self {
        let query = format!("label_values({series}, {name})");
        Self::Query(QueryVariable {
            name,
            label,
            datasource: Datasource::CHOSEN,
            query: VariableQuery { query, ref_id: "A" },
            // When the time range changes, too: replicas come and go.
            refresh: 2,
            sort: 1,
            multi: true,
            include_all: true,
            current: Current { selected: true, text: "All", value: "$__all" },
        })
    }
}
