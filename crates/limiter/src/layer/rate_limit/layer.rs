use std::{fmt, net::IpAddr, sync::Arc};

use http::{Extensions, request::Parts};
use tower_layer::Layer;

use super::service::{RateLimit, Settings};
use crate::{identify::Identifier, limiter::Limiter};

/// Checks every request with a limiter before it reaches the inner service.
///
/// See the [module docs](super) for an example.
#[derive(Clone, Debug)]
pub struct RateLimitLayer {
    settings: Arc<Settings>,
}

impl RateLimitLayer {
    /// Checks requests with `limiter`.
    ///
    /// Clients are those that [`Identifier::default`] finds: addresses. The address of the peer is
    /// found among the request's extensions, as axum's `ConnectInfo<SocketAddr>`, a
    /// [`SocketAddr`](std::net::SocketAddr) or an [`IpAddr`].
    #[must_use]
    pub fn new(limiter: Limiter) -> Self {
        Self { settings: Arc::new(Settings::new(limiter)) }
    }

    /// Finds clients by `identifier`.
    #[must_use]
    pub fn identifier(self, identifier: Identifier) -> Self {
        self.with(|settings| settings.identifier = Arc::new(identifier))
    }

    /// Takes the key of a request's client from `key`, which sees the request without its body.
    ///
    /// Where it returns `None`, the [`Identifier`] finds the client.
    ///
    /// ```
    /// use sluice::{Limiter, RateLimitLayer};
    ///
    /// #[derive(Clone)]
    /// struct User {
    ///     id: String,
    /// }
    ///
    /// let limiter = Limiter::in_memory("60/minute, burst 10".parse()?);
    /// // A layer further out has found the user and left it among the extensions.
    /// let layer = RateLimitLayer::new(limiter)
    ///     .key(|request| request.extensions.get::<User>().map(|user| user.id.clone()));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn key<F, K>(self, key: F) -> Self
    where
        F: Fn(&Parts) -> Option<K> + Send + Sync + 'static,
        K: Into<Vec<u8>>,
    {
        let key = move |request: &Parts| key(request).map(Into::into);
        self.with(|settings| settings.key = Some(Arc::new(key)))
    }

    /// Finds the address of a request's peer among its extensions, where the server puts it there
    /// in a form of its own.
    ///
    /// Where it returns `None`, only a key identifies the client, and a request without one is
    /// answered with status 500.
    #[must_use]
    pub fn peer<F>(self, peer: F) -> Self
    where
        F: Fn(&Extensions) -> Option<IpAddr> + Send + Sync + 'static,
    {
        self.with(|settings| settings.peer = Arc::new(peer))
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, Arc::clone(&self.settings))
    }
}

impl fmt::Debug for Settings {
    /// Leaves out the closures, of which there is nothing to show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("limiter", &self.limiter)
            .field("identifier", &self.identifier)
            .finish_non_exhaustive()
    }
}
