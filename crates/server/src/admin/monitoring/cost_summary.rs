//! The costs of this month, in `/monitoring/metrics/summary`.

use std::cmp::Reverse;

use serde::{Serialize, Serializer};
use sluice::stats::costs::{CostReport, CostSums};
use sluice_core::MicroUnits;
use utoipa::ToSchema;

/// The most models and kinds of deployments that are listed: those that cost most in this month.
const MAX_PARTS: usize = 100;

/// What the fleet costs in this calendar month (UTC).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CostSummary {
    /// The month: `2026-11`.
    month: String,
    /// The costs of everything, by currency.
    totals: Vec<TotalCost>,
    /// The costs of each model and of each kind of deployment; the highest first, at most 100.
    parts: Vec<PartCost>,
}

#[derive(Debug, Serialize, ToSchema)]
struct TotalCost {
    currency: String,
    #[serde(flatten)]
    amounts: Amounts,
}

#[derive(Debug, Serialize, ToSchema)]
struct PartCost {
    /// `llm` or `deployment`.
    source: &'static str,
    /// The model, or the kind of deployment.
    name: String,
    currency: String,
    #[serde(flatten)]
    amounts: Amounts,
}

/// Amounts in units of the currency.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CostAmounts)]
struct Amounts {
    #[schema(value_type = f64)]
    today: Units,
    #[schema(value_type = f64)]
    month_to_date: Units,
    /// What the whole month costs if the rest of it costs as much per hour as its past.
    #[schema(value_type = f64)]
    month_forecast: Units,
}

/// An amount in units. A whole number of them is written without a fraction, as all numbers of
/// these pages are.
#[derive(Clone, Copy, Debug)]
struct Units(MicroUnits);

impl CostSummary {
    pub(super) fn new(report: &CostReport) -> Self {
        let totals = report.totals.iter().map(|(currency, sums)| TotalCost {
            currency: currency.to_string(),
            amounts: Amounts::new(sums),
        });
        let mut parts: Vec<_> = report.parts.iter().collect();
        parts.sort_by_key(|(_, sums)| Reverse(sums.month));
        let parts = parts.into_iter().take(MAX_PARTS);
        let parts = parts.map(|((source, name, currency), sums)| PartCost {
            source: source.as_str(),
            name: name.to_string(),
            currency: currency.to_string(),
            amounts: Amounts::new(sums),
        });
        Self { month: report.month.to_string(), totals: totals.collect(), parts: parts.collect() }
    }
}

impl Amounts {
    fn new(sums: &CostSums) -> Self {
        let units = |amount| Units(MicroUnits::new(amount));
        Self {
            today: units(sums.today),
            month_to_date: units(sums.month),
            month_forecast: units(sums.forecast),
        }
    }
}

impl Serialize for Units {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(amount) = self;
        let one = MicroUnits::from_units(1).get();
        if amount.get().is_multiple_of(one) {
            serializer.serialize_u64(amount.get() / one)
        } else {
            serializer.serialize_f64(amount.units())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_to_the_millionth() {
        for (micro_units, written) in [
            (0, "0"),
            (1, "1e-6"),
            (300, "0.0003"),
            (1_500_000, "1.5"),
            (7_000_000, "7"),
            (u64::MAX, "18446744073709.55"),
        ] {
            let text = serde_json::to_string(&Units(MicroUnits::new(micro_units))).unwrap();
            assert_eq!(text, written);
        }
    }
}
