//! Hands decisions to an observer, such as a log of decisions.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use sluice_core::{Action, Decision, Matched, Policy, Request, Tag};

/// Sees decisions as they are made, for instance to log them. It has to be quick: the request waits
/// for it.
pub trait ObserveDecisions: fmt::Debug + Send + Sync + 'static {
    /// Returns the switch of the observer: while it is off, only denials are handed over. It is
    /// asked for once.
    fn switch(&self) -> Arc<AtomicBool>;

    /// Sees one decision about a request that takes tokens.
    fn observe(&self, decided: &Decided<'_>);
}

/// A decision, and what it is about.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Decided<'a> {
    /// The decision.
    pub decision: &'a Decision,
    /// Whose request it is, by hash.
    pub client: Option<Tag>,
    /// The client's tier.
    pub tier: Option<&'a str>,
    /// The method of the request, if it has one.
    pub method: Option<&'a str>,
    /// The policy's pattern that covers the path; `None` if no policy decided.
    pub endpoint: Option<&'a Arc<str>>,
}

/// An observer with its switch.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    switch: Arc<AtomicBool>,
    observer: Arc<dyn ObserveDecisions>,
}

impl Observer {
    pub(crate) fn new(observer: Arc<dyn ObserveDecisions>) -> Self {
        Self { switch: observer.switch(), observer }
    }

    #[inline]
    fn wants(&self, decision: &Decision) -> bool {
        decision.is_denied() || self.switch.load(Relaxed)
    }
}

/// Hands over a decision about `request`, which `policy` matched.
#[inline]
pub(crate) fn observe(
    observer: Option<&Observer>,
    policy: &Policy,
    matched: &Matched,
    request: &Request<'_>,
    decision: &Decision,
) {
    let Some(observer) = observer.filter(|observer| observer.wants(decision)) else { return };
    let tier = matched.client.and_then(|client| policy.tier_of(client, request.tier));
    observer.observer.observe(&Decided {
        decision,
        client: matched.client,
        tier,
        method: Some(request.method).filter(|method| !method.is_empty()),
        endpoint: Some(&policy.endpoints()[matched.endpoint]),
    });
}

/// Hands over a decision about a check that a program built itself.
#[cfg_attr(not(feature = "telemetry"), allow(dead_code, reason = "only `checks` has such ones"))]
pub(crate) fn observe_check(
    observer: Option<&Observer>,
    action: Action,
    client: Option<Tag>,
    decision: &Decision,
) {
    if let Some(observer) = observer.filter(|observer| observer.wants(decision))
        && action == Action::Take
    {
        let decided = Decided { decision, client, tier: None, method: None, endpoint: None };
        observer.observer.observe(&decided);
    }
}
