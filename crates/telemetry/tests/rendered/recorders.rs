//! The values of each recorder, read back from a scrape.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sluice_telemetry::{
    BreakerLabel, BuildInfo, CompletedResponse, ConnectionKind, LlmRequest, MethodLabel,
    MetricKind, OTHER, OutcomeLabel, Recorders, ReloadResult, RoundTripResult, SourceLabel,
    StoreErrorLabel, Telemetry, UpstreamFailure, catalogue,
};

use crate::{every_metric::record_everything, scrape, telemetry};

#[test]
fn every_metric_of_the_catalogue_is_rendered_with_its_kind_help_and_labels() {
    let telemetry = telemetry();
    record_everything(telemetry.recorders());
    let scrape = scrape(&telemetry);
    for metric in catalogue() {
        let rendered =
            scrape.metrics.get(metric.name).unwrap_or_else(|| panic!("{} is missing", metric.name));
        assert_eq!(rendered.kind, metric.kind.as_str(), "{}", metric.name);
        assert_eq!(rendered.help, metric.help, "{}", metric.name);
        let declared: BTreeSet<&str> = metric.labels.iter().map(|label| label.name).collect();
        for sample in &rendered.samples {
            let labels: BTreeSet<&str> =
                sample.labels.keys().map(String::as_str).filter(|name| *name != "le").collect();
            assert_eq!(labels, declared, "{}", metric.name);
        }
        if let MetricKind::Histogram(boundaries) = metric.kind {
            let rendered: BTreeSet<String> = rendered
                .samples
                .iter()
                .filter_map(|sample| sample.labels.get("le").cloned())
                .collect();
            let declared =
                boundaries.iter().map(f64::to_string).chain(["+Inf".to_owned()]).collect();
            assert_eq!(rendered, declared, "{}", metric.name);
        }
    }
}

#[test]
fn only_metrics_of_the_catalogue_are_rendered() {
    let telemetry = telemetry();
    record_everything(telemetry.recorders());
    let known: BTreeSet<&str> = catalogue().map(|metric| metric.name).collect();
    let rendered = scrape(&telemetry);
    let rendered: BTreeSet<&str> = rendered.metrics.keys().map(String::as_str).collect();
    assert_eq!(rendered, known);
}

#[test]
fn a_request_is_counted_with_its_duration_and_sizes() {
    let telemetry = telemetry();
    let endpoint = telemetry.recorders().http.bind("/api/v1/blueprints");
    endpoint.responded(MethodLabel::Post, 201, Duration::from_millis(30));
    endpoint.responded(MethodLabel::Post, 201, Duration::from_millis(70));
    endpoint.responded(MethodLabel::Post, 503, Duration::from_secs(60));
    endpoint.request_size(MethodLabel::Post, 100);
    endpoint.response_size(MethodLabel::Post, 70_000);

    let scrape = scrape(&telemetry);
    let labels = [("endpoint", "/api/v1/blueprints"), ("method", "POST")];
    let with = |name, value| [labels[0], labels[1], (name, value)];
    assert_eq!(scrape.value("http_requests_total", &with("status", "201")), Some(2.0));
    assert_eq!(scrape.value("http_requests_total", &with("status", "503")), Some(1.0));
    assert_eq!(scrape.series("http_requests_total"), 2);
    assert_eq!(
        scrape.value("http_request_duration_seconds_bucket", &with("le", "0.05")),
        Some(1.0)
    );
    assert_eq!(scrape.value("http_request_duration_seconds_bucket", &with("le", "0.1")), Some(2.0));
    assert_eq!(
        scrape.value("http_request_duration_seconds_bucket", &with("le", "+Inf")),
        Some(3.0)
    );
    assert_eq!(scrape.value("http_request_duration_seconds_count", &labels), Some(3.0));
    assert_eq!(scrape.value("http_request_duration_seconds_sum", &labels), Some(60.1));
    assert_eq!(scrape.value("http_request_size_bytes_sum", &labels), Some(100.0));
    assert_eq!(scrape.value("http_response_size_bytes_sum", &labels), Some(70_000.0));
}

#[test]
fn a_method_is_recognized_by_its_exact_name() {
    assert_eq!(MethodLabel::from_name("GET"), MethodLabel::Get);
    assert_eq!(MethodLabel::from_name("get"), MethodLabel::Other);
    assert_eq!(MethodLabel::from_name("BREW"), MethodLabel::Other);
    for method in MethodLabel::ALL {
        assert_eq!(MethodLabel::from_name(method.as_str()), *method);
    }
}

#[test]
fn an_endpoint_bound_twice_has_one_series() {
    let telemetry = telemetry();
    telemetry.recorders().http.bind("/a").responded(MethodLabel::Get, 200, Duration::ZERO);
    telemetry.recorders().http.bind("/a").responded(MethodLabel::Get, 200, Duration::ZERO);
    let labels = [("endpoint", "/a"), ("method", "GET"), ("status", "200")];
    assert_eq!(scrape(&telemetry).value("http_requests_total", &labels), Some(2.0));
}

#[test]
fn requests_to_own_endpoints_have_metrics_of_their_own() {
    let telemetry = telemetry();
    let recorders = telemetry.recorders();
    recorders.own_http.bind("/v1/check").responded(MethodLabel::Post, 200, Duration::ZERO);
    recorders.http.bind("/api").responded(MethodLabel::Post, 200, Duration::ZERO);
    let scrape = scrape(&telemetry);
    for (metric, endpoint) in
        [("http_requests_total", "/api"), ("sluice_http_requests_total", "/v1/check")]
    {
        let labels = [("endpoint", endpoint), ("method", "POST"), ("status", "200")];
        assert_eq!(scrape.value(metric, &labels), Some(1.0), "{metric}");
        assert_eq!(scrape.series(metric), 1, "{metric}");
    }
}

#[test]
fn a_path_without_a_pattern_has_a_place_of_its_own_only_if_it_takes_one() {
    let telemetry = telemetry();
    let http = &telemetry.recorders().http;
    assert_eq!(http.label_of_path("/users/:id", false), None);
    assert_eq!(http.label_of_path("/users/:id", true).as_deref(), Some("/users/:id"));
    assert_eq!(http.label_of_path("/users/:id", false).as_deref(), Some("/users/:id"));
    assert_eq!(telemetry.recorders().own_http.label_of_path("/users/:id", true), None);
}

#[test]
fn paths_leave_the_room_of_patterns_alone() {
    let telemetry = telemetry();
    let http = &telemetry.recorders().http;
    let paths = (0..1_000).filter_map(|n| http.label_of_path(&format!("/path/{n}"), true));
    let paths: Vec<_> = paths.collect();
    assert_eq!(paths.len(), 100);
    let patterns: Vec<_> = (0..200).map(|n| format!("/pattern/{n}")).collect();
    for endpoint in paths.iter().map(|path| &**path).chain(patterns.iter().map(String::as_str)) {
        http.bind(endpoint).responded(MethodLabel::Get, 200, Duration::ZERO);
    }
    let scrape = scrape(&telemetry);
    assert_eq!(scrape.series("http_requests_total"), 300);
    let folded = |label| scrape.value("sluice_labels_folded_total", &[("label", label)]);
    assert_eq!([folded("endpoint_path"), folded("endpoint")], [Some(900.0), Some(0.0)]);
}

#[test]
fn a_response_is_recorded_with_what_is_known_of_it() {
    let telemetry = telemetry();
    let response = CompletedResponse {
        method: MethodLabel::Get,
        status: 200,
        duration: Duration::from_millis(30),
        request_bytes: None,
        response_bytes: Some(7),
    };
    for endpoint in ["/a", "/a", OTHER] {
        telemetry.recorders().http.record(endpoint, &response);
    }
    let scrape = scrape(&telemetry);
    let labels = [("endpoint", "/a"), ("method", "GET"), ("status", "200")];
    assert_eq!(scrape.value("http_requests_total", &labels), Some(2.0));
    assert_eq!(scrape.value("http_response_size_bytes_sum", &labels[..2]), Some(14.0));
    assert_eq!(scrape.series("http_response_size_bytes"), 2);
    assert!(!scrape.metrics.contains_key("http_request_size_bytes"));
}

#[test]
fn a_decision_is_counted_by_limit_outcome_and_source() {
    let telemetry = telemetry();
    let limit = telemetry.recorders().decisions.bind("org-writes");
    limit.allowed(SourceLabel::Store);
    limit.denied(SourceLabel::Local);
    limit.denied(SourceLabel::Local);
    limit.shadow_denied(SourceLabel::Store);
    limit.error(SourceLabel::Local);

    let scrape = scrape(&telemetry);
    let value = |outcome, source| {
        scrape.value(
            "sluice_decisions_total",
            &[("limit", "org-writes"), ("outcome", outcome), ("source", source)],
        )
    };
    assert_eq!(value("allowed", "store"), Some(1.0));
    assert_eq!(value("denied", "local"), Some(2.0));
    assert_eq!(value("shadow_denied", "store"), Some(1.0));
    assert_eq!(value("error", "local"), Some(1.0));
}

#[test]
fn a_bound_limit_has_series_before_its_first_decision() {
    let telemetry = telemetry();
    let _limit = telemetry.recorders().decisions.bind("org-writes");
    let scrape = scrape(&telemetry);
    for outcome in ["allowed", "denied"] {
        let labels = [("limit", "org-writes"), ("outcome", outcome), ("source", "store")];
        assert_eq!(scrape.value("sluice_decisions_total", &labels), Some(0.0));
    }
    assert_eq!(scrape.series("sluice_decisions_total"), 2);
}

#[test]
fn counts_survive_the_recorder_that_recorded_them() {
    let telemetry = telemetry();
    let limit = telemetry.recorders().decisions.bind("org-writes");
    limit.denied(SourceLabel::Store);
    drop(limit);
    telemetry.recorders().decisions.bind("org-writes").denied(SourceLabel::Store);
    let labels = [("limit", "org-writes"), ("outcome", "denied"), ("source", "store")];
    assert_eq!(scrape(&telemetry).value("sluice_decisions_total", &labels), Some(2.0));
}

#[test]
fn the_duration_of_a_check_is_measured_by_source() {
    let telemetry = telemetry();
    telemetry.recorders().decisions.check_duration(SourceLabel::Local, Duration::from_nanos(300));
    telemetry.recorders().decisions.check_duration(SourceLabel::Store, Duration::from_micros(700));
    let scrape = scrape(&telemetry);
    let bucket = |source, le| {
        scrape.value("sluice_check_duration_seconds_bucket", &[("source", source), ("le", le)])
    };
    assert_eq!(bucket("local", "0.000001"), Some(1.0));
    assert_eq!(bucket("store", "0.0005"), Some(0.0));
    assert_eq!(bucket("store", "0.001"), Some(1.0));
}

#[test]
fn a_round_trip_is_counted_with_its_duration_and_checks() {
    let telemetry = telemetry();
    telemetry.recorders().store.round_trip(RoundTripResult::Success, Duration::from_millis(1), 40);
    telemetry.recorders().store.round_trip(RoundTripResult::Failure, Duration::from_millis(25), 2);
    let scrape = scrape(&telemetry);
    for result in ["success", "failure"] {
        assert_eq!(
            scrape.value("sluice_store_round_trips_total", &[("result", result)]),
            Some(1.0)
        );
    }
    assert_eq!(scrape.value("sluice_store_round_trip_duration_seconds_count", &[]), Some(2.0));
    assert_eq!(scrape.value("sluice_store_batch_checks_sum", &[]), Some(42.0));
}

#[test]
fn requests_to_an_upstream_are_counted_by_result_and_its_health_is_shown() {
    let telemetry = telemetry();
    let upstream = telemetry.recorders().upstream.bind("http://alma:8000");
    let healthy =
        || scrape(&telemetry).value("sluice_upstream_healthy", &[("upstream", "http://alma:8000")]);
    assert_eq!(healthy(), Some(1.0));
    for status in [101, 204, 304, 404, 429, 503, 999] {
        upstream.responded(status, Duration::from_millis(1));
    }
    upstream.failed(UpstreamFailure::TimedOut);
    upstream.set_healthy(false);
    assert_eq!(healthy(), Some(0.0));
    let scrape = scrape(&telemetry);
    for (result, count) in [
        ("1xx", 1.0),
        ("2xx", 1.0),
        ("3xx", 1.0),
        ("4xx", 2.0),
        ("5xx", 2.0),
        ("late", 1.0),
        ("broke", 0.0),
        ("unconnected", 0.0),
    ] {
        let labels = [("result", result), ("upstream", "http://alma:8000")];
        assert_eq!(
            scrape.value("sluice_upstream_requests_total", &labels),
            Some(count),
            "{result}"
        );
    }
    let labels = [("upstream", "http://alma:8000")];
    assert_eq!(
        scrape.value("sluice_upstream_response_duration_seconds_count", &labels),
        Some(7.0),
        "a request without a response has no duration"
    );
}

#[test]
fn an_error_of_the_store_is_counted_by_kind() {
    let telemetry = telemetry();
    telemetry.recorders().store.error(StoreErrorLabel::Refused);
    let scrape = scrape(&telemetry);
    for kind in StoreErrorLabel::ALL {
        let expected = f64::from(*kind == StoreErrorLabel::Refused);
        assert_eq!(
            scrape.value("sluice_store_errors_total", &[("kind", kind.as_str())]),
            Some(expected)
        );
    }
}

#[test]
fn the_metrics_of_an_outage_have_values_from_the_start() {
    let telemetry = telemetry();
    let recorder = &telemetry.recorders().store;
    let names = [
        "sluice_store_owed_buckets",
        "sluice_store_unavailable_nodes",
        "sluice_store_charged_tokens_total",
        "sluice_store_dropped_tokens_total",
    ];
    let values = || {
        let scrape = scrape(&telemetry);
        names.map(|name| scrape.value(name, &[]))
    };
    assert_eq!(values(), [Some(0.0); 4]);
    recorder.set_owed_buckets(9);
    recorder.set_owed_buckets(2);
    recorder.set_unavailable_nodes(3);
    recorder.set_unavailable_nodes(1);
    recorder.add_charged_tokens(3);
    recorder.add_charged_tokens(4);
    recorder.add_dropped_tokens(5);
    assert_eq!(values(), [2.0, 1.0, 7.0, 5.0].map(Some));
}

/// Alerts on these count events, and the first one counts too.
#[test]
fn what_alerts_count_has_series_before_its_first_event() {
    let scrape = scrape(&telemetry());
    for kind in StoreErrorLabel::ALL {
        let labels = [("kind", kind.as_str())];
        assert_eq!(scrape.value("sluice_store_errors_total", &labels), Some(0.0), "{kind:?}");
    }
    assert_eq!(scrape.value("sluice_rls_unknown_domains_total", &[]), Some(0.0));
}

#[test]
fn the_breaker_is_in_exactly_one_state() {
    let telemetry = telemetry();
    let expect = |state: BreakerLabel| {
        let scrape = scrape(&telemetry);
        for each in BreakerLabel::ALL {
            let labels = [("state", each.as_str())];
            assert_eq!(
                scrape.value("sluice_store_breaker_state", &labels),
                Some(f64::from(*each == state))
            );
        }
    };
    expect(BreakerLabel::Closed);
    for state in [BreakerLabel::Open, BreakerLabel::HalfOpen, BreakerLabel::Closed] {
        telemetry.recorders().store.set_breaker(state);
        expect(state);
    }
}

#[test]
fn a_denied_request_is_counted_by_endpoint() {
    let telemetry = telemetry();
    let hits = telemetry.recorders().rate_limit.bind("/api");
    assert_eq!(
        scrape(&telemetry).value("rate_limit_hits_total", &[("endpoint", "/api")]),
        Some(0.0)
    );
    hits.hit();
    assert_eq!(
        scrape(&telemetry).value("rate_limit_hits_total", &[("endpoint", "/api")]),
        Some(1.0)
    );
}

#[test]
fn a_request_to_a_language_model_is_counted_with_its_duration_and_tokens() {
    let telemetry = telemetry();
    let request = LlmRequest::new("qwen", "chat", "success")
        .with_duration(Duration::from_millis(1_500))
        .with_tokens_generated(300)
        .with_tokens_consumed(40);
    telemetry.recorders().llm.request(&request);
    let failed = LlmRequest::new("qwen", "chat", "error").with_tokens_consumed(40);
    telemetry.recorders().llm.request(&failed);

    let scrape = scrape(&telemetry);
    let labels = [("model", "qwen"), ("operation", "chat")];
    for status in ["success", "error"] {
        let labels = [labels[0], labels[1], ("status", status)];
        assert_eq!(scrape.value("llm_requests_total", &labels), Some(1.0));
    }
    assert_eq!(scrape.value("llm_generation_duration_seconds_count", &labels), Some(1.0));
    assert_eq!(scrape.value("llm_generation_duration_seconds_sum", &labels), Some(1.5));
    assert_eq!(scrape.value("llm_tokens_generated_total", &labels), Some(300.0));
    assert_eq!(scrape.value("llm_tokens_consumed_total", &labels), Some(80.0));
}

#[test]
fn operations_on_a_blueprint_are_counted_and_its_resources_shown() {
    let telemetry = telemetry();
    let recorder = &telemetry.recorders().blueprint;
    let validate = ("operation", "validate");
    for metric in ["blueprint_operations_total", "blueprint_validation_errors_total"] {
        assert_eq!(scrape(&telemetry).value(metric, &[validate]), Some(0.0), "{metric}");
    }
    recorder.operation("validate", "error");
    recorder.set_resources("web", 12);
    recorder.set_resources("web", 8);
    recorder.add_validation_errors(3);
    let scrape = scrape(&telemetry);
    assert_eq!(scrape.value("blueprint_operations_total", &[validate]), Some(1.0));
    let labels = [validate, ("status", "error")];
    assert_eq!(scrape.value("blueprint_operation_results_total", &labels), Some(1.0));
    assert_eq!(scrape.value("blueprint_resources_count", &[("blueprint", "web")]), Some(8.0));
    assert_eq!(scrape.value("blueprint_validation_errors_total", &[validate]), Some(3.0));
}

#[test]
fn deployments_are_counted_with_their_duration_and_the_active_ones_shown() {
    let telemetry = telemetry();
    let recorder = &telemetry.recorders().deployment;
    recorder.set_active(2);
    recorder.operation("create", "success", Some(Duration::from_secs(90)));
    recorder.operation("delete", "success", None);
    recorder.set_active(1);
    let scrape = scrape(&telemetry);
    for operation in ["create", "delete"] {
        let labels = [("operation", operation), ("status", "success")];
        assert_eq!(scrape.value("deployment_operations_total", &labels), Some(1.0));
    }
    assert_eq!(
        scrape.value("deployment_duration_seconds_sum", &[("operation", "create")]),
        Some(90.0)
    );
    assert_eq!(scrape.series("deployment_duration_seconds"), 1);
    assert_eq!(scrape.value("active_deployments", &[]), Some(1.0));
}

#[test]
fn an_execution_of_a_tool_is_counted_with_its_duration() {
    let telemetry = telemetry();
    telemetry.recorders().tool.execution("scale", "success", Some(Duration::from_millis(200)));
    telemetry.recorders().tool.execution("scale", "error", None);
    let scrape = scrape(&telemetry);
    for status in ["success", "error"] {
        let labels = [("status", status), ("tool_name", "scale")];
        assert_eq!(scrape.value("tool_executions_total", &labels), Some(1.0));
    }
    assert_eq!(
        scrape.value("tool_execution_duration_seconds_sum", &[("tool_name", "scale")]),
        Some(0.2)
    );
    assert_eq!(
        scrape.value("tool_execution_duration_seconds_count", &[("tool_name", "scale")]),
        Some(1.0)
    );
}

#[test]
fn a_connection_is_open_until_it_is_dropped() {
    let telemetry = telemetry();
    let open = |kind| {
        scrape(&telemetry).value("active_connections", &[("kind", kind), ("scope", "replica")])
    };
    let recorder = &telemetry.recorders().system;
    assert_eq!(open("http"), Some(0.0));
    let (one, other) = (
        recorder.connection_opened(ConnectionKind::Http),
        recorder.connection_opened(ConnectionKind::Http),
    );
    let socket = recorder.connection_opened(ConnectionKind::WebSocket);
    assert_eq!((open("http"), open("websocket"), open("grpc")), (Some(2.0), Some(1.0), Some(0.0)));
    drop((one, socket));
    assert_eq!((open("http"), open("websocket")), (Some(1.0), Some(0.0)));
    drop(other);
    assert_eq!(open("http"), Some(0.0));
}

#[test]
fn reported_connections_are_shown_beside_the_replicas_own() {
    let telemetry = telemetry();
    let recorder = &telemetry.recorders().system;
    let fleet = [("kind", "websocket"), ("scope", "fleet")];
    assert_eq!(scrape(&telemetry).value("active_connections", &fleet), None);
    recorder.set_reported_connections(ConnectionKind::WebSocket, 40);
    recorder.set_reported_database_connections(12);
    recorder.set_database_connections(2);
    let scrape = scrape(&telemetry);
    assert_eq!(scrape.value("active_connections", &fleet), Some(40.0));
    assert_eq!(
        scrape.value("active_connections", &[("kind", "websocket"), ("scope", "replica")]),
        Some(0.0)
    );
    assert_eq!(scrape.value("database_connections", &[("scope", "fleet")]), Some(12.0));
    assert_eq!(scrape.value("database_connections", &[("scope", "replica")]), Some(2.0));
}

#[test]
fn a_hit_rate_is_clamped_to_the_range_from_0_to_1() {
    let telemetry = telemetry();
    let recorder = &telemetry.recorders().system;
    for (cache, share, shown) in [("a", 0.25, 0.25), ("b", 1.5, 1.0), ("c", -1.0, 0.0)] {
        recorder.set_cache_hit_rate(cache, share);
        assert_eq!(scrape(&telemetry).value("cache_hit_rate", &[("cache", cache)]), Some(shown));
    }
    recorder.set_cache_hit_rate("a", f64::NAN);
    assert_eq!(scrape(&telemetry).value("cache_hit_rate", &[("cache", "a")]), Some(0.25));
}

#[test]
fn a_replica_shows_its_build_its_fleet_and_its_reloads() {
    let build = BuildInfo::new("1.2.3", "abc");
    let telemetry = Telemetry::builder().build_info(build).build().expect("the set-up is valid");
    telemetry.recorders().replica.set_live_replicas(3);
    telemetry.recorders().replica.reload(ReloadResult::Refused);
    let scrape = scrape(&telemetry);
    assert_eq!(
        scrape.value("sluice_build_info", &[("revision", "abc"), ("version", "1.2.3")]),
        Some(1.0)
    );
    assert_eq!(scrape.value("sluice_replicas_live", &[]), Some(3.0));
    assert_eq!(scrape.value("sluice_config_reloads_total", &[("result", "applied")]), Some(0.0));
    assert_eq!(scrape.value("sluice_config_reloads_total", &[("result", "refused")]), Some(1.0));
}

#[test]
fn a_refused_configuration_shows_until_one_is_applied() {
    let telemetry = telemetry();
    let refused = || scrape(&telemetry).value("sluice_config_refused", &[]);
    assert_eq!(refused(), Some(0.0), "the configuration of the start is good");
    let replica = &telemetry.recorders().replica;
    replica.reload(ReloadResult::Refused);
    replica.reload(ReloadResult::Refused);
    assert_eq!(refused(), Some(1.0));
    replica.reload(ReloadResult::Applied);
    assert_eq!(refused(), Some(0.0));
}

#[test]
fn exempt_endpoints_show_until_they_are_limited_again() {
    let telemetry = telemetry();
    let recorder = &telemetry.recorders().exempt;
    recorder.set(["/health", "/free"]);
    recorder.set(["/free", "/other"]);
    let exempt = |endpoint| {
        scrape(&telemetry).value("sluice_http_exempt_endpoints", &[("endpoint", endpoint)])
    };
    assert_eq!(["/health", "/free", "/other"].map(exempt), [Some(0.0), Some(1.0), Some(1.0)]);
    // The rest share the value `other`, which is not exempt because of one of them.
    let names: Vec<String> = (0..300).map(|n| format!("/free/{n}")).collect();
    recorder.set(names.iter().map(String::as_str));
    assert_eq!(exempt("other"), None);
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_shows_the_resources_that_it_uses() {
    let telemetry = telemetry();
    let now =
        SystemTime::now().duration_since(UNIX_EPOCH).expect("now is after the epoch").as_secs_f64();
    let scrape = scrape(&telemetry);
    let value = |name| scrape.value(name, &[]).expect("the kernel provides the value");
    assert!(value("process_cpu_seconds_total") >= 0.0);
    assert!(value("process_resident_memory_bytes") > 100_000.0);
    assert!(value("process_open_fds") >= 3.0);
    // A day's difference is allowed, because the clock may be set while the test runs.
    assert!((now - value("process_start_time_seconds")).abs() < 86_400.0);
}

#[test]
fn two_set_ups_are_independent() {
    let (one, other) = (telemetry(), telemetry());
    one.recorders().rate_limit.bind("/api").hit();
    assert_eq!(scrape(&one).value("rate_limit_hits_total", &[("endpoint", "/api")]), Some(1.0));
    assert!(!scrape(&other).metrics.contains_key("rate_limit_hits_total"));
}

#[test]
fn disabled_recorders_record_nothing() {
    let telemetry = telemetry();
    record_everything(&Recorders::disabled());
    let scrape = scrape(&telemetry);
    assert!(!scrape.metrics.contains_key("http_requests_total"));
    assert_eq!(scrape.value("sluice_store_round_trips_total", &[("result", "success")]), Some(0.0));
}

#[test]
fn recording_after_a_shutdown_has_no_effect() {
    let telemetry = telemetry();
    let limit = telemetry.recorders().decisions.bind("org-writes");
    telemetry.shutdown().expect("nothing is left to send");
    limit.record(OutcomeLabel::Denied, SourceLabel::Store);
    record_everything(telemetry.recorders());
}

#[test]
fn names_are_rendered_unchanged_and_nothing_is_added() {
    let telemetry = telemetry();
    telemetry.recorders().rate_limit.bind("/api").hit();
    let text = telemetry.prometheus().render().expect("the metrics render");
    assert!(text.contains("\nrate_limit_hits_total{endpoint=\"/api\"} 1\n"), "{text}");
    for added in ["otel_scope", "target_info", "_total_total"] {
        assert!(!text.contains(added), "{added} is in {text}");
    }
}

#[test]
fn a_label_value_is_escaped() {
    let telemetry = telemetry();
    telemetry.recorders().rate_limit.bind("/a\"b\\c\nd").hit();
    let text = telemetry.prometheus().render().expect("the metrics render");
    assert!(text.contains(r#"rate_limit_hits_total{endpoint="/a\"b\\c\nd"} 1"#), "{text}");
}
