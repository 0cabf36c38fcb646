//! "ALMA Metrics": the nine panels of the document.

use crate::{
    layout::{Section, arrange},
    model::{Annotations, Dashboard, Link, Panel, Templating, TimeRange, Unit, Variable},
    query::Scope,
};

/// The dashboard.
#[must_use]
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "alma-metrics",
        title: "ALMA Metrics",
        description: "What applications do and their users see: requests, language models, blueprints, deployments, tools, and what is limited.",
        tags: vec!["alma"],
        timezone: "browser",
        schema_version: 39,
        version: 1,
        editable: true,
        graph_tooltip: 1,
        refresh: "10s",
        time: TimeRange { from: "now-1h", to: "now" },
        templating: Templating {
            list: vec![Variable::datasource(), Variable::label("job", "Job", "sluice_build_info")],
        },
        annotations: Annotations::default(),
        links: vec![Link::to_tagged("Sluice", "sluice")],
        panels: arrange(vec![Section { heading: "", width: 8, height: 9, panels: panels() }]),
    }
}

fn panels() -> Vec<Panel> {
    let scope = Scope::JOB;
    vec![
        Panel::time_series("Request Rate", "Requests answered per second, by endpoint: the pattern that matched, or `other`.")
            .unit(Unit::RequestsPerSecond)
            .stacked()
            .query("{{endpoint}}", format!("sum by (endpoint) ({})", scope.rate("http_requests_total", ""))),
        Panel::time_series("Response Time", "Half of the requests, 90 and 99 of 100 are answered within these times.")
            .unit(Unit::Seconds)
            .query("P50", scope.quantile(0.5, "http_request_duration_seconds", &[]))
            .query("P90", scope.quantile(0.9, "http_request_duration_seconds", &[]))
            .query("P99", scope.quantile(0.99, "http_request_duration_seconds", &[])),
        Panel::time_series("Error Rate", "The share of requests answered with 4xx, of which 429 is a limit's denial, and with 5xx.")
            .unit(Unit::Share)
            .query("4xx", scope.share("http_requests_total", r#"status=~"4..""#))
            .query("5xx", scope.share("http_requests_total", r#"status=~"5..""#)),
        Panel::time_series("LLM Performance", "How long models generate, and on the right how many tokens a second they read and write.")
            .unit(Unit::Seconds)
            .query("P50 {{model}}", scope.quantile(0.5, "llm_generation_duration_seconds", &["model"]))
            .query("P95 {{model}}", scope.quantile(0.95, "llm_generation_duration_seconds", &["model"]))
            .query("tokens generated {{model}}", format!("sum by (model) ({})", scope.rate("llm_tokens_generated_total", "")))
            .on_the_right(Unit::PerSecond)
            .query("tokens consumed {{model}}", format!("sum by (model) ({})", scope.rate("llm_tokens_consumed_total", "")))
            .on_the_right(Unit::PerSecond),
        Panel::time_series(
            "Blueprint Operations",
            "Blueprints created, validated and so on, deployments of them, and what validation found wrong.",
        )
        .unit(Unit::OperationsPerSecond)
        .query("{{operation}}", format!("sum by (operation) ({})", scope.rate("blueprint_operations_total", "")))
        .query("deployment: {{operation}}", format!("sum by (operation) ({})", scope.rate("deployment_operations_total", "")))
        .query("validation errors", format!("sum({})", scope.rate("blueprint_validation_errors_total", ""))),
        Panel::time_series("Rate Limit Hits", "Requests denied per second, by endpoint.")
            .unit(Unit::RequestsPerSecond)
            .stacked()
            .query("{{endpoint}}", format!("sum by (endpoint) ({})", scope.rate("rate_limit_hits_total", ""))),
        Panel::time_series("Active Connections", "Connections open now: those of the replicas, and those that applications report.")
            .query("{{kind}}", format!("sum by (kind) ({})", scope.series("active_connections", r#"scope="replica""#)))
            .query("{{kind}}, reported", scope.of_fleets("active_connections", r#"scope="fleet""#, &["kind"])),
        Panel::bars("Tool Executions", "How often each tool was executed in the time shown; the 15 that were executed most.").query_now(
            "{{tool_name}}",
            format!("sort_desc(topk(15, sum by (tool_name) (increase({}[$__range]))))", scope.series("tool_executions_total", "")),
        ),
        Panel::time_series("System Health", "Cores in use, database connections, and on the right the memory of all replicas.")
            .query("CPU, cores", format!("sum({})", scope.rate("process_cpu_seconds_total", "")))
            .query("DB connections", format!("sum({})", scope.series("database_connections", r#"scope="replica""#)))
            .query("DB connections, reported", scope.of_fleets("database_connections", r#"scope="fleet""#, &[]))
            .query("memory", format!("sum({})", scope.series("process_resident_memory_bytes", "")))
            .on_the_right(Unit::Bytes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_nine_panels_are_there_in_its_order() {
        let titles: Vec<_> = dashboard().panels.iter().map(|panel| panel.title).collect();
        let document = [
            "Request Rate",
            "Response Time",
            "Error Rate",
            "LLM Performance",
            "Blueprint Operations",
            "Rate Limit Hits",
            "Active Connections",
            "Tool Executions",
            "System Health",
        ];
        assert_eq!(titles, document);
    }
}
