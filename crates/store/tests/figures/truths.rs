//! What is true of figures, whoever keeps them.

use std::time::{Duration, Instant};

use sluice_store::{Deltas, FleetFigures, Flush, Gauges, Held, Phase, SLICE, Total};

use crate::fixture::{Fixture, client, deployment, gauge, key, limited, requests, total};

const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) async fn what_nobody_told_is_nothing(fixture: &Fixture) {
    assert_eq!(fixture.read().await, FleetFigures::default());
    assert_eq!(fixture.tell(Deltas::default()).await, Gauges::default());
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
                .flush(&Flush { replica: replica.into(), number, held: Held::default(), deltas })
                .await;
        }
    }
    fixture.tell(requests("other", ["carol"])).await;
    let figures = fixture.read().await;
    assert_eq!(figures.totals.get(Total::HttpRequests), 60);
    assert_eq!(figures.totals.get(Total::HttpMicros), 12);
    assert_eq!(figures.totals.get(Total::LlmRequests), 0);
    let api = figures.endpoints["/api"];
    assert_eq!((api.requests, api.rejected, api.active_clients), (12, 6, 2));
    assert_eq!((figures.endpoints["other"].requests, figures.clients), (1, 3));
}

pub(crate) async fn a_flush_that_is_sent_again_adds_nothing(fixture: &Fixture) {
    let mut deltas = requests("/api", ["alice"]);
    deltas.totals.add(Total::LlmTokensGenerated, 300);
    deltas.limited.insert(client("alice"), 2);
    deltas.deployments = deployment(None, Phase::Started, Instant::now()).deployments;
    let mut flush = Flush { replica: "one".into(), number: 1, held: Held::default(), deltas };
    for number in [1, 1, 2, 2, 1] {
        flush.number = number;
        fixture.flush(&flush).await;
    }
    let figures = fixture.read().await;
    assert_eq!(figures.totals.get(Total::LlmTokensGenerated), 600);
    assert_eq!(figures.endpoints["/api"].requests, 2);
    assert_eq!(figures.top_limited, [(client("alice").to_string().into(), 4)]);
    assert_eq!(figures.gauges.active_deployments, 2);
}

pub(crate) async fn a_client_of_many_replicas_and_endpoints_is_one_client(fixture: &Fixture) {
    for endpoint in ["/a", "/b", "/c"] {
        fixture.tell(requests(endpoint, ["alice"])).await;
        fixture.tell(limited([("alice", 1)])).await;
    }
    let figures = fixture.read().await;
    assert_eq!((figures.clients, figures.limited_clients), (1, 1));
    assert!(figures.endpoints.values().all(|endpoint| endpoint.active_clients == 1));
}

pub(crate) async fn clients_are_counted_to_a_few_percent(fixture: &Fixture) {
    let names: Vec<String> = (0..20_000).map(|number| format!("client-{number}")).collect();
    fixture.tell(requests("/a", names[..12_000].iter().map(String::as_str))).await;
    fixture.pass(SLICE * 3);
    fixture.tell(requests("/b", names[8_000..].iter().map(String::as_str))).await;
    let figures = fixture.read().await;
    for (counted, truth) in
        [(figures.clients, 20_000_u64), (figures.endpoints["/a"].active_clients, 12_000)]
    {
        // Five times the standard error: a fault, if it is ever missed.
        assert!(counted.abs_diff(truth) * 100 < truth * 4, "{counted} instead of {truth}");
    }
}

pub(crate) async fn a_client_gone_for_an_hour_is_no_longer_counted(fixture: &Fixture) {
    let mut deltas = requests("/api", ["alice"]);
    deltas.limited.insert(client("alice"), 1);
    fixture.tell(deltas.clone()).await;
    fixture.pass(HOUR - SLICE);
    let figures = fixture.read().await;
    assert_eq!((figures.clients, figures.limited_clients, figures.top_limited.len()), (1, 1, 1));
    fixture.tell(requests("/api", ["bob"])).await;
    assert_eq!(fixture.read().await.clients, 2);
    fixture.pass(SLICE);
    let figures = fixture.read().await;
    assert_eq!(
        (figures.clients, figures.limited_clients, figures.top_limited.len()),
        (1, 0, 0),
        "only bob is left"
    );
    let api = figures.endpoints["/api"];
    assert_eq!((api.requests, api.active_clients), (2, 1), "what was counted stays");
    fixture.pass(HOUR);
    assert_eq!(fixture.read().await.clients, 0);
}

pub(crate) async fn the_most_limited_come_first(fixture: &Fixture) {
    let names: Vec<String> = (1..=20).map(|number| format!("client-{number}")).collect();
    fixture.tell(limited(names.iter().map(String::as_str).zip(1..))).await;
    fixture.pass(SLICE);
    fixture.tell(limited([("client-3", 100), ("client-20", 1)])).await;
    let figures = fixture.read().await;
    assert_eq!((figures.top_limited.len(), figures.limited_clients), (10, 20));
    assert_eq!(figures.top_limited[0], (client("client-3").to_string().into(), 103));
    assert_eq!(figures.top_limited[1], (client("client-20").to_string().into(), 21));
    assert!(figures.top_limited.is_sorted_by(|(_, more), (_, less)| more >= less));
}

pub(crate) async fn a_flood_of_limited_clients_leaves_the_most_limited(fixture: &Fixture) {
    fixture.tell(limited([("alice", 1_000)])).await;
    for flood in 0..15 {
        let names: Vec<String> =
            (0..200).map(|number| format!("client-{flood}-{number}")).collect();
        fixture.tell(limited(names.iter().map(|name| (name.as_str(), 1)))).await;
    }
    let figures = fixture.read().await;
    assert_eq!(figures.top_limited[0], (client("alice").to_string().into(), 1_000));
    assert!(figures.limited_clients.abs_diff(3_001) < 120, "{}", figures.limited_clients);
}

fn holding(replica: &str, number: u64, http: u64) -> Flush {
    let held = Held { http, websocket: 2, grpc: 1, database: 4 };
    Flush { replica: replica.into(), number, held, deltas: total(Total::HttpRequests, 5) }
}

pub(crate) async fn a_killed_replicas_connections_vanish_and_its_counts_stay(fixture: &Fixture) {
    fixture.flush(&holding("killed", 1, 7)).await;
    fixture.flush(&holding("alive", 1, 3)).await;
    let figures = fixture.read().await;
    assert_eq!(
        figures.replicas["killed"].held,
        Held { http: 7, websocket: 2, grpc: 1, database: 4 }
    );
    assert_eq!(figures.replicas.values().map(|replica| replica.held.http).sum::<u64>(), 10);
    fixture.pass(SLICE);
    fixture.flush(&holding("alive", 2, 4)).await;
    let figures = fixture.read().await;
    assert_eq!(figures.replicas.keys().map(|id| &**id).collect::<Vec<_>>(), ["alive"]);
    assert_eq!(figures.replicas["alive"].held.http, 4);
    assert_eq!(figures.totals.get(Total::HttpRequests), 15);
    // Back after a pause, and with a flush that nobody answered: it is not added twice.
    fixture.flush(&holding("killed", 1, 7)).await;
    assert_eq!(fixture.read().await.totals.get(Total::HttpRequests), 15);
}

pub(crate) async fn a_departed_replicas_connections_vanish_at_once(fixture: &Fixture) {
    fixture.flush(&holding("one", 1, 7)).await;
    fixture.figures.depart("one").await.unwrap();
    let figures = fixture.read().await;
    assert!(figures.replicas.is_empty());
    assert_eq!(figures.totals.get(Total::HttpRequests), 5);
}

pub(crate) async fn a_deployment_runs_from_its_start_to_its_end(fixture: &Fixture) {
    let now = Instant::now();
    for id in [Some("a"), Some("a"), Some("b"), None, None] {
        fixture.tell(deployment(id, Phase::Started, now)).await;
    }
    assert_eq!(
        fixture.read().await.gauges.active_deployments,
        4,
        "a start that is told twice counts once"
    );
    for id in [Some("a"), Some("a"), Some("never"), None] {
        fixture.tell(deployment(id, Phase::Finished, now)).await;
    }
    let gauges = fixture.tell(Deltas::default()).await;
    assert_eq!(gauges.active_deployments, 2);
    assert_eq!(fixture.read().await.gauges, gauges);
    fixture.tell(deployment(None, Phase::Finished, now)).await;
    fixture.tell(deployment(None, Phase::Finished, now)).await;
    assert_eq!(
        fixture.read().await.gauges.active_deployments,
        1,
        "what never started is not counted below nothing"
    );
}

pub(crate) async fn a_deployments_end_may_come_before_its_start(fixture: &Fixture) {
    let started = Instant::now();
    let finished = started + Duration::from_micros(10);
    for id in [Some("a"), None] {
        fixture.tell(deployment(id, Phase::Finished, finished)).await;
        fixture.tell(deployment(id, Phase::Started, started)).await;
    }
    assert_eq!(fixture.read().await.gauges.active_deployments, 0);
    fixture.pass(SLICE);
    fixture.tell(deployment(Some("a"), Phase::Started, Instant::now())).await;
    assert_eq!(fixture.read().await.gauges.active_deployments, 1, "it may run again");
}

pub(crate) async fn a_deployment_that_never_ends_is_forgotten_after_a_day(fixture: &Fixture) {
    fixture.tell(deployment(Some("a"), Phase::Started, Instant::now())).await;
    fixture.pass(HOUR * 23);
    assert_eq!(fixture.read().await.gauges.active_deployments, 1);
    fixture.pass(HOUR);
    assert_eq!(fixture.read().await.gauges.active_deployments, 0);
}

pub(crate) async fn of_two_reports_the_later_holds(fixture: &Fixture) {
    let now = Instant::now();
    let [early, late] = [20, 10].map(|seconds| now - Duration::from_secs(seconds));
    fixture.tell(gauge("", "denials", 0.9, late)).await;
    let gauges = fixture.tell(gauge("", "denials", 0.1, early)).await;
    assert_eq!(gauges.reported, [(key("", "denials"), 0.9)].into());
    let gauges = fixture.tell(gauge("", "denials", 0.25, now)).await;
    assert_eq!(gauges.reported, [(key("", "denials"), 0.25)].into());
    assert_eq!(fixture.read().await.gauges, gauges);
}

pub(crate) async fn an_instance_that_is_silent_is_forgotten_and_the_whole_is_not(
    fixture: &Fixture,
) {
    fixture.tell(gauge("api-1", "denials", 0.5, Instant::now())).await;
    fixture.tell(gauge("", "denials", 0.75, Instant::now())).await;
    assert_eq!(fixture.read().await.gauges.reported.len(), 2);
    fixture.pass(SLICE);
    assert_eq!(fixture.read().await.gauges.reported, [(key("", "denials"), 0.75)].into());
}

pub(crate) async fn a_gauge_can_be_taken_away(fixture: &Fixture) {
    let now = Instant::now();
    fixture.tell(gauge("", "a", 1.0, now - Duration::from_secs(10))).await;
    fixture.tell(gauge("", "b", 2.0, now)).await;
    let gauges = fixture.tell(gauge("", "a", None, now)).await;
    assert_eq!(gauges.reported, [(key("", "b"), 2.0)].into());
    fixture.tell(gauge("", "never", None, now)).await;
    assert_eq!(fixture.read().await.gauges.reported.len(), 1);
}

pub(crate) async fn a_flood_of_gauges_is_bounded_and_makes_way_for_the_living(fixture: &Fixture) {
    for round in 0..3 {
        let mut deltas = Deltas::default();
        for number in 0..1_000 {
            deltas.gauges.append(
                &mut gauge(&format!("instance-{round}-{number}"), "", 1.0, Instant::now()).gauges,
            );
        }
        fixture.tell(deltas).await;
    }
    assert_eq!(fixture.read().await.gauges.reported.len(), 2_000);
    fixture.pass(SLICE);
    fixture.tell(gauge("", "denials", 0.5, Instant::now())).await;
    assert_eq!(fixture.read().await.gauges.reported, [(key("", "denials"), 0.5)].into());
}

pub(crate) async fn of_too_many_gauges_of_the_whole_the_oldest_make_room(fixture: &Fixture) {
    for round in 0..2 {
        let said = Instant::now() - Duration::from_secs(60 - round);
        let mut deltas = Deltas::default();
        for number in 0..1_000 {
            deltas.gauges.append(&mut gauge("", &format!("{round}-{number}"), 1.0, said).gauges);
        }
        fixture.tell(deltas).await;
    }
    let gauges = fixture.tell(gauge("", "denials", 0.5, Instant::now())).await;
    assert_eq!(gauges.reported.len(), 1_801);
    assert!(gauges.reported.contains_key(&key("", "denials")));
    let of_round = |round: &str| {
        gauges.reported.keys().filter(|key| key.labels().next().unwrap().starts_with(round)).count()
    };
    assert_eq!((of_round("0-"), of_round("1-")), (800, 1_000));
}
