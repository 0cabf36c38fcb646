//! The properties of deployments that cost by the hour, which every stats store has.
//!
//! Time passes by whole hours; what a test itself takes is charged too. So prices are low enough
//! that a minute costs less than the least amount that is compared.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sluice_core::MicroUnits;
use sluice_stats::{
    Charged, HourlyPrice, RunningChange,
    history::{CostSource, HISTORY_DAYS, Hour, Series},
};

use tokio::task::JoinSet;

use crate::fixture::{Fixture, running};

const HOUR: Duration = Duration::from_secs(3_600);
/// The price of an hour of the deployments of these tests.
const PRICE: u64 = 1_000_000;
/// What a test may take, as a price.
const A_WHILE: u64 = PRICE / 20;

fn created(id: &str) -> RunningChange {
    created_at(id, Instant::now())
}

fn created_at(id: &str, at: Instant) -> RunningChange {
    RunningChange::created(id, HourlyPrice::new("small", "USD", MicroUnits::new(PRICE)), at)
}

fn amount(charged: &Charged) -> u64 {
    charged.amounts.get(&("small".into(), "USD".into())).copied().unwrap_or(0)
}

/// Asserts that this many hours were charged, and what the test took.
#[track_caller]
fn assert_hours(amount: u64, hours: u64) {
    let rest = amount.checked_sub(hours * PRICE);
    assert!(rest.is_some_and(|rest| rest <= A_WHILE), "{amount} instead of {hours} hours");
}

/// All that the fleet has been charged.
async fn sum(fixture: &Fixture) -> u64 {
    let history = fixture.read_history().await;
    let today = Hour::at(history.now()).day();
    let all = Hour::first_of_day(today - HISTORY_DAYS)..Hour::first_of_day(today + 1);
    history.sum(&Series::cost(CostSource::Deployment, "small", "USD"), all)
}

pub(crate) async fn a_deployment_costs_from_its_creation_to_its_deletion(fixture: &Fixture) {
    fixture.add(running([created("a"), created("b")])).await;
    fixture.pass(HOUR * 5);
    let charged = fixture.charge().await;
    assert_eq!(charged.running, 2);
    assert_hours(amount(&charged), 10);
    assert_eq!(sum(fixture).await, amount(&charged));
    fixture.add(running([RunningChange::deleted("a", Instant::now())])).await;
    fixture.pass(HOUR * 30);
    let rest = fixture.charge().await;
    assert_eq!(rest.running, 1);
    assert_hours(amount(&rest), 30);
    assert_eq!(sum(fixture).await, amount(&charged) + amount(&rest));
    fixture.add(running([RunningChange::deleted("b", Instant::now())])).await;
    fixture.charge().await;
    fixture.pass(HOUR);
    assert_eq!(fixture.charge().await, Charged::default());
}

pub(crate) async fn each_moment_is_charged_once_whoever_charges(fixture: &Fixture) {
    fixture.add(running([created("a")])).await;
    let mut charged = 0;
    for _ in 0..3 {
        fixture.pass(HOUR);
        let mut calls = JoinSet::new();
        for _ in 0..8 {
            let store = Arc::clone(&fixture.store);
            calls.spawn(async move { store.charge_deployments().await.unwrap() });
        }
        charged += calls.join_all().await.iter().map(amount).sum::<u64>();
    }
    assert_hours(charged, 3);
    assert_eq!(sum(fixture).await, charged);
}

pub(crate) async fn a_deployment_that_is_never_deleted_costs_for_400_days(fixture: &Fixture) {
    let day = HOUR * 24;
    fixture.add(running([created("a")])).await;
    let mut charged = 0;
    for days in [30, 360, 9, 5, 100] {
        fixture.pass(day * days);
        charged += amount(&fixture.charge().await);
    }
    assert_eq!(charged, 400 * 24 * PRICE);
    assert_eq!(fixture.charge().await, Charged::default());
}

pub(crate) async fn a_deletion_may_be_reported_before_the_creation(fixture: &Fixture) {
    let now = Instant::now();
    fixture.add(running([RunningChange::deleted("a", now)])).await;
    fixture.add(running([created_at("a", now - HOUR * 2)])).await;
    fixture.add(running([created_at("a", now - HOUR * 2)])).await;
    fixture.pass(HOUR);
    assert_hours(amount(&fixture.charge().await), 2);
    fixture.pass(HOUR);
    assert_eq!(fixture.charge().await, Charged::default());
}

pub(crate) async fn a_creation_that_is_reported_twice_counts_once(fixture: &Fixture) {
    let now = Instant::now();
    fixture.add(running([created_at("a", now - HOUR * 3)])).await;
    fixture.add(running([created_at("a", now)])).await;
    fixture.add(running([RunningChange::deleted("a", now)])).await;
    fixture.add(running([created_at("a", now)])).await;
    assert_hours(amount(&fixture.charge().await), 3);
    fixture.pass(HOUR);
    assert_eq!(fixture.charge().await, Charged::default());
}

pub(crate) async fn a_deployment_may_be_created_again(fixture: &Fixture) {
    let now = Instant::now();
    fixture.add(running([created_at("a", now - HOUR * 9)])).await;
    fixture.add(running([RunningChange::deleted("a", now - HOUR * 6)])).await;
    fixture.add(running([created_at("a", now - HOUR * 2)])).await;
    let charged = fixture.charge().await;
    assert_eq!(charged.running, 1);
    assert_hours(amount(&charged), 5);
}

pub(crate) async fn further_deployments_than_a_thousand_cost_nothing(fixture: &Fixture) {
    let ids: Vec<String> = (0..1_200).map(|number| format!("d-{number}")).collect();
    fixture.add(running(ids.iter().map(|id| created(id)))).await;
    fixture.pass(HOUR);
    let charged = fixture.charge().await;
    assert_eq!(charged.running, 1_000);
    let hours = amount(&charged) / PRICE;
    assert!((1_000..=1_050).contains(&hours), "{hours}");
    fixture.add(running([RunningChange::deleted("d-0", Instant::now())])).await;
    fixture.charge().await;
    fixture.add(running([created("new")])).await;
    assert_eq!(fixture.charge().await.running, 1_000);
}
