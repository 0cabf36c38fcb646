//! The properties of hourly sums that every stats store has.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use sluice_stats::{
    Deltas, Flush, OpenConnections,
    history::{CostSource, HISTORY_DAYS, History, HistoryPeriod, Hour, Series},
};

use crate::fixture::{Fixture, amount};

const HOUR: Duration = Duration::from_secs(3_600);

fn model(name: &str) -> Series {
    Series::cost(CostSource::Llm, name, "USD")
}

/// All hours that a store keeps.
fn all(history: &History) -> Range<Hour> {
    let today = Hour::at(history.now()).day();
    Hour::first_of_day(today - HISTORY_DAYS)..Hour::first_of_day(today + 1)
}

fn sum(history: &History, series: &Series) -> u64 {
    history.sum(series, all(history))
}

/// The sums of a series by how many hours ago they were added.
fn by_age(history: &History, series: &Series) -> BTreeMap<u64, u64> {
    let now = Hour::at(history.now()).number();
    history.by_hour(series).map(|(hour, sum)| (now - hour.number(), sum)).collect()
}

pub(crate) async fn amounts_of_all_replicas_are_added_to_the_current_hour(fixture: &Fixture) {
    let before = fixture.read_history().await;
    assert_eq!((before.since(), before.sums(all(&before)).len()), (None, 0));
    let now = Instant::now();
    for _ in 0..3 {
        fixture.add(amount(&model("qwen"), 1_000, now)).await;
        fixture.add(amount(&model("llama"), 7, now)).await;
        fixture.add(amount(&Series::slo("qwen", "USD"), 1, now)).await;
    }
    let after = fixture.read_history().await;
    let hours = Hour::at(before.now())..Hour::at(after.now()).next();
    let sums = after.sums(hours);
    assert_eq!(
        sums,
        [(&model("llama"), 21), (&model("qwen"), 3_000), (&Series::slo("qwen", "USD"), 3)].into()
    );
    assert!(after.since().is_some());
}

pub(crate) async fn an_amount_that_is_sent_again_adds_nothing(fixture: &Fixture) {
    let deltas = amount(&model("qwen"), 5, Instant::now());
    let mut flush = Flush::new("one".into(), 1, OpenConnections::default(), deltas);
    for number in [1, 1, 2, 2, 1] {
        flush.number = number;
        fixture.flush(&flush).await;
    }
    assert_eq!(sum(&fixture.read_history().await, &model("qwen")), 10);
}

pub(crate) async fn amounts_stay_in_the_hour_in_which_they_were_added(fixture: &Fixture) {
    let qwen = model("qwen");
    for (added, pause) in [(1, 1), (10, 30), (100, 2), (1_000, 0)] {
        fixture.add(amount(&qwen, added, Instant::now())).await;
        fixture.pass(HOUR * pause);
    }
    let history = fixture.read_history().await;
    // An hour may have ended while this test ran.
    let ages: Vec<u64> = by_age(&history, &qwen).into_keys().collect();
    let newest = ages[0];
    assert!(newest <= 1, "{ages:?}");
    assert_eq!(sum(&history, &qwen), 1_111);
    let sums: Vec<u64> = by_age(&history, &qwen).into_values().collect();
    assert_eq!(sums, [1_000, 100, 10, 1]);
    for (age, expected) in ages.iter().zip([0, 2, 32, 33]) {
        assert!(age.abs_diff(expected) <= 1, "{ages:?}");
    }
}

pub(crate) async fn a_late_amount_is_added_to_the_hour_in_which_it_was_counted(fixture: &Fixture) {
    let (qwen, now) = (model("qwen"), Instant::now());
    let mut deltas = Deltas::default();
    let period =
        |hours, amount| HistoryPeriod::new(now - HOUR * hours, [(qwen.clone(), amount)].into());
    deltas.history = vec![period(3, 1), period(1, 10), period(0, 100)];
    fixture.add(deltas).await;
    let ages = by_age(&fixture.read_history().await, &qwen);
    assert_eq!(ages.values().sum::<u64>(), 111);
    for (age, sum) in &ages {
        let expected = match sum {
            1 => 3,
            10 => 1,
            _ => 0,
        };
        assert!(age.abs_diff(expected) <= 1, "{ages:?}");
    }
    assert_eq!(ages.len(), 3, "{ages:?}");
}

pub(crate) async fn an_amount_of_before_yesterday_is_added_to_yesterday(fixture: &Fixture) {
    let qwen = model("qwen");
    fixture.add(amount(&qwen, 5, Instant::now() - HOUR * 24 * 10)).await;
    let history = fixture.read_history().await;
    let [(hour, 5)] = history.by_hour(&qwen).collect::<Vec<_>>()[..] else { panic!("{history:?}") };
    assert_eq!(hour, Hour::first_of_day(hour.day()));
    let days = Hour::at(history.now()).day() - hour.day();
    assert!((1..=2).contains(&days), "{days}");
}

pub(crate) async fn sums_are_shown_for_35_days(fixture: &Fixture) {
    let qwen = model("qwen");
    fixture.add(amount(&qwen, 5, Instant::now())).await;
    fixture.pass(HOUR * 24 * 34);
    fixture.add(amount(&qwen, 6, Instant::now())).await;
    assert_eq!(sum(&fixture.read_history().await, &qwen), 11);
    fixture.pass(HOUR * 24 * 2);
    fixture.add(amount(&qwen, 7, Instant::now())).await;
    assert_eq!(sum(&fixture.read_history().await, &qwen), 13);
}

pub(crate) async fn a_flood_of_series_is_bounded_and_its_amounts_are_kept(fixture: &Fixture) {
    let now = Instant::now();
    for round in 0..6 {
        let sums = (0..5_000).map(|number| (model(&format!("model-{round}-{number}")), 1));
        let mut deltas = Deltas::default();
        deltas.history = vec![HistoryPeriod::new(now, sums.collect())];
        fixture.add(deltas).await;
    }
    let history = fixture.read_history().await;
    let sums = history.sums(all(&history));
    assert_eq!(sums.values().sum::<u64>(), 30_000);
    assert!(sums.len() <= 24_001 * 2, "{} series", sums.len());
    if sums.len() <= 24_001 {
        // All in one day.
        assert_eq!(sums[&model("other")], 6_000);
    }
}
