//! Bounds what one address may ask under keys that nothing vouches for.
//!
//! A key that anybody can invent is a fresh client with full buckets. So that a new key for each
//! request gains nothing, an address has an allowance for all keys that neither a tier lists nor a
//! trusted proxy vouches for. It is counted in this process alone, and divided among the live
//! replicas: it never costs a round trip, and takes nothing from the buckets of limits.

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use sluice_core::{Action, Algorithm, Check, Cost, Decision, Limit, Policy, Rate, Tag};
use sluice_store::{Clock, MemoryStore};

use crate::telemetry::{BoundDecisions, DecisionRecorder};

/// The name of the limit, in metrics and in responses.
pub const UNVERIFIED: &str = "clients.unverified";

/// What the address of a client with an unverified key may ask.
#[cfg_attr(not(feature = "tower"), allow(dead_code, reason = "only HTTP requests have one"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// What the address may ask of the whole fleet.
    pub(crate) rate: Rate,
    pub(crate) address: IpAddr,
}

/// What addresses have asked under unverified keys.
pub(crate) struct Unverified {
    /// A bucket is removed once it is full again, so that an attack from many addresses leaves
    /// nothing behind.
    buckets: MemoryStore<Arc<dyn Clock>>,
    limit: ArcSwapOption<Share>,
    replicas: AtomicUsize,
    recorder: DecisionRecorder,
    decisions: OnceLock<BoundDecisions>,
}

/// This replica's share of the allowance.
struct Share {
    rate: Rate,
    replicas: usize,
    limit: Arc<Limit>,
}

/// A token of an allowance, which a denied request gets back.
pub(crate) struct Taken {
    limit: Arc<Limit>,
    tag: Tag,
}

impl Unverified {
    pub(crate) fn new(clock: Arc<dyn Clock>, recorder: DecisionRecorder) -> Self {
        Self {
            buckets: MemoryStore::with_clock(clock),
            limit: ArcSwapOption::empty(),
            replicas: AtomicUsize::new(1),
            recorder,
            decisions: OnceLock::new(),
        }
    }

    /// Divides allowances among this many live replicas.
    pub(crate) fn divide_among(&self, replicas: usize) {
        self.replicas.store(replicas, Ordering::Relaxed);
    }

    /// Takes a token for one request.
    ///
    /// # Errors
    /// The denial, when the address has none left.
    pub(crate) fn take(
        &self,
        policy: &Policy,
        allowance: &Allowance,
    ) -> Result<Taken, Box<Decision>> {
        let limit = self.limit(allowance.rate);
        let tag = policy.address_tag(allowance.address);
        let check = Check::new(Action::Take).with(&limit, tag, Cost::ONE);
        let decision = self.buckets.decide_now(&check);
        if decision.is_denied() { Err(Box::new(decision)) } else { Ok(Taken { limit, tag }) }
    }

    /// Gives the token back for a request that was not admitted: another user of the address could
    /// need it.
    pub(crate) fn give_back(&self, taken: &Taken) {
        let check = Check::new(Action::GiveBack).with(&taken.limit, taken.tag, Cost::ONE);
        let _ = self.buckets.decide_now(&check);
    }

    /// Returns the counters of the limit, which exist only where it is used.
    pub(crate) fn decisions(&self) -> &BoundDecisions {
        self.decisions.get_or_init(|| self.recorder.bind(UNVERIFIED))
    }

    /// Removes the buckets that are full again.
    pub(crate) fn sweep(&self) {
        self.buckets.sweep();
    }

    fn limit(&self, rate: Rate) -> Arc<Limit> {
        let replicas = self.replicas.load(Ordering::Relaxed);
        if let Some(share) = &*self.limit.load()
            && share.rate == rate
            && share.replicas == replicas
        {
            return Arc::clone(&share.limit);
        }
        let part = match u64::try_from(replicas).unwrap_or(u64::MAX) {
            // As it is written, for the fields of a denial.
            0 | 1 => rate,
            replicas => rate.shared_among(replicas),
        };
        let limit = Limit::new(UNVERIFIED, Algorithm::TokenBucket(part));
        let limit = Arc::new(limit.expect("the name can be a limit's"));
        self.limit.store(Some(Arc::new(Share { rate, replicas, limit: Arc::clone(&limit) })));
        limit
    }
}

impl std::fmt::Debug for Unverified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unverified").field("addresses", &self.buckets.len()).finish_non_exhaustive()
    }
}
