//! What all front-ends ask: who sends a request, and whether it may pass.

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use http::HeaderMap;
use sluice::{
    Limiter, Policy, RequestError,
    identify::{Identifier, Identity},
};

/// The limiter, and the rules by which clients are told apart.
#[derive(Debug)]
pub struct Engine {
    limiter: Limiter,
    identifier: ArcSwap<Identifier>,
}

impl Engine {
    /// Decides with `limiter` about the clients that `identifier` finds.
    #[must_use]
    pub fn new(limiter: Limiter, identifier: Identifier) -> Self {
        Self { limiter, identifier: ArcSwap::from_pointee(identifier) }
    }

    /// Decides requests.
    #[must_use]
    pub const fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Who sends a request with these headers over a connection from `peer`.
    ///
    /// # Errors
    /// When a header names several clients, or one with too long a key.
    pub fn identify<'h>(
        &self,
        headers: &'h HeaderMap,
        peer: IpAddr,
    ) -> Result<Identity<'h>, RequestError> {
        self.identifier.load().identify(headers, peer)
    }

    /// Whether `peer` is a trusted proxy.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.identifier.load().trusts(peer)
    }

    /// Puts other rules into force for every request that starts from now on.
    pub fn replace(&self, policy: Policy, identifier: Identifier) {
        // Who asks comes first in a request's way: a request in between is named by the new rules
        // and limited by the old ones, as if it had come a little earlier.
        self.identifier.store(Arc::new(identifier));
        self.limiter.replace_policy(policy);
    }
}
