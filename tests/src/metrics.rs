//! The series of `/metrics` as numbers.

use crate::http::Client;

/// The series of one scrape.
#[derive(Debug)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// Requests `/metrics`.
    ///
    /// # Panics
    /// When the response's status is not 200.
    pub async fn of(client: &mut Client) -> Self {
        let response = client.get("/metrics").await;
        assert_eq!(response.status, 200, "{response}");
        Self { text: response.text() }
    }

    /// Returns the text of the response.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the sum of all series with this name and these labels; 0 when there are none.
    ///
    /// # Panics
    /// When a value is not a whole number.
    #[must_use]
    #[track_caller]
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let labels: Vec<_> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let series = self.text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (own_name, own_labels) = series.split_once('{').unwrap_or((series, ""));
            let own_labels: Vec<_> = own_labels.trim_end_matches('}').split(',').collect();
            let wanted =
                own_name == name && labels.iter().all(|label| own_labels.contains(&label.as_str()));
            wanted.then(|| {
                value.parse::<u64>().unwrap_or_else(|_| panic!("{line} is not a whole number"))
            })
        });
        series.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_labels() {
        let text = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\",y=\"p\"} 2\n\
                    a_total{x=\"2\",y=\"p\"} 3\na_total_b 5\nb 7\n";
        let metrics = Metrics { text: text.to_owned() };
        assert_eq!(metrics.count("a_total", &[]), 5);
        assert_eq!(metrics.count("a_total", &[("y", "p"), ("x", "2")]), 3);
        assert_eq!(metrics.count("b", &[]), 7);
        assert_eq!(metrics.count("c", &[]), 0);
    }
}
