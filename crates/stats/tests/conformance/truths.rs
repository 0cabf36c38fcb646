//! The properties that every stats store has.

use std::time::{Duration, Instant};

use sluice_stats::{
    Deltas, DeploymentPhase, FleetStats, Flush, Gauges, OpenConnections, SLICE, Total,
};

use crate::fixture::{Fixture, client, deployment, gauge, key, limited, requests, total};

const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) async fn the_stats_of_no_replica_are_zero(fixture: &Fixture) {
    assert_eq!(fixture.read().await, FleetStats::default());
    assert_eq!(fixture.add(Deltas::default()).await, Gauges::default());
    assert!(fixture.read().await.since.is_some());
}

pub(crate) async fn flushes_of_all_replicas_add_up(fixture: &Fixture) {
    for number in 1..=3 {
        for replica in ["one", "two"] {
            let mut deltas = requests("/api", ["alice", "bob"]);
            deltas.endpoints.get_mut("/api").unwrap().rejected = 1;
            deltas.totals.add(Total::HttpRequests, 10);
            deltas.totals.add(Total::HttpMicros, number);
            fixture
                .flush(&Flush::new(replica.into(), number, OpenConnections::default(), deltas))
                .await;
        }
    }
    fixture.add(requests("other", ["carol"])).await;
    let stats = fixture.read().await;
    assert_eq!(stats.totals.get(Total::HttpRequests), 60);
    assert_eq!(stats.totals.get(Total::HttpMicros), 12);
    assert_eq!(stats.totals.get(Total::LlmRequests), 0);
    let api = stats.endpoints["/api"];
    assert_eq!((api.requests, api.rejected, api.active_clients), (12, 6, 2));
    assert_eq!((stats.endpoints["other"].requests, stats.clients), (1, 3));
}

pub(crate) async fn a_flush_that_is_sent_again_adds_nothing(fixture: &Fixture) {
    let mut deltas = requests("/api", ["alice"]);
    deltas.totals.add(Total::LlmTokensGenerated, 300);
    deltas.limited.insert(client("alice"), 2);
    deltas.deployments = deployment(None, DeploymentPhase::Started, Instant::now()).deployments;
    let mut flush = Flush::new("one".into(), 1, OpenConnections::default(), deltas);
    for number in [1, 1, 2, 2, 1] {
        flush.number = number;
        fixture.flush(&flush).await;
    }
    let stats = fixture.read().await;
    assert_eq!(stats.totals.get(Total::LlmTokensGenerated), 600);
    assert_eq!(stats.endpoints["/api"].requests, 2);
    assert_eq!(stats.top_limited, [(client("alice").to_string().into(), 4)]);
    assert_eq!(stats.gauges.active_deployments, 2);
}

pub(crate) async fn a_client_of_many_replicas_and_endpoints_counts_once(fixture: &Fixture) {
    for endpoint in ["/a", "/b", "/c"] {
        fixture.add(requests(endpoint, ["alice"])).await;
        fixture.add(limited([("alice", 1)])).await;
    }
    let stats = fixture.read().await;
    assert_eq!((stats.clients, stats.limited_clients), (1, 1));
    assert!(stats.endpoints.values().all(|endpoint| endpoint.active_clients == 1));
}

pub(crate) async fn clients_are_counted_to_a_few_percent(fixture: &Fixture) {
    let names: Vec<String> = (0..20_000).map(|number| format!("client-{number}")).collect();
    fixture.add(requests("/a", names[..12_000].iter().map(String::as_str))).await;
    fixture.pass(SLICE * 3);
    fixture.add(requests("/b", names[8_000..].iter().map(String::as_str))).await;
    let stats = fixture.read().await;
    for (counted, truth) in
        [(stats.clients, 20_000_u64), (stats.endpoints["/a"].active_clients, 12_000)]
    {
        // More than three times the standard error.
        assert!(counted.abs_diff(truth) * 100 < truth * 4, "{counted} instead of {truth}");
    }
}

pub(crate) async fn a_client_of_an_hour_ago_is_no_longer_counted(fixture: &Fixture) {
    let mut deltas = requests("/api", ["alice"]);
    deltas.limited.insert(client("alice"), 1);
    fixture.add(deltas.clone()).await;
    fixture.pass(HOUR - SLICE);
    let stats = fixture.read().await;
    assert_eq!((stats.clients, stats.limited_clients, stats.top_limited.len()), (1, 1, 1));
    fixture.add(requests("/api", ["bob"])).await;
    assert_eq!(fixture.read().await.clients, 2);
    fixture.pass(SLICE);
    let stats = fixture.read().await;
    assert_eq!(
        (stats.clients, stats.limited_clients, stats.top_limited.len()),
        (1, 0, 0),
        "only bob is left"
    );
    let api = stats.endpoints["/api"];
    assert_eq!((api.requests, api.active_clients), (2, 1), "sums stay");
    fixture.pass(HOUR);
    assert_eq!(fixture.read().await.clients, 0);
}

pub(crate) async fn the_most_denied_clients_come_first(fixture: &Fixture) {
    let names: Vec<String> = (1..=20).map(|number| format!("client-{number}")).collect();
    fixture.add(limited(names.iter().map(String::as_str).zip(1..))).await;
    fixture.pass(SLICE);
    fixture.add(limited([("client-3", 100), ("client-20", 1)])).await;
    let stats = fixture.read().await;
    assert_eq!((stats.top_limited.len(), stats.limited_clients), (10, 20));
    assert_eq!(stats.top_limited[0], (client("client-3").to_string().into(), 103));
    assert_eq!(stats.top_limited[1], (client("client-20").to_string().into(), 21));
    assert!(stats.top_limited.is_sorted_by(|(_, more), (_, less)| more >= less));
}

pub(crate) async fn a_flood_of_denied_clients_does_not_displace_the_most_denied(fixture: &Fixture) {
    fixture.add(limited([("alice", 1_000)])).await;
    for flood in 0..15 {
        let names: Vec<String> =
            (0..200).map(|number| format!("client-{flood}-{number}")).collect();
        fixture.add(limited(names.iter().map(|name| (name.as_str(), 1)))).await;
    }
    let stats = fixture.read().await;
    assert_eq!(stats.top_limited[0], (client("alice").to_string().into(), 1_000));
    assert!(stats.limited_clients.abs_diff(3_001) < 120, "{}", stats.limited_clients);
}

/// A flush with these HTTP connections, two `WebSocket`s, one gRPC and four store connections.
fn flush_with(replica: &str, number: u64, http: u64) -> Flush {
    Flush::new(replica.into(), number, connections(http), total(Total::HttpRequests, 5))
}

fn connections(http: u64) -> OpenConnections {
    let mut connections = OpenConnections::default();
    connections.http = http;
    connections.websocket = 2;
    connections.grpc = 1;
    connections.database = 4;
    connections
}

pub(crate) async fn a_killed_replicas_connections_expire_and_its_counts_stay(fixture: &Fixture) {
    fixture.flush(&flush_with("killed", 1, 7)).await;
    fixture.flush(&flush_with("alive", 1, 3)).await;
    let stats = fixture.read().await;
    assert_eq!(stats.replicas["killed"].connections, connections(7));
    assert_eq!(stats.replicas.values().map(|replica| replica.connections.http).sum::<u64>(), 10);
    fixture.pass(SLICE);
    fixture.flush(&flush_with("alive", 2, 4)).await;
    let stats = fixture.read().await;
    assert_eq!(stats.replicas.keys().map(|id| &**id).collect::<Vec<_>>(), ["alive"]);
    assert_eq!(stats.replicas["alive"].connections.http, 4);
    assert_eq!(stats.totals.get(Total::HttpRequests), 15);
    // After a pause the replica sends an unconfirmed flush again: it is not added twice.
    fixture.flush(&flush_with("killed", 1, 7)).await;
    assert_eq!(fixture.read().await.totals.get(Total::HttpRequests), 15);
}

pub(crate) async fn a_departed_replicas_connections_are_removed_at_once(fixture: &Fixture) {
    fixture.flush(&flush_with("one", 1, 7)).await;
    fixture.store.depart("one").await.unwrap();
    let stats = fixture.read().await;
    assert!(stats.replicas.is_empty());
    assert_eq!(stats.totals.get(Total::HttpRequests), 5);
}

pub(crate) async fn a_deployment_is_active_from_its_start_to_its_end(fixture: &Fixture) {
    let now = Instant::now();
    for id in [Some("a"), Some("a"), Some("b"), None, None] {
        fixture.add(deployment(id, DeploymentPhase::Started, now)).await;
    }
    assert_eq!(
        fixture.read().await.gauges.active_deployments,
        4,
        "a start that is reported twice counts once"
    );
    for id in [Some("a"), Some("a"), Some("never"), None] {
        fixture.add(deployment(id, DeploymentPhase::Finished, now)).await;
    }
    let gauges = fixture.add(Deltas::default()).await;
    assert_eq!(gauges.active_deployments, 2);
    assert_eq!(fixture.read().await.gauges, gauges);
    fixture.add(deployment(None, DeploymentPhase::Finished, now)).await;
    fixture.add(deployment(None, DeploymentPhase::Finished, now)).await;
    assert_eq!(
        fixture.read().await.gauges.active_deployments,
        1,
        "the number of active deployments is never negative"
    );
}

pub(crate) async fn a_deployments_end_may_come_before_its_start(fixture: &Fixture) {
    let started = Instant::now();
    let finished = started + Duration::from_micros(10);
    for id in [Some("a"), None] {
        fixture.add(deployment(id, DeploymentPhase::Finished, finished)).await;
        fixture.add(deployment(id, DeploymentPhase::Started, started)).await;
    }
    assert_eq!(fixture.read().await.gauges.active_deployments, 0);
    fixture.pass(SLICE);
    fixture.add(deployment(Some("a"), DeploymentPhase::Started, Instant::now())).await;
    assert_eq!(fixture.read().await.gauges.active_deployments, 1, "it may run again");
}

pub(crate) async fn a_deployment_that_never_ends_expires_after_a_day(fixture: &Fixture) {
    fixture.add(deployment(Some("a"), DeploymentPhase::Started, Instant::now())).await;
    fixture.pass(HOUR * 23);
    assert_eq!(fixture.read().await.gauges.active_deployments, 1);
    fixture.pass(HOUR);
    assert_eq!(fixture.read().await.gauges.active_deployments, 0);
}

pub(crate) async fn the_later_of_two_reports_is_kept(fixture: &Fixture) {
    let now = Instant::now();
    let [early, late] = [20, 10].map(|seconds| now - Duration::from_secs(seconds));
    fixture.add(gauge("", "denials", 0.9, late)).await;
    let gauges = fixture.add(gauge("", "denials", 0.1, early)).await;
    assert_eq!(gauges.reported, [(key("", "denials"), 0.9)].into());
    let gauges = fixture.add(gauge("", "denials", 0.25, now)).await;
    assert_eq!(gauges.reported, [(key("", "denials"), 0.25)].into());
    assert_eq!(fixture.read().await.gauges, gauges);
}

pub(crate) async fn a_silent_instances_report_expires_and_one_for_all_instances_stays(
    fixture: &Fixture,
) {
    fixture.add(gauge("api-1", "denials", 0.5, Instant::now())).await;
    fixture.add(gauge("", "denials", 0.75, Instant::now())).await;
    assert_eq!(fixture.read().await.gauges.reported.len(), 2);
    fixture.pass(SLICE);
    assert_eq!(fixture.read().await.gauges.reported, [(key("", "denials"), 0.75)].into());
}

pub(crate) async fn a_gauge_can_be_removed(fixture: &Fixture) {
    let now = Instant::now();
    fixture.add(gauge("", "a", 1.0, now - Duration::from_secs(10))).await;
    fixture.add(gauge("", "b", 2.0, now)).await;
    let gauges = fixture.add(gauge("", "a", None, now)).await;
    assert_eq!(gauges.reported, [(key("", "b"), 2.0)].into());
    fixture.add(gauge("", "never", None, now)).await;
    assert_eq!(fixture.read().await.gauges.reported.len(), 1);
}

pub(crate) async fn a_flood_of_gauges_is_bounded_and_expired_ones_make_room(fixture: &Fixture) {
    for round in 0..3 {
        let mut deltas = Deltas::default();
        for number in 0..1_000 {
            deltas.gauges.append(
                &mut gauge(&format!("instance-{round}-{number}"), "", 1.0, Instant::now()).gauges,
            );
        }
        fixture.add(deltas).await;
    }
    assert_eq!(fixture.read().await.gauges.reported.len(), 2_000);
    fixture.pass(SLICE);
    fixture.add(gauge("", "denials", 0.5, Instant::now())).await;
    assert_eq!(fixture.read().await.gauges.reported, [(key("", "denials"), 0.5)].into());
}

pub(crate) async fn the_oldest_of_too_many_valid_gauges_make_room(fixture: &Fixture) {
    for round in 0..2 {
        let reported_at = Instant::now() - Duration::from_secs(60 - round);
        let mut deltas = Deltas::default();
        for number in 0..1_000 {
            deltas
                .gauges
                .append(&mut gauge("", &format!("{round}-{number}"), 1.0, reported_at).gauges);
        }
        fixture.add(deltas).await;
    }
    let gauges = fixture.add(gauge("", "denials", 0.5, Instant::now())).await;
    assert_eq!(gauges.reported.len(), 1_801);
    assert!(gauges.reported.contains_key(&key("", "denials")));
    let of_round = |round: &str| {
        gauges.reported.keys().filter(|key| key.labels().next().unwrap().starts_with(round)).count()
    };
    assert_eq!((of_round("0-"), of_round("1-")), (800, 1_000));
}
