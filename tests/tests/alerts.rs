//! An alert from end to end: the metrics of a fleet, a rule that fires, Prometheus, Alertmanager
//! and the receiver.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use sluice_testkit::{RedisServer, eventually_async, eventually_async_within};
use sluice_tests::{
    alertmanager::Alertmanager,
    fleet::{Fleet, LONG_TIMEOUT},
    http::Client,
    metrics::Metrics,
    prometheus::{JOB, Prometheus},
    request_recorder::RequestRecorder,
};
use tempfile::TempDir;

/// Longer than the waits that are built into Alertmanager and Prometheus.
const TIMEOUT: Duration = Duration::from_secs(50);

/// Reads a file of the workspace and makes these replacements. The file must contain each text that
/// is replaced.
fn read_with_changes(path: &str, changes: &[(&str, &str)]) -> String {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap();
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{path}: {from}");
        text.replace(from, to)
    })
}

/// Writes the rules of `deploy/prometheus` with short times: an evaluation interval of half a
/// second, and one second in place of each `for`.
fn fast_rules() -> TempDir {
    let directory = TempDir::new().unwrap();
    for file in ["alma", "recording"] {
        let text = read_with_changes(
            &format!("deploy/prometheus/rules/{file}.yml"),
            &[("interval: 30s", "interval: 500ms")],
        );
        let shortened = |line: &str| {
            if line.trim_start().starts_with("for: ") {
                "        for: 1s".to_owned()
            } else {
                line.to_owned()
            }
        };
        let text: Vec<String> = text.lines().map(shortened).collect();
        fs::write(directory.path().join(format!("{file}.yml")), text.join("\n")).unwrap();
    }
    directory
}

/// Returns the configuration of `deploy/alertmanager` with short times, and with `webhook` as the
/// receiver.
fn alertmanager(webhook: &RequestRecorder) -> String {
    let receiver = |name: &str| {
        format!(
            "  - name: {name}\n    webhook_configs: [{{ url: \"http://{}/{name}\" }}]\n",
            webhook.address()
        )
    };
    read_with_changes(
        "deploy/alertmanager/alertmanager.yml",
        &[
            ("group_wait: 10s", "group_wait: 200ms"),
            ("group_interval: 1m", "group_interval: 1s"),
            ("  - name: page\n", &receiver("page")),
            ("  - name: notice\n", &receiver("notice")),
        ],
    )
}

/// Returns the notifications about the alert `name` with `status`: for each the path of the
/// receiver, and the alert.
fn notifications(webhook: &RequestRecorder, name: &str, status: &str) -> Vec<(String, Value)> {
    let mut notifications = Vec::new();
    for request in webhook.requests() {
        let message: Value = serde_json::from_slice(&request.body).unwrap();
        let alerts = message["alerts"].as_array().unwrap().iter();
        let wanted = alerts
            .filter(|alert| alert["labels"]["alertname"] == name && alert["status"] == status);
        notifications.extend(wanted.map(|alert| (request.target.clone(), alert.clone())));
    }
    notifications
}

/// Waits for a notification about the alert `name` with `status`, and returns it.
async fn wait_for_notification(
    webhook: &RequestRecorder,
    name: &str,
    status: &str,
) -> (String, Value) {
    eventually_async_within(TIMEOUT, &format!("{name} is {status}"), async || {
        notifications(webhook, name, status)
            .pop()
            .ok_or_else(|| format!("{:?}", webhook.requests().len()))
    })
    .await
}

/// Makes checks for a client whose bucket is empty.
async fn make_denied_checks(client: &mut Client, checks: usize) {
    let check = json!({ "client": "greedy", "path": "/spent" });
    for _ in 0..checks.div_ceil(1_000) {
        let response = client
            .post("/v1/check/batch", &json!({ "checks": vec![&check; checks.min(1_000)] }))
            .await;
        assert_eq!(response.status, 200, "{response}");
    }
}

/// Sends the event `what` for one more deployment than the alert's threshold.
async fn report_deployments(client: &mut Client, what: &Value) {
    let event = |id: usize| {
        let mut event =
            json!({ "type": "deployment", "operation": "create", "id": format!("d-{id}") });
        event.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        event
    };
    let response = client.post("/v1/events", &(0..51).map(event).collect()).await;
    assert_eq!((response.status, &response.json()["refused"]), (202, &json!([])), "{response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_reach_their_receiver_when_they_fire_and_when_they_end() {
    let fleet = Fleet::start(
        2,
        RedisServer::start(),
        LONG_TIMEOUT,
        "endpoints: { /spent: { requests_per_minute: 1, burst_size: 1 } }\n",
    );
    let (webhook, rules) = (RequestRecorder::start().await, fast_rules());
    let alertmanager = Alertmanager::start(&alertmanager(&webhook)).await;
    let rules = format!("\"{}/*.yml\"", rules.path().display());
    let prometheus = Prometheus::start_with_alertmanagers(
        &fleet.addresses(),
        &[rules],
        &[alertmanager.address()],
    )
    .await;
    let mut clients = fleet.clients();

    // A rate is a difference: Prometheus must have scraped a counter before it grows.
    for client in &mut clients {
        make_denied_checks(client, 2).await;
        assert!(
            Metrics::of(client).await.count("rate_limit_hits_total", &[("endpoint", "/spent")]) > 0
        );
    }
    eventually_async("Prometheus has seen both counters", async || {
        prometheus.query("rate_limit_hits_total{endpoint='/spent'} > 0").await.len() == 2
    })
    .await;
    // The rule's threshold is ten per second over five minutes, which is three thousand denials in
    // that window however short the time between them.
    for client in &mut clients {
        make_denied_checks(client, 4_000).await;
    }
    report_deployments(&mut clients[0], &json!({ "phase": "start" })).await;

    let (receiver, spike) = wait_for_notification(&webhook, "RateLimitSpike", "firing").await;
    assert_eq!(receiver, "/notice", "warnings go to the receiver `notice`");
    assert_eq!(
        (&spike["labels"]["severity"], &spike["labels"]["job"]),
        (&json!("warning"), &json!(JOB))
    );
    assert_eq!(spike["annotations"]["summary"], "Rate limiting spike");
    let description = spike["annotations"]["description"].as_str().unwrap();
    let (rate, rest) = description.split_once(' ').unwrap();
    assert_eq!(rest, format!("requests/sec to {JOB} are being rate limited."));
    assert!(rate.parse::<f64>().unwrap() > 10.0, "{description}");

    let (receiver, backlog) = wait_for_notification(&webhook, "DeploymentBacklog", "firing").await;
    assert_eq!(
        (receiver.as_str(), &backlog["annotations"]["description"]),
        ("/notice", &json!("51 active deployments."))
    );
    assert_eq!(
        notifications(&webhook, "DeploymentBacklog", "firing").len(),
        1,
        "two replicas report one backlog"
    );
    report_deployments(&mut clients[1], &json!({ "phase": "finish", "status": "success" })).await;
    wait_for_notification(&webhook, "DeploymentBacklog", "resolved").await;

    assert!(
        notifications(&webhook, "HighErrorRate", "firing").is_empty(),
        "denials are not errors"
    );
    assert!(webhook.requests().iter().all(|request| request.target != "/page"));
}
