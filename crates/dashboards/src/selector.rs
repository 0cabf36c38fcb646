//! Queries in `PromQL` for the replicas that a dashboard's variables select.

/// The label matchers that every series of a query has to satisfy.
#[derive(Clone, Copy, Debug)]
pub struct Selector(&'static str);

impl Selector {
    /// All replicas of the selected fleets.
    pub const JOB: Self = Self(r#"namespace=~"$namespace", job=~"$job""#);

    /// The selected replicas of the selected fleets.
    pub const INSTANCE: Self =
        Self(r#"namespace=~"$namespace", job=~"$job", instance=~"$instance""#);

    /// Selects the series of `metric` that also satisfy `matchers`, which may be empty.
    #[must_use]
    pub fn series(self, metric: &str, matchers: &str) -> String {
        let separator = if matchers.is_empty() { "" } else { ", " };
        format!("{metric}{{{}{separator}{matchers}}}", self.0)
    }

    /// Computes the increase per second of a counter of requests to the API, without those to
    /// exempt paths. The recording rules leave out the same.
    #[must_use]
    pub fn rate_of_api(self, counter: &str, matchers: &str) -> String {
        let all = self.rate(counter, matchers);
        let exempt = self.series("sluice_http_exempt_endpoints", "");
        format!("({all} unless on (namespace, job, instance, endpoint) {exempt} == 1)")
    }

    /// Computes the increase of a counter per second.
    #[must_use]
    pub fn rate(self, counter: &str, matchers: &str) -> String {
        format!("rate({}[$__rate_interval])", self.series(counter, matchers))
    }

    /// Sums a gauge that every replica reports for its whole fleet, by `labels` of the metric. The
    /// value of each fleet counts once.
    #[must_use]
    pub fn sum_of_fleets(self, gauge: &str, matchers: &str, labels: &[&str]) -> String {
        let within =
            ["namespace", "job"].iter().chain(labels).copied().collect::<Vec<_>>().join(", ");
        let by =
            if labels.is_empty() { String::new() } else { format!(" by ({}) ", labels.join(", ")) };
        format!("sum{by}(max by ({within}) ({}))", self.series(gauge, matchers))
    }

    /// Computes a quantile of a histogram's values, over all series that have the labels in `by` in
    /// common.
    #[must_use]
    pub fn quantile(self, quantile: f64, histogram: &str, by: &[&str]) -> String {
        let by = std::iter::once("le").chain(by.iter().copied()).collect::<Vec<_>>().join(", ");
        format!(
            "histogram_quantile({quantile}, sum by ({by}) ({}))",
            self.rate(&format!("{histogram}_bucket"), "")
        )
    }

    /// Computes a quantile of a histogram's values over the requests to the API, as
    /// [`rate_of_api`](Self::rate_of_api) selects them.
    #[must_use]
    pub fn quantile_of_api(self, quantile: f64, histogram: &str) -> String {
        let rate = self.rate_of_api(&format!("{histogram}_bucket"), "");
        format!("histogram_quantile({quantile}, sum by (le) ({rate}))")
    }

    /// Computes the share of a counter's increase that `part` matches. It is 0 if no series matches
    /// `part`.
    #[must_use]
    pub fn share(self, counter: &str, part: &str) -> String {
        share(&self.rate(counter, part), &self.rate(counter, ""))
    }

    /// Computes the share of the requests to the API that `part` matches, as
    /// [`share`](Self::share) does.
    #[must_use]
    pub fn share_of_api(self, counter: &str, part: &str) -> String {
        share(&self.rate_of_api(counter, part), &self.rate_of_api(counter, ""))
    }
}

fn share(part: &str, whole: &str) -> String {
    format!("(sum({part}) or 0 * sum({whole})) / sum({whole})")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEETS: &str = r#"namespace=~"$namespace", job=~"$job""#;

    #[test]
    fn further_matchers_are_appended() {
        assert_eq!(Selector::JOB.series("up", ""), r#"up{namespace=~"$namespace", job=~"$job"}"#);
        assert_eq!(
            Selector::INSTANCE.series("up", r#"a="b""#),
            r#"up{namespace=~"$namespace", job=~"$job", instance=~"$instance", a="b"}"#
        );
    }

    #[test]
    fn requests_to_the_api_are_those_that_are_not_exempt() {
        let all = format!(r#"rate(n{{{FLEETS}, a="b"}}[$__rate_interval])"#);
        let exempt = format!("sluice_http_exempt_endpoints{{{FLEETS}}}");
        let expected =
            format!("({all} unless on (namespace, job, instance, endpoint) {exempt} == 1)");
        assert_eq!(Selector::JOB.rate_of_api("n", r#"a="b""#), expected);
    }

    #[test]
    fn the_value_of_a_fleet_counts_once_however_many_replicas_report_it() {
        assert_eq!(
            Selector::JOB.sum_of_fleets("n", "", &[]),
            r#"sum(max by (namespace, job) (n{namespace=~"$namespace", job=~"$job"}))"#
        );
        let by_kind = format!(
            r#"sum by (kind) (max by (namespace, job, kind) (n{{{FLEETS}, scope="fleet"}}))"#
        );
        assert_eq!(Selector::JOB.sum_of_fleets("n", r#"scope="fleet""#, &["kind"]), by_kind);
    }

    #[test]
    fn a_quantile_is_computed_from_the_rates_of_buckets() {
        let expected = format!(
            "histogram_quantile(0.99, sum by (le, model) \
             (rate(t_bucket{{{FLEETS}}}[$__rate_interval])))"
        );
        assert_eq!(Selector::JOB.quantile(0.99, "t", &["model"]), expected);
    }

    #[test]
    fn the_share_of_a_part_without_series_is_0() {
        let whole = format!("sum(rate(n{{{FLEETS}}}[$__rate_interval]))");
        let part = format!(r#"sum(rate(n{{{FLEETS}, x="y"}}[$__rate_interval]))"#);
        let expected = format!("({part} or 0 * {whole}) / {whole}");
        assert_eq!(Selector::JOB.share("n", r#"x="y""#), expected);
    }
}
