use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;

use super::{body::ResponseBody, exchange::Exchange};

pin_project! {
    /// The response to a request, whose body is measured.
    ///
    /// See the [module docs](super) for an example.
    #[derive(Debug)]
    pub struct MetricsFuture<F> {
        #[pin]
        response: F,
        // Taken when there is a response.
        exchange: Option<Arc<Exchange>>,
    }
}

impl<F> MetricsFuture<F> {
    pub(super) const fn new(response: F, exchange: Arc<Exchange>) -> Self {
        Self { response, exchange: Some(exchange) }
    }
}

impl<F, B, E> Future for MetricsFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.response.poll(context))?;
        let exchange = this.exchange.take().expect("a future is not polled after it was ready");
        let recorded = exchange.respond(response.status(), response.extensions());
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, recorded))))
    }
}
