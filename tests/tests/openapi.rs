//! Schemathesis sends valid and invalid requests to every operation of `/openapi.json`, and checks
//! the responses.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use sluice_testkit::{Program, ReservedPort, Sluice, SluiceOptions, built_sluice};
use sluice_tests::http::{Client, Request};
use tempfile::TempDir;

const SCHEMATHESIS: Program =
    Program { name: "schemathesis", variable: "SLUICE_SCHEMATHESIS", remedy: "cargo xtask tools" };
const HOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/py");

/// The checks that hold for every response: the document describes it.
const MATCHES_DOCUMENT: &str = "status_code_conformance,content_type_conformance,\
    response_schema_conformance,response_headers_conformance,allow_header_conformance";

/// All front ends, limits that are soon exceeded, and the metrics that the document's examples use.
const CONFIGURATION: &str = "\
defaults: { rate: 1/day, burst: 4 }
limits: [{ name: shadow, per: nothing, rate: 1/day, burst: 1, mode: shadow }]
metrics:
  custom:
    - { name: my_feature_total, kind: counter, labels: [operation] }
    - { name: queue_depth, kind: gauge }
    - { name: job_seconds, kind: histogram, labels: [job] }
";

const RULES: &str = "\
domain: edge
descriptors:
  - key: api_key
    rate_limit: { unit: minute, requests_per_unit: 3, name: per_key }
    metadata: { plan: [1, free] }
  - { key: path, rate_limit: { unlimited: true } }
";

/// Runs Schemathesis with at most `examples` of each kind for each operation, always the same ones.
/// `checks` must hold for every response.
#[track_caller]
fn run_schemathesis(sluice: &Sluice, examples: usize, checks: &str) {
    let directory = TempDir::with_prefix("sluice-schemathesis-").unwrap();
    let mut command = Command::new(SCHEMATHESIS.path());
    command.current_dir(directory.path());
    // The requests must not go through a proxy.
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command.envs([
        ("PYTHONPATH", HOOKS),
        ("SCHEMATHESIS_HOOKS", "openapi_hooks"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
    ]);
    command.arg("run").arg(sluice.url("/openapi.json")).args([
        "--checks",
        checks,
        "--max-examples",
        &examples.to_string(),
    ]);
    command.args(["--generation-deterministic", "--continue-on-failure", "--no-color"]);
    command.args([
        "--output-sanitize",
        "false",
        "--request-timeout",
        "60",
        "--suppress-health-check",
        "all",
    ]);
    let output = command.output().unwrap();
    let output_text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{output_text}");
    // With a document without operations every check would hold.
    let tested = output_text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Tested:"))
        .map(|count| count.trim().parse::<usize>());
    assert!(tested.is_some_and(|count| count.is_ok_and(|count| count >= 19)), "{output_text}");
    assert!(sluice.is_running());
}

fn start(store: &str) -> (Sluice, TempDir) {
    let directory = TempDir::with_prefix("sluice-rules-").unwrap();
    let rules = directory.path().join("rules.yaml");
    std::fs::write(&rules, RULES).unwrap();
    let config = format!(
        "{CONFIGURATION}store: {store}\nrls: {{ files: [\"{}\"], response_headers: true }}\n",
        rules.display()
    );
    (SluiceOptions::new(built_sluice()).config(config).start(), directory)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_generated_request_gets_a_documented_response() {
    let (sluice, _rules) = start("{ url: \"memory://\" }");
    tokio::task::block_in_place(|| {
        run_schemathesis(&sluice, 25, &format!("not_a_server_error,{MATCHES_DOCUMENT}"));
    });
    let mut client = Client::of(sluice.http_addr());
    let metrics = client.send(&Request::get("/metrics")).await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    // The others are reported by the generated events.
    for line in metrics.lines().filter(|line| line.starts_with("sluice_http_requests_total{")) {
        assert!(!line.contains("status=\"5"), "{line}");
    }
}

#[test]
fn every_generated_request_gets_a_documented_response_without_the_store() {
    let no_redis = ReservedPort::new();
    let (sluice, _rules) = start(&format!(
        "{{ url: \"redis://127.0.0.1:{}\", on_failure: error }}",
        no_redis.number()
    ));
    run_schemathesis(&sluice, 5, MATCHES_DOCUMENT);
}
