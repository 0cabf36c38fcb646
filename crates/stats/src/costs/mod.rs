//! What a fleet costs in a calendar month, from its hourly sums.
//!
//! [`CostReport`] has the costs of today and of the month so far, and what the month will cost if
//! the rest of it costs as much per hour as its past. [`Prices`] has what tokens and deployments
//! cost where events do not report it. Days and months are those of UTC.

mod month;
mod report;

pub use sluice_core::{
    Currency, CurrencyError, MicroUnits, MoneyError, Prices, TokenPrices, TokenUsage,
    TokenUsageError,
};

pub use self::{
    month::Month,
    report::{CostReport, CostSums},
};
