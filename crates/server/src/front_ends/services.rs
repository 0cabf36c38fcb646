//! What front ends are made from.

use std::sync::Arc;

use sluice::stats::events::Events;
use sluice_rls::EnvoyRls;

use super::holds::Seals;
use crate::engine::Engine;

/// What front ends are made from.
#[derive(Clone, Debug)]
pub struct Services {
    /// Identifies clients and decides requests.
    pub engine: Arc<Engine>,
    /// Records what applications report.
    pub events: Events,
    /// Decides calls of Envoy's rate limit service.
    pub rls: EnvoyRls,
    /// Signs reservations.
    pub seals: Arc<Seals>,
}
