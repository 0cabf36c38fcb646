//! Sums over everything that any replica has ever counted.

use std::{fmt, ops::AddAssign};

/// Declares the totals, each with its name in stores.
macro_rules! totals {
    ($($(#[$meta:meta])* $total:ident => $name:literal,)+) => {
        /// One of the sums that a fleet keeps. Totals outlive every replica.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Total { $($(#[$meta])* $total,)+ }

        impl Total {
            /// Every total.
            pub const ALL: &'static [Self] = &[$(Self::$total),+];

            /// Returns the total's name in stores.
            #[must_use]
            pub const fn name(self) -> &'static str {
                [$($name),+][self as usize]
            }
        }
    };
}

totals! {
    /// HTTP responses sent.
    HttpRequests => "http.requests",
    /// The time they took, in microseconds.
    HttpMicros => "http.us",
    /// Those with a 4xx status.
    HttpClientErrors => "http.4xx",
    /// Those with a 5xx status.
    HttpServerErrors => "http.5xx",
    /// Requests to language models.
    LlmRequests => "llm.requests",
    /// Those whose duration was reported.
    LlmTimed => "llm.timed",
    /// The time these took, in microseconds.
    LlmMicros => "llm.us",
    /// Tokens generated.
    LlmTokensGenerated => "llm.generated",
    /// Tokens consumed.
    LlmTokensConsumed => "llm.consumed",
    /// Operations on blueprints.
    BlueprintOperations => "blueprint.operations",
    /// Blueprints created with success.
    BlueprintsCreated => "blueprint.created",
    /// Errors found in blueprints.
    BlueprintValidationErrors => "blueprint.errors",
    /// Deployments created, updated and deleted.
    DeploymentOperations => "deployment.operations",
    /// Those whose duration was reported.
    DeploymentsTimed => "deployment.timed",
    /// The time these took, in microseconds.
    DeploymentMicros => "deployment.us",
    /// Executions of tools.
    ToolExecutions => "tool.executions",
    /// Those whose duration was reported.
    ToolsTimed => "tool.timed",
    /// The time these took, in microseconds.
    ToolMicros => "tool.us",
    /// Events recorded.
    EventsAccepted => "events.accepted",
    /// Events rejected.
    EventsRefused => "events.refused",
}

/// A number for each [`Total`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Totals([u64; Total::ALL.len()]);

impl Totals {
    /// Returns the number for `total`.
    #[must_use]
    pub const fn get(&self, total: Total) -> u64 {
        self.0[total as usize]
    }

    /// Adds `amount` to the number for `total`, which saturates.
    pub const fn add(&mut self, total: Total, amount: u64) {
        self.0[total as usize] = self.0[total as usize].saturating_add(amount);
    }

    /// Returns every total with its number.
    pub fn iter(&self) -> impl Iterator<Item = (Total, u64)> + '_ {
        Total::ALL.iter().map(|&total| (total, self.get(total)))
    }
}

impl Default for Totals {
    fn default() -> Self {
        Self([0; Total::ALL.len()])
    }
}

impl AddAssign<&Self> for Totals {
    fn add_assign(&mut self, other: &Self) {
        other.iter().for_each(|(total, amount)| self.add(total, amount));
    }
}

/// Shows the totals that are not zero.
impl fmt::Debug for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = self.iter().filter(|(_, amount)| *amount > 0);
        f.debug_map().entries(counted.map(|(total, amount)| (total.name(), amount))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_total_has_its_own_name() {
        let mut names: Vec<_> = Total::ALL.iter().map(|total| total.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Total::ALL.len());
    }

    #[test]
    fn a_total_does_not_overflow() {
        let mut totals = Totals::default();
        totals.add(Total::LlmTokensGenerated, u64::MAX);
        totals.add(Total::LlmTokensGenerated, 1);
        assert_eq!(totals.get(Total::LlmTokensGenerated), u64::MAX);
    }
}
