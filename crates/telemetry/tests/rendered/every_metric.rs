//! Records every metric, for the tests of the whole catalogue.

use std::time::Duration;

use sluice_telemetry::{
    BreakerLabel, ConnectionEnd, ConnectionKind, HoldOutcome, HoldRefusal, HoldRequestLabel,
    HoldStepLabel, LlmRequest, MethodLabel, ModelRefusal, ModelVendor, MonthCost, OnLostLabel,
    OutcomeLabel, Recorders, ReloadResult, RlsCode, RoundTripResult, SettlementOutcome, Signal,
    SloState, SourceLabel, StoreErrorLabel, TlsSection, UpstreamFailure,
};

/// Records at least one value on every metric of the catalogue.
pub(crate) fn record_everything(recorders: &Recorders) {
    let duration = Duration::from_millis(3);

    for (http, endpoint) in
        [(&recorders.http, "/api/v1/blueprints"), (&recorders.own_http, "/v1/check")]
    {
        let endpoint = http.bind(endpoint);
        endpoint.responded(MethodLabel::Get, 200, duration);
        endpoint.request_size(MethodLabel::Get, 0);
        endpoint.response_size(MethodLabel::Get, 1_500);
    }
    recorders.exempt.set(["/health"]);

    let request = LlmRequest::new("qwen", "chat", "success")
        .with_duration(duration)
        .with_tokens_generated(300)
        .with_tokens_consumed(40);
    recorders.llm.request(&request);

    recorders.blueprint.operation("create", "success");
    recorders.blueprint.set_resources("web", 8);
    recorders.blueprint.add_validation_errors(2);

    recorders.deployment.operation("create", "success", Some(duration));
    recorders.deployment.set_active(1);

    recorders.cost.add_llm("qwen", "USD", 1_500_000);
    recorders.cost.add_deployment("small", "USD", 250_000);
    recorders.cost.unknown("llm", "llama");
    recorders.cost.set_running(3);
    let month = MonthCost { currency: "USD".into(), so_far: 1_750_000, forecast: 3_500_000 };
    recorders.cost.set_month(vec![month]);
    recorders.cost.set_budget(Some(("USD", 500_000_000)));

    recorders.tool.execution("scale", "success", Some(duration));

    drop(recorders.system.connection_opened(ConnectionKind::Http));
    recorders.system.connection_ended(ConnectionKind::Http, ConnectionEnd::Idle);
    recorders.system.request_refused(ConnectionKind::Http);
    recorders.system.set_reported_connections(ConnectionKind::WebSocket, 5);
    recorders.system.set_database_connections(2);
    recorders.system.set_cache_hit_rate("denials", 0.5);

    recorders.rate_limit.bind("/api/v1/blueprints").hit();

    let limit = recorders.decisions.bind("default");
    for outcome in OutcomeLabel::ALL {
        for source in SourceLabel::ALL {
            limit.record(*outcome, *source);
        }
    }
    recorders.decisions.check_duration(SourceLabel::Store, duration);

    recorders.holds.step(HoldStepLabel::Reserve, HoldOutcome::Held);
    recorders.holds.held("tokens", 1_836);
    recorders.holds.settlement(SettlementOutcome::Settled);
    recorders.holds.charged("tokens", 1_836, 1_101);
    recorders.slots.held("chats", 3);
    recorders.slots.lost("chats", OnLostLabel::Cut, 1);
    recorders.holds.refused(HoldRequestLabel::Settle, HoldRefusal::UnknownReservation);

    recorders.clients.untrusted_forwarding();
    recorders.clients.unknown_tier();

    recorders.slo.set(vec![SloState {
        name: "api".into(),
        objective: 0.99,
        good: Some(0.995),
        budget_left: Some(0.5),
    }]);

    recorders.store.round_trip(RoundTripResult::Success, duration, 17);
    recorders.store.error(StoreErrorLabel::Timeout);
    recorders.store.set_breaker(BreakerLabel::Closed);
    recorders.store.set_unavailable_nodes(0);
    recorders.store.set_may_evict(false);
    recorders.store.add_evicted_keys(1);
    recorders.store.add_lost_partitions(64);
    recorders.store.set_cached_denials(1);
    recorders.store.set_reported_partitions(64);

    let domain = recorders.rls.bind("edge");
    domain.ended(RlsCode::Ok);
    domain.descriptors(1, 1);
    recorders.rls.other().ended(RlsCode::FailedPrecondition);
    recorders.rls.duration(duration);
    recorders.rls.unknown_domain();

    let upstream = recorders.upstream.bind("http://alma:8000");
    upstream.responded(200, duration);
    upstream.failed(UpstreamFailure::NotConnected);

    recorders.models.usage_missing(ModelVendor::OpenAi);
    recorders.models.usage_estimated(ModelVendor::Anthropic);
    recorders.models.usage_ignored(ModelVendor::Gemini, 2);
    recorders.models.refused(ModelVendor::OpenAi, ModelRefusal::BadRequest);

    recorders.replica.reload(ReloadResult::Applied);
    recorders.replica.caller_rejected(ConnectionKind::Http);
    recorders.replica.set_live_replicas(3);
    recorders.replica.set_expected_replicas(3);
    recorders.replica.set_other_secrets(0);

    recorders.certificates.set_expiry(TlsSection::Listen, 1_800_000_000);

    recorders.history.folded();

    recorders.exports.failed(Signal::Metrics);
}
