//! What is printed.

use super::measured::{Counts, Measured};

/// The names of the columns.
pub(crate) fn head() -> String {
    let [instructions, before, ratio] = ["instructions", "release", "ratio"];
    format!(
        "{:<56} {instructions:>12} {before:>9} {ratio:>6} {:>6} {:>10} {:>7} {:>9}",
        "a decision", "copied", "allocator", "allocs", "per call"
    )
}

/// A row: what was counted, beside what the last release took.
pub(crate) fn row(measured: &Measured, release: Option<&Counts>) -> String {
    let Measured { subject, counts, copying, allocator } = measured;
    let (before, ratio) = release.map_or_else(Default::default, |before| {
        let ratio = counts.instructions / before.instructions;
        (format!("{:.0}", before.instructions), format!("{ratio:.3}"))
    });
    let per_call = counts.per_call.map(|number| format!("{number:.2}")).unwrap_or_default();
    format!(
        "{subject:<56} {:>12.0} {before:>9} {ratio:>6} {:>4.1} % {:>8.1} % {:>7.2} {per_call:>9}",
        counts.instructions,
        100.0 * copying,
        100.0 * allocator,
        counts.allocations
    )
    .trim_end()
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(per_call: Option<f64>) -> Measured {
        Measured {
            subject: "HTTP".into(),
            counts: Counts { instructions: 51_000.4, allocations: 21.25, per_call },
            copying: 0.123,
            allocator: 0.2,
        }
    }

    #[test]
    fn a_row_shows_the_ratio_to_the_release() {
        let before = Counts { instructions: 50_000.0, allocations: 20.0, per_call: None };
        let row = row(&measured(Some(12.5)), Some(&before));
        let cells: Vec<_> = row.split_whitespace().collect();
        let expected =
            ["HTTP", "51000", "50000", "1.020", "12.3", "%", "20.0", "%", "21.25", "12.50"];
        assert_eq!(cells, expected);
        assert_eq!(row.len(), head().len());
    }

    #[test]
    fn a_new_subject_has_no_ratio() {
        let row = row(&measured(None), None);
        let cells: Vec<_> = row.split_whitespace().collect();
        assert_eq!(cells, ["HTTP", "51000", "12.3", "%", "20.0", "%", "21.25"]);
    }
}
