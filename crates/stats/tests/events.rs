//! Events of a Rust program appear in its metrics, and in the statistics of its fleet.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use sluice_core::{EndpointPatterns, Policy};
use sluice_stats::{
    FleetStats, MemoryStats, Reporter, StatsCounters, Total,
    events::{
        BlueprintOperation, BlueprintValidation, Cache, ConnectionKind, Connections, Counter,
        CustomKind, CustomMetric, DatabaseConnections, Deployment, DeploymentEnd, DeploymentStage,
        EventError, Events, Gauge, Histogram, HttpRequest, LlmRequest, ToolExecution,
    },
};
use sluice_telemetry::Telemetry;

/// One program of a fleet.
struct Program {
    telemetry: Telemetry,
    events: Events,
    reporter: Reporter,
}

/// Two programs that share a stats store.
fn fleet() -> [Program; 2] {
    let store = Arc::new(MemoryStats::new());
    ["one", "two"].map(|name| {
        let telemetry = Telemetry::builder().build().unwrap();
        let counters = StatsCounters::new(telemetry.recorders());
        let events = Events::new(telemetry.recorders(), &counters);
        let reporter = Reporter::new(counters, Arc::clone(&store) as _, name);
        Program { telemetry, events, reporter }
    })
}

impl Program {
    /// The value of this series in the program's metrics.
    fn metric(&self, series: &str) -> Option<f64> {
        let text = self.telemetry.prometheus().render().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }

    fn declare(&self, metrics: &[CustomMetric]) {
        assert!(self.telemetry.recorders().custom.declare(metrics).is_empty());
    }
}

async fn read(program: &Program) -> FleetStats {
    program.reporter.read().await.unwrap()
}

const CHAT: LlmRequest<'_> =
    LlmRequest::new("qwen", "chat", "success").with_tokens_generated(300).with_tokens_consumed(40);

#[tokio::test]
async fn the_fleet_sums_the_events_of_all_programs() {
    let fleet = fleet();
    for program in &fleet {
        let events = &program.events;
        events.llm_request(&CHAT.with_duration(Duration::from_millis(1_200))).unwrap();
        events.llm_request(&CHAT).unwrap();
        events.blueprint_validation(&BlueprintValidation::new(3)).unwrap();
        let create = BlueprintOperation::new("create", "success");
        events.blueprint_operation(&create).unwrap();
        events.blueprint_operation(&BlueprintOperation::new("create", "failure")).unwrap();
        let scaled =
            ToolExecution::new("scale", "success").with_duration(Duration::from_millis(200));
        events.tool_execution(&scaled).unwrap();
        assert_eq!(
            program.metric(r#"llm_requests_total{model="qwen",operation="chat",status="success"}"#),
            Some(2.0)
        );
        assert_eq!(
            program
                .metric(r#"llm_generation_duration_seconds_count{model="qwen",operation="chat"}"#),
            Some(1.0)
        );
        assert_eq!(
            program.metric(r#"blueprint_validation_errors_total{operation="validate"}"#),
            Some(3.0)
        );
        assert_eq!(
            program.metric(r#"tool_execution_duration_seconds_sum{tool_name="scale"}"#),
            Some(0.2)
        );
        program.reporter.flush().await.unwrap();
    }
    for program in &fleet {
        let totals = read(program).await.totals;
        for (total, expected) in [
            (Total::LlmRequests, 4),
            (Total::LlmTimed, 2),
            (Total::LlmMicros, 2_400_000),
            (Total::LlmTokensGenerated, 1_200),
            (Total::LlmTokensConsumed, 160),
            (Total::BlueprintOperations, 4),
            (Total::BlueprintsCreated, 2),
            (Total::BlueprintValidationErrors, 6),
            (Total::ToolExecutions, 2),
            (Total::ToolMicros, 400_000),
        ] {
            assert_eq!(totals.get(total), expected, "{total:?}");
        }
    }
}

#[tokio::test]
async fn requests_count_for_the_fleet_unless_their_endpoint_is_exempt() {
    let [program, _] = fleet();
    let policy = Policy::builder().exempt("/health").build().unwrap();
    let mut listed = EndpointPatterns::default();
    listed.insert("/users/{name}").unwrap();
    program.events.endpoints().replace(&policy, listed);
    let request = |endpoint, status| {
        HttpRequest::new("GET", endpoint, status, Duration::from_millis(20)).with_response_bytes(7)
    };
    for (endpoint, status) in [
        ("/users/ann", 200),
        ("/users/bob", 503),
        ("/orders/17", 404),
        ("/orders/17", 200),
        ("/health/deep", 200),
    ] {
        program.events.http_request(&request(endpoint, status)).unwrap();
    }
    for (series, expected) in [
        (r#"http_requests_total{endpoint="/users/{name}",method="GET",status="503"}"#, 1.0),
        (r#"http_requests_total{endpoint="/orders/:id",method="GET",status="200"}"#, 1.0),
        (r#"http_requests_total{endpoint="other",method="GET",status="404"}"#, 1.0),
        (r#"http_requests_total{endpoint="/health",method="GET",status="200"}"#, 1.0),
        (r#"http_response_size_bytes_sum{endpoint="/users/{name}",method="GET"}"#, 14.0),
    ] {
        assert_eq!(program.metric(series), Some(expected), "{series}");
    }
    let totals = read(&program).await.totals;
    for (total, expected) in [
        (Total::HttpRequests, 4),
        (Total::HttpMicros, 80_000),
        (Total::HttpClientErrors, 1),
        (Total::HttpServerErrors, 1),
    ] {
        assert_eq!(totals.get(total), expected, "{total:?}");
    }
}

#[tokio::test]
async fn a_deployment_may_start_at_one_program_and_finish_at_another() {
    let [here, there] = fleet();
    let deployment = |id: Option<&'static str>, stage| Deployment::new("create", stage).with_id(id);
    let end = DeploymentEnd::new("success").with_duration(Duration::from_secs(42));
    for id in [Some("a"), Some("b"), None] {
        here.events.deployment(&deployment(id, DeploymentStage::Started)).unwrap();
    }
    assert_eq!(here.metric("active_deployments"), Some(3.0), "a local start is visible at once");
    here.reporter.flush().await.unwrap();
    there.reporter.flush().await.unwrap();
    assert_eq!(there.metric("active_deployments"), Some(3.0));
    for id in [Some("a"), None] {
        there.events.deployment(&deployment(id, DeploymentStage::Finished(end))).unwrap();
    }
    there.events.deployment(&deployment(None, DeploymentStage::FinishedWithoutStart(end))).unwrap();
    there.reporter.flush().await.unwrap();
    here.reporter.flush().await.unwrap();
    for program in [&here, &there] {
        assert_eq!(program.metric("active_deployments"), Some(1.0));
    }
    assert_eq!(
        there.metric(r#"deployment_operations_total{operation="create",status="success"}"#),
        Some(3.0)
    );
    assert_eq!(there.metric(r#"deployment_duration_seconds_sum{operation="create"}"#), Some(126.0));
    assert_eq!(read(&here).await.totals.get(Total::DeploymentOperations), 3);
}

#[tokio::test]
async fn all_programs_show_the_same_gauges() {
    let [here, there] = fleet();
    for program in [&here, &there] {
        program.declare(&[
            CustomMetric::new("queue_depth", CustomKind::Gauge, &["queue", "kind"]).unwrap()
        ]);
    }
    for (instance, count) in [(Some("api-1"), 5), (Some("api-2"), 7), (Some("api-1"), 6)] {
        here.events
            .connections(
                &Connections::new(ConnectionKind::WebSocket, count).with_instance(instance),
            )
            .unwrap();
        here.events
            .database_connections(&DatabaseConnections::new(count).with_instance(instance))
            .unwrap();
    }
    here.events.cache(&Cache::new("plans", 0.5).with_instance("api-1")).unwrap();
    there.events.cache(&Cache::new("plans", 1.0).with_instance("api-2")).unwrap();
    let created =
        BlueprintOperation::new("create", "success").with_blueprint("web").with_resources(8);
    here.events.blueprint_operation(&created).unwrap();
    here.events
        .gauge(&Gauge::new("queue_depth", &[("queue", "jobs"), ("kind", "slow")], -2.5))
        .unwrap();
    for program in [&here, &there, &here] {
        program.reporter.flush().await.unwrap();
    }
    for program in [&here, &there] {
        assert_eq!(
            program.metric(r#"active_connections{kind="websocket",scope="fleet"}"#),
            Some(13.0)
        );
        assert_eq!(program.metric(r#"database_connections{scope="fleet"}"#), Some(13.0));
        assert_eq!(program.metric(r#"cache_hit_rate{cache="plans"}"#), Some(0.75));
        assert_eq!(program.metric(r#"blueprint_resources_count{blueprint="web"}"#), Some(8.0));
        assert_eq!(program.metric(r#"queue_depth{kind="slow",queue="jobs"}"#), Some(-2.5));
    }
    there
        .events
        .blueprint_operation(&BlueprintOperation::new("delete", "success").with_blueprint("web"))
        .unwrap();
    assert!(
        read(&there)
            .await
            .gauges
            .reported
            .keys()
            .all(|key| key.metric() != "blueprint_resources_count")
    );
}

#[tokio::test]
async fn an_invalid_event_is_rejected_and_nothing_of_it_is_recorded() {
    let [program, _] = fleet();
    let events = &program.events;
    let long = "x".repeat(129);
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let rejected: Vec<Result<(), EventError>> = vec![
        events.llm_request(&LlmRequest::new("", "chat", "success")),
        events.llm_request(&LlmRequest::new("qwen", &long, "success")),
        events.llm_request(&LlmRequest::new("qwen", "chat", "a\nb")),
        events.llm_request(&CHAT.with_duration(year)),
        events.llm_request(&CHAT.with_tokens_generated(u64::MAX)),
        events.blueprint_operation(&BlueprintOperation::new("create", "ok").with_resources(1)),
        events.blueprint_validation(&BlueprintValidation::new(u64::MAX)),
        events.cache(&Cache::new("plans", 1.5)),
        events.cache(&Cache::new("plans", f64::NAN)),
        events.connections(&Connections::new(ConnectionKind::Http, 1).with_instance("")),
        events.counter(&Counter::new("mine_total", &[], 1.0)),
        events.gauge(&Gauge::new("mine", &[], 1.0)),
        events.histogram(&Histogram::new("mine", &[("a\u{1f}", "b\u{1f}")], 1.0)),
        events.http_request(&HttpRequest::new("GET", "/a", 600, Duration::ZERO)),
        events.http_request(&HttpRequest::new("GET", "a", 200, Duration::ZERO)),
        events.http_request(&HttpRequest::new("GET", "/a", 200, year)),
    ];
    assert!(rejected.iter().all(Result::is_err), "{rejected:?}");
    assert_eq!(
        rejected[5].clone().unwrap_err().to_string(),
        "resources: the blueprint is missing: add `blueprint` with its name"
    );
    assert!(rejected[10].clone().unwrap_err().to_string().contains("metrics.custom"));
    let fleet = read(&program).await;
    assert!(fleet.totals.iter().all(|(_, amount)| amount == 0), "{fleet:?}");
    assert!(fleet.gauges.reported.is_empty());
    assert_eq!(
        program.metric(r#"llm_requests_total{model="qwen",operation="chat",status="success"}"#),
        None
    );
}
