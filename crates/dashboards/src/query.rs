//! Queries in `PromQL`, for the replicas that a dashboard's variables choose.

/// What every series of a query has to match.
#[derive(Clone, Copy, Debug)]
pub struct Scope(&'static str);

impl Scope {
    /// All replicas of the chosen fleets.
    pub const JOB: Self = Self(r#"job=~"$job""#);

    /// The chosen replicas of the chosen fleets.
    pub const INSTANCE: Self = Self(r#"job=~"$job", instance=~"$instance""#);

    /// The series of `metric` that also match `matchers`, which may be empty.
    #[must_use]
    pub fn series(self, metric: &str, matchers: &str) -> String {
        let separator = if matchers.is_empty() { "" } else { ", " };
        format!("{metric}{{{}{separator}{matchers}}}", self.0)
    }

    /// How fast a counter grows, per second.
    #[must_use]
    pub fn rate(self, counter: &str, matchers: &str) -> String {
        format!("rate({}[$__rate_interval])", self.series(counter, matchers))
    }

    /// What every replica tells of its whole fleet, by `labels` of the metric: each fleet's number
    /// counts once.
    #[must_use]
    pub fn of_fleets(self, gauge: &str, matchers: &str, labels: &[&str]) -> String {
        let within =
            ["namespace", "job"].iter().chain(labels).copied().collect::<Vec<_>>().join(", ");
        let by =
            if labels.is_empty() { String::new() } else { format!(" by ({}) ", labels.join(", ")) };
        format!("sum{by}(max by ({within}) ({}))", self.series(gauge, matchers))
    }

    /// The value below which the share `quantile` of a histogram's values lies, over all series
    /// that have the labels `by` in common.
    #[must_use]
    pub fn quantile(self, quantile: f64, histogram: &str, by: &[&str]) -> String {
        let by = std::iter::once("le").chain(by.iter().copied()).collect::<Vec<_>>().join(", ");
        format!(
            "histogram_quantile({quantile}, sum by ({by}) ({}))",
            self.rate(&format!("{histogram}_bucket"), "")
        )
    }

    /// The share of a counter's growth that `part` matches; 0 where nothing of it was ever counted.
    #[must_use]
    pub fn share(self, counter: &str, part: &str) -> String {
        let whole = format!("sum({})", self.rate(counter, ""));
        format!("(sum({}) or 0 * {whole}) / {whole}", self.rate(counter, part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_added_to_those_of_the_scope() {
        assert_eq!(Scope::JOB.series("up", ""), r#"up{job=~"$job"}"#);
        assert_eq!(
            Scope::INSTANCE.series("up", r#"a="b""#),
            r#"up{job=~"$job", instance=~"$instance", a="b"}"#
        );
    }

    #[test]
    fn a_fleets_number_counts_once_however_many_replicas_tell_it() {
        assert_eq!(
            Scope::JOB.of_fleets("n", "", &[]),
            r#"sum(max by (namespace, job) (n{job=~"$job"}))"#
        );
        let by_kind =
            r#"sum by (kind) (max by (namespace, job, kind) (n{job=~"$job", scope="fleet"}))"#;
        assert_eq!(Scope::JOB.of_fleets("n", r#"scope="fleet""#, &["kind"]), by_kind);
    }

    #[test]
    fn a_quantile_is_taken_over_rates_of_buckets() {
        let expected = r#"histogram_quantile(0.99, sum by (le, model) (rate(t_bucket{job=~"$job"}[$__rate_interval])))"#;
        assert_eq!(Scope::JOB.quantile(0.99, "t", &["model"]), expected);
    }

    #[test]
    fn a_share_without_a_part_is_0() {
        let whole = r#"sum(rate(n{job=~"$job"}[$__rate_interval]))"#;
        let expected = format!(
            r#"(sum(rate(n{{job=~"$job", x="y"}}[$__rate_interval])) or 0 * {whole}) / {whole}"#
        );
        assert_eq!(Scope::JOB.share("n", r#"x="y""#), expected);
    }
}
