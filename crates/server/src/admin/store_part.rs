//! The store's part of readiness.

use std::time::Duration;

use serde::Serialize;
use sluice_store::{BreakerState, StoreError, StoreErrorKind};
use utoipa::ToSchema;

use super::shortened::shortened;
use crate::{logging::error_chain, store::Watched, store_watch::StoreWatch};

/// How long each node of the store may take to respond to a probe: less than the second that most
/// probes wait, and far more than a check may take.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// The status of a store that refuses this replica.
const REFUSED: &str = "refused";

/// The store's part of readiness.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Store)]
pub(crate) struct StorePart {
    /// `memory` or `redis`.
    pub(super) name: &'static str,
    /// `up`, `away`, or `refused` if the settings have to be corrected.
    pub(super) status: &'static str,
    /// Why the store is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) error: Option<String>,
    /// The same in a few words.
    #[serde(skip)]
    pub(super) cause: Option<&'static str>,
    /// The number of the store's nodes that are away, if others are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) unavailable_nodes: Option<usize>,
    /// Why clients may get more than their limits although the store works, and what to do: its
    /// server may evict buckets, or it rejects the announcements of this replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) warning: Option<String>,
    /// The number of live replicas that the store counted last. They share the limits while the
    /// store is away; if more are expected (`store.expected_replicas`), as many as those.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) live_replicas: Option<usize>,
}

impl StorePart {
    /// Asks the store behind `store` whether it would decide, and reads what is known about it.
    pub(super) async fn read(store: &dyn Watched, watch: &StoreWatch) -> Self {
        let probed = store.backing().probe_nodes(PROBE_TIMEOUT).await;
        let unreached = probed.iter().filter(|probe| probe.is_err()).count();
        if unreached < probed.len() {
            watch.contacted();
        }
        // While other nodes decide, the replica is of use.
        let is_refused =
            probed.iter().all(|probe| matches!(probe, Err(StoreError::WrongSettings(_))));
        let failure = probed.iter().find_map(|probe| probe.as_ref().err());
        let observation = store.observe();
        // The store may respond again although the breaker is not closed yet.
        let not_asked = observation.as_ref().filter(|seen| seen.breaker != BreakerState::Closed);
        let error = failure.map(why_away).or_else(|| {
            let failure = not_asked?.last_failure.as_ref();
            Some(failure.map_or_else(
                || (brief(StoreErrorKind::BreakerOpen), "the breaker is still open".to_owned()),
                |(_, error)| why_away(error),
            ))
        });
        let status = match error {
            None => "up",
            Some(_) if is_refused => REFUSED,
            Some(_) => "away",
        };
        let warning = if error.is_none() { watch.warning() } else { None };
        let (cause, error) = error.unzip();
        let not_closed = observation.as_ref().map_or(0, |seen| seen.unavailable_nodes);
        let unavailable = unreached.max(not_closed);
        let are_some = (1..probed.len()).contains(&unavailable);
        Self {
            name: store.name(),
            status,
            error: error.map(shortened),
            cause,
            unavailable_nodes: are_some.then_some(unavailable),
            warning,
            live_replicas: observation.map(|seen| seen.live_replicas),
        }
    }

    /// Returns whether the store decides.
    pub(crate) const fn is_up(&self) -> bool {
        self.error.is_none()
    }

    /// Returns whether the store decides for no client, as far as is known.
    pub(super) const fn is_wholly_away(&self) -> bool {
        self.error.is_some() && self.unavailable_nodes.is_none()
    }

    /// Returns whether the store refuses this replica until its settings are corrected.
    pub(super) fn is_refused(&self) -> bool {
        self.status == REFUSED
    }
}

/// Returns why the store is away: in a few words for everyone, and in full.
fn why_away(error: &StoreError) -> (&'static str, String) {
    (brief(error.kind()), error_chain(error))
}

/// Returns an error of the store in words that name nothing of this installation.
const fn brief(kind: StoreErrorKind) -> &'static str {
    match kind {
        StoreErrorKind::Timeout => "no response in time",
        StoreErrorKind::Unreachable => "not reachable",
        StoreErrorKind::BreakerOpen => "not reachable lately",
        StoreErrorKind::Refused => "the call was rejected",
        StoreErrorKind::Unreadable => "the data cannot be read",
    }
}
