use std::{fmt, net::IpAddr, sync::Arc};

use http::Extensions;
use tower_layer::Layer;

use super::{
    peer::Peer,
    service::{RateLimit, Settings},
};
use crate::{identify::Identifier, limiter::Limiter};

/// Checks every request against a limiter before it reaches the service within.
///
/// See the [module docs](super) for an example.
#[derive(Clone)]
pub struct RateLimitLayer<P = ()> {
    settings: Arc<Settings<P>>,
}

impl RateLimitLayer {
    /// Checks against `limiter`. Clients are told apart as [`Identifier::default`] does, and the
    /// peer's address is a [`SocketAddr`] or [`IpAddr`] among the request's extensions.
    ///
    /// [`SocketAddr`]: std::net::SocketAddr
    #[must_use]
    pub fn new(limiter: Limiter) -> Self {
        Self { settings: Arc::new(Settings { limiter, identifier: Arc::default(), peer: () }) }
    }
}

impl<P: Clone> RateLimitLayer<P> {
    /// Tells clients apart by `identifier`.
    #[must_use]
    pub fn with_identifier(mut self, identifier: Identifier) -> Self {
        Arc::make_mut(&mut self.settings).identifier = Arc::new(identifier);
        self
    }

    /// Finds in a request's extensions whom the connection is from, as the server says it there.
    ///
    /// `None` where that is unknown: such a request is limited by its key or token alone, and one
    /// without these is answered 500.
    #[must_use]
    pub fn with_peer<F>(self, peer: F) -> RateLimitLayer<F>
    where
        F: Fn(&Extensions) -> Option<IpAddr>,
    {
        let Settings { limiter, identifier, .. } = Arc::unwrap_or_clone(self.settings);
        RateLimitLayer { settings: Arc::new(Settings { limiter, identifier, peer }) }
    }
}

impl<S, P: Peer> Layer<S> for RateLimitLayer<P> {
    type Service = RateLimit<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, Arc::clone(&self.settings))
    }
}

impl<P> fmt::Debug for RateLimitLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}
