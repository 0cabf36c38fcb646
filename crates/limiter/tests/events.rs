//! Events as a Rust program reports them: on its metrics, and in the figures of its fleet.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use sluice::{
    Client, Limiter, MemoryStore, Policy, PolicyBuilder, Rate, Request, Telemetry,
    events::{
        BlueprintOperation, BlueprintValidation, Cache, ConnectionKind, Connections, Counter,
        CustomKind, CustomMetric, DatabaseConnections, Deployment, Ended, EventError, Events,
        Gauge, Histogram, LlmRequest, Stage, ToolExecution,
    },
    figures::{FleetFigures, MemoryFigures, Reporter, Tally, Total},
};

use sluice_core::LimitSpec;

/// One program of a fleet.
struct Program {
    telemetry: Telemetry,
    tally: Tally,
    events: Events,
    reporter: Reporter,
}

/// Two programs that share their figures.
fn fleet() -> [Program; 2] {
    let figures = Arc::new(MemoryFigures::new());
    ["one", "two"].map(|name| {
        let telemetry = Telemetry::builder().build().unwrap();
        let tally = Tally::new(telemetry.recorders());
        let events = Events::new(telemetry.recorders(), &tally);
        let reporter = Reporter::new(tally.clone(), Arc::clone(&figures) as _, name);
        Program { telemetry, tally, events, reporter }
    })
}

impl Program {
    /// The value of the series that begins a line so.
    fn metric(&self, series: &str) -> Option<f64> {
        let text = self.telemetry.prometheus().render().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }

    fn declare(&self, metrics: &[CustomMetric]) {
        assert!(self.telemetry.recorders().custom.declare(metrics).is_empty());
    }
}

async fn read(program: &Program) -> FleetFigures {
    program.reporter.read().await.unwrap()
}

const CHAT: LlmRequest<'_> = LlmRequest {
    model: "qwen",
    operation: "chat",
    status: "success",
    duration: Some(Duration::from_millis(1_200)),
    tokens_generated: 300,
    tokens_consumed: 40,
};

#[tokio::test]
async fn what_any_program_reports_is_the_fleets() {
    let fleet = fleet();
    for program in &fleet {
        let events = &program.events;
        events.llm_request(&CHAT).unwrap();
        events.llm_request(&LlmRequest { duration: None, ..CHAT }).unwrap();
        events.blueprint_validation(&BlueprintValidation { errors: 3 }).unwrap();
        let create = BlueprintOperation {
            operation: "create",
            status: "success",
            blueprint: None,
            resources: None,
        };
        events.blueprint_operation(&create).unwrap();
        events.blueprint_operation(&BlueprintOperation { status: "failure", ..create }).unwrap();
        let ran = ToolExecution {
            tool_name: "scale",
            status: "success",
            duration: Some(Duration::from_millis(200)),
        };
        events.tool_execution(&ran).unwrap();
        assert_eq!(
            program.metric(r#"llm_requests_total{model="qwen",operation="chat",status="success"}"#),
            Some(2.0)
        );
        assert_eq!(
            program
                .metric(r#"llm_generation_duration_seconds_count{model="qwen",operation="chat"}"#),
            Some(1.0)
        );
        assert_eq!(program.metric("blueprint_validation_errors_total"), Some(3.0));
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
async fn a_deployment_that_starts_here_may_finish_there() {
    let [here, there] = fleet();
    let deployment = |id, stage| Deployment { operation: "create", id, stage };
    let ended = Ended { status: "success", duration: Some(Duration::from_secs(42)) };
    for id in [Some("a"), Some("b"), None] {
        here.events.deployment(&deployment(id, Stage::Started)).unwrap();
    }
    assert_eq!(here.metric("active_deployments"), Some(3.0), "told here at once");
    here.reporter.flush().await.unwrap();
    there.reporter.flush().await.unwrap();
    assert_eq!(there.metric("active_deployments"), Some(3.0));
    for id in [Some("a"), None] {
        there.events.deployment(&deployment(id, Stage::Finished(ended))).unwrap();
    }
    there.events.deployment(&deployment(None, Stage::Over(ended))).unwrap();
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
async fn gauges_are_told_alike_by_all() {
    let [here, there] = fleet();
    for program in [&here, &there] {
        program.declare(&[
            CustomMetric::new("queue_depth", CustomKind::Gauge, &["queue", "kind"]).unwrap()
        ]);
    }
    for (instance, count) in [(Some("api-1"), 5), (Some("api-2"), 7), (Some("api-1"), 6)] {
        here.events
            .connections(&Connections { kind: ConnectionKind::WebSocket, count, instance })
            .unwrap();
        here.events.database_connections(&DatabaseConnections { count, instance }).unwrap();
    }
    here.events.cache(&Cache { cache: "plans", hit_rate: 0.5, instance: Some("api-1") }).unwrap();
    there.events.cache(&Cache { cache: "plans", hit_rate: 1.0, instance: Some("api-2") }).unwrap();
    let created = BlueprintOperation {
        operation: "create",
        status: "success",
        blueprint: Some("web"),
        resources: Some(8),
    };
    here.events.blueprint_operation(&created).unwrap();
    here.events
        .gauge(&Gauge {
            name: "queue_depth",
            labels: &[("queue", "jobs"), ("kind", "slow")],
            value: -2.5,
        })
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
        .blueprint_operation(&BlueprintOperation {
            operation: "delete",
            resources: None,
            ..created
        })
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
async fn a_wrong_event_is_refused_and_nothing_of_it_recorded() {
    let [program, _] = fleet();
    let events = &program.events;
    let long = "x".repeat(129);
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let refused: Vec<Result<(), EventError>> = vec![
        events.llm_request(&LlmRequest { model: "", ..CHAT }),
        events.llm_request(&LlmRequest { operation: &long, ..CHAT }),
        events.llm_request(&LlmRequest { status: "a\nb", ..CHAT }),
        events.llm_request(&LlmRequest { duration: Some(year), ..CHAT }),
        events.llm_request(&LlmRequest { tokens_generated: u64::MAX, ..CHAT }),
        events.blueprint_operation(&BlueprintOperation {
            operation: "create",
            status: "ok",
            blueprint: None,
            resources: Some(1),
        }),
        events.blueprint_validation(&BlueprintValidation { errors: u64::MAX }),
        events.cache(&Cache { cache: "plans", hit_rate: 1.5, instance: None }),
        events.cache(&Cache { cache: "plans", hit_rate: f64::NAN, instance: None }),
        events.connections(&Connections {
            kind: ConnectionKind::Http,
            count: 1,
            instance: Some(""),
        }),
        events.counter(&Counter { name: "mine_total", labels: &[], amount: 1.0 }),
        events.gauge(&Gauge { name: "mine", labels: &[], value: 1.0 }),
        events.histogram(&Histogram {
            name: "mine",
            labels: &[("a\u{1f}", "b\u{1f}")],
            value: 1.0,
        }),
    ];
    assert!(refused.iter().all(Result::is_err), "{refused:?}");
    assert_eq!(
        refused[5].clone().unwrap_err().to_string(),
        "resources are those of a blueprint: add `blueprint` with its name"
    );
    assert!(refused[10].clone().unwrap_err().to_string().contains("metrics.custom"));
    let fleet = read(&program).await;
    assert!(fleet.totals.iter().all(|(_, amount)| amount == 0), "{fleet:?}");
    assert!(fleet.gauges.reported.is_empty());
    assert_eq!(
        program.metric(r#"llm_requests_total{model="qwen",operation="chat",status="success"}"#),
        None
    );
}

/// The built-in policy, of which no token comes back while a test runs.
fn ten_a_day() -> Policy {
    let mut builder = PolicyBuilder::default();
    let limit_spec = || LimitSpec::limit(Rate::new("1/day".parse().unwrap(), 10).unwrap());
    builder.defaults = limit_spec();
    builder.endpoints.iter_mut().for_each(|endpoint| endpoint.limit = limit_spec());
    builder.build().unwrap()
}

#[tokio::test]
async fn decisions_are_counted_by_endpoint_and_client() {
    let [program, other] = fleet();
    let limiters = [&program, &other].map(|program| {
        Limiter::tallied(
            ten_a_day(),
            Arc::new(MemoryStore::new()),
            program.telemetry.recorders(),
            &program.tally,
        )
    });
    let path = "/api/v1/tools/execute";
    for limiter in &limiters {
        for client in ["alice", "bob"] {
            for _ in 0..12 {
                limiter
                    .check(&Request::new(Client::Key(client.as_bytes()), "POST", path))
                    .await
                    .unwrap();
            }
            let request = Request::new(Client::Key(client.as_bytes()), "GET", "/elsewhere");
            limiter.check_all(&[request, request]).await;
            limiter.peek(&request).await.unwrap();
        }
        limiter.check(&Request::new(Client::Key(b"carol"), "GET", "/health")).await.unwrap();
    }
    program.reporter.flush().await.unwrap();
    let fleet = read(&other).await;
    let told = |endpoint: &str| {
        let figures = fleet.endpoints[endpoint];
        (figures.requests, figures.rejected, figures.active_clients)
    };
    assert_eq!(told(path), (48, 8, 2));
    assert_eq!(told("other"), (8, 0, 2));
    assert_eq!(
        (fleet.clients, fleet.limited_clients),
        (2, 2),
        "who asks for what is never limited is no client of the limiter"
    );
    assert_eq!(fleet.top_limited.iter().map(|(_, times)| *times).collect::<Vec<_>>(), [4, 4]);
    assert!(!fleet.endpoints.contains_key("/health"));
}
