//! The table of tests and the tools that they need. A test is skipped when its tool is missing.
//!
//! A test that needs a missing tool and is not listed fails, and its message names the tool.

use crate::tools::REDIS_WITH_TLS;

/// The tests of one binary that need a tool.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) tool: &'static str,
    pub(super) package: &'static str,
    /// The file or the directory in the package's `tests/`.
    pub(super) binary: &'static str,
    /// Prefixes of the tests' names; empty for all tests of the binary.
    pub(super) tests: &'static [&'static str],
}

const fn needs(
    tool: &'static str,
    package: &'static str,
    binary: &'static str,
    tests: &'static [&'static str],
) -> Needs {
    Needs { tool, package, binary, tests }
}

const NEEDS: &[Needs] = &[
    needs("redis-server", "sluice-store", "conformance", &["redis::", "failover::"]),
    needs("redis-server", "sluice-store", "conformance", &["redis_clock::", "failover_clock::"]),
    needs("cc", "sluice-store", "conformance", &["redis_clock::", "failover_clock::"]),
    needs("redis-server", "sluice-store", "failover", &[]),
    needs("redis-server", "sluice-stats", "conformance", &["redis::", "redis_only::"]),
    needs("redis-server", "sluice-store", "redis", &[]),
    needs("redis-server", "sluice-store", "redis_calls", &[]),
    needs("redis-server", "sluice-store", "servers", &["redis::"]),
    needs("redis-server-6", "sluice-store", "servers", &["redis_6::"]),
    needs("valkey-server-8", "sluice-store", "servers", &["valkey_8::"]),
    needs("valkey-server-9", "sluice-store", "servers", &["valkey_9::"]),
    needs("redis-server", "sluice-server", "monitoring", &[]),
    needs("redis-server", "sluice-testkit", "redis", &[]),
    needs("redis-server", "sluice-testkit", "redis_cluster", &["redis::"]),
    needs("redis-server", "sluice-testkit", "redis_sentinels", &["redis::"]),
    needs("redis-server-6", "sluice-testkit", "redis_cluster", &["redis_6::"]),
    needs("redis-server-6", "sluice-testkit", "redis_sentinels", &["redis_6::"]),
    needs("valkey-server-8", "sluice-testkit", "redis_cluster", &["valkey_8::"]),
    needs("valkey-server-8", "sluice-testkit", "redis_sentinels", &["valkey_8::"]),
    needs("valkey-server-9", "sluice-testkit", "redis_cluster", &["valkey_9::"]),
    needs("valkey-server-9", "sluice-testkit", "redis_sentinels", &["valkey_9::"]),
    needs("redis-server", "sluice-tests", "alerts", &[]),
    needs(
        "redis-server",
        "sluice-tests",
        "command_line",
        &["an_invalid_store_url_is_an_error_and_an_unreachable_store_is_waited_for"],
    ),
    needs("redis-server", "sluice-tests", "deploy", &["load_balancer::"]),
    needs(
        "redis-server",
        "sluice-tests",
        "envoy",
        &["two_envoys_and_three_replicas_share_one_limit"],
    ),
    needs("redis-server", "sluice-tests", "gateway", &["gateways_of_a_fleet_share_one_limit"]),
    needs("redis-server", "sluice-tests", "redis_login", &[]),
    needs("redis-server", "sluice-tests", "redis_permissions", &[]),
    needs(
        "redis-server",
        "sluice-tests",
        "faults",
        &[
            "cluster_failover::",
            "denials::",
            "leases::",
            "lost_memory::",
            "lost_primary::",
            "partition::",
            "sentinel::",
            "slot_moves::nobody_notices_a_slot_that_moves_key_by_key",
        ],
    ),
    needs("valkey-server-9", "sluice-tests", "faults", &["slot_moves::valkey_9::"]),
    needs("redis-server", "sluice-tests", "fleet_limits", &[]),
    needs("redis-server", "sluice-tests", "announcements", &[]),
    needs("redis-server", "sluice-tests", "redis_outages", &[]),
    needs("redis-server", "sluice-tests", "prometheus", &[]),
    needs(
        "redis-server",
        "sluice-tests",
        "proxies",
        &[
            "caddy::two_proxies_and_three_replicas_share_one_limit",
            "haproxy::two_proxies_and_three_replicas_share_one_limit",
            "nginx::two_proxies_and_three_replicas_share_one_limit",
            "traefik::two_proxies_and_three_replicas_share_one_limit",
        ],
    ),
    needs(
        "redis-server",
        "sluice-tests",
        "reload",
        &[
            "a_change_under_load_does_not_affect_other_limits",
            "a_changed_file_applies_without_a_restart_and_buckets_keep_their_tokens",
        ],
    ),
    needs("redis-server", "sluice-tests", "secrets", &[]),
    needs(
        "redis-server",
        "sluice-tests",
        "shutdown",
        &["a_rolling_restart_under_load_loses_no_request_and_no_token"],
    ),
    needs(
        "redis-server",
        "sluice-tests",
        "traces",
        &[
            "a_call_from_envoy_continues_the_trace_in_its_metadata",
            "request_decision_and_round_trip_are_nested_spans_in_the_callers_trace",
            "spans_of_decisions_without_the_store_are_marked",
            "exported_spans_do_not_identify_the_client",
        ],
    ),
    needs(REDIS_WITH_TLS, "sluice-store", "redis", &["users_log_in_over_tls"]),
    needs(
        REDIS_WITH_TLS,
        "sluice-testkit",
        "redis",
        &["a_tls_server_has_a_certificate_and_executes_the_kits_commands"],
    ),
    needs(
        REDIS_WITH_TLS,
        "sluice-tests",
        "redis_login",
        &[
            "a_redis_with_a_trusted_certificate_is_used",
            "a_redis_with_an_untrusted_certificate_is_not_used",
        ],
    ),
    needs(
        REDIS_WITH_TLS,
        "sluice-tests",
        "faults",
        &["denials::ends::returned_tokens_end_denials_over_tls"],
    ),
    needs(REDIS_WITH_TLS, "sluice-testkit", "redis_cluster", &["redis::users_log_in_over_tls"]),
    needs(
        REDIS_WITH_TLS,
        "sluice-testkit",
        "redis_sentinels",
        &["redis::a_replica_takes_over_with_tls"],
    ),
    needs("chromium", "sluice-tests", "console", &[]),
    needs("prometheus", "sluice-tests", "alerts", &[]),
    needs(
        "prometheus",
        "sluice-tests",
        "deploy",
        &[
            "compose_auth::prometheus_requires_the_password_and_scrapes_itself_with_it",
            "compose_variables::prometheus_keeps_data_as_long_as_the_variables_say",
            "first_alert::",
            "grafana_alerts::prometheus_evaluates_the_rule_to_what_denials_are",
        ],
    ),
    needs("prometheus", "sluice-tests", "prometheus", &[]),
    needs("promtool", "sluice-telemetry", "rendered", &["promtool::"]),
    needs(
        "promtool",
        "sluice-tests",
        "deploy",
        &[
            "chart::the_rules_are_those_of_the_prometheus_directory",
            "compose_auth::promtool_accepts_the_file_with_the_hash",
            "prometheus::",
        ],
    ),
    needs("prometheus-alertmanager", "sluice-tests", "alerts", &[]),
    needs("amtool", "sluice-tests", "deploy", &["prometheus::"]),
    needs("nginx-mainline", "sluice-tests", "deploy", &["load_balancer::"]),
    needs(
        "nginx-mainline",
        "sluice-tests",
        "gateway",
        &["the_example_behind_nginx_identifies_clients_and_streams"],
    ),
    needs("nginx-mainline", "sluice-tests", "proxies", &["nginx::"]),
    needs("caddy", "sluice-tests", "proxies", &["caddy::"]),
    needs("traefik", "sluice-tests", "proxies", &["traefik::"]),
    needs("haproxy", "sluice-tests", "proxies", &["haproxy::"]),
    needs("envoy", "sluice-tests", "envoy", &[]),
    needs(
        "rotel-agent",
        "sluice-tests",
        "traces",
        &["a_real_collector_understands_metrics_and_traces_over_grpc_and_http"],
    ),
    needs("asgi-python", "sluice-tests", "python_middleware", &[]),
    needs(
        "docker-compose-v2",
        "sluice-tests",
        "deploy",
        &[
            "compose::",
            "compose_auth::",
            "compose_variables::optional_variables_reach_the_services",
            "compose_variables::prometheus_keeps_data_as_long_as_the_variables_say",
        ],
    ),
    needs("hadolint", "sluice-tests", "deploy", &["image::hadolint_"]),
    needs(
        "deploy-python",
        "sluice-tests",
        "deploy",
        &[
            "chart::",
            "compose::",
            "compose_auth::",
            "compose_variables::optional_variables_reach_the_services",
            "config_schema::",
            "dashboards::",
            "document::every_alert_of_the_document_has_its_name_threshold_duration_and_text",
            "first_alert::",
            "grafana_alerts::",
            "image::",
            "prometheus::",
            "promql::",
        ],
    ),
    needs("schemathesis", "sluice-tests", "openapi", &[]),
    needs(
        "grafana-tsc",
        "sluice-tests",
        "deploy",
        &[
            "dashboards::a_value_of_another_type_is_found",
            "dashboards::grafanas_types_accept_every_value",
        ],
    ),
];

/// Returns what the tests of a binary need.
pub(super) fn of_binary(package: &str, binary: &str) -> impl Iterator<Item = &'static Needs> {
    NEEDS.iter().filter(move |needs| (needs.package, needs.binary) == (package, binary))
}

/// Whether a test of the package needs the tool.
pub(super) fn package_needs(package: &str, tool: &str) -> bool {
    // A feature of a tool needs the tool.
    NEEDS.iter().any(|needs| needs.package == package && needs.tool.starts_with(tool))
}

impl Needs {
    /// Whether `test` is one of these.
    pub(super) fn include(&self, test: &str) -> bool {
        self.tests.is_empty() || self.tests.iter().any(|prefix| test.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::root;
    use crate::tools::TOOLS;
    use crate::workspace;
    use std::fs;
    use std::path::Path;

    /// Returns the source text of a test binary.
    fn source(package: &str, binary: &str) -> String {
        let package = workspace::package(&root(), package).unwrap();
        let tests = root().join(package.directory).join("tests");
        let mut text = fs::read_to_string(tests.join(format!("{binary}.rs"))).unwrap_or_default();
        add_directory(&tests.join(binary), &mut text);
        assert!(!text.is_empty(), "there is no test binary {binary} in {}", tests.display());
        text
    }

    fn add_directory(directory: &Path, text: &mut String) {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add_directory(&path, text);
            } else {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn every_listed_test_exists() {
        for Needs { package, binary, tests, .. } in NEEDS {
            let source = source(package, binary);
            for test in *tests {
                for name in test.split("::").filter(|name| !name.is_empty()) {
                    assert!(source.contains(name), "no test {test} in {package} {binary}");
                }
            }
        }
    }

    #[test]
    fn every_tool_has_tests_and_every_entry_a_tool() {
        for tool in TOOLS {
            assert!(NEEDS.iter().any(|needs| needs.tool == tool.name), "{}", tool.name);
        }
        for needs in NEEDS {
            assert!(
                TOOLS.iter().any(|tool| [Some(tool.name), tool.lacks].contains(&Some(needs.tool))),
                "{}",
                needs.tool
            );
        }
    }

    #[test]
    fn a_prefix_selects_tests() {
        let needs = needs("redis-server", "p", "b", &["redis::", "alone"]);
        for (test, expected) in [("redis::burst", true), ("alone_too", true), ("memory::x", false)]
        {
            assert_eq!(needs.include(test), expected, "{test}");
        }
    }

    #[test]
    fn a_package_needs_what_its_tests_need() {
        assert!(package_needs("sluice-store", "redis-server"));
        assert!(!package_needs("sluice-store", "envoy"));
        assert!(!package_needs("sluice-core", "redis-server"));
    }
}
