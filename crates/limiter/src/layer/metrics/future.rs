use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;

use super::{body::ResponseBody, exchange::Exchange};

pin_project! {
    /// The answer to a request, whose body is measured.
    ///
    /// See the [module docs](super) for an example.
    #[derive(Debug)]
    pub struct MetricsFuture<F> {
        #[pin]
        answer: F,
        // Taken when there is an answer.
        exchange: Option<Arc<Exchange>>,
    }
}

impl<F> MetricsFuture<F> {
    pub(super) const fn new(answer: F, exchange: Arc<Exchange>) -> Self {
        Self { answer, exchange: Some(exchange) }
    }
}

impl<F, B, E> Future for MetricsFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.answer.poll(context))?;
        let exchange = this.exchange.take().expect("it is not polled after it was ready");
        let answer = exchange.answer(response.status(), response.extensions());
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, answer))))
    }
}
