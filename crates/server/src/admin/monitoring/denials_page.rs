//! `/monitoring/denials`.

use serde::Serialize;
use sluice::Retry;
use sluice_core::whole_seconds;
use utoipa::ToSchema;

use crate::decision_log::{Denial, source_word};

/// The last denials of this replica, the newest first: up to 100, and of each second up to 10.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DenialsPage {
    denials: Vec<DenialOfPage>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Denial)]
struct DenialOfPage {
    /// When it was decided, in milliseconds since 1970 by the store's clock.
    at_ms: i64,
    /// The client's hash; `null` for a request without a client.
    #[schema(required)]
    client: Option<String>,
    #[schema(required)]
    tier: Option<String>,
    /// The method; `null` if the request has none.
    #[schema(required)]
    method: Option<String>,
    /// The pattern that covers the path, or `other`.
    endpoint: String,
    /// The limit that denied the request.
    limit: String,
    /// Where it was decided: `store`, `lease`, `cache`, `local` ...
    source: &'static str,
    /// The tokens that the request needed.
    cost: u64,
    /// The tokens that were left.
    remaining: u64,
    /// Seconds until the same request would be allowed; `null` if it never will be.
    #[schema(required)]
    retry_after: Option<u64>,
}

impl DenialsPage {
    pub(super) fn new(denials: Vec<Denial>) -> Self {
        Self { denials: denials.into_iter().map(DenialOfPage::new).collect() }
    }
}

impl DenialOfPage {
    fn new(denial: Denial) -> Self {
        Self {
            at_ms: denial.at.unix_micros().div_euclid(1_000),
            client: denial.client.map(|tag| tag.to_string()),
            tier: denial.tier.map(Into::into),
            method: denial.method.map(Into::into),
            endpoint: denial.endpoint.as_ref().into(),
            limit: denial.limit.into(),
            source: source_word(denial.source),
            cost: denial.cost,
            remaining: denial.remaining,
            retry_after: match denial.retry {
                Retry::Now => Some(0),
                Retry::After(wait) => Some(whole_seconds(wait)),
                Retry::Never => None,
            },
        }
    }
}
