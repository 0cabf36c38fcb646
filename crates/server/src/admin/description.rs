//! The descriptions of the admin routes.

use serde_json::{Value, json};
use utoipa::{
    ToSchema,
    openapi::{
        HttpMethod, ObjectBuilder, SecurityRequirement, Type,
        content::ContentBuilder,
        path::{Operation, OperationBuilder},
        response::{Response, ResponseBuilder},
    },
};

use sluice_http::ProblemKind;

use super::{
    console,
    health::{Alive, HEALTH_PATH, HEALTHCHECK_PATH, READY_PATH, Readiness},
    metrics,
    monitoring::{
        self, DENIALS_PATH, DETAILED_PATH, INDEX_PATH, OVERVIEW_PATH, RATE_LIMITS_PATH, SLO_PATH,
        SUMMARY_PATH,
    },
};
use crate::describe::{
    BASIC, BEARER, Described, Schemas, Topic, json_response, operation, problem_responses,
    with_responses,
};

const READY: &str = "\
`ready`: the replica works. `degraded`: the store is away and limits are decided locally, it works \
and has a `warning`, or the last configuration change was rejected; the replica should still get \
requests. If only some nodes of the store are away, `unavailable_nodes` says how many, and only \
their clients are decided locally. `unavailable`: the store is away, and every limit leaves the \
decision to the caller. `stopping`: the process is about to stop. Causes are brief, since everyone \
who reaches the port can read them: `/monitoring/health/detailed` has the rest.";

const DETAILED: &str = "\
The store and its latency, the circuit breaker, the active configuration, whether this replica \
flushes its statistics, and the live replicas of the fleet.";

const SLOS: &str = "\
The objectives of `slos` in the configuration, counted over the whole fleet and over the whole \
window, to the hour. An objective without requests has no share and no budget: they are `null`.";

const TOTALS: &str = "\
Totals count from the first flush of any replica, and outlive every replica. With the memory store \
they describe this process.";

pub(crate) fn all(schemas: &mut Schemas) -> Vec<Described> {
    let monitoring = [
        page::<monitoring::RateLimitStats<'_>>(
            schemas,
            RATE_LIMITS_PATH,
            (
                "rateLimitStats",
                "Clients of the last hour, and requests and denials by endpoint",
                TOTALS,
            ),
            Some(json!({
                "total_clients": 45, "rate_limited_clients": 3,
                "endpoint_stats": { "/api/v1/conversation/chat-stream": {
                    "limit": 20, "rate": "20/minute, burst 10", "active_clients": 12,
                    "total_requests": 2450, "rejected_requests": 15,
                } },
                "top_limited_clients": [{ "client": "5f1d0c7e0a9b", "rejected_requests": 12 }],
                "total_requests": 15_234, "rejected_requests": 21, "client_window_seconds": 3600,
            })),
        ),
        page::<monitoring::MetricsSummary>(
            schemas,
            SUMMARY_PATH,
            (
                "metricsSummary",
                "HTTP, language models, blueprints, deployments, tools: totals and means",
                TOTALS,
            ),
            None,
        ),
        page::<monitoring::StatsOverview<'_>>(
            schemas,
            OVERVIEW_PATH,
            ("statsOverview", "The most important statistics on one page", TOTALS),
            None,
        ),
        page::<monitoring::SloPage>(
            schemas,
            SLO_PATH,
            ("slos", "The service level objectives, and what is left of their budgets", SLOS),
            None,
        ),
        page::<monitoring::DenialsPage>(
            schemas,
            DENIALS_PATH,
            (
                "denials",
                "The last denials of this replica",
                "The newest first: up to 100, and of each second up to 10.",
            ),
            None,
        ),
        page::<monitoring::DetailedHealth>(
            schemas,
            DETAILED_PATH,
            (
                "healthDetailed",
                "Each part of this replica, and the replicas of the fleet",
                DETAILED,
            ),
            None,
        ),
    ];
    [
        health(schemas),
        healthcheck(schemas),
        ready(schemas),
        metrics_page(schemas),
        console_page(schemas),
        monitoring_index(schemas),
    ]
    .into_iter()
    .chain(monitoring)
    .collect()
}

fn health(schemas: &mut Schemas) -> Described {
    let alive = json_response::<Alive>(
        schemas,
        "The process responds.",
        Some(json!({ "status": "alive" })),
    );
    let operation = operation(
        Topic::Process,
        "health",
        "The liveness probe",
        "For probes that restart the process.",
    );
    get(HEALTH_PATH, with_responses(operation, [("200", alive.build())]).build())
}

fn healthcheck(schemas: &mut Schemas) -> Described {
    let alive = json_response::<Alive>(schemas, "The process responds.", None);
    let operation = operation(
        Topic::Process,
        "healthcheck",
        "The liveness probe of envoyproxy/ratelimit",
        "The same as `/health`, for manifests that name this path.",
    );
    get(HEALTHCHECK_PATH, with_responses(operation, [("200", alive.build())]).build())
}

fn ready(schemas: &mut Schemas) -> Described {
    let readiness = |status, store| {
        json!({
            "status": status,
            "store": store,
            "configuration": { "version": 1, "loaded_at": 1_800_000_000 },
            "replica": {
                "id": "sluice-0", "version": env!("CARGO_PKG_VERSION"), "uptime_seconds": 42,
            },
        })
    };
    let ready = readiness("ready", json!({ "name": "redis", "status": "up", "live_replicas": 3 }));
    let unavailable = readiness(
        "unavailable",
        json!({
            "name": "redis", "status": "away", "error": "not reachable",
            "live_replicas": 3,
        }),
    );
    let yes =
        json_response::<Readiness>(schemas, "The replica is `ready` or `degraded`.", Some(ready));
    let no = json_response::<Readiness>(
        schemas,
        "The replica is `unavailable` or `stopping`.",
        Some(unavailable),
    );
    let operation = operation(Topic::Process, "ready", "The readiness probe", READY);
    get(READY_PATH, with_responses(operation, [("200", yes.build()), ("503", no.build())]).build())
}

fn metrics_page(schemas: &mut Schemas) -> Described {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let example = "# TYPE http_requests_total counter\n\
                   http_requests_total{endpoint=\"other\",method=\"GET\",status=\"200\"} 1\n";
    let content =
        ContentBuilder::new().schema(Some(text)).example(Some(Value::from(example))).build();
    let found = ResponseBuilder::new()
        .description("The metrics of this replica, in Prometheus' text format.")
        .content("text/plain", content);
    let operation = operation(
        Topic::Monitoring,
        "metrics",
        "Metrics for Prometheus",
        "`docs/metrics.md` lists all metrics.",
    );
    get(metrics::PATH, guarded(schemas, operation, found.build(), [ProblemKind::Internal]).build())
}

fn console_page(schemas: &mut Schemas) -> Described {
    let html =
        ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String))).build();
    let found = ResponseBuilder::new()
        .description("An HTML page whose script reads the JSON below `/monitoring`.")
        .content("text/html", html);
    let operation = operation(
        Topic::Monitoring,
        "console",
        "A page for people, about the fleet",
        "Health, limits with live rates, denied clients, objectives, costs and replicas.",
    );
    let operation = operation.security(SecurityRequirement::default());
    let operation = with_responses(operation, [("200", found.build())]);
    let problems = problem_responses(schemas, [ProblemKind::Unauthorized]);
    get(console::PATH, with_responses(operation, problems).build())
}

fn monitoring_index(schemas: &mut Schemas) -> Described {
    let found = json_response::<monitoring::MonitoringIndex>(schemas, "The pages.", None);
    let operation = operation(
        Topic::Monitoring,
        "monitoring",
        "The list of the pages below",
        "Each is JSON. `/console` shows them to people.",
    );
    get(INDEX_PATH, guarded(schemas, operation, found.build(), []).build())
}

/// A page of `/monitoring`, which may require credentials.
fn page<T: ToSchema>(
    schemas: &mut Schemas,
    path: &'static str,
    (name, summary, description): (&str, &str, &str),
    example: Option<Value>,
) -> Described {
    let found = json_response::<T>(schemas, "The statistics.", example);
    let operation = operation(Topic::Monitoring, name, summary, description);
    let failures = [ProblemKind::StoreUnavailable];
    get(path, guarded(schemas, operation, found.build(), failures).build())
}

/// Adds the response for authorised requests, and the problems of others.
fn guarded(
    schemas: &mut Schemas,
    operation: OperationBuilder,
    found: Response,
    failures: impl IntoIterator<Item = ProblemKind>,
) -> OperationBuilder {
    let anybody = SecurityRequirement::default();
    let with = |name: &str| SecurityRequirement::new(name, [] as [&str; 0]);
    let operation = [anybody, with(BASIC), with(BEARER)]
        .into_iter()
        .fold(operation, OperationBuilder::security);
    with_responses(
        with_responses(operation, [("200", found)]),
        problem_responses(schemas, [ProblemKind::Unauthorized].into_iter().chain(failures)),
    )
}

pub(crate) fn get(path: &'static str, operation: Operation) -> Described {
    Described { path, methods: &[HttpMethod::Get], operation }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_lists_every_page_of_monitoring() {
        let index = json!(monitoring::MonitoringIndex::ALL);
        let pages = index["pages"].as_array().unwrap();
        let mut listed: Vec<_> = pages.iter().map(|page| page["path"].as_str().unwrap()).collect();
        listed.sort_unstable();
        let described = all(&mut Schemas::default());
        let mut below: Vec<_> = described
            .iter()
            .map(|described| described.path)
            .filter(|path| path.starts_with(INDEX_PATH) && *path != INDEX_PATH)
            .collect();
        below.sort_unstable();
        assert_eq!(below, listed);
    }
}
