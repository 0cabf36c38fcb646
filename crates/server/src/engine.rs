//! What all front ends need: identification of the client, and the limiter.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use http::{
    HeaderMap, HeaderName,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};
use sluice::{
    Cost, Limiter, Policy, Request, RequestError,
    identify::{Identifier, Identity},
};

/// The limiter, and the rules that identify clients.
#[derive(Debug)]
pub struct Engine {
    limiter: Limiter,
    identifier: ArcSwap<Identifier>,
    fields: ArcSwap<Vec<HeaderName>>,
    limits_preflights: AtomicBool,
}

impl Engine {
    /// Creates an engine from `limiter` and `identifier`.
    #[must_use]
    pub fn new(limiter: Limiter, identifier: Identifier) -> Self {
        let fields = ArcSwap::from_pointee(fields(&limiter.policy(), &identifier));
        Self {
            limiter,
            identifier: ArcSwap::from_pointee(identifier),
            fields,
            limits_preflights: AtomicBool::new(false),
        }
    }

    /// Returns the limiter.
    #[must_use]
    pub const fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Identifies the client of a request with these headers, over a connection from `peer`.
    ///
    /// # Errors
    /// Returns an error when the headers name several clients, or one whose key is too long.
    pub fn identify<'h>(
        &self,
        headers: &'h HeaderMap,
        peer: IpAddr,
    ) -> Result<Identity<'h>, RequestError> {
        self.identifier.load().identify(headers, peer)
    }

    /// Returns the request of a client by `method` for `path`, with these `headers`. A preflight
    /// costs nothing, unless preflights are limited.
    #[must_use]
    pub fn request<'a>(
        &self,
        identity: &'a Identity<'_>,
        method: &'a str,
        path: &'a str,
        headers: &HeaderMap,
    ) -> Request<'a> {
        let request = identity.request(method, path);
        let is_free = is_preflight(method, headers) && !self.limits_preflights.load(Relaxed);
        if is_free { request.with_cost(Cost::NONE) } else { request }
    }

    /// Sets whether preflights take tokens.
    pub fn limit_preflights(&self, are_limited: bool) {
        self.limits_preflights.store(are_limited, Relaxed);
    }

    /// Returns whether `peer` is a trusted proxy.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.identifier.load().trusts(peer)
    }

    /// Returns the names of all header fields that decide: the client, its tier, or what a limit
    /// applies to, is per, or costs is read from them. They are sorted; the next reload changes
    /// them.
    #[must_use]
    pub fn fields_read(&self) -> Arc<Vec<HeaderName>> {
        self.fields.load_full()
    }

    /// Returns the header field that decides only when a trusted proxy sends it.
    #[must_use]
    pub fn field_of_trusted_proxies(&self) -> Option<HeaderName> {
        let identifier = self.identifier.load();
        let name = identifier.field_of_trusted_proxies()?;
        let policy = self.limiter.policy();
        let is_read = policy.fields().iter().any(|field| **field == *name.as_str());
        (!is_read).then(|| name.clone())
    }

    /// Replaces both sets of rules for every request that starts from now on.
    pub fn replace(&self, policy: Policy, identifier: Identifier) {
        // Identification is the first step of a request. A request between the two lines is
        // identified by the new rules and limited by the old ones, as if it had arrived a little
        // earlier.
        self.fields.store(Arc::new(fields(&policy, &identifier)));
        self.identifier.store(Arc::new(identifier));
        self.limiter.replace_policy(policy);
    }
}

/// Returns whether a browser asks, before it sends a request of a page, whether it may.
fn is_preflight(method: &str, headers: &HeaderMap) -> bool {
    let says = |name| headers.get(name).is_some_and(|value| !value.is_empty());
    method == "OPTIONS" && says(ORIGIN) && says(ACCESS_CONTROL_REQUEST_METHOD)
}

fn fields(policy: &Policy, identifier: &Identifier) -> Vec<HeaderName> {
    let by_limits = policy.fields().iter();
    let by_limits = by_limits.map(|name| name.parse().expect("a policy checks names of headers"));
    let mut fields: Vec<HeaderName> = identifier.fields();
    fields.extend(by_limits);
    fields.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    fields.dedup();
    fields
}
