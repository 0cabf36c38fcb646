use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{
    body::{RequestBody, ResponseBody},
    exchange::Exchange,
    future::MetricsFuture,
    label::Label,
    traffic::Traffic,
};

/// Counts and measures what the service within answers.
///
/// See the [module docs](super) for an example.
#[derive(Clone)]
pub struct Metrics<S, L = ()> {
    inner: S,
    traffic: Arc<Traffic>,
    label: L,
}

impl<S, L> Metrics<S, L> {
    pub(super) const fn new(inner: S, traffic: Arc<Traffic>, label: L) -> Self {
        Self { inner, traffic, label }
    }
}

impl<S, L, B, Answered> Service<Request<B>> for Metrics<S, L>
where
    S: Service<Request<RequestBody<B>>, Response = Response<Answered>>,
    L: Label,
{
    type Response = Response<ResponseBody<Answered>>;
    type Error = S::Error;
    type Future = MetricsFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let endpoint = self.label.endpoint(request.extensions());
        let exchange = Exchange::start(request.method(), endpoint, Arc::clone(&self.traffic));
        let request = request.map(|body| RequestBody::new(body, Arc::clone(&exchange)));
        MetricsFuture::new(self.inner.call(request), exchange)
    }
}

impl<S: fmt::Debug, L> fmt::Debug for Metrics<S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("inner", &self.inner)
            .field("traffic", &self.traffic)
            .finish_non_exhaustive()
    }
}
