//! One event of every sort, for the tests that look at the whole catalogue.

use std::time::Duration;

use sluice_telemetry::{
    Breaker, Connection, LlmRequest, Method, Outcome, Recorders, Reload, RoundTrip, Scope, Source,
    StoreFault, UpstreamResult,
};

/// Records at least one value on every instrument of the catalogue.
pub(crate) fn record_everything(recorders: &Recorders) {
    let took = Duration::from_millis(3);

    let endpoint = recorders.http.bind("/api/v1/blueprints");
    endpoint.answered(Method::Get, 200, took);
    endpoint.request_size(Method::Get, 0);
    endpoint.response_size(Method::Get, 1_500);

    recorders.llm.request(&LlmRequest {
        model: "qwen",
        operation: "chat",
        status: "success",
        duration: Some(took),
        tokens_generated: 300,
        tokens_consumed: 40,
    });

    recorders.blueprint.operation("create", "success");
    recorders.blueprint.resources("web", 8);
    recorders.blueprint.validation_errors(2);

    recorders.deployment.operation("create", "success", Some(took));
    recorders.deployment.active(1);

    recorders.tool.execution("scale", "success", Some(took));

    drop(recorders.system.connection_opened(Connection::Http));
    recorders.system.connections_reported(Connection::WebSocket, 5);
    recorders.system.database_connections(Scope::Replica, 2);
    recorders.system.cache_hit_rate("denials", 0.5);

    recorders.rate_limit.bind("/api/v1/blueprints").hit();

    let limit = recorders.decisions.bind("default");
    for outcome in Outcome::ALL {
        for source in Source::ALL {
            limit.record(*outcome, *source);
        }
    }
    recorders.decisions.checked(Source::Store, took);

    recorders.store.round_trip(RoundTrip::Success, took, 17);
    recorders.store.error(StoreFault::Timeout);
    recorders.store.breaker(Breaker::Closed);

    let upstream = recorders.upstream.bind("http://alma:8000");
    upstream.answered(200, took);
    upstream.failed(UpstreamResult::Unconnected);

    recorders.replica.reload(Reload::Applied);
    recorders.replica.replicas_live(3);
}
