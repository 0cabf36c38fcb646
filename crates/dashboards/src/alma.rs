//! "ALMA Metrics": the nine panels of the seed document, and costs.

use crate::{
    layout::{Section, arrange},
    model::{Annotations, Dashboard, Link, Panel, Templating, TimeRange, Unit, Variable},
    selector::Selector,
};

const FLEET: Selector = Selector::JOB;

/// Returns the dashboard.
#[must_use]
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "alma-metrics",
        title: "ALMA Metrics",
        description: "What applications do and what their users see: requests, language models, \
                      blueprints, deployments, tools, and denied requests.",
        tags: vec!["alma"],
        timezone: "browser",
        schema_version: 39,
        version: 1,
        editable: true,
        graph_tooltip: 1,
        refresh: "10s",
        time: TimeRange { from: "now-1h", to: "now" },
        templating: Templating { list: Variable::of_fleets() },
        annotations: Annotations::default(),
        links: vec![Link::to_tagged("Sluice", "sluice")],
        panels: arrange(vec![Section { heading: "", width: 8, height: 9, panels: panels() }]),
    }
}

fn panels() -> Vec<Panel> {
    vec![
        request_rate(),
        response_time(),
        error_rate(),
        llm_performance(),
        blueprint_operations(),
        rate_limit_hits(),
        active_connections(),
        tool_executions(),
        system_health(),
        costs(),
        objectives(),
    ]
}

fn request_rate() -> Panel {
    Panel::time_series(
        "Request Rate",
        "Requests to the API per second, by endpoint: the pattern that covers the path, the path \
         without its identifiers, or `other`. Exempt paths are not shown.",
    )
    .unit(Unit::RequestsPerSecond)
    .stacked()
    .query(
        "{{endpoint}}",
        format!("sum by (endpoint) ({})", FLEET.rate_of_api("http_requests_total", "")),
    )
}

fn response_time() -> Panel {
    let quantile = |quantile| FLEET.quantile_of_api(quantile, "http_request_duration_seconds");
    Panel::time_series(
        "Response Time",
        "The times within which 50%, 90% and 99% of the requests to the API get their response.",
    )
    .unit(Unit::Seconds)
    .query("P50", quantile(0.5))
    .query("P90", quantile(0.9))
    .query("P99", quantile(0.99))
}

fn error_rate() -> Panel {
    Panel::time_series(
        "Error Rate",
        "The share of requests to the API with a 4xx response, which includes the 429 of denied \
         requests, and with a 5xx response. Exempt paths do not count.",
    )
    .unit(Unit::Share)
    .query("4xx", FLEET.share_of_api("http_requests_total", r#"status=~"4..|4xx""#))
    .query("5xx", FLEET.share_of_api("http_requests_total", r#"status=~"5..|5xx""#))
}

fn llm_performance() -> Panel {
    let quantile =
        |quantile| FLEET.quantile(quantile, "llm_generation_duration_seconds", &["model"]);
    Panel::time_series(
        "LLM Performance",
        "The time that models take to generate and, on the right axis, the tokens per second that \
         they generate and consume.",
    )
    .unit(Unit::Seconds)
    .query("P50 {{model}}", quantile(0.5))
    .query("P95 {{model}}", quantile(0.95))
    .query("tokens generated {{model}}", sum_of_rate("model", "llm_tokens_generated_total"))
    .on_the_right(Unit::PerSecond)
    .query("tokens consumed {{model}}", sum_of_rate("model", "llm_tokens_consumed_total"))
    .on_the_right(Unit::PerSecond)
}

fn blueprint_operations() -> Panel {
    let errors = FLEET.rate("blueprint_validation_errors_total", "");
    Panel::time_series(
        "Blueprint Operations",
        "Operations on blueprints and deployments per second, and errors that validation finds.",
    )
    .unit(Unit::OperationsPerSecond)
    .query("{{operation}}", sum_of_rate("operation", "blueprint_operations_total"))
    .query("deployment: {{operation}}", sum_of_rate("operation", "deployment_operations_total"))
    .query("validation errors", format!("sum({errors})"))
}

fn rate_limit_hits() -> Panel {
    Panel::time_series("Rate Limit Hits", "Denied requests per second, by endpoint.")
        .unit(Unit::RequestsPerSecond)
        .stacked()
        .query("{{endpoint}}", sum_of_rate("endpoint", "rate_limit_hits_total"))
}

fn active_connections() -> Panel {
    let own = FLEET.series("active_connections", r#"scope="replica""#);
    let reported = FLEET.sum_of_fleets("active_connections", r#"scope="fleet""#, &["kind"]);
    Panel::time_series(
        "Active Connections",
        "Open connections: those of the replicas, and those that applications report.",
    )
    .query("{{kind}}", format!("sum by (kind) ({own})"))
    .query("{{kind}}, reported", reported)
}

fn tool_executions() -> Panel {
    let executions = FLEET.series("tool_executions_total", "");
    let increase = format!("sum by (tool_name) (increase({executions}[$__range]))");
    Panel::bars(
        "Tool Executions",
        "The number of executions in the time range, for the 15 tools with the most executions.",
    )
    .query_now("{{tool_name}}", format!("sort_desc(topk(15, {increase}))"))
}

fn system_health() -> Panel {
    let sum = |series: String| format!("sum({series})");
    let own = FLEET.series("database_connections", r#"scope="replica""#);
    let reported = FLEET.sum_of_fleets("database_connections", r#"scope="fleet""#, &[]);
    Panel::time_series(
        "System Health",
        "CPU cores in use, database connections and, on the right axis, the memory of all \
         replicas.",
    )
    .query("CPU, cores", sum(FLEET.rate("process_cpu_seconds_total", "")))
    .query("DB connections", sum(own))
    .query("DB connections, reported", reported)
    .query("memory", sum(FLEET.series("process_resident_memory_bytes", "")))
    .on_the_right(Unit::Bytes)
}

fn costs() -> Panel {
    let of_fleets = |gauge| FLEET.sum_of_fleets(gauge, "", &["currency"]);
    let per_day = |counter: &str, name: &str| {
        let increase = format!("increase({}[1d])", FLEET.series(counter, ""));
        format!("topk(10, sum by ({name}, currency) ({increase}))")
    };
    Panel::time_series(
        "Costs",
        "What the calendar month (UTC) has cost so far, what all of it will cost if it goes on \
         like that, its budget and, on the right axis, the costs of the last 24 hours by model and \
         by kind of deployment, as far as these replicas have been running.",
    )
    .query("month, {{currency}}", of_fleets("sluice_cost_month"))
    .query("forecast, {{currency}}", of_fleets("sluice_cost_month_forecast"))
    .query("budget, {{currency}}", of_fleets("sluice_cost_budget"))
    .query("a day of {{model}}, {{currency}}", per_day("llm_cost_total", "model"))
    .on_the_right(Unit::Count)
    .query("a day of {{kind}}, {{currency}}", per_day("deployment_cost_total", "kind"))
    .on_the_right(Unit::Count)
}

fn objectives() -> Panel {
    let of_slo = |gauge| format!("min by (slo) ({})", FLEET.series(gauge, ""));
    Panel::time_series(
        "Objectives",
        "What is left of the error budget of each objective in `slos`, over the whole window: all \
         of it if no request failed, nothing if as many failed as may. The other line is the share \
         of good requests.",
    )
    .query("budget left, {{slo}}", of_slo("sluice_slo_error_budget_left_ratio"))
    .query("good, {{slo}}", of_slo("sluice_slo_good_ratio"))
    .unit(Unit::Share)
}

fn sum_of_rate(label: &str, counter: &str) -> String {
    format!("sum by ({label}) ({})", FLEET.rate(counter, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_panels_are_those_of_the_seed_document_in_its_order_and_more() {
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
        assert_eq!(titles[..document.len()], document);
        assert_eq!(titles[document.len()..], ["Costs", "Objectives"]);
    }
}
