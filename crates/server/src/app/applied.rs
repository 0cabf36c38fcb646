//! Settings that are applied in the same way at the start and by a reload.

use sluice::{Recorders, stats::events::Events};
use sluice_config::CostSettings;
use sluice_http::Tls;
use sluice_telemetry::TlsSection;

use crate::tls_files;

/// Shows when the certificates of the ports expire.
pub(super) fn record_expiries(recorders: &Recorders, tls: Option<&Tls>, admin_tls: Option<&Tls>) {
    let recorder = &recorders.certificates;
    tls_files::record_expiry(recorder, TlsSection::Listen, tls);
    tls_files::record_expiry(recorder, TlsSection::Admin, admin_tls);
}

/// Activates the prices of events, and shows the budget.
pub(super) fn set_costs(events: &Events, CostSettings { prices, budget }: CostSettings) {
    let currency = prices.currency();
    events.set_prices(prices);
    let budget = budget.map(|budget| (currency.as_str(), budget.get()));
    events.recorders().cost.set_budget(budget);
}
