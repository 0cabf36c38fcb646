use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, Request, Response};
use tower_service::Service;

use super::{
    body::{RequestBody, ResponseBody},
    exchange::Exchange,
    future::MetricsFuture,
    response_recorder::ResponseRecorder,
};

/// Finds the pattern that a request's path matched.
pub(super) type EndpointOf = dyn for<'r> Fn(&'r Extensions) -> Option<&'r str> + Send + Sync;

/// Counts and measures the responses of the inner service.
///
/// See the [module docs](super) for an example.
#[derive(Clone)]
pub struct Metrics<S> {
    inner: S,
    responses: Arc<ResponseRecorder>,
    endpoint: Arc<EndpointOf>,
}

impl<S> Metrics<S> {
    pub(super) const fn new(
        inner: S,
        responses: Arc<ResponseRecorder>,
        endpoint: Arc<EndpointOf>,
    ) -> Self {
        Self { inner, responses, endpoint }
    }
}

impl<S, B, R> Service<Request<B>> for Metrics<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = MetricsFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let endpoint = (self.endpoint)(request.extensions());
        let exchange =
            Exchange::start(request.method(), request.uri(), endpoint, Arc::clone(&self.responses));
        let request = request.map(|body| RequestBody::new(body, Arc::clone(&exchange)));
        MetricsFuture::new(self.inner.call(request), exchange)
    }
}

impl<S: fmt::Debug> fmt::Debug for Metrics<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("inner", &self.inner)
            .field("responses", &self.responses)
            .finish_non_exhaustive()
    }
}
