//! Identifies and matches a request as a replica does.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, Method};
use sluice::{Client, Cost, Limiter, Request, RequestError, identify::Headers};
use sluice_config::Settings;
use sluice_core::NormalPath;

use super::{
    limit::keys_prefix,
    report::{ModelRoute, Report, Subject},
};
use crate::{
    cli::request_flags::{self, RequestFlags},
    engine::Engine,
};

/// Explains the request that the arguments describe.
///
/// # Errors
/// When a replica rejects it.
pub(super) fn explain(
    method: &Method,
    path: &str,
    flags: &RequestFlags,
    settings: Settings,
) -> Result<Report, RequestError> {
    let RequestFlags { client, ip, headers, tier, cost } = flags;
    let headers = request_flags::headers(headers);
    let is_followed = settings.gateway.is_some();
    let described = Described { method, path, tier: tier.as_deref(), cost: *cost, is_followed };
    let route = model_route(method, path, &settings);
    let report = match client {
        Some(name) => described.by_name(name, *ip, &Headers::new(&headers), &settings),
        None => described.by_head(*ip, &headers, settings),
    }?;
    Ok(report.with_model_route(route))
}

/// Returns the route to a model that the request takes, if any.
fn model_route(method: &Method, path: &str, settings: &Settings) -> Option<ModelRoute> {
    let llm = settings.llm.as_ref().filter(|_| *method == Method::POST)?;
    let (route, _call) = llm.call(&NormalPath::parse(path).ok()?)?;
    Some(ModelRoute { path: route.path.to_string(), speaks: route.speaks.as_str() })
}

/// The request, but for its client.
#[derive(Clone, Copy)]
struct Described<'a> {
    method: &'a Method,
    path: &'a str,
    tier: Option<&'a str>,
    cost: Option<Cost>,
    /// Whether the gateway sees the end of the request.
    is_followed: bool,
}

impl Described<'_> {
    /// Explains the request of the client that a caller names.
    fn by_name(
        self,
        name: &str,
        ip: Option<IpAddr>,
        headers: &Headers<'_>,
        settings: &Settings,
    ) -> Result<Report, RequestError> {
        let request = Request::new(Client::Key(name.as_bytes()), self.method.as_str(), self.path)
            .with_address(ip.map(|ip| ip.to_canonical()))
            .with_attributes(headers);
        let subject = Subject { from: "--client".to_owned(), unverified: None };
        Report::of(&settings.policy, keys_prefix(&settings.store), &self.complete(request), subject)
    }

    /// Explains the request of the client that its head identifies.
    fn by_head(
        self,
        ip: Option<IpAddr>,
        headers: &HeaderMap,
        settings: Settings,
    ) -> Result<Report, RequestError> {
        let Settings { policy, identifier, limits_preflights, store, .. } = settings;
        let source = identifier.source(headers)?.to_string();
        let engine = Engine::new(Limiter::builder(policy).build(), identifier);
        engine.limit_preflights(limits_preflights);
        let peer = ip.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let identity = engine.identify(headers, peer)?;
        let request = engine.request(&identity, self.method.as_str(), self.path, headers);
        // Who names a tier vouches for the key.
        let unverified = identity.unverified().filter(|_| self.tier.is_none());
        let subject = Subject { from: source, unverified };
        let policy = engine.limiter().policy();
        Report::of(&policy, keys_prefix(&store), &self.complete(request), subject)
    }

    /// Adds what flags say about the request, and whether its end is seen: else limits on requests
    /// in flight do not apply.
    fn complete<'r>(self, request: Request<'r>) -> Request<'r>
    where
        Self: 'r,
    {
        let mut request = if self.is_followed { request.followed() } else { request };
        if let Some(tier) = self.tier {
            request = request.with_tier(tier);
        }
        match self.cost {
            Some(cost) => request.with_cost(cost),
            None => request,
        }
    }
}
