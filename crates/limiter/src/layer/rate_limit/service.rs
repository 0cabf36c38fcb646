use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{body::RateLimitBody, check::check, future::RateLimitFuture, peer::Peer};
use crate::{identify::Identifier, limiter::Limiter};

/// Checks every request before it reaches the service within.
///
/// See the [module docs](super) for an example.
#[derive(Clone)]
pub struct RateLimit<S, P = ()> {
    inner: S,
    settings: Arc<Settings<P>>,
}

/// The parts that all services of a layer share.
#[derive(Clone)]
pub(super) struct Settings<P> {
    pub(super) limiter: Limiter,
    pub(super) identifier: Arc<Identifier>,
    pub(super) peer: P,
}

impl<S, P> RateLimit<S, P> {
    pub(super) const fn new(inner: S, settings: Arc<Settings<P>>) -> Self {
        Self { inner, settings }
    }
}

impl<S, P, RequestBody, ResponseBody> Service<Request<RequestBody>> for RateLimit<S, P>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>> + Clone,
    P: Peer,
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
        // The service that said it is ready is the one to call, once the check is done; the clone
        // has to be asked anew.
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone);
        let (head, body) = request.into_parts();
        let peer = self.settings.peer.peer(&head.extensions);
        let check =
            check(self.settings.limiter.clone(), Arc::clone(&self.settings.identifier), peer, head);
        RateLimitFuture::new(Box::pin(check), ready, body)
    }
}

impl<S: fmt::Debug, P> fmt::Debug for RateLimit<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish()
    }
}

impl<P> fmt::Debug for Settings<P> {
    /// Leaves out the peer's closure, of which there is nothing to show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("limiter", &self.limiter)
            .field("identifier", &self.identifier)
            .finish_non_exhaustive()
    }
}
