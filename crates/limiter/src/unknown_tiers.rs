//! Tiers that requests name and the policy does not have: each is counted, and logged once.

use crate::{
    first_values::{FirstValues, MOST},
    telemetry::ClientRecorder,
};

/// The longest part of a tier's name that is logged, in bytes.
const MAX_LOGGED_BYTES: usize = 64;

/// The tiers that were logged since the policy is active.
#[derive(Debug)]
pub(crate) struct UnknownTiers {
    recorder: ClientRecorder,
    logged: FirstValues<String>,
}

impl UnknownTiers {
    pub(crate) fn new(recorder: ClientRecorder) -> Self {
        Self { recorder, logged: FirstValues::default() }
    }

    /// Counts a request that names `tier`, and logs the first names, once each.
    pub(crate) fn note(&self, tier: &str) {
        self.recorder.unknown_tier();
        let most = tier.len().min(MAX_LOGGED_BYTES);
        let end = (0..=most).rev().find(|&end| tier.is_char_boundary(end)).unwrap_or(0);
        let tier = &tier[..end];
        let Some(count) = self.logged.note(tier) else { return };
        tracing::warn!(
            ?tier,
            "requests name a tier that the configuration does not have, and get the limits of \
             clients without a tier: add it to `tiers`, or correct what sets the tier"
        );
        if count == MOST {
            tracing::warn!(
                tiers = MOST,
                "further unknown tiers are not logged: sluice_unknown_tiers_total counts the \
                 requests that name them"
            );
        }
    }
}
