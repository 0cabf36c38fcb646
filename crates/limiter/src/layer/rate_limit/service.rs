use std::{
    mem,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Extensions, Request, Response, request::Parts};
use http_body::Body;
use tower_service::Service;

use super::{body::RateLimitBody, check::check, future::RateLimitFuture};
use crate::{identify::Identifier, limiter::Limiter};

/// Checks every request with a limiter before it reaches the inner service.
///
/// See the [module docs](super) for an example.
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    settings: Arc<Settings>,
}

/// The parts that all services of a layer share.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) limiter: Limiter,
    pub(super) identifier: Arc<Identifier>,
    pub(super) key: Option<Arc<KeyOf>>,
    pub(super) peer: Arc<PeerOf>,
}

type KeyOf = dyn Fn(&Parts) -> Option<Vec<u8>> + Send + Sync;
type PeerOf = dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync;

impl Settings {
    pub(super) fn new(limiter: Limiter) -> Self {
        Self { limiter, identifier: Arc::default(), key: None, peer: Arc::new(peer_address) }
    }
}

/// Finds the address of the peer where servers commonly put it.
fn peer_address(extensions: &Extensions) -> Option<IpAddr> {
    #[cfg(feature = "axum")]
    if let Some(info) = extensions.get::<axum::extract::ConnectInfo<SocketAddr>>() {
        return Some(info.0.ip());
    }
    extensions.get::<SocketAddr>().map(SocketAddr::ip).or_else(|| extensions.get().copied())
}

impl<S> RateLimit<S> {
    pub(super) const fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for RateLimit<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>> + Clone,
    ResponseBody: Body,
    ResponseBody::Data: From<Bytes>,
{
    type Response = Response<RateLimitBody<ResponseBody>>;
    type Error = S::Error;
    type Future = RateLimitFuture<S, RequestBody>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        // The service that reported that it is ready is the one to call after the check. Its clone
        // has to be polled again.
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone);
        let (head, body) = request.into_parts();
        let peer = (self.settings.peer)(&head.extensions);
        let key = self.settings.key.as_ref().and_then(|key| key(&head));
        let Settings { limiter, identifier, .. } = &*self.settings;
        let check = check(limiter.clone(), Arc::clone(identifier), peer, key, head);
        RateLimitFuture::new(Box::pin(check), ready, body)
    }
}
