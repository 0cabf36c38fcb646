//! Custom metrics: declaring them, recording them, and their bounds.

use sluice_telemetry::{CustomKind, CustomMetric, CustomValueError, MAX_CUSTOM_METRICS, Telemetry};

use crate::scrape;

fn declared(metrics: &[CustomMetric]) -> Telemetry {
    let telemetry = crate::telemetry();
    assert_eq!(telemetry.recorders().custom.declare(metrics), Vec::<String>::new());
    telemetry
}

fn metric(name: &str, kind: CustomKind, labels: &[&str]) -> CustomMetric {
    CustomMetric::new(name, kind, labels).expect("the metric is valid")
}

#[test]
fn declared_metrics_are_recorded() {
    let telemetry = declared(&[
        metric("my_feature_total", CustomKind::Counter, &["operation", "colour"])
            .with_help("How often."),
        metric("queue_depth", CustomKind::Gauge, &[]),
        metric("job_seconds", CustomKind::Histogram(vec![1.0, 10.0]), &["job"]).with_unit("s"),
    ]);
    let custom = &telemetry.recorders().custom;
    custom
        .count("my_feature_total", &[("operation", "a"), ("colour", "red")], 2.0)
        .expect("the counter is declared");
    custom
        .count("my_feature_total", &[("colour", "red"), ("operation", "a")], 0.5)
        .expect("the order of labels does not matter");
    custom.set("queue_depth", &[], -7.0).expect("the gauge is declared");
    custom.observe("job_seconds", &[("job", "x")], 5.0).expect("the histogram is declared");

    let scrape = scrape(&telemetry);
    assert_eq!(scrape.metrics["my_feature_total"].help, "How often.");
    let labels = [("colour", "red"), ("operation", "a")];
    assert_eq!(scrape.value("my_feature_total", &labels), Some(2.5));
    assert_eq!(scrape.value("queue_depth", &[]), Some(-7.0));
    for (le, count) in [("1", 0.0), ("10", 1.0)] {
        let labels = [("job", "x"), ("le", le)];
        assert_eq!(scrape.value("job_seconds_bucket", &labels), Some(count));
    }
}

#[test]
fn a_value_that_does_not_fit_the_declaration_is_rejected() {
    let telemetry = declared(&[metric("my_feature_total", CustomKind::Counter, &["operation"])]);
    let custom = &telemetry.recorders().custom;
    let error = |result: Result<(), CustomValueError>| {
        result.expect_err("the value does not fit").to_string()
    };
    assert_eq!(
        error(custom.set("mine", &[], 1.0)),
        "no metric `mine` is declared: add it to `metrics.custom` in the configuration"
    );
    assert_eq!(
        error(custom.set("my_feature_total", &[], 1.0)),
        "`my_feature_total` is declared as a counter, not as a gauge"
    );
    for given in [&[][..], &[("colour", "red")], &[("operation", "a"), ("colour", "red")]] {
        assert_eq!(
            error(custom.count("my_feature_total", given, 1.0)),
            "`my_feature_total` needs exactly the labels `operation`"
        );
    }
    let labels = [("operation", "a")];
    assert_eq!(
        error(custom.count("my_feature_total", &labels, -1.0)),
        "`my_feature_total` does not accept -1.0: a counter needs a number from 0 to 10^15"
    );
    assert!(custom.count("my_feature_total", &labels, f64::NAN).is_err());
}

#[test]
fn sums_stay_finite() {
    let telemetry = declared(&[
        metric("my_feature_total", CustomKind::Counter, &[]),
        metric("job_seconds", CustomKind::Histogram(Vec::new()), &[]),
    ]);
    let custom = &telemetry.recorders().custom;
    for _ in 0..2 {
        let counted = custom.count("my_feature_total", &[], f64::MAX).expect_err("it is too much");
        assert_eq!(
            counted.to_string(),
            "`my_feature_total` does not accept 1.7976931348623157e308: a counter needs a number \
             from 0 to 10^15"
        );
        assert!(custom.observe("job_seconds", &[], f64::MAX).is_err());
        assert!(custom.observe("job_seconds", &[], f64::MIN).is_err());
    }
    custom.count("my_feature_total", &[], 1e15).expect("it is the most");
    custom.observe("job_seconds", &[], -1e15).expect("it is the least");
    let scrape = scrape(&telemetry);
    assert_eq!(scrape.value("my_feature_total", &[]), Some(1e15));
    assert_eq!(scrape.value("job_seconds_sum", &[]), Some(-1e15));
}

#[test]
fn a_declared_metric_does_not_change() {
    let first = metric("depth", CustomKind::Gauge, &[]);
    let telemetry = declared(std::slice::from_ref(&first));
    let custom = &telemetry.recorders().custom;
    let second = metric("depth", CustomKind::Gauge, &["queue"]);
    assert_eq!(
        custom.declare(&[first.clone(), second, metric("width", CustomKind::Gauge, &[])]),
        ["depth"]
    );
    assert_eq!(custom.metric("depth"), Some(first));
    assert!(custom.metric("width").is_some());
}

#[test]
fn only_so_many_metrics_can_be_declared() {
    let telemetry = crate::telemetry();
    let many: Vec<_> =
        (0..200).map(|n| metric(&format!("gauge_{n}"), CustomKind::Gauge, &[])).collect();
    assert_eq!(telemetry.recorders().custom.declare(&many).len(), 200 - MAX_CUSTOM_METRICS);
}

#[test]
fn a_flood_of_label_values_makes_a_bounded_number_of_series() {
    let telemetry = declared(&[metric("mine_total", CustomKind::Counter, &["a", "b"])]);
    for n in 0..20_000 {
        let (a, b) = (format!("{n}"), format!("{}", n % 173));
        telemetry
            .recorders()
            .custom
            .count("mine_total", &[("a", &a), ("b", &b)], 1.0)
            .expect("the counter is declared");
    }
    let scrape = scrape(&telemetry);
    assert!(scrape.series("mine_total") <= 501, "{}", scrape.series("mine_total"));
    assert_eq!(scrape.sum("mine_total"), Some(20_000.0));
    assert!(scrape.value("sluice_labels_folded_total", &[("label", "custom")]) > Some(0.0));
}
